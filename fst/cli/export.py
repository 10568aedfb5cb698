"""`fst-export`: a style model for programs without fst, and its card."""

import argparse
import os
import re
import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from fst.cli.commands import finish, new_parser
from fst.cli.messages import told
from fst.errors import FstError
from fst.io.paths import check_place
from fst.runtime.console import tell
from fst.stylize.folder.naming import check_free

if TYPE_CHECKING:
    from fst.stylize.stylizer import Stylizer

PROGRAM = "fst-export"
SUFFIXES = {"onnx": ".onnx", "torch": ".pt2", "card": ".md"}
_EXAMPLES = """examples:
  fst-export                                     the newest run as model.onnx
  fst-export gallery -o painter.onnx             all styles in one file, any size of picture
  fst-export MODEL -o painter.onnx --fp16        half the size
  fst-export MODEL -o painter.pt2                for torch.export.load
  fst-export MODEL -o model.md --photos *.jpg    the model's card and its picture model.jpg
  fst-export MODEL --web site                    a page that paints in the visitor's browser

MODEL is a .safetensors style model or a .ckpt, or "gallery", the shipped one. Nothing is written
that does not paint as MODEL does. Paths written go to stdout, all else to stderr. Exit code:
0 done, 2 refused (nothing was written)."""


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    args = finish(make_parser()).parse_args(argv)
    try:
        run(args)
    except FstError as error:
        return told(PROGRAM, error)
    except KeyboardInterrupt:
        tell(PROGRAM, "interrupted; nothing was written")
        return 130
    return 0


def make_parser() -> argparse.ArgumentParser:
    """Command line of fst-export."""
    about = "Export a style model as ONNX, as a program of torch.export, or as a card."
    parser = new_parser(PROGRAM, about, _EXAMPLES)
    add = parser.add_argument
    add("model", nargs="?", metavar="MODEL", help="(the newest run below checkpoints, or gallery)")
    add("-o", "--output", metavar="FILE", help=".onnx, .pt2 or .md (MODEL's name, in this folder)")
    add("--format", choices=tuple(SUFFIXES), help="if FILE does not say (onnx)")
    add("--web", metavar="FOLDER", help="write a page for any web server: HTML, ONNX and runtime")
    add("--runtime", metavar="FOLDER", help="of the npm package onnxruntime-web (npm fetches it)")
    add("--fp16", action="store_true", help="ONNX with convolutions in half precision")
    add("--license", type=_license, metavar="ID", help="SPDX name to put into the file (unknown)")
    add("--photos", nargs="+", metavar="FILE", help="to show in a card, at most 4 (a sample)")
    add("--overwrite", action="store_true", help="replace FILE")
    return parser


def _license(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9.+-]{0,60}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is no name of a licence, such as cc-by-4.0")
    return text.lower()


def run(args: argparse.Namespace) -> None:
    """Check, export, compare, write."""
    kind = _format(args)
    _check_flags(args, kind)
    from fst.cli.commands import open_model

    stylizer = open_model(args.model, "cpu", "fp32", [], PROGRAM)
    if args.web is not None:
        _write_page(stylizer, Path(args.web), args)
        return
    stem = stylizer.path.name.removesuffix(stylizer.path.suffix)
    target = Path(args.output or f"{stem}{SUFFIXES[kind]}")
    _check_target(target, args.overwrite)
    if kind == "card":
        _write_card(stylizer, target, args)
        return
    _write(target, _checked(stylizer, kind, args), args.overwrite)
    print(target)


def _format(args: argparse.Namespace) -> str:
    """Which format is wanted, of the flag or the file's suffix."""
    suffix = os.path.splitext(args.output or "")[1].lower()
    of_suffix = {suffix: kind for kind, suffix in SUFFIXES.items()}.get(suffix)
    if args.output and of_suffix is None and args.format is None:
        raise FstError(f"-o {args.output}: its suffix must be one of .onnx .pt2 .md")
    if args.format and args.output and suffix != SUFFIXES[args.format]:
        raise FstError(
            f"-o {args.output}: a file of --format {args.format} ends in {SUFFIXES[args.format]}"
        )
    return args.format or of_suffix or "onnx"


def _check_flags(args: argparse.Namespace, kind: str) -> None:
    """Refuse flags that do not go together, and ONNX where its packages are missing."""
    if args.web is not None and (args.output or args.format or args.photos):
        raise FstError("--web writes a folder of its own: leave out -o, --format and --photos")
    if args.runtime and args.web is None:
        raise FstError("--runtime goes with --web FOLDER")
    if args.fp16 and kind != "onnx":
        raise FstError("--fp16 is for ONNX: name a file .onnx with -o, or leave it out")
    if args.photos and kind != "card":
        raise FstError("--photos is for a card: name a file .md with -o, or leave it out")
    for name in ("onnx", "onnxscript") if kind == "onnx" else ():
        try:
            import_module(name)
        except ImportError:
            raise FstError(
                f"ONNX needs the package {name}: pip install 'fst[export]', or --format torch"
            ) from None


def _check_target(path: Path, overwrite: bool) -> None:
    check_place(path)
    if os.path.isdir(path):
        raise FstError(f"-o {path} is a folder; name a file")
    check_free(path, overwrite)


def _checked(stylizer: "Stylizer", kind: str, args: argparse.Namespace) -> bytes:
    """The exported network, compared with fst where that can be done."""
    from fst.export.check import compared, onnx_painter, program_painter
    from fst.export.files import onnx_bytes, program_bytes, properties

    known = properties(stylizer, args.license, args.fp16)
    if kind == "torch":
        content = program_bytes(stylizer.network, known)
        paint = program_painter(content)
    else:
        content = onnx_bytes(stylizer.network, known, args.fp16)
        try:
            paint = onnx_painter(content)
        except ImportError:
            tell(PROGRAM, "not compared with fst: pip install 'fst[export]' brings onnxruntime")
            return content
    tell(PROGRAM, compared(stylizer, paint, args.fp16))
    return content


def _write_card(stylizer: "Stylizer", target: Path, args: argparse.Namespace) -> None:
    from fst.io.images import find
    from fst.style_model.card import jpeg_bytes, picture_of, text_of

    picture_path = target.with_suffix(".jpg")
    _check_target(picture_path, args.overwrite)
    photos = find(args.photos) if args.photos else None
    if any(picture_path.exists() and picture_path.samefile(photo) for photo in photos or ()):
        raise FstError(f"{picture_path} is one of the photos and stays: name another file with -o")
    text = text_of(stylizer, picture_path.name, args.license)
    _write(picture_path, jpeg_bytes(picture_of(stylizer, photos)), args.overwrite)
    _write(target, text.encode(), args.overwrite)
    print(target, picture_path, sep="\n")


def _write_page(stylizer: "Stylizer", folder: Path, args: argparse.Namespace) -> None:
    from fst.export.web import page_files

    if os.path.isdir(folder) and any(folder.iterdir()) and not args.overwrite:
        raise FstError(f"--web {folder} is not empty; name another folder, or add --overwrite")
    files = page_files(stylizer, _checked(stylizer, "onnx", args), args.license, args.runtime)
    for name, content in files.items():
        _write(folder / name, content, args.overwrite)
    size = sum(map(len, files.values()))
    tell(PROGRAM, f"{size / 1e6:.1f} MB; try it: python -m http.server -b 127.0.0.1 -d {folder}")
    print(folder / "index.html")


def _write(path: Path, content: bytes, overwrite: bool) -> None:
    from fst.io.images import publish

    publish(path, lambda file: file.write(content), overwrite)


if __name__ == "__main__":
    sys.exit(main())
