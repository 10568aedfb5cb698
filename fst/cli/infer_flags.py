"""The flags of fst-infer: how a picture is painted, which styles are meant, what goes together."""

import argparse
import glob
import os
import re
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from fst.assets import GALLERY
from fst.cli.argument_types import amount, frame_rate, number, share
from fst.cli.messages import noting
from fst.errors import FstError
from fst.io.paths import is_clip
from fst.runtime.console import tell
from fst.stylize.folder.naming import BLEND_ID, blend_name
from fst.stylize.options import (
    AUTO,
    KEEP_COLORS,
    MAX_STRENGTH,
    NATIVE,
    TEXTURE_SIZES,
    PaintOptions,
)

if TYPE_CHECKING:
    from torch import Tensor

    from fst.stylize.stylizer import Stylizer

PROGRAM = "fst-infer"
ELSEWHERE = "; --model gallery has those that ship"
_PLAIN = ("strength", "texture", "texture_size", "keep_colors")  # as the fields of PaintOptions
_SHARE = r"[0-9]*\.?[0-9]+"
# Flags that only pictures have, and what they are when they are not given.
_OF_PICTURES = {
    "blend_grid": None,
    "sheet": False,
    "devices": None,
    "num_nodes": None,
    "resume": False,
    "bits": 8,
    "max_memory": None,
    "fast_statistics": False,
}


def add_controls(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--texture", type=share, metavar="T",
        help="0 to 1, between neighbouring ids of one painting")  # fmt: skip
    add("--texture-size", type=_texture_size, metavar="T",
        help="size of the strokes: auto, native, or 0.5 to 3")  # fmt: skip
    add("--sheet", action="store_true", help="one sheet of all styles, or those given, with names")
    add("--blend-grid", nargs="+", metavar=("A", "B"), help="one sheet of blends of 2 or 4 styles")
    add("--strength", type=partial(number, most=MAX_STRENGTH), metavar="S",
        help="0: the photo, 1: the painting, up to 1.5")  # fmt: skip
    add("--mask", action="append", default=[], metavar="[NAME=]FILE",
        help="white: where that style, or any paint, goes")  # fmt: skip
    add("--keep-colors", nargs="?", const="luminance", choices=KEEP_COLORS, metavar="HOW",
        help="luminance: pixel by pixel; histogram: as a whole")  # fmt: skip
    add("--max-memory", type=amount, metavar="N",
        help="such as 2G; what needs more is painted in bands")  # fmt: skip
    add(
        "--fast-statistics",
        action="store_true",
        help="large pictures in one pass: faster, not exact",
    )
    add("--steady", type=share, metavar="S", help="videos: 0 frame by frame, to 1 (0.8)")
    add("--sequence", nargs="?", const=Fraction(25), type=frame_rate, metavar="FPS",
        help="the pictures are frames of one video")  # fmt: skip


def _texture_size(text: str) -> float | str:
    return text if text in (AUTO, NATIVE) else number(text, *TEXTURE_SIZES)


def styles_asked_for(args: argparse.Namespace) -> list[int | str]:
    """Ids and names of all styles that the arguments mention."""
    named = [re.sub(rf"={_SHARE}$", "", style) for style in args.style]
    masked = [name for name, _ in map(_mask, args.mask) if name]
    return [*args.style_id, *named, *(args.blend_grid or []), *masked]


def _mask(given: str) -> tuple[str, str]:
    """Style and file of a --mask; no style where there is the file alone."""
    name, equals, file = given.partition("=")
    return (name, file) if equals and not os.path.exists(given) else ("", given)


def choose_styles(
    stylizer: "Stylizer", args: argparse.Namespace, problems: list[str]
) -> dict[int, str]:
    """The styles to paint in, from id to name; `args.sheet` becomes the ids of its styles."""
    names, args.blend = stylizer.style_names, None
    if args.sheet or args.blend_grid:
        _check_sheets(args)
    if args.sheet:
        args.sheet = _style_ids(stylizer, args, problems) or list(range(len(names)))
        return {BLEND_ID: "sheet"}
    if args.blend_grid:
        return {BLEND_ID: _grid_name(stylizer, args.blend_grid)}
    args.blend = _blend(stylizer, args.style)
    if args.blend and (args.style_id or args.all_styles):
        raise FstError("a blend is one painting: leave out --style-id and --all-styles")
    if args.blend:
        return {BLEND_ID: blend_name(args.blend)}
    if args.all_styles:
        return dict(enumerate(names))
    if args.style_id or args.style:
        return {style_id: names[style_id] for style_id in _style_ids(stylizer, args, problems)}
    if len(names) > 1:
        tell(PROGRAM, f"style 0 ({names[0]}); --list-styles shows all {len(names)}")
    return {0: names[0]}


def _style_ids(stylizer: "Stylizer", args: argparse.Namespace, problems: list[str]) -> list[int]:
    """Ids of the styles named; of one that the model has not, a line to the problems."""
    found = []
    for style in [*args.style_id, *args.style]:
        try:
            found.append(stylizer.style_id(style))
        except FstError as problem:
            is_path = isinstance(style, str) and os.path.lexists(style)
            where = "" if args.model or stylizer.path == GALLERY else ELSEWHERE
            problems.append(f"{problem}{'; pictures go before --style' * is_path}{where}")
    return found


def _blend(stylizer: "Stylizer", wanted: list[str]) -> dict[str, float] | None:
    """The shares of --style NAME=SHARE ...; None where whole styles are named."""
    pairs = [w.rpartition("=") for w in wanted if "=" in w and w not in stylizer.style_names]
    if not pairs:
        return None
    if len(pairs) < len(wanted):
        is_path = any(os.path.lexists(w) for w in wanted)
        raise FstError("--style: give every style of a blend its share, such as wave=0.7 udnie=0.3"
                       f"{'; pictures go before --style' * is_path}")  # fmt: skip
    shares: dict[str, float] = {}
    for name, _, text in pairs:
        if not re.fullmatch(_SHARE, text):
            raise FstError(
                f"--style {name}={text}: {text!r} is no share; give a number such as 0.7"
            )
        shares[name] = shares.get(name, 0.0) + float(text)
    stylizer.style_weights(shares)  # are there such styles, and is one above 0?
    return shares


def _grid_name(stylizer: "Stylizer", styles: list[str]) -> str:
    """What the file of a --blend-grid is called."""
    from fst.stylize.blend_grid import shares_of

    if any(os.path.lexists(style) for style in styles if style not in stylizer.style_names):
        raise FstError("--blend-grid: pictures go before it")
    shares_of(styles)
    for style in styles:
        stylizer.style_id(style)
    return "_".join([*styles, "grid"])


def painting_options(
    stylizer: "Stylizer", args: argparse.Namespace, problems: list[str]
) -> PaintOptions:
    """How to paint, by the arguments; masks are read once, for all pictures."""
    from fst.stylize.controls.masks import read_mask

    masks: dict[str, Tensor] = {}
    for given in args.mask:
        name, file = _mask(given)
        with noting(problems):
            if name in masks:
                which = f"one for {name}" if name else "one without a style"
                raise FstError(f"--mask {given}: there is {which} already")
            if name:
                stylizer.style_id(name)
            masks[name] = read_mask(file)
    where = masks.pop("", None)
    given = {name: getattr(args, name) for name in _PLAIN}
    controls = {name: value for name, value in given.items() if value is not None}
    return PaintOptions(masks=masks, where=where, **controls)


# ---- what goes together -------------------------------------------------------------------------


def asks_for_clips(args: argparse.Namespace) -> bool:
    """Whether there is a clip among what is to be painted."""
    named = [given for given in args.inputs if is_clip(given)]
    there = any(os.path.lexists(given) or glob.glob(given) for given in named)
    return args.sequence is not None or bool(named and (there or len(named) == len(args.inputs)))


def check_for_pictures(args: argparse.Namespace) -> None:
    """Refuse what does not go with pictures, or with a folder of them that is watched."""
    if args.steady is not None:
        raise FstError("--steady is for videos: leave it out, or add --sequence if the "
                       "pictures are frames of one")  # fmt: skip
    if args.watch is None:
        return
    if args.inputs:
        raise FstError("--watch takes its pictures from the folder: leave out " + args.inputs[0])
    if args.devices or args.num_nodes or args.resume:
        raise FstError("--watch paints in one process: leave out --devices, --num-nodes, --resume")
    if not os.path.isdir(args.watch):
        raise FstError(f"--watch {args.watch}: no such folder")
    watched, output = Path(args.watch).resolve(), Path(args.output or "").resolve()
    if watched in (output, *output.parents):
        raise FstError(f"--watch {args.watch}: paintings would arrive there too; name another "
                       "folder with -o")  # fmt: skip
    if os.path.splitext(args.output or "")[1] and not os.path.isdir(args.output):
        raise FstError(f"-o {args.output}: name a folder for what --watch paints")


def check_for_clips(args: argparse.Namespace) -> None:
    """Refuse what does not go with videos, GIFs and pictures that are the frames of one."""
    given = [name for name, unset in _OF_PICTURES.items() if getattr(args, name) != unset]
    if given:
        flags = " ".join("--" + name.replace("_", "-") for name in given)
        raise FstError(f"{flags}: for pictures only; leave it out to paint clips")
    others = [name for name in args.inputs if not is_clip(name)]
    if args.sequence is None and others:
        raise FstError(
            f"videos and pictures are painted in runs of their own: leave out {others[0]}, or the "
            "videos"
        )
    if args.sequence is not None and (not args.inputs or len(others) < len(args.inputs)):
        raise FstError("--sequence: name pictures, or a folder of them, that are the frames")


def _check_sheets(args: argparse.Namespace) -> None:
    """Refuse what does not go with --sheet and --blend-grid."""
    if args.sheet and (args.blend_grid or args.texture is not None):
        raise FstError("--sheet shows one style beside the other: leave out --blend-grid and "
                       "--texture")  # fmt: skip
    if args.blend_grid and (args.fast_statistics or args.max_memory):
        raise FstError("--blend-grid paints small pictures: leave out --max-memory and "
                       "--fast-statistics")  # fmt: skip
    others = args.style or args.style_id or args.all_styles or args.texture is not None
    if args.blend_grid and others:
        raise FstError("--blend-grid names its styles: leave out --style, --style-id, --all-styles "
                       "and --texture")  # fmt: skip
