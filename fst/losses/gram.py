"""Gram matrices of features, which describe style, and their eigenpairs."""

import torch
from torch import Tensor

from fst.errors import FstError
from fst.losses.moments import wide

Amount = int | float  # a count of eigenpairs, or a share of them in (0, 1]
# Of the ones-vector that can take the place of the smallest pair, relative to the largest.
ONES_EIGENVALUE = 1e-6


def gram_matrix(features: Tensor) -> Tensor:
    """Gram matrix: how strongly each pair of channels fires together, wherever it does.

    G = F F^T / N with F the features as a (C, N = H W) matrix (Gatys et al. 2016, "Image Style
    Transfer Using Convolutional Neural Networks", eq. 3). Differs from the paper: divided by N,
    so that the size of the image drops out.

    Args:
        features: (B, C, H, W), any floating type.

    Returns:
        (B, C, C), fp32 (fp64 for fp64 features): sums over many positions overflow half precision.
    """
    with torch.autocast(features.device.type, enabled=False):
        # Of channels_last features a strided view, which bmm takes as it is.
        flat = wide(features)  # (B, C, N)
        return _Square.apply(flat) / flat.shape[2]


class _Square(torch.autograd.Function):
    """F F^T of (B, C, N). torch would take the gradient of each factor, and add the two up."""

    @staticmethod
    def forward(ctx, flat: Tensor) -> Tensor:
        ctx.save_for_backward(flat)
        return flat @ flat.mT

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        (flat,) = ctx.saved_tensors
        both = gradient + gradient.mT
        if flat.mT.is_contiguous():  # channels_last: so is the gradient then
            return (flat.mT @ both).mT
        return both @ flat


# ---- eigenpairs --------------------------------------------------------------------------------


def count_of(amount: Amount, channels: int) -> int:
    """How many of `channels` pairs an amount is: itself, or its share, rounded, at least one.

    Raises:
        FstError: None, or more than there are.

    Examples:
        >>> count_of(5, 64), count_of(0.05, 64), count_of(1.0, 64)
        (5, 3, 64)
    """
    is_share = isinstance(amount, float)
    if amount <= 0 or (is_share and amount > 1):
        raise FstError(f"{shown(amount)} eigenpairs: expected a count from 1 up or a share to 100%")
    count = max(1, round(amount * channels)) if is_share else amount
    if count > channels:
        raise FstError(
            f"{count} eigenpairs, but the layer has {channels} channels: give fewer, or a share "
            "such as 10%"
        )
    return count


def shown(amount: Amount) -> str:
    """An amount as users write it."""
    return f"{100 * amount:g}%" if isinstance(amount, float) else str(amount)


def span(
    channels: int,
    top: Amount | None = None,
    bottom: Amount | None = None,
    slice: tuple[Amount, Amount] | None = None,
) -> tuple[int, int]:
    """First and behind-the-last place of the chosen of `channels` pairs, sorted from the largest:
    of the first or the last so many, or of a slice, where (0.1, 0.2) is the second tenth; else all.

    Raises:
        FstError: There are not so many, or none in the slice.
    """
    if top is not None:
        return 0, count_of(top, channels)
    if bottom is not None:
        return channels - count_of(bottom, channels), channels
    if slice is None:
        return 0, channels
    first, last = slice
    start = 0 if first == 0 else count_of(first, channels)
    stop = count_of(last, channels)
    if start >= stop:
        raise FstError(
            f"slice {shown(first)}-{shown(last)} holds none of {channels} eigenpairs: widen it"
        )
    return start, stop


def eigenpairs(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues (C,) and eigenvectors (C, C) as columns, largest magnitude first.

    In float64 on the CPU.

    Thesis, "Eigen decomposition": A = P L P^T. Differs from it: for symmetric matrices, which
    elementwise maxima of Gram matrices are too, though some of their eigenvalues are negative.
    """
    values, vectors = torch.linalg.eigh(matrix.cpu().double())  # mps has no float64
    order = values.abs().argsort(descending=True)
    return values[order], vectors[:, order]


def part(matrix: Tensor, start: int, stop: int, ones: bool = False) -> Tensor:
    """A symmetric matrix (C, C) rebuilt from the eigenpairs of a `span`: P_K L_K P_K^T.

    With `ones`, the ones-vector over sqrt(C) and a tiny eigenvalue take the place of the last pair.
    """
    values, vectors = eigenpairs(matrix)
    if ones:
        values[stop - 1] = ONES_EIGENVALUE * values[0]
        vectors[:, stop - 1] = len(values) ** -0.5
    kept, values = vectors[:, start:stop], values[start:stop]
    return ((kept * values) @ kept.T).to(matrix)


def energy_rank(values: Tensor, share: float) -> int:
    """How many of the eigenvalues, largest magnitude first, hold a share of ||A||_F^2: the sum of
    their squares."""
    energy = values.square().cumsum(0)
    return int((energy < share * energy[-1]).sum().item()) + 1
