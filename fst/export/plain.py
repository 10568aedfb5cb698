"""The transformer network written with the commonest operations, for other programs to compute.

`TransformerNet` has ways of its own to be fast in torch on a CPU: Winograd's convolutions, the
phases of an upsampling, a norm of one image at a time. Other
programs have theirs, which they apply to what they recognise: plain convolutions, nearest
upsampling, means. The function is the same up to rounding.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fst.networks.conditional import ConditionalInstanceNorm2d
from fst.networks.transformer import STRIDE, ShuffledConv, TransformerNet


class PlainNetwork(nn.Module):
    """What a `TransformerNet` computes, for any batch, height and width; inference only.

    Example:
        >>> network = TransformerNet(num_styles=2, width=0.25, num_blocks=1).eval()
        >>> photo, weights = torch.rand(1, 3, 37, 50), torch.tensor([[0.3, 0.7]])
        >>> with torch.no_grad():
        ...     difference = PlainNetwork(network)(photo, weights) - network(photo, weights)
        >>> difference.abs().max().item() < 1e-5
        True
    """

    def __init__(self, network: TransformerNet) -> None:
        """Share the weights of `network`, on the CPU; it stays as it is."""
        super().__init__()
        self.conv_in = PlainConv(network.conv_in)
        self.down = PlainConv(network.down)
        self.blocks = nn.ModuleList(
            nn.ModuleList([PlainConv(block.conv1), PlainConv(block.conv2)])
            for block in network.blocks
        )
        self.up = PlainConv(network.up)
        self.conv_out = PlainConv(network.conv_out)

    def forward(self, image: Tensor, style_weights: Tensor) -> Tensor:
        """Paint `image` (B, 3, H, W) in [0, 1] by `style_weights` (B, S); H and W from 16 px."""
        height, width = image.shape[-2:]
        rows, columns = (_reflected(side, image.device) for side in (height, width))
        x = image.index_select(2, rows).index_select(3, columns)
        x = F.relu(self.conv_in(x, style_weights))  # (B, c1, H/2, W/2)
        x = F.relu(self.down(x, style_weights))  # (B, c2, H/4, W/4)
        for first, second in self.blocks:
            x = x + second(F.relu(first(x, style_weights)), style_weights)
        x = F.relu(self.up(_twice(x), style_weights))  # (B, c1, H/2, W/2)
        x = torch.sigmoid(self.conv_out(x, style_weights))  # (B, 3, H, W)
        rows, columns = (torch.arange(side, device=image.device) for side in (height, width))
        return x.index_select(2, rows).index_select(3, columns)


class PlainConv(nn.Module):
    """Reflect padding, convolution, conditional instance norm; in fp32."""

    def __init__(self, layer: nn.Module) -> None:
        """Take over a `ConditionedConv`, `ShuffledConv` or `UpsampleConv`."""
        super().__init__()
        weight = layer.conv.weight.detach().contiguous()
        self.weight = nn.Parameter(weight, requires_grad=False)
        self.stride = layer.conv.stride
        self.padding = (weight.shape[2] // 2,) * 4
        self.shuffles = isinstance(layer, ShuffledConv)
        norm: ConditionalInstanceNorm2d = layer.norm
        self.gamma = nn.Parameter(norm.gamma.detach(), requires_grad=False)  # (S, C)
        self.beta = nn.Parameter(norm.beta.detach(), requires_grad=False)  # (S, C)
        self.eps = norm.eps

    def forward(self, x: Tensor, style_weights: Tensor) -> Tensor:
        """(B, C_in, H, W) -> (B, C_out, H, W), halved where the stride is 2, or doubled."""
        x = F.pad(x, self.padding, mode="reflect")
        x = F.conv2d(x, self.weight, stride=self.stride)
        x = F.pixel_shuffle(x, 2) if self.shuffles else x
        gamma = (style_weights @ self.gamma)[:, :, None, None]  # (B, C, 1, 1)
        beta = (style_weights @ self.beta)[:, :, None, None]
        deviation = x - _mean(x)
        return deviation * (gamma * torch.rsqrt(_mean(deviation.square()) + self.eps)) + beta


def _mean(x: Tensor) -> Tensor:
    # Over columns, then over rows: one sum in fp32 over millions of pixels loses places.
    return x.mean(dim=3, keepdim=True).mean(dim=2, keepdim=True)


def _twice(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="nearest")


def _reflected(side: int, device: torch.device) -> Tensor:
    """Which rows make a picture's height a multiple of 4, by reflection at its last row."""
    # Not F.pad and slices: torch.export would compare sizes, and take one outcome for granted.
    place = torch.arange((side + STRIDE - 1) // STRIDE * STRIDE, device=device)
    return torch.minimum(place, 2 * (side - 1) - place)
