"""Eigenpairs of style matrices: how much of a Gram matrix matters, and a loss on a part of it."""

import torch
from torch import Tensor

from fst.errors import FstError

Amount = int | float  # a count of eigenpairs, or a share of them in (0, 1]
# Of the ones-vector that can take the place of the smallest pair, relative to the largest.
ONES_EIGENVALUE = 1e-6


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
    """First and behind-the-last place of the chosen pairs, sorted from the largest; all by default.

    Args:
        channels: How many there are.
        top: The first so many.
        bottom: The last so many.
        slice: From after so many to so many: (0.1, 0.2) is the second tenth.

    Raises:
        FstError: More than one choice, or an empty or impossible one.
    """
    if sum(choice is not None for choice in (top, bottom, slice)) > 1:
        raise FstError("top, bottom and slice of the eigenpairs: give one of them")
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
    """The matrix rebuilt from some of its eigenpairs: P_K L_K P_K^T, of its own type.

    Args:
        matrix: (C, C), symmetric.
        start: First place, sorted from the largest.
        stop: Behind the last place.
        ones: Put (1 / sqrt(C), a tiny eigenvalue) in the place of the last pair.
    """
    values, vectors = eigenpairs(matrix)
    if ones:
        values, vectors = values.clone(), vectors.clone()
        values[stop - 1] = ONES_EIGENVALUE * values[0]
        vectors[:, stop - 1] = len(values) ** -0.5
    kept, values = vectors[:, start:stop], values[start:stop]
    return ((kept * values) @ kept.T).to(matrix)


def energy_rank(values: Tensor, share: float) -> int:
    """How many of the eigenvalues, largest magnitude first, hold a share of ||A||_F^2: the sum of
    their squares."""
    energy = values.square().cumsum(0)
    return int((energy < share * energy[-1]).sum().item()) + 1
