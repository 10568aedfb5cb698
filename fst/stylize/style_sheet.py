"""One picture in many styles, on one sheet with their names."""

import math
from collections.abc import Sequence

from torch import Tensor

from fst.io import images
from fst.stylize.options import PaintOptions
from fst.stylize.stylizer import Stylizer

CELL_PX = 320  # shorter side of each painting: strokes are still seen


def style_sheet(
    stylizer: Stylizer,
    image: Tensor,
    style_ids: Sequence[int],
    options: PaintOptions | None = None,
    cell_px: int | None = None,
) -> Tensor:
    """The image, then its paintings, each under id and name of the style: (3, H', W') in [0, 1].

    Args:
        stylizer: What paints.
        image: (3, H, W) in [0, 1], or with alpha, which is laid on white, (4, H, W).
        style_ids: One or more.
        options: How they are painted.
        cell_px: Shorter side of each; `CELL_PX` where None.

    Raises:
        FstError: As `Stylizer.stylize`.
    """
    from fst.style_model.labelled import label, labelled_sheet

    picture = images.to_picture(images.on_white(image))
    picture = images.resize_shorter_side(picture, cell_px or CELL_PX)
    small = images.to_tensor(picture)
    cells = [("", picture)]
    for style_id in style_ids:
        painting = images.on_white(stylizer.stylize(small, style_id, options))
        cells.append((label(style_id, stylizer.style_names[style_id]), images.to_picture(painting)))
    # As many columns as make the sheet about as high as wide.
    columns = round(math.sqrt(len(cells) * picture.height / picture.width))
    return images.to_tensor(labelled_sheet(cells, min(len(cells), max(1, columns))))
