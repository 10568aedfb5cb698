"""Give a painting the colours of its photo (Gatys et al. 2016, "Preserving Color in Neural
Artistic Style Transfer")."""

from dataclasses import dataclass

import torch
from torch import Tensor

from fst.stylize.options import PaintOptions

_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, of sRGB values
_TINY = 1e-5  # variance of colours, where a photo has fewer than three


def keep_colors(painting: Tensor, photo: Tensor, how: str = "luminance") -> Tensor:
    """The painting in the colours of the photo.

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
        return _matched(painting, photo)
    luma = torch.tensor(_LUMA)
    chroma = photo - torch.einsum("c,chw->hw", luma, photo)  # (3, H, W)
    brightness = torch.einsum("c,chw->hw", luma, painting)
    # Within [0, 1] for every channel: the photo's own brightness always is.
    lowest, highest = -chroma.amin(0), 1 - chroma.amax(0)
    return (chroma + brightness.maximum(lowest).minimum(highest)).clamp(0, 1)


def _matched(painting: Tensor, photo: Tensor) -> Tensor:
    return ColorMatch(ColorMoments.of(painting), ColorMoments.of(photo)).apply(painting)


@dataclass
class ColorMoments:
    """Count, sum and summed products of the colours of an image, which may come in parts; fp64."""

    count: int = 0
    total: Tensor | float = 0.0  # (3,)
    products: Tensor | float = 0.0  # (3, 3)

    @classmethod
    def of(cls, image: Tensor) -> "ColorMoments":
        """Of (3, H, W)."""
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
        """(3,)."""
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
