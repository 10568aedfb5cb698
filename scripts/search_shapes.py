"""Networks of other shapes than `TransformerNet`, for scripts/search_network.py."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fst.networks.conditional import ConditionalInstanceNorm2d


@dataclass(frozen=True)
class Shape:
    """What is searched.

    Attributes:
        stem: Side and stride of the first kernel, which gives `channels[0]`.
        channels: From the stem to the trunk, each after the first at half the resolution of the
            one before.
        blocks: Residual blocks of the last of them, each of two 3x3 convolutions.
        decoder: Channels after each nearest-neighbour doubling and 3x3 convolution.
        end: Side of the last kernel.
        shuffle: Whether the last convolution gives 2 x 2 pixels for each of its own (Shi et al.
            2016, "Real-Time Single Image and Video Super-Resolution Using an Efficient Sub-Pixel
            Convolutional Neural Network").
        skip: Whether the map before the trunk's own resolution is added to the first of the
            decoder's.
        norm: "instance", or "frn": divided by the root mean square, no mean taken off (Singh &
            Krishnan 2020, "Filter Response Normalization Layer", eq. 1).
    """

    stem: tuple[int, int]
    channels: tuple[int, ...]
    decoder: tuple[int, ...]
    end: int
    blocks: int = 5
    shuffle: bool = False
    skip: bool = False
    norm: str = "instance"


SHAPES = {
    "as shipped": Shape((9, 2), (32, 48), (32,), 5, 8, shuffle=True),
    "24 channels at half size": Shape((9, 2), (24, 48), (24,), 5, 8, shuffle=True),
    "5 blocks": Shape((9, 2), (32, 48), (32,), 5, shuffle=True),
    "5 blocks of 64": Shape((9, 2), (32, 64), (32,), 5, shuffle=True),
    "5 blocks of 64, 12 channels at full size": Shape((9, 2), (32, 64), (32, 12), 5),
    "the same, 48": Shape((9, 2), (24, 48), (24, 12), 5),
    "the same, twice as wide": Shape((9, 2), (64, 128), (64, 24), 5),
    "Johnson 2016, half width": Shape((9, 1), (16, 32, 64), (32, 16), 9),
    "trunk at 1/8, skip": Shape((9, 2), (32, 48, 96), (48, 32), 5, shuffle=True, skip=True),
    "FRN": Shape((9, 2), (32, 48), (32,), 5, 8, shuffle=True, norm="frn"),
}


class ShapedNet(nn.Module):
    """A network of a `Shape`; takes and gives what `TransformerNet` does."""

    def __init__(self, num_styles: int, shape: Shape) -> None:
        super().__init__()
        self.num_styles, self.shape = num_styles, shape
        first, trunk = shape.channels[0], shape.channels[-1]
        halvings = len(shape.channels) - 1
        self.stride = shape.stem[1] * 2**halvings
        self.stem = self._conv(3, first, *shape.stem)
        ends = zip(shape.channels, shape.channels[1:], strict=False)
        self.downs = nn.ModuleList(self._conv(a, b, 3, 2) for a, b in ends)
        self.blocks = nn.ModuleList(
            nn.ModuleList([self._conv(trunk, trunk, 3), self._conv(trunk, trunk, 3)])
            for _ in range(shape.blocks)
        )
        ends = zip((trunk, *shape.decoder), shape.decoder, strict=False)
        self.ups = nn.ModuleList(self._conv(a, b, 3) for a, b in ends)
        if shape.skip:
            self.skip = nn.Conv2d(shape.channels[-2], shape.decoder[0], 1, bias=False)
        self.end = self._conv(shape.decoder[-1], 3, shape.end, doubles=shape.shuffle)

    def forward(self, content: Tensor, style_weights: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1] and (B, S) -> (B, 3, H, W) in [0, 1]."""
        height, width = content.shape[2:]
        pads = (0, -width % self.stride, 0, -height % self.stride)
        x = F.relu(self.stem(F.pad(content, pads, mode="reflect"), style_weights))
        for down in self.downs:
            before, x = x, F.relu(down(x, style_weights))
        for first, second in self.blocks:
            x = x + second(F.relu(first(x, style_weights)), style_weights)
        for place, up in enumerate(self.ups):
            x = up(F.interpolate(x, scale_factor=2.0), style_weights)
            x = F.relu(x + self.skip(before) if self.shape.skip and place == 0 else x)
        return self.end(x, style_weights).float().sigmoid()[:, :, :height, :width]

    def one_hot(self, style_index: Tensor) -> Tensor:
        """Style weights (B, S) of style ids (B,)."""
        return F.one_hot(style_index, self.num_styles).float()

    def _conv(self, c_in: int, c_out: int, kernel: int, stride: int = 1, doubles: bool = False):
        norm = {"instance": ConditionalInstanceNorm2d, "frn": FilterResponseNorm}[self.shape.norm]
        return _NormedConv(c_in, c_out, kernel, stride, doubles, norm(self.num_styles, c_out))


class _NormedConv(nn.Module):
    def __init__(self, c_in, c_out, kernel, stride, doubles, norm) -> None:
        super().__init__()
        self.doubles, self.norm, self.padding = doubles, norm, (kernel // 2,) * 4
        self.conv = nn.Conv2d(c_in, c_out * (4 if doubles else 1), kernel, stride, bias=False)
        if doubles:  # the four pixels begin alike (Aitken et al. 2017): no checkerboard
            with torch.no_grad():
                self.conv.weight.copy_(self.conv.weight[::4].repeat_interleave(4, dim=0))

    def forward(self, x: Tensor, style_weights: Tensor) -> Tensor:
        x = self.conv(F.pad(x, self.padding, mode="reflect"))
        if self.doubles:
            x = F.pixel_shuffle(x, 2).contiguous(memory_format=torch.channels_last)
        return self.norm(x, style_weights)


class FilterResponseNorm(ConditionalInstanceNorm2d):
    """gamma_s x / sqrt(mean(x^2) + eps) + beta_s: how light a picture is stays in the features."""

    def forward(self, x: Tensor, style_weights: Tensor) -> Tensor:
        """(B, C, H, W) and (B, S) -> (B, C, H, W)."""
        with torch.autocast(x.device.type, enabled=False):
            gamma, beta = style_weights @ self.gamma, style_weights @ self.beta  # (B, C)
            wide = x.float()
            scale = gamma * torch.rsqrt(wide.square().mean((2, 3)) + self.eps)
            return torch.addcmul(beta[:, :, None, None], wide, scale[:, :, None, None]).to(x.dtype)
