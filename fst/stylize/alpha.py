"""Transparency: a painting keeps that of its photo."""

import torch
import torch.nn.functional as F
from torch import Tensor


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
    return continued(image[:3], image[3:]), image[3:]


def continued(colors: Tensor, alpha: Tensor) -> Tensor:
    """The colours, where alpha is 0 those of the visible surroundings: (3, H, W).

    Means over ever larger squares, as much as they are visible, fill what the smaller ones left
    open ("push-pull", Gortler et al. 1996, The Lumigraph, section 3.3). A picture of which nothing
    is visible becomes white.

    Args:
        colors: (3, H, W).
        alpha: (1, H, W) in [0, 1].
    """
    if not (alpha > 0).any():
        return torch.ones_like(colors)
    weighted, weight = (colors * alpha)[None], alpha[None]
    levels = []
    while min(weight.shape[2:]) > 1 or max(weight.shape[2:]) > 1:
        weighted, weight = (F.avg_pool2d(x, 2, ceil_mode=True) for x in (weighted, weight))
        levels.append((weighted, weight))
    filled = weighted / weight  # of one pixel
    for weighted, weight in reversed(levels[:-1]):
        seen = (4 * weight).clamp_max(1)  # a quarter seen, as beside a straight border, is enough
        around = _twice(filled, weight.shape[2:])
        filled = seen * weighted / weight.clamp_min(1e-6) + (1 - seen) * around
    return torch.where(alpha > 0, colors, _twice(filled, alpha.shape[1:])[0])


def _twice(image: Tensor, size: tuple[int, int]) -> Tensor:
    """Enlarged, without what pooling added for odd sizes."""
    larger = F.interpolate(image, scale_factor=2, mode="bilinear")
    return larger[:, :, : size[0], : size[1]]
