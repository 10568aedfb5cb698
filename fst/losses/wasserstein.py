"""The Wasserstein distance of normal distributions, and the roots of matrices that it takes."""

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
# On a GPU, matrices of so many rows and fewer have their roots taken as matrices of one size: of
# small ones, what takes time is the launching of kernels.
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
        blurred = [p.covariance + p.blur[:, None, None] * _identity(p.covariance) for p in pairs]
        products = [p.other_root @ s @ p.other_root for p, s in zip(pairs, blurred, strict=True)]
        crosses = _TracesOfRoots.apply(*products)
        return [
            ((p.mean - p.other_mean).square().sum(1) + traces(s) - 2 * cross
             + p.other_root.square().sum((1, 2))).clamp_min(0)
            for p, s, cross in zip(pairs, blurred, crosses, strict=True)
        ]  # fmt: skip


def traces(matrices: Tensor) -> Tensor:
    """Of (B, C, C): (B,)."""
    return matrices.diagonal(dim1=1, dim2=2).sum(1)


class _TracesOfRoots(torch.autograd.Function):
    """tr(K^1/2) of positive definite matrices (B, C, C): (B,) each. Its gradient is K^-1/2 / 2."""

    @staticmethod
    def forward(ctx, *matrices: Tensor) -> tuple[Tensor, ...]:
        there = matrices[0].device.type != "cpu"
        pairs = roots_together(matrices) if there else [roots_by_eigenvalues(m) for m in matrices]
        roots, inverses = zip(*pairs, strict=True)
        ctx.save_for_backward(*inverses)
        return tuple(traces(root) for root in roots)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, *gradients: Tensor) -> tuple[Tensor, ...]:
        pairs = zip(gradients, ctx.saved_tensors, strict=True)
        return tuple(gradient[:, None, None] * inverse / 2 for gradient, inverse in pairs)


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
    both on. It takes the step for symmetric, as it is but for rounding.

    Args:
        matrix: K, (B, C, C), fp32 or fp64. Eigenvalues below 1e-8 of the trace in fp32, 1e-14 in
            fp64, come out as larger ones.
    """
    low, steps = ROOT_RANGE[matrix.dtype]
    trace = traces(matrix)[:, None, None]
    identity = _identity(matrix).expand_as(matrix)
    # Rounding leaves the smallest eigenvalues uncertain; none may be negative.
    root = matrix / trace + torch.finfo(matrix.dtype).eps * identity
    both = torch.cat([root, identity], 1)  # (B, 2 C, C)
    for _ in range(steps):
        scale = (3 / (1 + low + low**2)) ** 0.5
        low = (3 * scale - scale**3) / 2
        root, inverse = both.chunk(2, 1)
        step = torch.baddbmm(identity, inverse.mT, root, beta=1.5 * scale, alpha=-(scale**3) / 2)
        both = both @ step
    root, inverse = both.chunk(2, 1)
    return root * trace.sqrt(), inverse.mT / trace.sqrt()


def roots_together(matrices: Sequence[Tensor]) -> list[tuple[Tensor, Tensor]]:
    """`roots_by_products` of matrices (B, C, C) of several sizes, in few kernels."""
    sizes: dict[int, list[int]] = defaultdict(list)
    for place, matrix in enumerate(matrices):
        sizes[max(SMALL, matrix.shape[1])].append(place)
    found: dict[int, tuple[Tensor, Tensor]] = {}
    for places in sizes.values():
        alike = [matrices[place] for place in places]
        widest = max(matrix.shape[1] for matrix in alike)
        # Rows and columns of zeros beside a matrix leave its root as it is.
        padded = [F.pad(m, (0, widest - m.shape[1]) * 2) for m in alike]
        pair = roots_by_products(torch.cat(padded))
        cut = zip(*(t.chunk(len(alike)) for t in pair), strict=True)
        for place, matrix, parts in zip(places, alike, cut, strict=True):
            c = matrix.shape[1]
            found[place] = tuple(part[:, :c, :c] for part in parts)
    return [found[place] for place in range(len(matrices))]


def _identity(matrix: Tensor) -> Tensor:
    """Of the size, type and device of (B, C, C)."""
    return torch.eye(matrix.shape[1], dtype=matrix.dtype, device=matrix.device)
