"""Convolutions in a fraction of the multiplications: Winograd's minimal filtering.

Lavin & Gray 2016, "Fast Algorithms for Convolutional Neural Networks", section 4: an output tile
of 4x4 pixels comes from the 6x6 pixels around it, 5x5 for a 2x2 kernel. With the input tile d and
the kernel g transformed, the sums over channels are 36 products of matrices instead of 144 taps,
25 instead of 64:

    Y = A^T [ (G g G^T) * (B^T d B) ] A        (equation 8; * element by element, summed over C)

Of narrow layers and of 2x2 kernels only the gradient for the kernel is computed so; the rest torch
has faster. Exact up to rounding, a few times that of a direct fp32 convolution.
"""

from functools import cache
from math import prod
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fst.networks.padding import pad

TILE = 4  # side of an output tile
POINTS = (0, 1, -1, 2, -2)  # where polynomials are evaluated; and at infinity
# Channels in times out from which it is faster (scripts/benchmark.py layers): 3x3 convolutions and
# their gradients for the image; gradients for the kernel, for which torch takes its time.
FEWEST_CHANNELS, FEWEST_FOR_KERNEL = 64 * 96, 32 * 32
FEWEST_TILES = 40  # of a batch: kernels are transformed once for all of them
WORKING_BYTES = 2**27  # of a backward pass with 512 channels; narrower ones need less
# Tiles times channels transformed together: more leave the caches; of fewer the kernels are read,
# and threads are woken up, more often than that saves.
CHUNK_NUMBERS = 2**15

# Whether torch.export reads the network: for other programs it is written with the commonest
# operations, which they know how to be fast in. (torch 2.6 cannot tell it from torch.compile.)
is_exporting = getattr(torch.compiler, "is_exporting", torch.compiler.is_compiling)


class _Transforms:
    """B^T, G and A^T for kernels of `taps` x `taps`, for 3 the matrices of ibid., equation 10.

    A convolution is a product of polynomials: each is evaluated at as many points as the result
    has coefficients, and the result interpolated from the products (ibid., section 2.1; Toom-Cook).

    Attributes:
        reach: Side of an input tile.
        input, output: B^T and A^T.
        kernel: G with itself as a Kronecker product, for both directions at once.
        one: Which of the products is added as it is to each pixel of the output tile.
    """

    def __init__(self, taps: int) -> None:
        self.reach = TILE + taps - 1
        points = POINTS[: self.reach - 1]
        others = [[q for q in points if q != p] for p in points]
        b = [*(np.append(np.poly(roots)[::-1], 0) for roots in others), np.poly(points)[::-1]]
        g, a = self._powers(taps, points), self._powers(TILE, points)
        scales = [prod(p - q for q in roots) for p, roots in zip(points, others, strict=True)]
        g[:-1] /= np.array(scales)[:, None]
        self.input, self.kernel, self.output = (
            torch.from_numpy(matrix).float() for matrix in (np.array(b), np.kron(g, g), a.T)
        )
        self.one = self.reach * POINTS.index(1) + POINTS.index(1)

    @staticmethod
    def _powers(count: int, points: tuple[int, ...]) -> np.ndarray:
        """Powers 0 to `count` - 1 of each point; at infinity only the highest one counts."""
        at_infinity = np.eye(count)[-1:]
        return np.concatenate([np.vander(np.float64(points), count, increasing=True), at_infinity])


transforms = cache(_Transforms)


def conv2d(x: Tensor, weight: Tensor, bias: Tensor | None = None, padding: int = 0) -> Tensor:
    """A convolution of stride 1, by Winograd's way where that is faster: on a CPU, in fp32.

    Args:
        x: (B, C, H, W).
        weight: (K, C, 3, 3) or (K, C, 2, 2).
        bias: (K,).
        padding: Zeros around `x`, fewer than the kernel has pixels in a row.

    Returns:
        What `torch.nn.functional.conv2d` does, up to rounding.
    """
    if pays_off(x, weight):
        return _Winograd.apply(x, weight, bias, padding)
    return F.conv2d(x, weight, bias, padding=padding)


class Conv3x3(nn.Conv2d):
    """A 3x3 convolution of stride 1, by Winograd's way where that is faster: on a CPU, in fp32.

    Parameters and, up to rounding, results are those of `nn.Conv2d`; so are the arguments: padding
    of 0 or 1 pixels, bias, and a padding mode, "zeros" or "reflect".

    Examples:
        >>> conv = Conv3x3(64, 128, padding=1)
        >>> conv(torch.rand(1, 64, 10, 13)).shape
        torch.Size([1, 128, 10, 13])
    """

    def __init__(self, in_channels: int, out_channels: int, **options: Any) -> None:
        super().__init__(in_channels, out_channels, 3, **options)

    def convolved(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """(B, C_in, H, W) -> (B, C_out, H, W) with padding, two pixels smaller without."""
        padding = self.padding[0]
        if padding and self.padding_mode != "zeros":
            x, padding = pad(x, (padding,) * 4, self.padding_mode), 0
        return conv2d(x, weight, bias, padding)

    _conv_forward = convolved  # what `nn.Conv2d.forward` calls with its own weights


def pays_off(x: Tensor, weight: Tensor) -> bool:
    """Whether Winograd's way is faster for `x` (B, C, H, W) or for a gradient that is wanted."""
    return (
        not torch.compiler.is_compiling()  # first: the others would make conditions of its sizes
        and x.device.type == "cpu"
        and x.dim() == 4
        and x.shape[1] == weight.shape[1]
        and min(x.shape[2:]) >= weight.shape[3]
        and len(x) * prod(-(-side // TILE) for side in x.shape[2:]) >= FEWEST_TILES
        and x.dtype == weight.dtype == torch.float32
        and not torch.is_autocast_enabled("cpu")
        and (_is_wide(weight) or (torch.is_grad_enabled() and weight.requires_grad))
        and weight.shape[0] * weight.shape[1] >= FEWEST_FOR_KERNEL
    )


def _is_wide(weight: Tensor) -> bool:
    return weight.shape[3] == 3 and weight.shape[0] * weight.shape[1] >= FEWEST_CHANNELS


def working_bytes(network: nn.Module) -> int:
    """Bytes that such convolutions take for a while, whatever the image's size; 0 without any.

    Args:
        network: On a CPU, computed in fp32, with gradients.
    """
    convs = (module for module in network.modules() if isinstance(module, Conv3x3))
    wide = any(_is_wide(conv.weight) for conv in convs)
    return WORKING_BYTES if wide else 0


class _Winograd(torch.autograd.Function):
    """Convolution of (B, C, H, W) with (K, C, t, t) whose gradient for the kernel is Winograd's.

    In wide layers all is: the result and its gradient for the image too.
    """

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, bias: Tensor | None, padding: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.padding = padding
        if _is_wide(weight):
            # Not as a view: autograd would not let that be changed in place.
            return _convolve(x, weight, bias, padding).detach()
        return F.conv2d(x, weight, bias, padding=padding)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        if torch.is_grad_enabled():  # for second derivatives, which torch's own gradients have
            how = (1, 1), (ctx.padding,) * 2, (1, 1), False, (0, 0), 1, ctx.needs_input_grad[:3]
            own = torch.ops.aten.convolution_backward(gradient, x, weight, weight.shape[:1], *how)
            return *own, None
        for_x = for_weight = for_bias = None
        with torch.autocast("cpu", enabled=False):  # as in `forward`, wherever this is called
            if ctx.needs_input_grad[0]:
                for_x = _image_gradient(weight, gradient, ctx.padding)
            if ctx.needs_input_grad[1]:
                for_weight = _weight_gradient(x, gradient, weight.shape[3], ctx.padding)
            if ctx.needs_input_grad[2]:
                for_bias = gradient.sum((0, 2, 3))
        return for_x, for_weight, for_bias, None


def _convolve(x: Tensor, weight: Tensor, bias: Tensor | None, padding: int) -> Tensor:
    """(B, C, H, W) with (K, C, t, t), zeros around: (B, K, H - t + 1 + 2 padding, ...)."""
    channels_out, channels, taps = weight.shape[:3]
    way = transforms(taps)
    kernels = way.kernel @ weight.reshape(-1, taps**2).T
    kernels = kernels.view(-1, channels_out, channels).transpose(1, 2)
    tiles = _Tiles(x, padding, taps)
    y = x.new_empty(len(x), tiles.down, TILE, tiles.across, TILE, channels_out)
    products, pixels = _Buffer(x), _Twice(way.output, x)
    for part in tiles.parts():
        d = tiles.transformed(part)
        m = products.shaped(len(d), d.shape[1], channels_out)
        torch.bmm(d, kernels, out=m)
        if bias is not None:
            m[way.one].add_(bias)
        z = pixels.of(m).view(TILE, TILE, *y[part].shape[:2], tiles.across, channels_out)
        y[part].copy_(z.permute(2, 3, 0, 4, 1, 5))
    y = y.flatten(3, 4).flatten(1, 2)  # (B, 4 down, 4 across, K)
    return y[:, : tiles.height, : tiles.width].permute(0, 3, 1, 2)


def _image_gradient(weight: Tensor, gradient: Tensor, padding: int) -> Tensor:
    """Gradient (B, C, H, W) for the maps, of that for the result (B, K, ...)."""
    if _is_wide(weight):
        turned = weight.transpose(0, 1).flip(2, 3)
        return _convolve(gradient, turned, None, weight.shape[3] - 1 - padding)
    # Not torch.nn.grad.conv2d_input, which does not know that x has its channels last.
    return F.conv_transpose2d(gradient, weight, padding=padding)


def _weight_gradient(x: Tensor, gradient: Tensor, taps: int, padding: int) -> Tensor:
    """Gradient (K, C, t, t) for the kernel, of that for the result (B, K, H, W)."""
    channels, channels_out, way = x.shape[1], gradient.shape[1], transforms(taps)
    tiles = _Tiles(x, padding, taps)
    missing = TILE * tiles.across - tiles.width, TILE * tiles.down - tiles.height
    g = F.pad(gradient, (0, missing[0], 0, missing[1])) if any(missing) else gradient
    g = g.permute(0, 2, 3, 1).unflatten(2, (-1, TILE)).unflatten(1, (-1, TILE))
    total = x.new_zeros(way.reach**2, channels_out, channels)
    pixels, products = _Buffer(x), _Twice(way.output.T, x)
    for part in tiles.parts():
        d = tiles.transformed(part)
        z = g[part].permute(2, 4, 0, 1, 3, 5)
        z = pixels.shaped(*z.shape).copy_(z).view(TILE**2, d.shape[1], channels_out)
        total.baddbmm_(products.of(z).transpose(1, 2), d)
    total = (way.kernel.T @ total.view(len(total), -1)).T
    return total.reshape(channels_out, channels, taps, taps)


class _Buffer:
    """Memory that each part uses again: it stays in the caches."""

    def __init__(self, like: Tensor) -> None:
        self.numbers = like.new_empty(0)

    def shaped(self, *shape: int) -> Tensor:
        """As much of it as this shape takes, whatever it holds."""
        if prod(shape) > self.numbers.numel():
            self.numbers = self.numbers.new_empty(prod(shape))
        return self.numbers[: prod(shape)].view(shape)


class _Twice:
    """A transform M of tiles t: M t M^T."""

    def __init__(self, matrix: Tensor, like: Tensor) -> None:
        self.matrix = matrix
        self.half, self.whole = _Buffer(like), _Buffer(like)

    def of(self, tiles: Tensor) -> Tensor:
        """(t squared, N, C) -> (m squared, N, C) of an (m, t) matrix; until the next call."""
        m, t = self.matrix.shape
        half = self.half.shaped(m, tiles.numel() // t)
        torch.mm(self.matrix, tiles.view(t, -1), out=half)
        whole = self.whole.shaped(m, m, half.shape[1] // t)
        torch.bmm(self.matrix.expand(m, m, t), half.view(m, t, -1), out=whole)
        return whole.view(m * m, *tiles.shape[1:])


class _Tiles:
    """The overlapping input tiles of a map, in parts that fit the caches.

    Attributes:
        height, width: Of the result.
        down, across: How many tiles cover it.
    """

    def __init__(self, x: Tensor, padding: int, taps: int) -> None:
        """Take (B, C, H, W), the zeros around it and the side of the kernel."""
        self.height, self.width = (side + 1 - taps + 2 * padding for side in x.shape[2:])
        self.down, self.across = -(-self.height // TILE), -(-self.width // TILE)
        self.matrix, self.reach = transforms(taps).input, transforms(taps).reach
        sides = zip(x.shape[:1:-1], (self.across, self.down), strict=True)
        overlap = self.reach - TILE
        around = [(padding, TILE * count + overlap - padding - side) for side, count in sides]
        x = F.pad(x, (*around[0], *around[1])) if any(map(any, around)) else x
        self.x = x.permute(0, 2, 3, 1).contiguous()  # (B, H, W, C)
        self.half, self.cut, self.whole = (_Buffer(x) for _ in range(3))

    def parts(self) -> list[tuple[slice, slice]]:
        """Which images and which rows of tiles go together."""
        rows = max(1, CHUNK_NUMBERS // self.x.shape[3] // self.across)
        images = max(1, rows // self.down)
        return [
            (slice(image, image + images), slice(row, row + rows))
            for image in range(0, len(self.x), images)
            for row in range(0, self.down, rows)
        ]

    def transformed(self, part: tuple[slice, slice]) -> Tensor:
        """B^T d B of a part: (reach squared, images x rows x `across`, C); until the next call."""
        images, rows = part
        last = min(rows.stop, self.down)
        x = self.x[images, TILE * rows.start : TILE * last + self.reach - TILE]
        strips = x.unfold(1, self.reach, TILE).permute(0, 1, 4, 2, 3)  # (b, rows, reach, W, C)
        half = self.half.shaped(*strips.shape)
        for image, out in zip(strips.flatten(3), half.flatten(3), strict=True):
            torch.bmm(self.matrix.expand(len(image), -1, -1), image, out=out)
        # Only now cut in columns, where tiles overlap: every strip is transformed once.
        cut = half.unfold(3, self.reach, TILE).permute(2, 5, 0, 1, 3, 4)
        cut = self.cut.shaped(*cut.shape).copy_(cut).flatten(2)  # (reach, reach, N x C)
        whole = self.whole.shaped(*cut.shape)
        torch.bmm(self.matrix.expand(self.reach, -1, -1), cut, out=whole)
        return whole.view(self.reach**2, -1, x.shape[3])
