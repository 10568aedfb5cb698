"""Statistics of features beside the Gram matrix: moments, and distances of distributions."""

from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

VARIANCE_FLOOR = 1e-5  # under the root; Huang & Belongie 2017's implementation
# Both distributions of a Wasserstein distance get this variance more in every direction, relative
# to the style's largest: a root has no gradient at 0, where features of few positions have most of
# their eigenvalues, and roots of much smaller ones drown in rounding.
BLUR = {torch.float32: 1e-3, torch.float64: 1e-6}
# The largest variance counts as this much of the means' squares at least, or rounding would show;
# and the blur is no less than this where there are neither.
FLAT, LEAST_BLUR = 1e-3, 1e-9
# Newton and Schulz's iteration: the root of the smallest eigenvalue over the trace that it is tuned
# for, and the steps that it takes from there until rounding is all that is left.
ROOT_RANGE = {torch.float32: (1e-4, 13), torch.float64: (1e-7, 22)}


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


def blurred_root(mean: Tensor, matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Root (T + b I)^1/2 of a covariance T (C, C) of mean n (C,), and the scalar blur b.

    b is `BLUR` of the largest eigenvalue, or more where that is next to nothing beside the mean;
    negative eigenvalues are taken for 0. In float64 on the CPU: it is taken once a style.
    """
    values, vectors = torch.linalg.eigh(matrix.cpu().double())  # mps has no float64
    values = values.clamp_min(0)
    largest = torch.maximum(values.max(), FLAT * mean.cpu().double().square().sum())
    blur = (BLUR[matrix.dtype] * largest).clamp_min(LEAST_BLUR)
    root = (vectors * (values + blur).sqrt()) @ vectors.T
    return root.to(matrix), blur.to(matrix)


def gaussian_wasserstein(
    mean: Tensor, covariance: Tensor, other_mean: Tensor, other_root: Tensor, blur: Tensor
) -> Tensor:
    """Squared 2-Wasserstein distance of two blurred normal distributions, for each of a batch.

    ||m - n||^2 + tr(S) + tr(T) - 2 tr((T^1/2 S T^1/2)^1/2) (Olkin & Pukelsheim 1982, eq. 4).
    Differs from the paper: S and T have b I added, see `BLUR`; equal distributions still have the
    distance 0.

    Args:
        mean: m, (B, C), fp32 or fp64.
        covariance: S, (B, C, C).
        other_mean: n, (B, C).
        other_root: (T + b I)^1/2, (B, C, C), symmetric.
        blur: b, (B,).
    """
    with torch.autocast(mean.device.type, enabled=False):
        blurs = blur[:, None, None] * _identity(covariance)
        covariance = covariance + blurs
        cross = _TraceOfRoot.apply(other_root @ covariance @ other_root)
        traces = covariance.diagonal(dim1=1, dim2=2).sum(1) + other_root.square().sum((1, 2))
        return ((mean - other_mean).square().sum(1) + traces - 2 * cross).clamp_min(0)


class _TraceOfRoot(torch.autograd.Function):
    """tr(K^1/2) of positive definite matrices (B, C, C): (B,). Its gradient is K^-1/2 / 2."""

    @staticmethod
    def forward(ctx, matrix: Tensor) -> Tensor:
        by = roots_by_eigenvalues if matrix.device.type == "cpu" else roots_by_products
        root, inverse = by(matrix)
        ctx.save_for_backward(inverse)
        return root.diagonal(dim1=1, dim2=2).sum(1)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient: Tensor) -> Tensor:
        (inverse,) = ctx.saved_tensors
        return gradient[:, None, None] * inverse / 2


def roots_by_eigenvalues(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """K^1/2 and K^-1/2 of positive definite matrices (B, C, C).

    On a CPU several times faster than products; those of NaN are NaN.
    """
    if not matrix.isfinite().all():  # LAPACK would raise
        return matrix * torch.nan, matrix * torch.nan
    values, vectors = torch.linalg.eigh(matrix)
    least = torch.finfo(matrix.dtype).eps * values[:, -1:]  # rounding makes small ones negative
    roots = torch.maximum(values, least).sqrt()[:, None]
    return (vectors * roots) @ vectors.mT, (vectors / roots) @ vectors.mT


def roots_by_products(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """The same by products alone: a GPU need not be waited for, as it must with eigenvalues.

    The coupled Newton-Schulz iteration (Higham 2008, "Functions of Matrices", eq. 6.35), each step
    scaled for the range of eigenvalues that the one before has left (Chen & Chow 2014, "A Stable
    Scaling of Newton-Schulz for Improving the Sign Function Computation of a Hermitian Matrix").

    Args:
        matrix: K, (B, C, C), fp32 or fp64. Eigenvalues below 1e-8 of the trace in fp32, 1e-14 in
            fp64, come out as larger ones.
    """
    low, steps = ROOT_RANGE[matrix.dtype]
    trace = matrix.diagonal(dim1=1, dim2=2).sum(1)[:, None, None]
    identity = _identity(matrix).expand_as(matrix)
    # Rounding leaves the smallest eigenvalues uncertain; none may be negative.
    root = matrix / trace + torch.finfo(matrix.dtype).eps * identity
    inverse = identity
    for _ in range(steps):
        scale = (3 / (1 + low + low**2)) ** 0.5
        low = (3 * scale - scale**3) / 2
        step = torch.baddbmm(identity, inverse, root, beta=1.5 * scale, alpha=-(scale**3) / 2)
        root, inverse = root @ step, step @ inverse
    return root * trace.sqrt(), inverse / trace.sqrt()


def _identity(matrix: Tensor) -> Tensor:
    """Of the size, type and device of (B, C, C)."""
    return torch.eye(matrix.shape[1], dtype=matrix.dtype, device=matrix.device)


@cache
def directions(channels: int, count: int, seed: int, device: torch.device | str = "cpu") -> Tensor:
    """Random unit vectors, (count, channels), the same for the same arguments."""
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
