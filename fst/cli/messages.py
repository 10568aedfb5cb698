"""What the commands say to their users: everything but the paths written goes to stderr."""

import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from fst.errors import FstError


@contextmanager
def noting(problems: list[str]) -> Iterator[None]:
    """Collects an FstError, so that all problems with the arguments are told at once."""
    try:
        yield
    except FstError as problem:
        problems.append(str(problem))


def tell(program: str, text: str) -> None:
    """One line to stderr, the program's name before it."""
    from fst.images import printable

    print(f"{program}: {printable(text)}", file=sys.stderr)


def quieten_lightning() -> None:
    """Leave out the parts of Lightning's talk that no user of this command can act on."""
    for name in ("pytorch_lightning", "lightning_fabric", "lightning.pytorch"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # Photos are in memory, or read by a thread of ours: worker processes would only cost.
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    warnings.filterwarnings("ignore", message=".*the `CombinedLoader` length.*")
    # Lightning 2.6 with torch 2.13.
    warnings.filterwarnings("ignore", message=".*LeafSpec.*is deprecated")
    # It is: the sampler starts at the step of the checkpoint (fst/content/datamodule.py).
    warnings.filterwarnings("ignore", message=".*your dataloader is not resumable.*")
    # The distances are reduced over processes by the metrics themselves.
    warnings.filterwarnings("ignore", message=".*sync_dist=True.*")
    # Both log folders are made by this command.
    warnings.filterwarnings("ignore", message=".*exists and is not empty.*")
    # All pictures of a folder are finished, or there are fewer than processes.
    warnings.filterwarnings("ignore", message=".*DataLoader.* zero")
    # --device cpu on a machine with a GPU.
    warnings.filterwarnings("ignore", message=".*available but not used.*")
