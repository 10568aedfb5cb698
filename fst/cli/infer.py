"""`fst-infer`: paint pictures with a trained style model.

Nothing heavy is imported up here: `--help` and a mistyped flag are answered before torch is there.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, redirect_stderr, redirect_stdout
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

from fst.cli import commands
from fst.cli.argument_types import device_name, positive, whole
from fst.cli.commands import finish, new_parser
from fst.cli.infer_flags import (
    add_controls,
    asks_for_clips,
    check_for_clips,
    check_for_pictures,
    choose_styles,
    painting_options,
    styles_asked_for,
)
from fst.cli.messages import Problems, lines_of, noting, told
from fst.errors import FstError
from fst.networks.sizes import MIN_SIZE_PX
from fst.runtime.console import tell
from fst.runtime.memory import usable_device
from fst.stylize.folder.naming import Plan, check_output, find_photos, input_clashes, make_plan
from fst.stylize.video.clips import paint_clips

PROGRAM = "fst-infer"
STREAM = "-"  # as a picture that on stdin, as output the painting on stdout
JPEG = b"\xff\xd8\xff"
_EXAMPLES = """examples:
  fst-infer photo.jpg --style wave               writes photo_wave.jpg here
  fst-infer photo.jpg --style wave=0.7 udnie=0.3 --mask the_scream=sky.png --keep-colors
  fst-infer clip.mp4 --style-id 2 -o new.mp4     names the output file; GIFs too
  fst-infer photo.jpg holiday/ 'raw/*.png' --all-styles -o out/ --devices 4 --resume

Paths go to stdout. Exit code: 0 painted, 1 some failed, 2 wrong arguments, 130 interrupted."""


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    try:
        args = finish(_parser(), shown=False).parse_intermixed_args(argv)
        args.from_command_line, args.from_stdin = argv is None, None
        in_pipe = STREAM in (*args.inputs, args.output)
        with standard_streams(args) if in_pipe else nullcontext():
            return _list_styles(args) if args.list_styles else _run(args)
    except FstError as problem:
        return told(PROGRAM, problem)
    except KeyboardInterrupt:
        print("fst-infer: interrupted; what is written stays", file=sys.stderr)
        return 130
    except BrokenPipeError:  # `fst-infer ... | head -1`: nobody reads on, so stop
        # Python flushes stdout once more at exit, which would complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _parser() -> argparse.ArgumentParser:
    usage = "fst-infer [PICTURE ...] [--style NAME ...] [options]"
    about = "Paint pictures: files, folders, 'patterns', videos, - for stdin, or a sample."
    parser = new_parser(PROGRAM, about, _EXAMPLES, usage=usage, add_help=False)
    add = parser.add_argument
    add("-h", "--help", action="help", help=argparse.SUPPRESS)  # who reads this has found it
    add("inputs", nargs="*", metavar="PICTURE", help=argparse.SUPPRESS)
    several: dict[str, Any] = {"nargs": "+", "action": "extend", "default": []}
    add("--style-id", **several, type=_style_id, metavar="N", help="style by id")
    add("--style", **several, metavar="NAME", help="style by name; NAME=SHARE blends")
    add("--all-styles", action="store_true", help="paint in every style of the model")
    add_controls(parser)
    add("--watch", metavar="FOLDER", help="paint what is in it and what arrives, until Ctrl-C")
    add("--list-styles", action="store_true", help="show id, name and number of pictures")
    add("--model", metavar="FILE", help="a style model, a .ckpt, or gallery (newest run)")
    add("-o", "--output", metavar="PATH", help="folder, file for one picture, or - (this folder)")
    add("--overwrite", action="store_true", help="replace files instead of numbering new ones")
    add("--json", action="store_true", help="print a JSON object per line, not paths")
    add("--size", type=partial(whole, least=MIN_SIZE_PX), metavar="PX",
        help="shrink shorter sides to at most PX pixels")  # fmt: skip
    add("--bits", type=int, choices=(8, 16), default=8, help="per channel; 16: .png and .tif only")
    add("--devices", type=positive, metavar="N",
        help="share the pictures among N processes, or GPUs")  # fmt: skip
    add("--num-nodes", type=positive, metavar="N",
        help="number of machines, each with --devices processes")  # fmt: skip
    add("--resume", action="store_true", help="continue after --devices: skip what is finished")
    add("--device", type=device_name, metavar="NAME", help="cpu, cuda, cuda:1, mps (a GPU or cpu)")
    add("--precision", choices=("fp32", "bf16"), default="fp32", help="bf16: faster, within 2/255")
    return parser


def _style_id(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a style id; ids are 0, 1, 2..., and pictures go before --style-id"
        ) from None


def _run(args: argparse.Namespace) -> int:
    problems: list[str] = []
    team, clips = None, asks_for_clips(args)
    device = "cpu"  # the model is looked at, and told about, even where the device is wrong
    with noting(problems):
        device = usable_device(args.device)
        if not clips and (args.devices or args.num_nodes or args.resume):
            from fst.stylize.folder.shared import Team

            team = Team(args, device)
            device = team.device
    with noting(problems):
        check_for_clips(args) if clips else check_for_pictures(args)
    # Of several processes the first says what there is to say, and looks for the pictures.
    first = team is None or team.rank == 0
    with nullcontext() if first else redirect_stderr(StringIO()):
        chosen = _open(args, device, problems)
    if problems and (clips or args.watch is not None):
        raise Problems(problems)
    if clips:
        return paint_clips(args, *chosen)
    if args.watch is not None:
        from fst.stylize.folder.painter import watch

        return watch(args, *chosen)
    plan = _plan(args, chosen[1] if chosen else {}, first, problems)
    if problems:
        raise Problems(problems)
    stylizer, _, options = chosen
    if team is not None:
        from fst.stylize.folder.shared import paint_shared

        return paint_shared(stylizer, plan, args, options, team)
    from fst.stylize.folder.painter import Painter

    return Painter(stylizer, plan, args, options).paint()


def _list_styles(args: argparse.Namespace) -> int:
    """Show the styles of the model, and where none is named those of the gallery too."""
    from fst.cli.styles import show_styles
    from fst.stylize.stylizer import Stylizer

    check_for_pictures(args)
    device, wanted = usable_device(args.device), styles_asked_for(args)
    stylizer = commands.open_model(args.model, device, args.precision, wanted)
    show_styles(stylizer.styles, commands.shown_name(stylizer.path), args.json)
    gallery = commands.GALLERY
    if args.model is None and stylizer.path != gallery and gallery.is_file():
        tell(PROGRAM, "and with --model gallery, or by name:")
        show_styles(Stylizer(gallery).styles, commands.SHIPPED, args.json)
    return 0


def _open(args: argparse.Namespace, device: str, problems: list[str]) -> tuple | None:
    """The model, the styles to paint in, and how; None where there is no model or no style."""
    with noting(problems):
        wanted = styles_asked_for(args)
        stylizer = commands.open_model(args.model, device, args.precision, wanted)
        styles = choose_styles(stylizer, args, problems)
        options = painting_options(stylizer, args, problems)
        if args.texture is not None:
            for style in [args.blend] if args.blend else styles:
                stylizer.style_weights(style, args.texture)  # is there a line?
        return stylizer, styles, options
    return None


def _plan(
    args: argparse.Namespace, styles: dict[int, str], first: bool, problems: list[str]
) -> Plan:
    """What is to be written, if it can be."""
    photos = find_photos(args.inputs, problems) if first else {}
    count, may_exist = len(photos) * len(styles), args.overwrite or args.resume
    with noting(problems):
        check_output(args.output, may_exist, photos, count, args.bits)
    plan = make_plan(photos, styles, args.output, args.bits)
    if args.overwrite:  # without it a name that is taken is numbered
        problems += input_clashes(plan)
    return plan


# ---- in a pipe ----------------------------------------------------------------------------------


@contextmanager
def standard_streams(args: argparse.Namespace) -> Iterator[None]:
    """Put files in the place of the streams in the arguments, and pass on what is painted."""
    _check_streams(args)
    with tempfile.TemporaryDirectory(prefix="fst-") as folder:
        if STREAM in args.inputs:
            args.from_stdin = _received(folder)
            args.inputs = [args.from_stdin if i == STREAM else i for i in args.inputs]
        if args.output != STREAM:
            with _named_as_given(args.from_stdin):
                yield
            return
        is_jpeg = not args.inputs or Path(args.inputs[0]).suffix.lower() in (".jpg", ".jpeg")
        painting = Path(folder, f"painting.{'jpg' if is_jpeg and args.bits == 8 else 'png'}")
        args.output = str(painting)
        with _named_as_given(args.from_stdin, args.output), redirect_stdout(StringIO()):  # the path
            yield
        if painting.exists():  # else the exit code says that there is none
            sys.stdout.buffer.write(painting.read_bytes())
            sys.stdout.buffer.flush()


@contextmanager
def _named_as_given(*files: str | None) -> Iterator[None]:
    """Problems name the streams, not the files in their places."""
    try:
        yield
    except FstError as problem:
        lines = lines_of(problem)
        for file in filter(None, files):
            lines = [line.replace(file, STREAM) for line in lines]
        raise Problems(lines) from None


def _check_streams(args: argparse.Namespace) -> None:
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


if __name__ == "__main__":
    sys.exit(main())
