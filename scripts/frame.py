"""What scripts share: their command line, their errors, and results kept from call to call."""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from fst.errors import FstError
from fst.io import images
from fst.io.atomic import write_atomically
from fst.runtime.memory import keep_freed_memory


def parser_of(text: str) -> argparse.ArgumentParser:
    """A command line described by the first line of a script's docstring."""
    return argparse.ArgumentParser(description=text.splitlines()[0], allow_abbrev=False)


def run_script(
    file: str,
    parser: argparse.ArgumentParser,
    run: Callable[[argparse.Namespace], None],
    argv: Sequence[str] | None = None,
) -> int:
    """Run a script; what is wrong is told in a line. Returns its exit code.

    Args:
        file: `__file__` of the script.
        parser: Of its command line; `--threads`, where it has that, are set.
        run: Does its work.
        argv: Arguments; those of the program by default.
    """
    args = parser.parse_args(argv)
    keep_freed_memory()
    if getattr(args, "threads", None):
        import torch

        torch.set_num_threads(args.threads)
    try:
        run(args)
    except FstError as error:
        print(f"{Path(file).stem}: {images.printable(error)}", file=sys.stderr)
        return 2
    return 0


def read_results(path: Path, settings: dict) -> dict:
    """Results of an earlier call, by what they are of.

    Raises:
        FstError: They were made with other settings.
    """
    if not path.is_file():
        return {}
    stored = json.loads(path.read_text())
    if stored["settings"] != settings:
        raise FstError(f"{path} was made with other settings: choose another -o")
    return stored["results"]


def write_results(path: Path, settings: dict, results: dict) -> None:
    """Keep what has been found so far, for `read_results`."""
    text = json.dumps({"settings": settings, "results": results}, indent=2)
    write_atomically(path, text.encode())
