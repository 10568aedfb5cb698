"""Contrast and colours: a painting as strong as its style's pictures.

Without it a network paints paler than its styles: in the gallery, the deviation of a channel was
mostly 0.65 to 0.95 of the style's. Pictures that are optimised one by one by the other terms have
the style's contrast, so this is for training alone. Presumably a network hedges where it cannot
tell what goes where, and the content distance, which grows with contrast, rewards that. Training
begins with the colours of the style (`fst.training.warm_start.match_colours`); this term keeps
them.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

LEAST_DEVIATION = 0.02  # of a colour, which a style of one colour has not


def colour_statistics(pictures: Sequence[Tensor]) -> Tensor:
    """Mean and covariance of the colours of the pixels, averaged over the pictures of a style.

    Args:
        pictures: Each (3, H, W) in [0, 1].

    Returns:
        (4, 3): the mean, and below it the covariance.
    """
    means, covariances = zip(*(_moments(picture[None]) for picture in pictures), strict=True)
    return torch.cat([torch.cat(means).mean(0)[None], torch.cat(covariances).mean(0)])


def deviations(statistics: Tensor) -> Tensor:
    """Of each channel the standard deviation, at least `LEAST_DEVIATION`: of colour statistics
    (..., 4, 3), (..., 3)."""
    variances = statistics[..., 1:, :].diagonal(dim1=-2, dim2=-1)
    return variances.clamp_min(LEAST_DEVIATION**2).sqrt()


def colours_of_styles(styles: Sequence[Sequence[Tensor]]) -> Tensor | None:
    """Those of each style, (S, 4, 3); None of no styles."""
    each = [colour_statistics(pictures) for pictures in styles]
    return torch.stack(each) if each else None


def colour_distance(images: Tensor, targets: Tensor) -> Tensor:
    """How far the colours of images are from those of their styles, both as normal distributions.

    The Kullback-Leibler divergence of N(m, C), of the pixels of an image, from N(m_s, C_s):
    (tr(C_s^-1 C) - 3 + (m - m_s)^T C_s^-1 (m - m_s) + ln(det C_s / det C)) / 2. Differences count
    in parts of the style's own spread in their direction: those of chroma no less than of light.
    Both covariances get the square of `LEAST_DEVIATION` on their diagonals.

    Args:
        images: (B, 3, H, W) in [0, 1].
        targets: (B, 4, 3), each of `colour_statistics`.

    Returns:
        Scalar, at least 0: the mean over images and channels.
    """
    mean, covariance = _moments(images)
    least = LEAST_DEVIATION**2 * torch.eye(3, device=images.device)
    covariance, wanted = covariance + least, targets[:, 1:] + least
    (inverse, wanted_determinant), (_, determinant) = _inverse(wanted), _inverse(covariance)
    offset = mean - targets[:, 0]
    moments = covariance + offset[:, :, None] * offset[:, None]  # about the style's mean
    terms = (inverse * moments).sum((1, 2)) - 3 + (wanted_determinant / determinant).log()
    return (terms / 6).mean()


def _moments(images: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (B, 3) and covariance (B, 3, 3) of the pixels of (B, 3, H, W)."""
    pixels = images.float().flatten(2)
    mean = pixels.mean(2)
    centred = pixels - mean[:, :, None]
    with torch.autocast(images.device.type, enabled=False):
        return mean, centred @ centred.transpose(1, 2) / pixels.shape[2]


def _inverse(matrices: Tensor) -> tuple[Tensor, Tensor]:
    """Inverse and determinant of (B, 3, 3), by cross products: a GPU is not waited for."""
    a, b, c = matrices.unbind(1)  # rows
    columns = [torch.linalg.cross(*pair) for pair in ((b, c), (c, a), (a, b))]
    determinant = (a * columns[0]).sum(1)
    return torch.stack(columns, 2) / determinant[:, None, None], determinant
