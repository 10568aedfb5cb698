"""The Wasserstein distance between normal distributions, and the matrix roots that it needs."""

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

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
# On a GPU, layers with up to this many channels are padded to one size: for small layers, launching
# kernels takes most of the time.
SMALL = 256


class Pair(NamedTuple):
    """Two normal distributions for each image of a batch, and how much they are blurred.

    Attributes:
        mean: m, (B, C), fp32 or fp64.
        covariance: S, (B, C, C).
        other_mean: n, (B, C).
        other_root: (T + b I)^1/2, (B, C, C), symmetric.
        blur: b, (B,).
    """

    mean: Tensor
    covariance: Tensor
    other_mean: Tensor
    other_root: Tensor
    blur: Tensor


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


def gaussian_wasserstein(*pairs: Pair) -> list[Tensor]:
    """Squared 2-Wasserstein distances of blurred normal distributions, (B,) for each pair.

    ||m - n||^2 + tr(S) + tr(T) - 2 tr((T^1/2 S T^1/2)^1/2) (Olkin & Pukelsheim 1982, eq. 4).
    Differs from the paper: S and T have b I added, see `BLUR`; equal distributions still have the
    distance 0.

    Args:
        pairs: One a layer: C may differ, B may not.
    """
    with torch.autocast(pairs[0].mean.device.type, enabled=False):
        blurred = [
            (p.mean, p.covariance + p.blur[:, None, None] * _identity(p.covariance),
             p.other_mean, p.other_root)
            for p in pairs
        ]  # fmt: skip
        if pairs[0].mean.device.type == "cpu" and not torch.compiler.is_compiling():
            return [_distance(*parts) for parts in blurred]
        return distances_together(blurred)


def _distance(mean: Tensor, covariance: Tensor, other_mean: Tensor, other_root: Tensor) -> Tensor:
    cross = _TraceOfRoot.apply(other_root @ covariance @ other_root)
    own, other = traces(covariance), other_root.square().sum((1, 2))
    return ((mean - other_mean).square().sum(1) + own + other - 2 * cross).clamp_min(0)


def distances_together(pairs: Sequence[tuple[Tensor, ...]]) -> list[Tensor]:
    """Distances (B,) for m, S, n and T^1/2 that are already blurred, similar sizes together."""
    sizes: dict[int, list[int]] = defaultdict(list)
    for place, (mean, *_) in enumerate(pairs):
        sizes[max(SMALL, mean.shape[1])].append(place)
    found: dict[int, Tensor] = {}
    for places in sizes.values():
        widest = max(pairs[place][0].shape[1] for place in places)
        columns = zip(*(pairs[place] for place in places), strict=True)
        # Zeros beside means and matrices, and beside the roots of these, change no distance.
        joined = [torch.cat([_widened(part, widest) for part in column]) for column in columns]
        found |= zip(places, _distance(*joined).chunk(len(places)), strict=True)
    return [found[place] for place in range(len(pairs))]


def _widened(part: Tensor, size: int) -> Tensor:
    """(B, C) or (B, C, C) with C = `size`, by zeros."""
    return F.pad(part, (0, size - part.shape[1]) * (part.dim() - 1))


def traces(matrices: Tensor) -> Tensor:
    """Of (B, C, C): (B,)."""
    return matrices.diagonal(dim1=1, dim2=2).sum(1)


class _TraceOfRoot(torch.autograd.Function):
    """tr(K^1/2) of positive definite matrices (B, C, C): (B,). Its gradient is K^-1/2 / 2."""

    @staticmethod
    def forward(ctx, matrix: Tensor) -> Tensor:
        by_values = matrix.device.type == "cpu" and not torch.compiler.is_compiling()
        root, inverse = roots_by_eigenvalues(matrix) if by_values else roots_by_products(matrix)
        ctx.save_for_backward(inverse)
        return traces(root)

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
    Differs from both: the inverse is kept transposed, below the root, so that one product steps
    both on. That takes the step for symmetric, as it is but for rounding, which counts for more
    then: in fp32, root and inverse of matrices with eigenvalues over four decades are off by a
    thousandth, the root's trace by a millionth.

    Args:
        matrix: K, (B, C, C), fp32 or fp64. Eigenvalues below 1e-8 of the trace in fp32, 1e-14 in
            fp64, come out as larger ones. Rows and columns of zeros stay zeros in its root.
    """
    low, steps = ROOT_RANGE[matrix.dtype]
    trace = traces(matrix)[:, None, None]
    identity = _identity(matrix).expand_as(matrix)
    # Rounding leaves the smallest eigenvalues uncertain; none may be negative.
    is_used = matrix.diagonal(dim1=1, dim2=2)[:, :, None] > 0
    root = matrix / trace + torch.finfo(matrix.dtype).eps * identity * is_used
    both = torch.cat([root, identity], 1)  # (B, 2 C, C)
    for _ in range(steps):
        scale = (3 / (1 + low + low**2)) ** 0.5
        low = (3 * scale - scale**3) / 2
        root, inverse = both.chunk(2, 1)
        step = torch.baddbmm(identity, inverse.mT, root, beta=1.5 * scale, alpha=-(scale**3) / 2)
        both = both @ step
    root, inverse = both.chunk(2, 1)
    return root * trace.sqrt(), (inverse + inverse.mT) / (2 * trace.sqrt())


def _identity(matrix: Tensor) -> Tensor:
    """Of the size, type and device of (B, C, C)."""
    return torch.eye(matrix.shape[1], dtype=matrix.dtype, device=matrix.device)
