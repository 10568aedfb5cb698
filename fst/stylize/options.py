"""How a picture is painted, beside in which style: the same for images, files, clips and the page.

Without torch, so that a command line can be checked before it is there.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fst.errors import FstError
from fst.networks.sizes import MIN_SIZE_PX

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    Mask = Tensor | str | Path  # (h, w) in [0, 1], or a grey picture

StyleChoice = int | str | Mapping[int | str, float]  # id, name, or shares of several
MAX_STRENGTH = 1.5
TEXTURE_SIZES = (0.5, 3.0)
AUTO, NATIVE = "auto", "native"
AUTO_PX = 768  # shorter side above which "auto" paints as at this one
PREVIEW_PX = 512  # shorter side of the picture whose strokes texture size 1 shows
MAX_ENLARGEMENT = 4.0
KEEP_COLORS = ("luminance", "histogram")


@dataclass(frozen=True)
class PaintOptions:
    """How a picture is painted.

    Args:
        strength: 0 is the photo, 1 the painting, up to 1.5; see `fst.stylize.controls.masks`.
        texture: Place on the style's `Stylizer.texture_line`, 0 to 1; None paints in the style
            itself.
        texture_size: Size of the strokes. "auto": those of a picture whose shorter side has 768 px
            in every larger one; smaller ones are painted as they are. "native": of a fixed size in
            pixels. A number from 0.5 to 3: 1 for the strokes of a picture of 512 px, 2 for strokes
            twice as large. See `fst.stylize.controls.texture_size`.
        masks: Other styles in places: id or name to a mask, a tensor (h, w) in [0, 1] or a grey
            picture; one over the other in their order. See `fst.stylize.controls.masks`.
        where: A mask of what is painted at all; elsewhere the photo stays.
        keep_colors: "luminance" or "histogram": the photo's colours, see
            `fst.stylize.controls.colors.keep_colors`.

    Raises:
        FstError: A number is out of its range, or a word unknown.

    Examples:
        >>> PaintOptions(strength=0.5, keep_colors="luminance").texture_size
        'auto'
        >>> PaintOptions(strength=7)
        Traceback (most recent call last):
        fst.errors.FstError: strength 7: expected a number from 0 to 1.5
    """

    strength: float = 1.0
    texture: float | None = None
    texture_size: "float | str" = AUTO
    masks: "Mapping[int | str, Mask]" = field(default_factory=dict)
    where: "Mask | None" = None
    keep_colors: str | None = None

    def __post_init__(self) -> None:
        check_range("strength", self.strength, 0, MAX_STRENGTH)
        if self.texture is not None:
            check_range("texture", self.texture, 0, 1)
        if self.texture_size not in (AUTO, NATIVE):
            words = f", {AUTO!r} or {NATIVE!r}"
            check_range("texture size", self.texture_size, *TEXTURE_SIZES, words)
        if self.keep_colors not in (None, *KEEP_COLORS):
            raise FstError(f"keep colors {self.keep_colors!r}: use {' or '.join(KEEP_COLORS)}")


def check_range(name: str, value: float, least: float, most: float, words: str = "") -> None:
    """Refuse, with an FstError, what is no number from `least` to `most`."""
    if isinstance(value, str) or not least <= value <= most:
        given = value if isinstance(value, str) else f"{value:g}"
        raise FstError(f"{name} {given}: expected a number from {least:g} to {most:g}{words}")


def work_size(size: tuple[int, int], texture_size: "float | str") -> tuple[int, int]:
    """The size (h, w) at which a picture (H, W) is painted, see `PaintOptions.texture_size`."""
    shorter = min(size)
    if texture_size == NATIVE or (texture_size == AUTO and shorter <= AUTO_PX):
        return size
    scale = (AUTO_PX if texture_size == AUTO else PREVIEW_PX / texture_size) / shorter
    # A strip would grow to any size: enlarged fourfold its strokes are fine enough.
    scale = min(MAX_ENLARGEMENT, max(scale, MIN_SIZE_PX / shorter))
    return round(size[0] * scale), round(size[1] * scale)
