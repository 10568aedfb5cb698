"""The layers of a transformer network on a CPU without gradients: the same function in less time.

Beside the convolutions, moving numbers is what costs: the maps are larger than the caches. Each
norm writes its result where the next convolution reads it, into the middle of a map that has room
for the padding around it, and ReLU and sums follow while the numbers are in the caches. Without
that, a map is copied to be padded, and read and written again for each of the others.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.module import _global_forward_hooks

from fst.networks.conditional import takes_scales_and_shifts
from fst.networks.layers import ConditionedConv, Layer, ResidualBlock, ShuffledConv, UpsampleConv
from fst.networks.padding import fill_borders, pad

KINDS = ConditionedConv, ShuffledConv, UpsampleConv, ResidualBlock
PART_PIXELS = 2**12  # of rows that are worked on together, for each thread: the caches hold them


def is_made_for(
    layers: Sequence[Layer | ResidualBlock], images: Tensor, style_weights: Tensor
) -> bool:
    """Whether `passed` does what the layers do, and faster: one image in fp32 on a CPU, without
    gradients and without a map of styles, by layers of these kinds, whose norms are
    `ConditionalInstanceNorm2d` and which no hooks watch. Several images are faster together."""
    return (
        not torch.compiler.is_compiling()
        and not torch.is_grad_enabled()
        and images.device.type == "cpu"
        and images.dtype == torch.float32
        and len(images) == 1
        and not torch.is_autocast_enabled("cpu")
        and style_weights.dim() == 2
        and all(type(layer) in KINDS for layer in layers)
        and all(_is_plain(module) for layer in layers for module in layer.modules())
    )


def _is_plain(module: nn.Module) -> bool:
    watched = module._forward_hooks or module._forward_pre_hooks or _global_forward_hooks
    norm = getattr(module, "norm", None)
    usual = norm is None or takes_scales_and_shifts(norm)
    return usual and not watched


def passed(layers: Sequence[Layer | ResidualBlock], image: Tensor, style_weights: Tensor) -> Tensor:
    """What the last layer gives: as when one is called after the other, up to rounding.

    Args:
        layers: Those of a `TransformerNet`, with its first and last.
        image: (1, 3, H, W), sides multiples of 4.
        style_weights: (1, S).

    Returns:
        (1, 3, H, W).
    """
    first, last = layers[0], layers[-1]
    # Of three channels, torch pads planes several times faster than pixels.
    x = first.convolved(pad(image.contiguous(), first.padding, first.padding_mode))
    room = _normed(x, first, style_weights, layers[1])
    for layer, reader in pairwise(layers[1:]):
        if isinstance(layer, ResidualBlock):
            _add_branch(room, layer, style_weights)
        else:
            x = layer.convolved(room.padded(layer))
            room = _normed(x, layer, style_weights, reader)
    return _shuffled(last.convolved(room.padded(last)), last, style_weights)


class _Room:
    """A map (1, C, H, W), channels last, in the middle of room for a reader's padding."""

    def __init__(self, shape: Sequence[int], reader: Layer | ResidualBlock) -> None:
        batch, channels, height, width = shape
        self.padding = left, right, top, bottom = reader.padding
        size = batch, channels, top + height + bottom, left + width + right
        self.whole = torch.empty(size, memory_format=torch.channels_last)
        self.inner = self.whole[:, :, top : top + height, left : left + width]

    def padded(self, reader: Layer) -> Tensor:
        """With borders as a reader wants them. Every later one must pad by as much as the first, as
        all readers of a residual block's result do."""
        assert reader.padding == self.padding
        return fill_borders(self.whole, reader.padding, reader.padding_mode)


def _normed(x: Tensor, layer: Layer, style_weights: Tensor, reader: Layer | ResidualBlock) -> _Room:
    """Norm and ReLU of a convolution's result, where the reader has them."""
    room = _Room(x.shape, reader)
    scale, shift = _affine(x, layer, style_weights)
    for part, into in _parts(x, room.inner):
        torch.addcmul(shift, part, scale, out=into)
        if layer.relu:
            F.relu_(into)
    return room


def _add_branch(room: _Room, block: ResidualBlock, style_weights: Tensor) -> None:
    """A residual block; its result takes the place of what it reads."""
    x = block.conv1.convolved(room.padded(block.conv1))
    inside = _normed(x, block.conv1, style_weights, block.conv2)
    x = block.conv2.convolved(inside.padded(block.conv2))
    scale, shift = _affine(x, block.conv2, style_weights)
    for part, into in _parts(x, room.inner):
        into.add_(torch.addcmul(shift, part, scale))


def _shuffled(x: Tensor, layer: Layer, style_weights: Tensor) -> Tensor:
    """Norm of the last convolution's result, with each place's pixels where they belong."""
    side = 2 if isinstance(layer, ShuffledConv) else 1
    scale, shift = _affine(x, layer, style_weights, maps=side**2)
    _, channels, height, width = x.shape
    out = torch.empty(1, channels // side**2, height * side, width * side)
    places = out.view(-1, height, side, width, side).permute(0, 2, 4, 1, 3)
    for part, into in _parts(x[0], places):
        into.copy_(torch.addcmul(shift[0], part, scale[0]).unflatten(0, (-1, side, side)))
    return out


def _affine(x: Tensor, layer: Layer, style_weights: Tensor, maps: int = 1) -> tuple[Tensor, Tensor]:
    """Scale and shift (1, C, 1, 1) that are a layer's norm, `maps` neighbouring channels of its
    convolution's result (1, C, H, W) being one."""
    affine = layer.norm.affine(layer.norm.moments(x, maps), style_weights)
    return tuple(t.repeat_interleave(maps, dim=1)[:, :, None, None] for t in affine)


def _parts(x: Tensor, into: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Rows of both, (..., h, W), that fit the caches."""
    rows = max(1, PART_PIXELS * torch.get_num_threads() // x.shape[-1])
    yield from zip(x.split(rows, dim=-2), into.split(rows, dim=-2), strict=True)
