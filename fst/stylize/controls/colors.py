"""Colours of the photo: given to its painting, and worked out where the photo is transparent."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from fst.stylize.controls.masks import Enlarged, shrink_factor
from fst.stylize.options import PaintOptions

_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, of sRGB values
MOST_PX = 512  # shorter side at which hidden colours are worked out
_TINY = 1e-5  # variance of colours, where a photo has fewer than three


def keep_colors(painting: Tensor, photo: Tensor, how: str = "luminance") -> Tensor:
    """The painting in the colours of the photo.

    Gatys et al. 2016, "Preserving Color in Neural Artistic Style Transfer".

    Args:
        painting: (3, H, W) in [0, 1].
        photo: (3, H, W) in [0, 1].
        how: "luminance" takes only the brightness of the painting, pixel by pixel, so that each
            place keeps its own colour (section 4 of the paper); "histogram" moves the painting's
            colours as a whole to the mean and covariance of the photo's (section 3), so that
            brushwork may still change colour from place to place.

    Returns:
        (3, H, W) in [0, 1]. With "luminance" the chroma R - Y, G - Y, B - Y is that of the photo
        to rounding; a brightness that the colour cannot have gives way.
    """
    PaintOptions(keep_colors=how)  # is there such a way?
    if how == "histogram":
        return ColorMatch(ColorMoments.of(painting), ColorMoments.of(photo)).apply(painting)
    luma = torch.tensor(_LUMA)
    chroma = photo - torch.einsum("c,chw->hw", luma, photo)  # (3, H, W)
    brightness = torch.einsum("c,chw->hw", luma, painting)
    # Within [0, 1] for every channel: the photo's own brightness always is.
    lowest, highest = -chroma.amin(0), 1 - chroma.amax(0)
    return (chroma + brightness.maximum(lowest).minimum(highest)).clamp(0, 1)


@dataclass
class ColorMoments:
    """Count, sum and summed products of an image's colours, which may come in parts; fp64."""

    count: int = 0
    total: Tensor | float = 0.0  # (3,)
    products: Tensor | float = 0.0  # (3, 3)

    @classmethod
    def of(cls, image: Tensor) -> "ColorMoments":
        moments = cls()
        moments.add(image)
        return moments

    def add(self, part: Tensor) -> None:
        """Add the pixels of (3, h, W)."""
        flat = part.flatten(1).double()
        self.count += flat.shape[1]
        self.total = self.total + flat.sum(1)
        self.products = self.products + flat @ flat.T

    @property
    def mean(self) -> Tensor:
        return self.total / self.count

    @property
    def covariance(self) -> Tensor:
        """(3, 3), a little more than it is, so that it can be inverted."""
        exact = self.products / self.count - torch.outer(self.mean, self.mean)
        return exact + _TINY * torch.eye(3, dtype=torch.double)


class ColorMatch:
    """x -> A (x - mean) + mean', A A_cov A^T = cov', A symmetric: the optimal transport between
    normal distributions (Pitie & Kokaram 2007, eq. 5), which turns no hue needlessly."""

    def __init__(self, painting: ColorMoments, photo: ColorMoments) -> None:
        """Move the painting's mean and covariance to the photo's."""
        root, inverse = (_power(painting.covariance, e) for e in (0.5, -0.5))
        self.matrix = inverse @ _power(root @ photo.covariance @ root, 0.5) @ inverse
        self.offset = photo.mean - self.matrix @ painting.mean

    def apply(self, painting: Tensor) -> Tensor:
        """(3, h, W) in [0, 1], recoloured."""
        moved = self.matrix @ painting.flatten(1).double() + self.offset[:, None]
        return moved.reshape_as(painting).clamp(0, 1).to(painting.dtype)


def _power(matrix: Tensor, exponent: float) -> Tensor:
    """Of a symmetric positive matrix."""
    values, vectors = torch.linalg.eigh(matrix)
    return (vectors * values.clamp_min(1e-12) ** exponent) @ vectors.T


def split_alpha(image: Tensor) -> tuple[Tensor, Tensor]:
    """Colours everywhere (3, H, W), and alpha (1, H, W).

    Under transparency files hold any colour, or black. The network sees the whole rectangle, and
    takes its statistics there, so it is shown a soft continuation of the visible colours instead.

    Args:
        image: (4, H, W) with alpha last, not multiplied in; in [0, 1].
    """
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
        weighted, weight = self.sums[:3], self.sums[3:]
        if not (weight > 0).any():
            return Enlarged(torch.ones_like(weighted), self.factor, self.size)
        levels = [(weighted[None], weight[None])]
        while max(levels[-1][1].shape[2:]) > 1:
            levels.append(tuple(F.avg_pool2d(x, 2, ceil_mode=True) for x in levels[-1]))
        weighted, weight = levels.pop()
        filled = weighted / weight  # of one pixel
        for weighted, weight in reversed(levels):
            # A quarter seen, as beside a straight border, is enough.
            seen = (4 * weight).clamp_max(1)
            around = F.interpolate(filled, scale_factor=2, mode="bilinear")
            height, width = weight.shape[2:]  # pooling rounded odd sizes up
            around = around[:, :, :height, :width]
            filled = seen * weighted / weight.clamp_min(1e-6) + (1 - seen) * around
        return Enlarged(filled[0], self.factor, self.size)
