"""`fst-demo`: a web page to paint photos with."""

import argparse
import importlib.util
import re
import signal
import sys
import threading
from functools import partial
from pathlib import Path

from fst.cli.argument_types import amount, device_name, whole
from fst.cli.commands import finish, new_parser
from fst.cli.messages import told
from fst.errors import FstError
from fst.runtime.console import on_signals, tell
from fst.runtime.memory import usable_device

PROGRAM = "fst-demo"
MIB = 2**20
LOCAL = ("127.0.0.1", "localhost", "::1", "[::1]")
_EXAMPLES = """examples:
  fst-demo                                    http://127.0.0.1:7860, with the newest model
  fst-demo --model gallery --port 8000
  fst-demo --host 0.0.0.0 --max-upload 10M    for others in a network that you trust

The address goes to stdout, all else to stderr. Ctrl-C ends it. Exit code: 0 ended, 2 wrong
arguments or it cannot listen there."""


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    args = finish(make_parser()).parse_args(argv)
    stop = threading.Event()
    try:
        # SIGTERM ends the page as Ctrl-C does: its folder goes too.
        with on_signals(lambda *_: stop.set(), signal.SIGTERM):
            return serve(args, stop)
    except FstError as problem:
        return told(PROGRAM, problem)
    except KeyboardInterrupt:
        return 0


def make_parser() -> argparse.ArgumentParser:
    """Command line of fst-demo."""
    parser = new_parser(PROGRAM, "Serve a web page to paint photos with.", _EXAMPLES)
    add = parser.add_argument
    add("--model", metavar="FILE", help="a style model, a .ckpt, or gallery (newest run)")
    add("--host", default=LOCAL[0], help="address to listen on (127.0.0.1: this machine only)")
    add("--port", type=_port, metavar="N", help="(7860, or the next that is free)")
    add("--size", type=partial(whole, least=64, most=2048), default=768, metavar="PX",
        help="shorter side of previews at most (768)")  # fmt: skip
    add("--max-upload", type=amount, default=50 * MIB, metavar="N", help="of a photo's file (50M)")
    add("--max-megapixels", type=partial(whole, least=1, most=300), default=50, metavar="N",
        help="of a photo (50)")  # fmt: skip
    add("--max-memory", type=amount, default=2048 * MIB, metavar="N",
        help="what needs more is painted in bands (2G)")  # fmt: skip
    add("--device", type=device_name, metavar="NAME", help="cpu, cuda, ... (a GPU or cpu)")
    add("--precision", choices=("fp32", "bf16"), default="fp32", help="bf16: faster, within 2/255")
    return parser


def _port(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,5}", text) or not 1 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port from 1 to 65535")
    return int(text)


def serve(args: argparse.Namespace, stop: threading.Event) -> int:
    """Serve the page until `stop` is set."""
    if importlib.util.find_spec("gradio") is None:
        raise FstError("the page needs gradio: pip install 'fst[demo]'")
    from fst.demo.server import launch, settle_environment, temporary_folder

    with temporary_folder() as folder:
        settle_environment(folder)
        page = make_page(args, folder)
        if args.host not in LOCAL:
            tell(PROGRAM, f"warning: {args.host} lets everyone who reaches this machine use the "
                 "page; it has no password")  # fmt: skip
        url = launch(page, args.host, args.port, args.max_upload)
        try:
            print(url, flush=True)
            stop.wait()
        finally:
            page.close(verbose=False)
    return 0


def make_page(args: argparse.Namespace, folder: Path):
    """The page that the arguments ask for."""
    from fst.cli.commands import open_model, shown_name
    from fst.demo.page import build
    from fst.demo.painting import Limits
    from fst.demo.visit import Studio
    from fst.io.images import IMAGE_SUFFIXES

    stylizer = open_model(args.model, usable_device(args.device), args.precision, [], PROGRAM)
    limits = Limits(
        upload_bytes=args.max_upload,
        pixels=args.max_megapixels * 1_000_000,
        preview_px=args.size,
        memory_bytes=args.max_memory,
    )
    flags = ["--model", shown_name(stylizer.path)]
    flags += ["--device", args.device] if args.device else []
    flags += ["--precision", args.precision] if args.precision != "fp32" else []
    return build(Studio(stylizer, limits, folder, flags), list(IMAGE_SUFFIXES))


if __name__ == "__main__":
    sys.exit(main())
