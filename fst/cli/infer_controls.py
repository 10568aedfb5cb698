"""The flags of fst-infer that say how a picture is painted, beside in which style."""

import argparse
import os
import re
from fractions import Fraction
from functools import partial
from typing import TYPE_CHECKING

from fst.cli.argument_types import amount, frame_rate, number, share
from fst.cli.messages import noting
from fst.errors import FstError
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

_PLAIN = ("strength", "texture", "texture_size", "keep_colors")  # as the fields of PaintOptions
_SHARE = r"[0-9]*\.?[0-9]+"


def add_controls(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--texture", type=share, metavar="T", help="0 to 1 along the ids of one painting")
    add("--texture-size", type=_texture_size, default=AUTO, metavar="T",
        help="of strokes: auto, native, or 0.5 to 3")  # fmt: skip
    add("--sheet", action="store_true", help="one sheet of all styles, or those named, with names")
    add("--blend-grid", nargs="+", metavar=("A", "B"), help="one sheet of blends of 2 or 4 styles")
    add("--strength", type=partial(number, most=MAX_STRENGTH), default=1.0, metavar="S",
        help="0: the photo, 1: the painting, up to 1.5")  # fmt: skip
    add("--mask", action="append", default=[], metavar="[NAME=]FILE",
        help="white: where that style, or any paint, goes")  # fmt: skip
    add("--keep-colors", nargs="?", const="luminance", choices=KEEP_COLORS, metavar="HOW",
        help="luminance: place by place; histogram: as a whole")  # fmt: skip
    add("--max-memory", type=amount, metavar="N", help="such as 2G: what needs more goes in bands")
    add("--fast-statistics", action="store_true", help="bands in one pass: faster, not exact")
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


def blend_of(stylizer: "Stylizer", wanted: list[str]) -> dict[str, float] | None:
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


def grid_name(stylizer: "Stylizer", styles: list[str]) -> str:
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
    controls = {name: getattr(args, name) for name in _PLAIN}
    return PaintOptions(masks=masks, where=where, **controls)
