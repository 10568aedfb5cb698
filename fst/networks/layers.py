"""The layers of a transformer network: convolutions, each with its norm."""

import torch.nn.functional as F
from torch import Tensor, nn

from fst.networks.conditional import ConditionalInstanceNorm2d, ScalesAndShifts
from fst.networks.padding import pad
from fst.networks.phases import EvenConv, phase_conv
from fst.networks.winograd import Conv3x3, is_exporting


class ConditionedConv(nn.Module):
    """Reflect-padded convolution, conditional instance norm, ReLU where asked for."""

    padding_mode = "reflect"

    def __init__(
        self,
        num_styles: int,
        c_in: int,
        c_out: int,
        kernel_size: int,
        stride: int = 1,
        relu: bool = False,
    ):
        super().__init__()
        # No bias: the norm that follows removes any constant.
        if (kernel_size, stride) == (3, 1):
            self.conv = Conv3x3(c_in, c_out, bias=False)
        else:
            self.conv = nn.Conv2d(c_in, c_out, kernel_size, stride, bias=False)
        self.norm = ConditionalInstanceNorm2d(num_styles, c_out)
        self.padding, self.relu = (kernel_size // 2,) * 4, relu

    def forward(self, x: Tensor, style_weights: Tensor | ScalesAndShifts) -> Tensor:
        x = self.norm(self.convolved(pad(x, self.padding, self.padding_mode)), style_weights)
        return F.relu_(x) if self.relu else x

    def convolved(self, padded: Tensor) -> Tensor:
        """The convolution alone, of a map that has its padding."""
        return self.conv(padded)


class ResidualBlock(nn.Module):
    """Two conditioned 3x3 convolutions around an identity; no activation after the sum."""

    def __init__(self, num_styles: int, channels: int):
        super().__init__()
        self.conv1 = ConditionedConv(num_styles, channels, channels, 3, relu=True)
        self.conv2 = ConditionedConv(num_styles, channels, channels, 3)
        self.padding = self.conv1.padding

    def forward(self, x: Tensor, style_weights: Tensor | ScalesAndShifts) -> Tensor:
        return x + self.conv2(self.conv1(x, style_weights), style_weights)


class ShuffledConv(ConditionedConv):
    """A conditioned convolution of stride 1/2: each place gives 2x2 pixels.

    Shi et al. 2016, "Real-Time Single Image and Video Super-Resolution Using an Efficient Sub-Pixel
    Convolutional Neural Network". The four begin alike, as nearest-neighbour upsampling would have
    them (Aitken et al. 2017, "Checkerboard artifact free sub-pixel convolution"), and stay alike on
    flat ground, see `EvenConv`.
    """

    def __init__(self, num_styles: int, c_in: int, c_out: int, kernel_size: int):
        super().__init__(num_styles, c_in, c_out, kernel_size)
        self.conv = EvenConv(c_in, 4 * c_out, kernel_size, bias=False)
        alike = self.conv.weight.detach()[::4].repeat_interleave(4, dim=0)
        self.conv.weight.data.copy_(alike)

    def forward(self, x: Tensor, style_weights: Tensor | ScalesAndShifts) -> Tensor:
        y = self.convolved(pad(x, self.padding, self.padding_mode))  # (B, 4 C, H, W)
        # Channels first: with three of them, channels last has nothing to gain.
        return self.norm(F.pixel_shuffle(y.contiguous(), 2), style_weights)  # (B, C, 2H, 2W)


class UpsampleConv(nn.Module):
    """Nearest x2 upsampling, then as `ConditionedConv` with a kernel of 3x3."""

    padding, padding_mode = (1, 1, 1, 1), "replicate"  # of the map itself

    def __init__(self, num_styles: int, c_in: int, c_out: int, relu: bool = False):
        super().__init__()
        self.conv = nn.Conv2d(c_in, c_out, 3, bias=False)  # its kernel; see `phase_conv`
        self.norm = ConditionalInstanceNorm2d(num_styles, c_out)
        self.relu = relu

    def forward(self, x: Tensor, style_weights: Tensor | ScalesAndShifts) -> Tensor:
        if is_exporting():
            x = F.interpolate(x, scale_factor=2.0, mode="nearest")
            x = self.conv(pad(x, self.padding, "reflect"))
        else:  # the same function, at low resolution
            x = self.convolved(pad(x, self.padding, self.padding_mode))
        x = self.norm(x, style_weights)
        return F.relu_(x) if self.relu else x

    def convolved(self, padded: Tensor) -> Tensor:
        """Upsampling and convolution alone: (B, C_in, H+2, W+2) -> (B, C_out, 2H, 2W)."""
        return phase_conv(padded, self.conv.weight)


Layer = ConditionedConv | UpsampleConv  # or a ShuffledConv, which is of the former
