"""What the commands say to their users (everything but the paths written goes to stderr), and what
signals do to them. Without torch."""

import json
import logging
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from fst.io.paths import printable

# Warnings of Lightning's.
LEFT_OUT = (
    # Photos are in memory, or read by a thread of ours: worker processes would only cost.
    ".*does not have many workers.*",
    ".*the `CombinedLoader` length.*",
    ".*LeafSpec.*is deprecated",  # Lightning 2.6 with torch 2.13
    # It is: the sampler starts at the step of the checkpoint (fst/data/datamodule.py).
    ".*your dataloader is not resumable.*",
    ".*sync_dist=True.*",  # the distances are reduced over processes by the metrics themselves
    ".*exists and is not empty.*",  # both log folders are made by these commands
    ".*DataLoader.* zero",  # all pictures of a folder are finished, or fewer than processes
    ".*self.log.*barebones=True.*",  # the user has asked for just that
    ".*available but not used.*",  # --device cpu on a machine with a GPU
)
# Parts of Lightning that speak only where the user has asked for them.
ASKED_FOR = ("profilers", "callbacks")


def tell(program: str, text: str) -> None:
    """One line to stderr, the program's name before it."""
    print(f"{program}: {printable(text)}", file=sys.stderr)


def quieten_lightning() -> None:
    """Leave out the parts of Lightning's talk that no user of these commands can act on."""
    for name in ("pytorch_lightning", "lightning_fabric", "lightning.pytorch"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for name in ASKED_FOR:
        logging.getLogger(f"pytorch_lightning.{name}").setLevel(logging.INFO)
    for message in LEFT_OUT:
        warnings.filterwarnings("ignore", message=message)


def print_result(text: str, as_json: bool = False, **about: Any) -> None:
    """A line to stdout at once: a path written, or for programs a JSON object with it as "path" and
    what else is known."""
    text = json.dumps({"path": text, **about}) if as_json else text
    try:
        print(text, flush=True)
    except UnicodeEncodeError:  # a file name that is no text: its bytes, for the next in the pipe
        sys.stdout.buffer.write(os.fsencode(text) + b"\n")
        sys.stdout.flush()


@contextmanager
def on_signals(handler: Callable[[int, Any], Any], *numbers: int) -> Iterator[None]:
    """Have a handler take these signals; nothing changes in a thread, which cannot take any."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)
