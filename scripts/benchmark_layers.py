"""What scripts/benchmark.py times of single layers: torch's own, then fst's of the same result."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from benchmark_networks import SHIPPED_WIDTH
from benchmark_timing import Case, winograd_from
from torch import Tensor

from fst.networks.conditional import ConditionalInstanceNorm2d
from fst.networks.layers import UpsampleConv
from fst.networks.transformer import CHANNELS as NETWORK_CHANNELS
from fst.networks.winograd import conv2d

CHANNELS = 32, 64, 96, 128, 256  # of 3x3 convolutions
BATCH = 4


def layer_cases(size_px: int) -> list[dict[str, Case]]:
    """Pairs of one result: torch's own layer, then ours; of a network that paints `size_px`."""
    c1, c2 = (round(SHIPPED_WIDTH * channels) for channels in NETWORK_CHANNELS)
    wide, low = (
        torch.rand(1, channels, size_px // part, size_px // part).contiguous(
            memory_format=torch.channels_last
        )
        for channels, part in ((c1, 2), (c2, 4))
    )
    up = UpsampleConv(1, c2, c1)
    norm, ones = ConditionalInstanceNorm2d(1, c1), torch.ones(1, 1)

    def no_grad(run: Case) -> Case:
        return torch.no_grad()(run)

    def upsampled() -> Tensor:
        x = F.pad(F.interpolate(low, scale_factor=2.0), (1, 1, 1, 1), mode="reflect")
        return F.conv2d(x, up.conv.weight)

    return [
        {
            "upsampling x2, 3x3 convolution": no_grad(upsampled),
            "the same in four phases": no_grad(lambda: up.convolved(F.pad(low, (1, 1, 1, 1)))),
        },
        {
            "F.instance_norm": no_grad(lambda: F.instance_norm(wide)),
            "conditional instance norm": no_grad(lambda: norm(wide, ones)),
        },
        *(pair for channels in CHANNELS for pair in winograd_cases(channels, size_px // 4, 3)),
        *winograd_cases(c2, size_px // 4, 2),
    ]


def winograd_cases(channels: int, side_px: int, taps: int) -> list[dict[str, Case]]:
    """A convolution of maps, then its gradient for the kernel: torch's, and by Winograd's way.

    Whether or not fst takes that way: these are what its thresholds come from.
    """
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(BATCH, channels, side_px, side_px, generator=generator)
    x = x.contiguous(memory_format=torch.channels_last)
    kernel = torch.rand(channels, channels, taps, taps, requires_grad=True)
    pull = torch.ones_like(F.conv2d(x, kernel)).contiguous(memory_format=torch.channels_last)

    def by_winograd(run: Case) -> Case:
        return winograd_from(0)(run)

    def forward(convolve: Callable[[Tensor, Tensor], Tensor]) -> Case:
        return lambda: convolve(x, kernel.detach())

    def gradient(convolve: Callable[[Tensor, Tensor], Tensor]) -> Case:
        y = convolve(x, kernel)
        return lambda: torch.autograd.grad(y, kernel, pull, retain_graph=True)

    name = f"{taps}x{taps} convolution, {channels} channels"
    kernels = f"its gradient for the kernel, {channels} channels, {taps}x{taps}"
    ours = "the same by Winograd's way"
    pairs = [{kernels: gradient(F.conv2d), ours: by_winograd(gradient)(conv2d)}]
    if taps == 3:  # the others are torch's in any case
        pairs.insert(0, {name: forward(F.conv2d), ours: by_winograd(forward(conv2d))})
    return pairs
