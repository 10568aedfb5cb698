"""`fst-styles`: list, extract, merge, remove, rename and import styles."""

import argparse
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fst.cli.commands import finish, new_parser, newest_model, shown_name
from fst.cli.messages import told
from fst.errors import FstError
from fst.io.paths import printable
from fst.runtime.console import print_result, tell
from fst.style_model.names import model_path
from fst.stylize.folder.naming import check_folder_name, check_free, safe_name

PROGRAM = "fst-styles"
TOLD = ("statistic", "weight", "size_px")  # how a style was trained, where it says so
_EXAMPLES = """examples:
  fst-styles list                                             of the model fst-infer would use
  fst-styles extract MODEL wave -o wave.style.safetensors     one style, a few KB
  fst-styles merge MODEL wave.style.safetensors -o NEW        appended; other ids stay
  fst-styles remove MODEL wave -o NEW                         later ids move down by one
  fst-styles rename MODEL wave hokusai --in-place
  fst-styles import mosaic.pth                 a network of pytorch/examples as mosaic.safetensors

MODEL is a .safetensors style model or a .ckpt, or "gallery", the shipped one. A style is named, or
given by its id. Paths written go to stdout, all else to stderr. Exit code: 0 done, 2 refused
(nothing was written)."""


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    args = finish(make_parser()).parse_args(argv)
    try:
        args.run(args)
    except FstError as error:
        return told(PROGRAM, error)
    return 0


def make_parser() -> argparse.ArgumentParser:
    """Command line of fst-styles."""
    about = "List, extract, merge, remove, rename and import styles."
    parser = new_parser(PROGRAM, about, _EXAMPLES)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run: Any, help: str, changes: bool = True) -> Any:
        sub = commands.add_parser(name, help=help, description=help, allow_abbrev=False)
        sub.set_defaults(run=run)
        sub.add_argument("model", metavar="MODEL", nargs="?" if run is run_list else None)
        sub.add_argument("--json", action="store_true", help="print a JSON object per line")
        if changes:
            where = sub.add_mutually_exclusive_group(required=True)
            where.add_argument("-o", "--output", type=Path, metavar="FILE", help="the new model")
            where.add_argument("--in-place", action="store_true", help="replace MODEL itself")
            sub.add_argument("--overwrite", action="store_true", help="replace FILE")
        return sub

    command("list", run_list, "show id, name and how each style was trained", changes=False)
    extract = command("extract", run_extract, "write styles as files of their own", changes=False)
    extract.add_argument("styles", nargs="*", metavar="STYLE", help="all, if none is named")
    extract.add_argument("-o", "--output", type=Path, default=Path(), metavar="PATH",
        help="folder, or file for one style (this folder)")  # fmt: skip
    extract.add_argument("--overwrite", action="store_true", help="replace files")
    merge = command("merge", run_merge, "append the styles of files")
    merge.add_argument("files", nargs="+", metavar="FILE", help="style files or style models")
    remove = command("remove", run_remove, "remove styles")
    remove.add_argument("styles", nargs="+", metavar="STYLE")
    rename = command("rename", run_rename, "give a style another name")
    rename.add_argument("style", metavar="STYLE")
    rename.add_argument("name", metavar="NAME")
    imported = command(
        "import", run_import, "make a model from another project's file", changes=False
    )
    imported.add_argument("-o", "--output", type=Path, metavar="FILE",
        help="(MODEL.safetensors, in this folder)")  # fmt: skip
    imported.add_argument("--name", help="of the style (MODEL's name)")
    imported.add_argument("--overwrite", action="store_true", help="replace FILE")
    return parser


def run_list(args: argparse.Namespace) -> None:
    from fst.style_model.sets import read_styles_of

    model = shown_name(newest_model()) if args.model is None else args.model
    styles = read_styles_of(model_path(model))
    tell(PROGRAM, f"{model}: trunk {styles[0].trunk}")
    show_styles([style.style for style in styles], model, args.json, TOLD)


def show_styles(
    styles: list[dict[str, Any]], model: str, as_json: bool, keys: tuple[str, ...] = ()
) -> None:
    """Print id, name and number of pictures of each style, and what it says under some keys."""
    names = [printable(style["name"]) for style in styles]
    wide, lines = max(map(len, names)), []
    for style_id, (name, style) in enumerate(zip(names, styles, strict=True)):
        images = style.get("images")
        count = len(images) if isinstance(images, list) else 0  # the file may say anything
        more = {key: style[key] for key in keys if key in style}
        if as_json:
            about = {"id": style_id, "name": style["name"], "pictures": count, "model": model}
            lines.append(json.dumps(about | more))
        else:
            how = [f"{count} picture{'s' * (count != 1)}", *(f"{k} {v}" for k, v in more.items())]
            lines.append(printable(f"{style_id:3}  {name:{wide}}  {', '.join(how)}"))
    print_result("\n".join(lines))


def run_extract(args: argparse.Namespace) -> None:
    from fst.io.atomic import claimed_file
    from fst.style_model.sets import STYLE_SUFFIX, read_styles_of, save_style

    styles = read_styles_of(model_path(args.model))
    chosen = [styles[i] for i in _ids(styles, args.styles)] if args.styles else styles
    if args.output.suffix == ".safetensors" and not os.path.isdir(args.output):
        if len(chosen) > 1:
            raise FstError(f"-o {args.output} is one file for {len(chosen)} styles; name a folder")
        targets = [args.output]
    else:
        if len(chosen) == 1:
            check_folder_name(str(args.output), [STYLE_SUFFIX], "style file")
        names = [safe_name(style.name) or f"style{i}" for i, style in enumerate(chosen)]
        targets = [args.output / f"{name}{STYLE_SUFFIX}" for name in names]
    if len(set(targets)) < len(targets):
        raise FstError("two styles would get one file: extract them one by one, with -o FILE")
    for path in targets:
        check_free(path, args.overwrite)
    for style, path in zip(chosen, targets, strict=True):
        with claimed_file(path, is_numbered=False):
            check_free(path, args.overwrite)  # once more: another may have written it
            print_result(str(save_style(path, style)), args.json)


def run_merge(args: argparse.Namespace) -> None:
    from fst.style_model.sets import merged, read_styles_of

    with _changed(args, f"{', '.join(args.files)}: ") as styles:
        count = len(styles)
        for file in args.files:
            more = read_styles_of(model_path(file))
            new = merged(styles, more)[len(styles) :]
            if left_out := [style.name for style in more if style not in new]:
                tell(PROGRAM, f"{file}: {', '.join(left_out)} there already, left out")
            styles += new
    names = ", ".join(style.name for style in styles[count:])
    tell(PROGRAM, f"added {names or 'nothing'}; {len(styles)} styles")


def run_remove(args: argparse.Namespace) -> None:
    with _changed(args) as styles:
        for place in sorted(set(_ids(styles, args.styles)), reverse=True):
            del styles[place]


def run_rename(args: argparse.Namespace) -> None:
    from fst.style_model.sets import renamed

    with _changed(args) as styles:
        (place,) = _ids(styles, [args.style])
        styles[place] = renamed(styles[place], args.name)


def run_import(args: argparse.Namespace) -> None:
    """Write a model of a network that another project has trained."""
    from fst.io.atomic import claimed_file
    from fst.style_model.format import save_style_model
    from fst.style_model.imported import import_model
    from fst.style_model.names import check_name

    stem = safe_name(Path(args.model).stem) or "imported"
    target = args.output or Path(f"{stem}.safetensors")
    with claimed_file(target, is_numbered=False):
        _check_target(target, args.overwrite)
        model = import_model(args.model, check_name(args.name or stem))
        print_result(str(save_style_model(target, *model)), args.json)


@contextmanager
def _changed(args: argparse.Namespace, blamed: str = "") -> Iterator[list]:
    """The styles of the model, to be changed; then it is written to where the arguments say, and
    what does not fit is blamed. Held from before it is read: another could change it meanwhile."""
    from fst.assets import GALLERY
    from fst.io.atomic import claimed_file
    from fst.style_model.format import load_style_model, save_style_model
    from fst.style_model.sets import read_styles_of, with_styles

    source = model_path(args.model)
    target, flag = (source, "--in-place") if args.in_place else (args.output, "-o")
    with claimed_file(target, is_numbered=False, flag=flag):
        styles = read_styles_of(source)
        yield styles
        if args.in_place and source.resolve() == GALLERY.resolve():
            raise FstError("the shipped gallery stays as it is: name a new model with -o")
        _check_target(target, args.overwrite or args.in_place)
        try:
            model = with_styles(*load_style_model(source), styles)
        except FstError as error:
            raise FstError(f"{blamed}{error}") from None
        print_result(str(save_style_model(target, *model)), args.json)


def _ids(styles: list, wanted: list[str]) -> list[int]:
    """Places of styles given by name, or by id where no style has that name."""
    from fst.style_model.names import find_style

    names = [style.name for style in styles]
    return [find_style(names, int(w) if w.isdecimal() and w not in names else w) for w in wanted]


def _check_target(path: Path, overwrite: bool) -> None:
    if path.suffix != ".safetensors":
        raise FstError(f"{path}: style models end in .safetensors; name one with -o")
    check_free(path, overwrite)


if __name__ == "__main__":
    sys.exit(main())
