"""Nearest x2 upsampling and a 3x3 convolution, computed as four 2x2 phases at low resolution.

An output pixel of even row sees the low-resolution rows (i-1, i, i) and one of odd row
(i, i, i+1); likewise in columns. Adding up the kernel entries that meet the same pixel gives
a 2x2 kernel for each of the four phases: exactly the same function in 4/9 of the arithmetic.
Reflect padding of the upsampled map equals replicate padding of the map itself.

`EvenConv` is the last convolution, which gives four pixels at once.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fst.networks.winograd import conv2d

PHASES = (0, 0), (0, 1), (1, 0), (1, 1)  # of an upsampled row and column: even and odd


def phase_conv(padded: Tensor, weight: Tensor) -> Tensor:
    """A map of one pixel around (B, C_in, H+2, W+2), by (C_out, C_in, 3, 3): (B, C_out, 2H, 2W)."""
    w = weight
    even = torch.stack([w[:, :, 0], w[:, :, 1] + w[:, :, 2]], dim=2)  # (C_out, C_in, 2, 3)
    odd = torch.stack([w[:, :, 0] + w[:, :, 1], w[:, :, 2]], dim=2)
    kernels = [  # the four 2x2 kernels, row phase outermost
        torch.stack(columns, dim=3)  # (C_out, C_in, 2, 2)
        for r in (even, odd)
        for columns in (
            (r[..., 0], r[..., 1] + r[..., 2]),
            (r[..., 0] + r[..., 1], r[..., 2]),
        )
    ]
    y = conv2d(padded, torch.cat(kernels))  # (B, 4 C_out, H+1, W+1)
    return _Interleaved.apply(y)


class _Interleaved(torch.autograd.Function):
    """The four phases (B, 4 C, H+1, W+1) put in their places: (B, C, 2H, 2W).

    The odd ones begin a pixel later. With the channels last, as the convolutions before and after
    have them, each number is moved once.
    """

    @staticmethod
    def forward(ctx, y: Tensor) -> Tensor:
        y = y.permute(0, 2, 3, 1).unflatten(3, (2, 2, -1))
        batch, height, width = y.shape[0], y.shape[1] - 1, y.shape[2] - 1
        # No view comes out: autograd would not let that be changed in place.
        shape, last = (batch, y.shape[-1], 2 * height, 2 * width), torch.channels_last
        out = torch.empty(shape, dtype=y.dtype, device=y.device, memory_format=last)
        phases = out.permute(0, 2, 3, 1).unflatten(2, (-1, 2)).unflatten(1, (-1, 2))
        for p, q in PHASES:
            phases[:, :, p, :, q] = y[:, p : p + height, q : q + width, p, q]
        return out

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        phases = gradient.permute(0, 2, 3, 1).unflatten(2, (-1, 2)).unflatten(1, (-1, 2))
        batch, height, _, width, _, channels = phases.shape
        out = gradient.new_zeros(batch, height + 1, width + 1, 2, 2, channels)
        for p, q in PHASES:
            out[:, p : p + height, q : q + width, p, q] = phases[:, :, p, :, q]
        return out.flatten(3).permute(0, 3, 1, 2)


class EvenConv(nn.Conv2d):
    """A convolution that gives 2x2 pixels of each channel at each place, alike on flat ground.

    The four kernels of a channel get the same sum for each channel that comes in: where those are
    flat, so is what is painted, and there is no checkerboard. (The condition is that of Sugawara et
    al. 2018, "Super-Resolution Using Convolutional Neural Networks Without Any Checkerboard
    Artifacts"; they meet it by averaging over 2x2 pixels.)

    `weight` is (4 C_out, C_in, k, k), pixels of a channel together, row by row.
    """

    def kernel(self) -> Tensor:
        """What is applied: (4 C_out, C_in, k, k), each kernel moved by a constant."""
        means = self.weight.mean((2, 3)).unflatten(0, (-1, 4))  # (C_out, 4, C_in)
        excess = (means - means.mean(1, keepdim=True)).flatten(0, 1)
        return self.weight - excess[:, :, None, None]

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.kernel())

    def plain(self) -> nn.Conv2d:
        """The same function as an ordinary convolution, for programs that want its kernel."""
        conv = nn.Conv2d(self.in_channels, self.out_channels, self.kernel_size, bias=False)
        conv.weight = nn.Parameter(self.kernel().detach())
        return conv
