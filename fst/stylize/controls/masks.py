"""Where a style is painted, by grey pictures (white is there), and how strongly."""

import math
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageFilter
from torch import Tensor

from fst.errors import FstError
from fst.io import images

MOST_PX = 1024  # shorter side at which a mask is kept
SOFT_SHARE = 0.01  # of the shorter side: standard deviation of the border's blur
# Share of the painting at strength 0, 0.25, ... 1: where the style distance has gone that part of
# its way from photo to painting. In a plain mix it has gone 0.23, 0.45 and 0.73 of it at shares
# 0.25, 0.5 and 0.75, averaged over eight styles of the gallery; from 0.12, 0.34, 0.66 to 0.42,
# 0.70, 0.87 (`scripts/evaluate_controls.py --share`, 10 held-out photos at 160 px, real VGG-19).
_SHARES = (0.0, 0.276, 0.548, 0.772, 1.0)


def shrink_factor(size: tuple[int, int], most_px: int) -> int:
    """By which whole number an image shrinks so that its shorter side has at most `most_px`."""
    return max(1, math.ceil(min(size) / most_px))


class Enlarged:
    """A small map (C, h, w) as one of size (H, W), each pixel a square of `factor`, bilinear."""

    def __init__(self, small: Tensor, factor: int, size: tuple[int, int]) -> None:
        self.size, self.factor = size, factor
        if factor > 1:
            small = F.interpolate(small[None], scale_factor=(1, factor), mode="bilinear")[0]
        self.wide = small[:, :, : size[1]]  # (C, h, W)

    def rows(self, low: int, high: int) -> Tensor:
        """(C, high - low, W)."""
        if self.factor == 1:
            return self.wide[:, low:high]
        last = self.wide.shape[1] - 1
        places = ((torch.arange(low, high) + 0.5) / self.factor - 0.5).clamp(0, last)
        above = places.floor().long()
        below = (above + 1).clamp_max(last)
        share = (places - above)[:, None]  # (h, 1)
        return torch.lerp(self.wide[:, above], self.wide[:, below], share)


def read_mask(file: str | Path) -> Tensor:
    """The brightness of a picture, (h, w) in [0, 1]; what is transparent counts as white."""
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
        FstError: It is of another kind, the file cannot be read, or the tensor is not (h, w) in
            [0, 1].
    """
    if isinstance(mask, str | Path):
        mask = read_mask(mask)
    if not isinstance(mask, Tensor):
        raise FstError(
            f"a mask of type {type(mask).__name__}: expected a tensor (H, W) in [0, 1] or a file"
        )
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
    """Style weights (1, S), and over them layers of style weights (1, S) in places (H, W), each
    over those before: (1, S, H, W), or (1, S) where the weights are the same everywhere."""
    if not layers:  # and nothing to look at, for which a GPU would have to be waited for
        return base
    weights = base[:, :, None, None]
    for style, where in layers:
        where = where.to(base)
        weights = weights * (1 - where) + style[:, :, None, None] * where
    flat = weights.flatten(2)
    return flat[:, :, 0] if torch.equal(flat.amin(2), flat.amax(2)) else weights


def exaggerated(weights: Tensor, strength: float) -> Tensor:
    """Style weights, (1, S) or (1, S, H, W), beyond strength 1 moved on away from the even blend of
    all styles.

    So what is exaggerated is what sets the style apart from the model's others; a model of one
    style has nothing to move away from and paints as at strength 1.
    """
    beyond = max(0.0, strength - 1)
    return weights + beyond * (weights - 1 / weights.shape[1]) if beyond else weights


def mixed(photo: Tensor, painting: Tensor, strength: float, where: Tensor | None = None) -> Tensor:
    """Photo and painting (3, H, W) as one, from strength 0, the photo, to 1 and above, the
    painting; `where`, (H, W), is the share of the painting by place."""
    if strength >= 1 and where is None:
        return painting
    share = painting_share(strength)
    return torch.lerp(photo, painting, share if where is None else share * where)


def painting_share(strength: float) -> float:
    """The share of the painting that brings the style distance `strength` of the way from the
    photo's to the painting's."""
    return float(np.interp(strength, np.linspace(0, 1, len(_SHARES)), _SHARES))
