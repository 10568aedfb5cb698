"""What a visitor of the page has chosen, and the `fst-infer` command that paints the same."""

import shlex
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from fst.errors import FstError

MAX_STYLES = 4
MAX_NAME_CHARS = 255


@dataclass(frozen=True)
class Mask:
    """A mask drawn on the page, and its file, which the command names."""

    path: Path
    shares: Tensor = field(compare=False)  # (h, w) in [0, 1]


@dataclass(frozen=True)
class Controls:
    """How a photo is painted; numbers are rounded as the command writes them."""

    styles: dict[str, float]  # names to shares above 0, in the order chosen
    strength: float = 1.0
    texture: float | None = None  # of a single style alone
    texture_size: float | None = None
    keep_colors: str | None = None
    other: tuple[str, Mask] | None = None  # another style, and where it is
    where: Mask | None = None  # where there is paint at all

    @property
    def masks(self) -> list[Mask]:
        """The masks that the command reads, as files beside the photo."""
        return [*([self.other[1]] if self.other else []), *([self.where] if self.where else [])]


def choose(
    names: list[str], shares: list[float], *, place: float | None = None, **others
) -> Controls:
    """Controls from the values of the page.

    Args:
        names: The styles chosen.
        shares: As many, 0 or more; styles of share 0 are left out.
        place: Texture of the style, where only one is left.
        others: Fields of `Controls`.

    Raises:
        FstError: There is no style, too many, or no share above 0.
    """
    if not names:
        raise FstError("no style is chosen: click one of the thumbnails")
    if len(names) > MAX_STYLES:
        raise FstError(f"{len(names)} styles are chosen: a blend has at most {MAX_STYLES}")
    styles = {n: rounded(s) for n, s in zip(names, shares, strict=True) if rounded(s) > 0}
    if len(names) == 1:
        styles = {names[0]: 1.0}
    if not styles:
        raise FstError("all shares are 0: move one of the sliders")
    return Controls(styles, texture=place if len(styles) == 1 else None, **others)


def rounded(number: float) -> float:
    """A number as the command writes it: three decimals."""
    return float(_text(number))


def _text(number: float) -> str:
    return f"{number:.3f}".rstrip("0").rstrip(".")


def style_of(controls: Controls) -> str | dict[str, float]:
    """The style argument of `Stylizer.stylize`."""
    styles = controls.styles
    return next(iter(styles)) if len(styles) == 1 else styles


def options_of(controls: Controls) -> dict:
    """The other arguments of `Stylizer.stylize`."""
    other = [controls.other] if controls.other else []
    return {
        "texture": controls.texture,
        "texture_size": controls.texture_size,
        "strength": controls.strength,
        "masks": {style: mask.shares for style, mask in other},
        "where": controls.where.shares if controls.where else None,
        "keep_colors": controls.keep_colors,
    }


def arguments(controls: Controls, photo: str | None, flags: list[str]) -> list[str]:
    """The arguments of fst-infer that paint the same.

    Args:
        controls: What is painted.
        photo: Name of the photo's file; None for the sample photo.
        flags: Arguments that hold for all paintings of this page, such as the model's.
    """
    # A name may begin with a dash, which a program takes for a flag.
    given = [f"./{photo}" if photo.startswith("-") else photo] if photo else []
    given += flags
    if len(controls.styles) == 1:
        given += _flag("--style", list(controls.styles))
    else:
        given += _flag("--style", [f"{n}={_text(share)}" for n, share in controls.styles.items()])
    for flag, number in (
        ("--texture", controls.texture),
        ("--texture-size", controls.texture_size),
        ("--strength", None if controls.strength == 1 else controls.strength),
    ):
        given += [] if number is None else [flag, _text(number)]
    given += ["--keep-colors", controls.keep_colors] if controls.keep_colors else []
    if controls.other:
        style, mask = controls.other
        given += _flag("--mask", [f"{style}={mask.path.name}"])
    return given + (_flag("--mask", [controls.where.path.name]) if controls.where else [])


def _flag(flag: str, values: list[str]) -> list[str]:
    if any(value.startswith("-") for value in values):
        return [f"{flag}={value}" for value in values]
    return [flag, *values]


def command(given: list[str]) -> str:
    """The arguments as one line for a shell."""
    return shlex.join(["fst-infer", *given])


def file_name(claimed: str | None) -> str:
    """The name that a browser gives a file, without folders and what no line should hold."""
    name = Path((claimed or "").replace("\\", "/")).name[:MAX_NAME_CHARS]
    name = "".join(c if c.isprintable() else "_" for c in name)
    return name if name.strip(". ") else "photo"
