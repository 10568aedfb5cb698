"""Give a painting the colours of its photo (Gatys et al. 2016, "Preserving Color in Neural
Artistic Style Transfer")."""

import torch
from torch import Tensor

from fst.errors import FstError

KEEP_COLORS = ("luminance", "histogram")
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

    Raises:
        FstError: `how` is unknown.
    """
    if how not in KEEP_COLORS:
        raise FstError(f"keep colors {how!r}: use {' or '.join(KEEP_COLORS)}")
    if how == "histogram":
        return _matched(painting, photo)
    luma = torch.tensor(_LUMA)
    chroma = photo - torch.einsum("c,chw->hw", luma, photo)  # (3, H, W)
    brightness = torch.einsum("c,chw->hw", luma, painting)
    # Within [0, 1] for every channel: the photo's own brightness always is.
    lowest, highest = -chroma.amin(0), 1 - chroma.amax(0)
    return (chroma + brightness.maximum(lowest).minimum(highest)).clamp(0, 1)


def _matched(painting: Tensor, photo: Tensor) -> Tensor:
    """x -> A (x - mean) + mean', A A_cov A^T = cov', A symmetric: the optimal transport between
    normal distributions (Pitie & Kokaram 2007, eq. 5), which turns no hue needlessly."""
    flat, wanted = painting.flatten(1).double(), photo.flatten(1).double()
    covariances = [torch.cov(x, correction=0) + _TINY * torch.eye(3).double()
                   for x in (flat, wanted)]  # fmt: skip
    root = _power(covariances[0], 0.5)
    inverse = _power(covariances[0], -0.5)
    matrix = inverse @ _power(root @ covariances[1] @ root, 0.5) @ inverse
    moved = matrix @ (flat - flat.mean(1, keepdim=True)) + wanted.mean(1, keepdim=True)
    return moved.reshape_as(painting).clamp(0, 1).to(painting.dtype)


def _power(matrix: Tensor, exponent: float) -> Tensor:
    """Of a symmetric positive matrix."""
    values, vectors = torch.linalg.eigh(matrix)
    return (vectors * values.clamp_min(1e-12) ** exponent) @ vectors.T
