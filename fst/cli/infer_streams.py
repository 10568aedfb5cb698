"""fst-infer in a pipe: "-" is the picture on stdin, "-o -" the painting on stdout."""

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from pathlib import Path

from fst.errors import FstError

STREAM = "-"
JPEG = b"\xff\xd8\xff"


@contextmanager
def standard_streams(args: argparse.Namespace) -> Iterator[None]:
    """Put files in the place of the streams in the arguments, and pass on what is painted."""
    _check(args)
    with tempfile.TemporaryDirectory(prefix="fst-") as folder:
        if STREAM in args.inputs:
            args.inputs = [_received(folder) if i == STREAM else i for i in args.inputs]
        if args.output != STREAM:
            yield
            return
        is_jpeg = not args.inputs or Path(args.inputs[0]).suffix.lower() in (".jpg", ".jpeg")
        painting = Path(folder, f"painting.{'jpg' if is_jpeg and args.bits == 8 else 'png'}")
        args.output = str(painting)
        with redirect_stdout(StringIO()):  # the path
            yield
        if painting.exists():  # else the exit code says that there is none
            sys.stdout.buffer.write(painting.read_bytes())
            sys.stdout.buffer.flush()


def _check(args: argparse.Namespace) -> None:
    if args.inputs.count(STREAM) > 1:
        raise FstError("-: stdin is one picture; name it once")
    if args.devices or args.num_nodes:
        raise FstError("- is for one process: leave out --devices and --num-nodes")
    if args.output == STREAM and (len(args.inputs) > 1 or args.all_styles or args.json):
        raise FstError("-o -: stdout takes one painting; leave out --all-styles, --json and all "
                       "pictures but one")  # fmt: skip
    if args.output == STREAM and os.isatty(1):
        raise FstError("-o -: stdout is a terminal; send it to a file or a program")


def _received(folder: str) -> str:
    content = sys.stdin.buffer.read()
    if not content:
        raise FstError("-: no picture came on stdin")
    path = Path(folder, "stdin.jpg" if content.startswith(JPEG) else "stdin.png")
    path.write_bytes(content)
    return str(path)
