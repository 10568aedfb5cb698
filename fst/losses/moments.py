"""Statistics of features beside the Gram matrix: moments, and distances of distributions."""

from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from fst.losses.gram import gram_matrix

VARIANCE_FLOOR = 1e-5  # under the root; Huang & Belongie 2017's implementation
# Eigenvalues below this, relative to the mean variance, count as this: the root has no gradient
# at 0, where features of few positions have most of theirs.
ROOT_FLOOR = 1e-5


def wide(features: Tensor) -> Tensor:
    """Features (B, C, H, W) as (B, C, N), at least fp32."""
    return features.to(torch.promote_types(features.dtype, torch.float32)).flatten(2)


def channel_moments(features: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel of (B, C, H, W): (B, C) both."""
    flat = wide(features)
    deviation = (flat.var(2, correction=0) + VARIANCE_FLOOR).sqrt()
    return flat.mean(2), deviation


def covariance_matrix(features: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (B, C) and covariance (B, C, C) of (B, C, H, W): the centred Gram matrix."""
    mean = wide(features).mean(2)
    return mean, gram_matrix(features - mean[:, :, None, None])


def positive_root(matrix: Tensor) -> Tensor:
    """Square root of a symmetric matrix, negative eigenvalues taken for 0."""
    values, vectors = torch.linalg.eigh(matrix.cpu().double())  # mps has no float64
    root = (vectors * values.clamp_min(0).sqrt()) @ vectors.T
    return root.to(matrix)


def gaussian_wasserstein(
    mean: Tensor, covariance: Tensor, other_mean: Tensor, other_root: Tensor
) -> Tensor:
    """Squared 2-Wasserstein distance of two normal distributions, for each of a batch.

    ||m - n||^2 + tr(S) + tr(T) - 2 tr((T^1/2 S T^1/2)^1/2) (Olkin & Pukelsheim 1982, eq. 4),
    in float64 where there is one: it is a small difference of large numbers.

    Args:
        mean: m, (B, C).
        covariance: S, (B, C, C).
        other_mean: n, (B, C).
        other_root: T^1/2, (B, C, C), symmetric.

    Returns:
        (B,), at least 0.
    """
    precise = torch.float32 if mean.device.type == "mps" else torch.float64
    mean, covariance, other_mean, root = (
        tensor.to(precise) for tensor in (mean, covariance, other_mean, other_root)
    )
    middle = root @ covariance @ root
    scale = root.square().sum((1, 2)) / root.shape[1]  # tr(T) / C
    floor = (ROOT_FLOOR * scale).square()[:, None]
    cross = torch.linalg.eigvalsh((middle + middle.mT) / 2).clamp_min(floor).sqrt().sum(1)
    traces = covariance.diagonal(dim1=1, dim2=2).sum(1) + root.square().sum((1, 2))
    return ((mean - other_mean).square().sum(1) + traces - 2 * cross).clamp_min(0)


@cache
def directions(channels: int, count: int, seed: int) -> Tensor:
    """Random unit vectors, (count, channels), the same for the same arguments."""
    generator = torch.Generator().manual_seed(seed)
    with torch.inference_mode(False):  # they are kept, and serve where there are gradients
        return F.normalize(torch.randn(count, channels, generator=generator), dim=1)


def quantiles(features: Tensor, along: Tensor, count: int) -> Tensor:
    """Sorted projections of features, averaged in `count` bins (`adaptive_avg_pool1d`).

    Args:
        features: (B, C, H, W).
        along: Directions, (K, C).
        count: Q.

    Returns:
        (B, K, Q).
    """
    with torch.autocast(features.device.type, enabled=False):
        flat = wide(features)
        projected = along.to(flat.dtype) @ flat  # (B, K, N)
    return F.adaptive_avg_pool1d(projected.sort(2).values, count)
