"""Statistics of features beside the Gram matrix: moments, and quantiles along directions."""

from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

VARIANCE_FLOOR = 1e-5  # under the root; Huang & Belongie 2017's implementation


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
    with torch.autocast(features.device.type, enabled=False):
        mean, squares = _MeanAndSquares.apply(wide(features))
        return mean, squares - mean[:, :, None] * mean[:, None]


class _MeanAndSquares(torch.autograd.Function):
    """Mean (B, C) of (B, C, N), and F F^T / N: (B, C, C).

    In one pass back: centred features, or two gradients to add up, would take as long again as the
    products.
    """

    @staticmethod
    def forward(ctx, flat: Tensor) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(flat)
        return flat.mean(2), flat @ flat.mT / flat.shape[2]

    @staticmethod
    def backward(ctx, of_mean: Tensor, of_squares: Tensor) -> Tensor:
        (flat,) = ctx.saved_tensors
        of_mean, both = of_mean / flat.shape[2], (of_squares + of_squares.mT) / flat.shape[2]
        if flat.mT.is_contiguous():  # channels_last: so is the gradient then
            return torch.baddbmm(of_mean[:, None], flat.mT, both).mT
        return torch.baddbmm(of_mean[:, :, None], both, flat)


@torch.compiler.assume_constant_result  # a compiler could not follow the generator
def directions(channels: int, count: int, seed: int, device: torch.device | str = "cpu") -> Tensor:
    """Random unit vectors, (count, channels), the same for the same arguments."""
    return _directions(channels, count, seed, device)


@cache
def _directions(channels: int, count: int, seed: int, device: torch.device | str) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    with torch.inference_mode(False):  # they are kept, and serve where there are gradients
        return F.normalize(torch.randn(count, channels, generator=generator), dim=1).to(device)


def quantiles(features: Tensor, along: Tensor, count: int) -> Tensor:
    """Projections of features (B, C, H, W) on directions (K, C), sorted and averaged in Q = `count`
    bins: (B, K, Q)."""
    with torch.autocast(features.device.type, enabled=False):
        flat = wide(features)
        projected = along.to(flat.dtype) @ flat  # (B, K, N)
    ordered = projected.sort(2).values
    if ordered.device.type == "cpu":
        return F.adaptive_avg_pool1d(ordered, count)
    return AveragedInBins.apply(ordered, count)


class AveragedInBins(torch.autograd.Function):
    """`adaptive_avg_pool1d` of (B, K, N) in `count` bins, with a gradient that is the same every
    time: a GPU's adds it up in any order, which `torch.use_deterministic_algorithms` refuses.

    Bin q of Q holds the places from floor(q N / Q) to ceil((q + 1) N / Q).
    """

    @staticmethod
    def forward(ctx, values: Tensor, count: int) -> Tensor:
        ctx.size = values.shape[2]
        return F.adaptive_avg_pool1d(values, count)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:
        size, count = ctx.size, gradient.shape[2]
        bins = torch.arange(count, device=gradient.device)
        lengths = ((bins + 1) * size + count - 1) // count - bins * size // count
        shares = gradient / lengths
        places = torch.arange(size, device=gradient.device)
        first, last = places * count // size, ((places + 1) * count - 1) // size
        total = shares[:, :, first]
        for further in range(1, -(-count // size) + 1):  # one where N is Q or more
            bin_of_place = first + further
            there = shares[:, :, bin_of_place.clamp(max=count - 1)]
            total = total + there * (bin_of_place <= last)
        return total, None
