"""Many pictures as one: rows of squares, to be looked at side by side."""

from collections.abc import Sequence

from torch import Tensor
from torchvision.transforms.functional import center_crop
from torchvision.utils import make_grid

from fst.io import images


def table_of(rows: Sequence[Sequence[Tensor]], cell_px: int) -> Tensor:
    """Rows of equally many images (3, h, w) as one, a square of each: (3, H, W)."""

    def cell(image: Tensor) -> Tensor:
        picture = images.resize_shorter_side(images.to_picture(image), cell_px, enlarge=True)
        return center_crop(images.to_tensor(picture), [cell_px, cell_px])

    cells = [cell(image) for row in rows for image in row]
    return make_grid(cells, nrow=len(rows[0]), padding=4, pad_value=1.0)
