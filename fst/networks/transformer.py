"""The transformer network: paints a content image in any of its styles in one pass.

This is the one definition of the function: an export traces it (`fst.export`), painting in bands
walks its `layers` (`fst.stylize.bands.streaming`), and so does `fst.networks.inference`, in less
time, where one image is painted on a CPU.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fst.networks import inference
from fst.networks.conditional import ConditionalAffine2d, scales_and_shifts, takes_scales_and_shifts
from fst.networks.layers import (
    ConditionedConv,
    Layer,
    ResidualBlock,
    ShuffledConv,
    UpsampleConv,
)
from fst.networks.padding import pad
from fst.networks.sizes import MARGINS, MIN_SIZE_PX
from fst.networks.winograd import is_exporting

CHANNELS = 64, 96  # at half and quarter resolution, at width 1
STRIDE = 4  # two halvings: sizes are padded up to a multiple of this and cropped back


class Shape(NamedTuple):
    """What networks may differ in beside width and blocks; channels are those of width 1."""

    down: tuple[tuple[str, int, int, int], ...]  # layers: name, channels, kernel size, stride
    up: tuple[tuple[str, int], ...]  # after the blocks: name, channels
    last_kernel_size: int
    shuffles: bool  # the last layer is a `ShuffledConv`, then sigmoid; else no norm, cut to [0, 1]


SHAPES = {
    "fst": Shape(
        (("conv_in", CHANNELS[0], 9, 2), ("down", CHANNELS[1], 3, 2)),
        (("up", CHANNELS[0]),),
        5,
        True,
    ),
    # Johnson et al. 2016 as pytorch/examples has it, whose networks can be imported.
    "johnson": Shape(
        (("conv_in", 32, 9, 1), ("halved", 64, 3, 2), ("down", 128, 3, 2)),
        (("up_half", 64), ("up", 32)),
        9,
        False,
    ),
}


class TransformerNet(nn.Module):
    """Feed-forward style transfer network with conditional instance norm after every convolution.

        conv 9x9/2 -> 64, 3x3/2 -> 96, residual blocks, x2 -> 64, 5x5 -> 12 = 2x2 pixels of 3

    reflect padding, nearest-neighbour upsampling, sigmoid. In the manner of Johnson et al. 2016
    ("Perceptual Losses for Real-Time Style Transfer and Super-Resolution"), with the conditioning
    of Dumoulin et al. 2017. Differs from both: no features at full resolution, where most of the
    time went (the first convolution halves the picture, the last one gives four pixels at once),
    and more, narrower blocks, which see further. Chosen by `scripts/search_network.py`.

    Examples:
        >>> network = TransformerNet(num_styles=3, width=0.25, num_blocks=1)
        >>> photo = torch.rand(1, 3, 37, 50)
        >>> network(photo, network.one_hot(torch.tensor([2]))).shape
        torch.Size([1, 3, 37, 50])
    """

    def __init__(
        self,
        num_styles: int,
        width: float = 1.0,
        num_blocks: int = 8,
        shape: str = "fst",
        margin: int = 0,
    ) -> None:
        """Make the network.

        Args:
            num_styles: S, how many styles the tables hold, at least 1.
            width: Scales the channel counts 64-96; rounded, at least 1 channel.
            num_blocks: Residual blocks at quarter resolution.
            shape: Key of `SHAPES`; all but "fst" are for networks that others have trained.
            margin: 0, 4 or 8 pixels around the image, reflected, that are painted with it and cut
                off, but for training: along its border a network paints paler.

        Raises:
            ValueError: The margin is another.
        """
        if margin not in MARGINS:
            raise ValueError(f"margin {margin}: expected {', '.join(map(str, MARGINS))}")
        super().__init__()
        self.num_styles, self.width, self.num_blocks = num_styles, width, num_blocks
        self.shape, self.margin, c = shape, margin, 3
        down, up, last_kernel_size, shuffles = SHAPES[shape]
        for name, channels, kernel_size, stride in down:
            c_in, c = c, max(1, round(width * channels))
            layer = ConditionedConv(num_styles, c_in, c, kernel_size, stride, relu=True)
            self.add_module(name, layer)
        self.blocks = nn.ModuleList(ResidualBlock(num_styles, c) for _ in range(num_blocks))
        for name, channels in up:
            c_in, c = c, max(1, round(width * channels))
            self.add_module(name, UpsampleConv(num_styles, c_in, c, relu=True))
        last = ShuffledConv if shuffles else ConditionedConv
        self.conv_out = last(num_styles, c, 3, last_kernel_size)
        if not shuffles:
            self.conv_out.norm = ConditionalAffine2d(num_styles, 3)

    @property
    def layers(self) -> list[Layer | ResidualBlock]:
        """All that the forward pass goes through, in order."""
        shape = SHAPES[self.shape]
        down, up = ([getattr(self, name) for name, *_ in part] for part in (shape.down, shape.up))
        return [*down, *self.blocks, *up, self.conv_out]

    def convolutions(self) -> Iterator[tuple[Layer, int]]:
        """The layers and those of the blocks, in order, each with its step: how many pixels of the
        image one pixel that its convolution gives is wide."""
        step = 1
        for layer in self.layers:
            for part in layer.children() if isinstance(layer, ResidualBlock) else [layer]:
                is_up = isinstance(part, UpsampleConv)
                step = step // 2 if is_up else step * part.conv.stride[0]
                yield part, step
                step = step // 2 if isinstance(part, ShuffledConv) else step

    def forward(self, content: Tensor, style_weights: Tensor) -> Tensor:
        """Paint the content images.

        Args:
            content: (B, 3, H, W) in [0, 1], H and W at least 16 px.
            style_weights: (B, S) one row per image, one-hot or a blend, or a map (B, S, h, w).

        Returns:
            (B, 3, H, W) in [0, 1], of the size of `content`.

        Raises:
            ValueError: A side is below 16 px or the weights do not fit the number of styles.
        """
        self._check(content, style_weights)
        height, width = content.shape[-2:]
        margin = 0 if self.training else self.margin
        x = padded(content, margin)
        if style_weights.dim() == 4:  # the maps follow the picture: its size, then its padding
            style_weights = F.interpolate(style_weights, (height, width), mode="bilinear")
            style_weights = padded(style_weights, margin, mode="replicate")
        x = self._passed(x, style_weights)
        return cropped(self.bounded(x.float()), margin, height, width)

    def _passed(self, x: Tensor, style_weights: Tensor) -> Tensor:
        """What the last layer gives for images whose sides are multiples of 4."""
        layers = self.layers
        if inference.is_made_for(layers, x, style_weights):
            return inference.passed(layers, x, style_weights)
        norms = [layer.norm for layer, _ in self.convolutions()]
        is_map = style_weights.dim() == 4
        if not (is_map or is_exporting()) and all(map(takes_scales_and_shifts, norms)):
            # On a GPU, a product for each table would be a kernel, or three with gradients.
            style_weights = scales_and_shifts(norms, style_weights)
        for layer in layers:
            x = layer(x, style_weights)
        return x

    def bounded(self, x: Tensor) -> Tensor:
        """What the last layer gives, brought into [0, 1]."""
        return x.sigmoid() if SHAPES[self.shape].shuffles else x.clamp(0, 1)

    def one_hot(self, style_index: Tensor) -> Tensor:
        """Style weights (B, S) that pick the style ids `style_index` (B,)."""
        return F.one_hot(style_index, self.num_styles).float()

    def _check(self, content: Tensor, style_weights: Tensor) -> None:
        if content.dim() != 4 or content.shape[1] != 3:
            raise ValueError(f"content must be (B, 3, H, W), got {tuple(content.shape)}")
        if any(side < MIN_SIZE_PX for side in content.shape[-2:]):
            raise ValueError(
                f"an image of {content.shape[-1]}x{content.shape[-2]} px is too small: "
                f"both sides must be at least {MIN_SIZE_PX} px"
            )
        expected = (content.shape[0], self.num_styles)
        if style_weights.dim() not in (2, 4) or tuple(style_weights.shape[:2]) != expected:
            raise ValueError(
                f"style_weights must be {expected} or {(*expected, 'h', 'w')}, "
                f"got {tuple(style_weights.shape)}"
            )


def padded(images: Tensor, margin: int, mode: str = "reflect") -> Tensor:
    """Images (B, C, H, W) with a margin around, and more below and on the right, where sides are
    no multiples of 4."""
    height, width = images.shape[2:]
    if is_exporting():  # the first rows of a reflection by 3 are those of one by fewer
        ends = margin, margin + STRIDE - 1
        images = F.pad(images, (*ends, *ends), mode=mode)
        rows, columns = ((side + STRIDE - 1) // STRIDE * STRIDE for side in (height, width))
        return cropped(images, 0, rows + 2 * margin, columns + 2 * margin)
    sides = margin, margin + -width % STRIDE, margin, margin + -height % STRIDE
    return pad(images, sides, mode)


def cropped(images: Tensor, margin: int, height: int, width: int) -> Tensor:
    """So many rows and columns of (B, C, H, W) from the margin on."""
    if margin:
        images = images[:, :, margin:, margin:]
    if is_exporting():  # slices to the sizes would make conditions of the sizes
        rows, columns = (torch.arange(side, device=images.device) for side in (height, width))
        return images.index_select(2, rows).index_select(3, columns)
    return images[:, :, :height, :width]
