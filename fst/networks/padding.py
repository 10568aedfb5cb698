"""Padding that keeps the memory layout and is the same every time, on a GPU too."""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

Sides = tuple[int, int, int, int]  # left, right, top, bottom


def pad(x: Tensor, sides: Sides, mode: str) -> Tensor:
    """What `torch.nn.functional.pad` does, and its gradient.

    On a GPU that one's kernels know NCHW alone, so that maps with the channels last are copied
    there and back, refuse maps of 2^31 numbers, and add up gradients in any order, which
    `torch.use_deterministic_algorithms` refuses. There the borders are copied as slices.

    Args:
        x: (B, C, H, W).
        sides: Pixels to add; with "reflect" fewer than the map has.
        mode: "reflect" or "replicate".

    Returns:
        (B, C, top + H + bottom, left + W + right), in the layout of `x`.
    """
    # The compiler makes slices of its own.
    if x.device.type == "cpu" or torch.compiler.is_compiling():
        return F.pad(x, sides, mode=mode)
    return padded_by_slices(x, sides, mode) if any(sides) else x


def padded_by_slices(x: Tensor, sides: Sides, mode: str) -> Tensor:
    """The same by slices, on any device."""
    return _Padded.apply(x, sides, mode)


class _Padded(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, sides: Sides, mode: str) -> Tensor:
        ctx.sides, ctx.mode = sides, mode
        left, right, top, bottom = sides
        height, width = x.shape[2:]
        shape = *x.shape[:2], top + height + bottom, left + width + right
        out = torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=_layout(x))
        rows = out.narrow(2, top, height)
        rows.narrow(3, left, width).copy_(x)
        for padded, dim, before, after in ((rows, 3, left, right), (out, 2, top, bottom)):
            size = padded.shape[dim] - before - after
            for border, source in _borders(size, before, after, mode):
                begin, count = source
                found = padded.narrow(dim, before + begin, count)
                padded.narrow(dim, *border).copy_(found.flip(dim) if count > 1 else found)
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None, None]:
        left, right, top, bottom = ctx.sides
        layout = _layout(gradient)
        for dim, before, after in ((2, top, bottom), (3, left, right)):
            size = gradient.shape[dim] - before - after
            inner = gradient.narrow(dim, before, size).clone(memory_format=layout)
            for border, source in _borders(size, before, after, ctx.mode):
                added = gradient.narrow(dim, *border)
                if added.shape[dim] > 1:
                    mirrored = ctx.mode == "reflect"
                    added = added.flip(dim) if mirrored else added.sum(dim, keepdim=True)
                inner.narrow(dim, *source).add_(added)
            gradient = inner
        return gradient, None, None


def _borders(
    size: int, before: int, after: int, mode: str
) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
    """Of each border, begin and width in the padded map, and in the map those of its source."""
    for count, begin, mirrored, edge in (
        (before, 0, 1, 0),
        (after, before + size, size - 1 - after, size - 1),
    ):
        if count:
            yield (begin, count), (mirrored, count) if mode == "reflect" else (edge, 1)


def _layout(x: Tensor) -> torch.memory_format:
    last = x.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if last else torch.contiguous_format
