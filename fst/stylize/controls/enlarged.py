"""Smooth maps of large images, kept small: rows of them are enlarged when they are asked for."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def shrink_factor(size: tuple[int, int], most_px: int) -> int:
    """By which whole number an image shrinks so that its shorter side has at most `most_px`."""
    return max(1, math.ceil(min(size) / most_px))


class Enlarged:
    """A small map (C, h, w) as one of size (H, W), each pixel a square of `factor`, bilinear."""

    def __init__(self, small: Tensor, factor: int, size: tuple[int, int]) -> None:
        """Take a map of at least size / factor, rounded up."""
        self.size, self.factor = size, factor
        if factor > 1:
            small = F.interpolate(small[None], scale_factor=(1, factor), mode="bilinear")[0]
        self.wide = small[:, :, : size[1]]  # (C, h, W)

    def rows(self, low: int, high: int) -> Tensor:
        """(C, high - low, W)."""
        if self.factor == 1:
            return self.wide[:, low:high]
        places = ((torch.arange(low, high) + 0.5) / self.factor - 0.5).clamp(
            0, self.wide.shape[1] - 1
        )
        above = places.floor().long()
        below = (above + 1).clamp_max(self.wide.shape[1] - 1)
        share = (places - above)[:, None]  # (h, 1)
        return torch.lerp(self.wide[:, above], self.wide[:, below], share)
