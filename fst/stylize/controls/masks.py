"""Where a style is painted: grey pictures, white for there and black for not there."""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageFilter
from torch import Tensor

from fst.errors import FstError
from fst.io import images
from fst.stylize.controls.enlarged import Enlarged, shrink_factor

MOST_PX = 1024  # shorter side at which a mask is kept
SOFT_SHARE = 0.01  # of the shorter side: standard deviation of the border's blur


def read_mask(file: str | Path) -> Tensor:
    """The brightness of a picture, (h, w) in [0, 1]; what is transparent counts as white.

    Raises:
        FstError: The file cannot be read.
    """
    return images.to_tensor(images.decode(file).convert("L").convert("RGB"))[0]


def place(mask: Tensor | str | Path, size: tuple[int, int]) -> Tensor:
    """A mask as shares (H, W) in [0, 1] with soft borders; as `mask_rows`, all rows."""
    return mask_rows(mask, size).rows(0, size[0])[0]


def mask_rows(mask: Tensor | str | Path, size: tuple[int, int]) -> Enlarged:
    """A mask as shares in [0, 1] with soft borders, (1, H, W), by rows.

    Args:
        mask: (h, w) in [0, 1], or a picture file, see `read_mask`.
        size: (H, W) of the image it is for; a mask of another size is scaled to it. Of images
            above 1024 px a side it is kept smaller: its borders are soft.

    Raises:
        FstError: The file cannot be read, or the tensor is not (h, w) in [0, 1].
    """
    if not isinstance(mask, Tensor):
        mask = read_mask(mask)
    if mask.dim() != 2 or not mask.numel() or not ((mask >= 0) & (mask <= 1)).all():
        raise FstError(f"a mask of shape {tuple(mask.shape)}: expected (H, W) in [0, 1]")
    factor = shrink_factor(size, MOST_PX)
    small = tuple(-(-side // factor) for side in size)
    shares = F.interpolate(mask[None, None].float(), small, mode="bilinear", antialias=True)
    return Enlarged(soften(shares[0, 0].clamp(0, 1))[None], factor, size)


def soften(mask: Tensor) -> Tensor:
    """Borders of (H, W) blurred by `SOFT_SHARE` of the shorter side, in steps of 1/255."""
    sigma = SOFT_SHARE * min(mask.shape)
    if mask.min() == mask.max():
        return mask
    levels = mask.mul(255).round_().to(torch.uint8).numpy()
    blurred = Image.fromarray(levels).filter(ImageFilter.GaussianBlur(sigma))
    return torch.from_numpy(np.array(blurred)).float().div_(255)


def layered(base: Tensor, layers: list[tuple[Tensor, Tensor]]) -> Tensor:
    """Style weights by place, each layer painted over those before: (1, S, H, W), or (1, S).

    Args:
        base: Style weights where no mask is, (1, S).
        layers: Style weights (1, S) and where they are, (H, W).

    Returns:
        Of the whole image, (1, S), where the weights are the same everywhere.
    """
    if not layers:  # and nothing to look at, for which a GPU would have to be waited for
        return base
    weights = base[:, :, None, None]
    for style, where in layers:
        where = where.to(base)
        weights = weights * (1 - where) + style[:, :, None, None] * where
    flat = weights.flatten(2)
    if torch.equal(flat.amin(2), flat.amax(2)):
        return flat[:, :, 0]
    return weights
