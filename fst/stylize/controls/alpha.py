"""Transparency: a painting keeps that of its photo."""

import torch
import torch.nn.functional as F
from torch import Tensor

from fst.stylize.controls.masks import Enlarged, shrink_factor

MOST_PX = 512  # shorter side at which hidden colours are worked out


def split_alpha(image: Tensor) -> tuple[Tensor, Tensor | None]:
    """Colours everywhere, and alpha.

    Under transparency files hold any colour, or black. The network sees the whole rectangle, and
    takes its statistics there, so it is shown a soft continuation of the visible colours instead.

    Args:
        image: (3, H, W), or (4, H, W) with alpha last, not multiplied in; in [0, 1].

    Returns:
        (3, H, W), and (1, H, W) or None.
    """
    if len(image) == 3:
        return image, None
    means = VisibleMeans(tuple(image.shape[1:]))
    means.add(image)
    hidden = means.continued().rows(0, image.shape[1])
    return torch.where(image[3:] > 0, image[:3], hidden), image[3:]


class VisibleMeans:
    """Mean colours of the squares of an image, as far as they are visible; by rows."""

    def __init__(self, size: tuple[int, int]) -> None:
        self.size, self.factor, self.low = size, shrink_factor(size, MOST_PX), 0
        small = tuple(-(-side // self.factor) for side in size)
        self.sums = torch.zeros(4, *small)  # colours times alpha, and alpha

    def add(self, rows: Tensor) -> None:
        """Add the next rows (4, h, W)."""
        weighted = torch.cat([rows[:3] * rows[3:], rows[3:]])
        narrow = F.avg_pool2d(weighted[None], (1, self.factor), ceil_mode=True)[0]
        squares = (self.low + torch.arange(rows.shape[1])) // self.factor
        self.sums.index_add_(1, squares, narrow / self.factor)
        self.low += rows.shape[1]

    def continued(self) -> Enlarged:
        """Colours for all places: where nothing is visible those of the visible surroundings.

        Means over ever larger squares, as much as they are visible, fill what the smaller ones left
        open ("push-pull", Gortler et al. 1996, The Lumigraph, section 3.3). An image of which
        nothing is visible becomes white.
        """
        return Enlarged(continued(self.sums[:3], self.sums[3:]), self.factor, self.size)


def continued(weighted: Tensor, weight: Tensor) -> Tensor:
    """Colours (3, h, w) of weighted sums (3, h, w) and their weights (1, h, w), see above."""
    if not (weight > 0).any():
        return torch.ones_like(weighted)
    levels = [(weighted[None], weight[None])]
    while max(levels[-1][1].shape[2:]) > 1:
        levels.append(tuple(F.avg_pool2d(x, 2, ceil_mode=True) for x in levels[-1]))
    weighted, weight = levels.pop()
    filled = weighted / weight  # of one pixel
    for weighted, weight in reversed(levels):
        seen = (4 * weight).clamp_max(1)  # a quarter seen, as beside a straight border, is enough
        around = F.interpolate(filled, scale_factor=2, mode="bilinear")
        around = around[:, :, : weight.shape[2], : weight.shape[3]]  # pooling rounded odd sizes up
        filled = seen * weighted / weight.clamp_min(1e-6) + (1 - seen) * around
    return filled[0]
