"""Padding that keeps the memory layout and is the same every time, on a GPU too."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

Sides = tuple[int, int, int, int]  # left, right, top, bottom


def pad(x: Tensor, sides: Sides, mode: str) -> Tensor:
    """What `torch.nn.functional.pad` does, and its gradient.

    Under `torch.compile` and `torch.export`, it is torch's own, or parts that fuse (`extended`). On
    a GPU that one's kernels know NCHW alone, so that maps with the channels last are copied
    there and back, refuse maps of 2^31 numbers, and add up gradients in any order, which
    `torch.use_deterministic_algorithms` refuses. There the borders are copied as slices.

    Args:
        x: (B, C, H, W).
        sides: Pixels to add; with "reflect" fewer than the map has.
        mode: "reflect" or "replicate".

    Returns:
        (B, C, top + H + bottom, left + W + right), in the layout of `x`.
    """
    if not any(sides):
        return x
    if torch.compiler.is_compiling():
        # Of the gradient of "replicate", inductor expects another layout than it gets (torch 2.14).
        return extended(x, sides) if mode == "replicate" else F.pad(x, sides, mode=mode)
    if x.device.type == "cpu":
        return F.pad(x, sides, mode=mode)
    return padded_by_slices(x, sides, mode)


def extended(x: Tensor, sides: Sides) -> Tensor:
    """Padding by "replicate" in parts that the compiler fuses: outer columns and rows, repeated."""
    for dim, (before, after) in ((3, sides[:2]), (2, sides[2:])):
        first, last = x.narrow(dim, 0, 1), x.narrow(dim, x.shape[dim] - 1, 1)
        x = torch.cat([*[first] * before, x, *[last] * after], dim)
    return x


def padded_by_slices(x: Tensor, sides: Sides, mode: str) -> Tensor:
    """The same by slices, on any device."""
    return _Padded.apply(x, sides, mode)


def fill_borders(padded: Tensor, sides: Sides, mode: str) -> Tensor:
    """Write the borders of a map (B, C, top + H + bottom, left + W + right), in place, from what is
    between them."""
    left, right, top, bottom = sides
    rows = padded.narrow(2, top, padded.shape[2] - top - bottom)
    for x, dim, before, after in ((rows, 3, left, right), (padded, 2, top, bottom)):
        size = x.shape[dim] - before - after
        inner = x.narrow(dim, before, size)
        for border in _borders(size, before, after, mode):
            found = _cut(inner, dim, border.source)
            _cut(x, dim, border.place).copy_(found.flip(dim) if border.turns else found)
    return padded


class _Padded(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, sides: Sides, mode: str) -> Tensor:
        ctx.sides, ctx.mode = sides, mode
        left, right, top, bottom = sides
        height, width = x.shape[2:]
        shape = *x.shape[:2], top + height + bottom, left + width + right
        out = torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=layout_of(x))
        out.narrow(2, top, height).narrow(3, left, width).copy_(x)
        return fill_borders(out, sides, mode)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None, None]:
        left, right, top, bottom = ctx.sides
        layout = layout_of(gradient)
        for dim, before, after in ((2, top, bottom), (3, left, right)):
            if not before + after:
                continue
            size = gradient.shape[dim] - before - after
            inner = gradient.narrow(dim, before, size).clone(memory_format=layout)
            for border in _borders(size, before, after, ctx.mode):
                added = _cut(gradient, dim, border.place)
                if border.turns:
                    added = added.flip(dim)
                into = _cut(inner, dim, border.source)
                if into.shape[dim] < added.shape[dim]:  # one row, repeated
                    added = added.sum(dim, keepdim=True)
                into.add_(added)
            gradient = inner
        return gradient, None, None


class _Border(NamedTuple):
    """Rows or columns that are added, as a slice of the padded map, and what they repeat, as one of
    the map; whether in the other order."""

    place: slice
    source: slice
    turns: bool = False


def _borders(size: int, before: int, after: int, mode: str) -> Iterator[_Border]:
    """What is added at the two ends: where it can be in one go, for each takes a kernel."""
    nearest = 1 if mode == "reflect" else 0
    if before == after == 1 and size > 2 * nearest + 1:
        step = size - 1 - 2 * nearest
        yield _Border(slice(0, None, size + 1), slice(nearest, size - nearest, step))
        return
    for count, place, mirrored, edge in (
        (before, 0, 1, 0),
        (after, before + size, size - 1 - after, size - 1),
    ):
        source = slice(mirrored, mirrored + count) if nearest else slice(edge, edge + 1)
        if count:
            yield _Border(slice(place, place + count), source, bool(nearest) and count > 1)


def _cut(x: Tensor, dim: int, part: slice) -> Tensor:
    return x[(slice(None),) * dim + (part,)]


def layout_of(x: Tensor) -> torch.memory_format:
    """Whether a map has its channels last; of one channel or one pixel, either is right."""
    last = x.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if last else torch.contiguous_format
