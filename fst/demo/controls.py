"""What a visitor of the page has chosen, and the `fst-infer` command that paints the same."""

import shlex
from dataclasses import dataclass, field, replace
from pathlib import Path

from torch import Tensor

from fst.errors import FstError
from fst.stylize.options import PaintOptions

MAX_STYLES = 4
MAX_NAME_CHARS = 255


@dataclass(frozen=True)
class Mask:
    """A mask drawn on the page, and its file, which the command names."""

    path: Path
    shares: Tensor = field(compare=False)  # (h, w) in [0, 1]


@dataclass(frozen=True)
class Controls:
    """What a photo is painted in and how; numbers are rounded as the command writes them."""

    styles: dict[str, float]  # names to shares above 0, in the order chosen
    plain: PaintOptions = field(default_factory=PaintOptions)  # without masks
    other: tuple[str, Mask] | None = None  # another style, and where it is
    where: Mask | None = None  # where there is paint at all

    @property
    def masks(self) -> list[Mask]:
        """The masks that the command reads, as files beside the photo."""
        return [mask for mask in (self.other and self.other[1], self.where) if mask]

    @property
    def style(self) -> str | dict[str, float]:
        """The style argument of `Stylizer.stylize`."""
        return next(iter(self.styles)) if len(self.styles) == 1 else self.styles

    @property
    def options(self) -> PaintOptions:
        """How it is painted, masks and all."""
        masks = {self.other[0]: self.other[1].shares} if self.other else {}
        return replace(self.plain, masks=masks, where=self.where.shares if self.where else None)


def choose(
    names: list[str],
    shares: list[float],
    plain: PaintOptions,
    other: tuple[str, Mask] | None = None,
    where: Mask | None = None,
) -> Controls:
    """Controls from the values of the page: styles of share 0 are left out, and texture where more
    than one style is left; `other` and `where` as in `Controls`.

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
    plain = plain if len(styles) == 1 else replace(plain, texture=None)
    return Controls(styles, plain, other, where)


def rounded(number: float) -> float:
    """A number as the command writes it: three decimals."""
    return float(_text(number))


def _text(number: float) -> str:
    return f"{number:.3f}".rstrip("0").rstrip(".")


def arguments(controls: Controls, photo: str | None, flags: list[str]) -> list[str]:
    """The arguments of fst-infer that paint the same.

    Args:
        controls: What is painted.
        photo: Name of its file; None for the sample photo.
        flags: Of all paintings of this page, such as the model's.
    """
    # A name may begin with a dash, which a program takes for a flag.
    given = [f"./{photo}" if photo.startswith("-") else photo] if photo else []
    given += flags
    if len(controls.styles) == 1:
        given += _flag("--style", list(controls.styles))
    else:
        given += _flag("--style", [f"{n}={_text(share)}" for n, share in controls.styles.items()])
    for name in ("texture", "texture_size", "strength", "keep_colors"):
        value = getattr(controls.plain, name)
        if value != getattr(PaintOptions, name):
            text = value if isinstance(value, str) else _text(value)
            given += [f"--{name.replace('_', '-')}", text]
    if controls.other:
        style, mask = controls.other
        given += _flag("--mask", [f"{style}={mask.path.name}"])
    if controls.where:
        given += _flag("--mask", [controls.where.path.name])
    return given


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
