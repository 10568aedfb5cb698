"""Sheets of blends between styles."""

from collections.abc import Sequence

from torch import Tensor

from fst.errors import FstError
from fst.io import images
from fst.stylize.options import PaintOptions
from fst.stylize.stylizer import Stylizer

GRID_STEPS = 5
CELL_PX = 256


def shares_of(styles: Sequence[int | str], steps: int = GRID_STEPS) -> list[list[dict]]:
    """The blends of a sheet, row by row.

    Args:
        styles: Two, the ends of a row; or four, the corners of a square: top left, top right,
            bottom left, bottom right.
        steps: Blends along a side, the pure styles among them.

    Raises:
        FstError: There are not two or four different styles, or steps are below 2.

    Examples:
        >>> shares_of(["wave", "udnie"], 3)
        [[{'wave': 1.0, 'udnie': 0.0}, {'wave': 0.5, 'udnie': 0.5}, {'wave': 0.0, 'udnie': 1.0}]]
    """
    if len(styles) not in (2, 4) or len(set(styles)) < len(styles):
        given = ", ".join(map(str, styles))
        raise FstError(f"a grid of blends takes 2 or 4 different styles, not {given}")
    if steps < 2:
        raise FstError(f"a grid of blends in {steps} steps: expected at least 2")
    ways = [step / (steps - 1) for step in range(steps)]
    if len(styles) == 2:
        return [[{styles[0]: 1 - x, styles[1]: x} for x in ways]]
    a, b, c, d = styles
    return [
        [{a: (1 - y) * (1 - x), b: (1 - y) * x, c: y * (1 - x), d: y * x} for x in ways]
        for y in ways
    ]


def blend_grid(
    stylizer: Stylizer,
    image: Tensor,
    styles: Sequence[int | str],
    options: PaintOptions | None = None,
    *,
    steps: int = GRID_STEPS,
    cell_px: int = CELL_PX,
) -> Tensor:
    """One picture of the image in blends of styles, (3, H', W') in [0, 1].

    Args:
        stylizer: What paints.
        image: (3, H, W) in [0, 1], or with alpha, which is laid on white, (4, H, W).
        styles: Two or four, see `shares_of`.
        options: How they are painted.
        steps: Blends along a side.
        cell_px: Side of each; the middle of the image is shown.

    Raises:
        FstError: As `shares_of` and `Stylizer.stylize`.
    """
    picture = images.resize_shorter_side(images.to_picture(images.on_white(image)), cell_px)
    small = images.to_tensor(picture)
    rows = [
        [stylizer.stylize(small, shares, options) for shares in row]
        for row in shares_of(styles, steps)
    ]
    return table_of(rows, cell_px)


def table_of(rows: Sequence[Sequence[Tensor]], cell_px: int) -> Tensor:
    """Rows of equally many images (3, h, w) as one, a square of each: (3, H, W)."""
    # torchvision takes seconds, and painting does without.
    from torchvision.transforms.functional import center_crop
    from torchvision.utils import make_grid

    def cell(image: Tensor) -> Tensor:
        picture = images.resize_shorter_side(images.to_picture(image), cell_px, enlarge=True)
        return center_crop(images.to_tensor(picture), [cell_px, cell_px])

    cells = [cell(image) for row in rows for image in row]
    return make_grid(cells, nrow=len(rows[0]), padding=4, pad_value=1.0)
