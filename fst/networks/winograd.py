"""3x3 convolutions in a quarter of the multiplications: Winograd's minimal filtering.

Lavin & Gray 2016, "Fast Algorithms for Convolutional Neural Networks", section 4, F(4x4, 3x3): an
output tile of 4x4 pixels comes from the 6x6 pixels around it. With the input tile d and the kernel
g transformed, the sums over channels are 36 products of matrices instead of 144 taps:

    Y = A^T [ (G g G^T) * (B^T d B) ] A        (equation 8; * element by element, summed over C)

The three transforms are written as Kronecker products, so that everything here is a matrix product.
Exact up to rounding, a few times that of a direct fp32 convolution (tests/test_winograd.py).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

TILE, REACH = 4, 6  # sides of an output tile and of the input that it sees
# In times out: below, the transforms cost more than is saved (scripts/benchmark.py layers).
FEWEST_CHANNELS, FEWEST_WITH_GRADIENTS = 64 * 128, 64 * 64
WORKING_BYTES = 2**27  # that one part takes at its peak, forward and backward; measured: 88-93 MB
CHUNK_NUMBERS = 2**17  # of tiles times channels transformed together: they stay in the caches

_B = torch.tensor(  # ibid., equation 10, like the two below
    [
        [4, 0, -5, 0, 1, 0],
        [0, -4, -4, 1, 1, 0],
        [0, 4, -4, -1, 1, 0],
        [0, -2, -1, 2, 1, 0],
        [0, 2, -1, -2, 1, 0],
        [0, 4, 0, -5, 0, 1],
    ],
    dtype=torch.float32,
)
_G = torch.tensor(
    [[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]], dtype=torch.float64
).div(24)
_A = torch.tensor(
    [[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]],
    dtype=torch.float32,
)
INPUT = torch.kron(_B, _B)  # (36, 36)
KERNEL = torch.kron(_G, _G).float()  # (36, 9)
OUTPUT = torch.kron(_A, _A)  # (16, 36)


class Conv3x3(nn.Conv2d):
    """A 3x3 convolution of stride 1, by Winograd's way where that is faster: on a CPU, in fp32.

    Parameters, arguments and, up to rounding, results are those of `nn.Conv2d`.

    Examples:
        >>> conv = Conv3x3(64, 128, padding=1)
        >>> conv(torch.rand(1, 64, 10, 13)).shape
        torch.Size([1, 128, 10, 13])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        padding: int = 0,
        bias: bool = True,
        padding_mode: str = "zeros",
    ) -> None:
        """Take the channel counts and `padding`, 0 or 1 pixels, "zeros" or "reflect"."""
        super().__init__(
            in_channels, out_channels, 3, padding=padding, bias=bias, padding_mode=padding_mode
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, C_in, H, W) -> (B, C_out, H, W) with padding, two pixels smaller without."""
        if not pays_off(x, self.weight):
            return super().forward(x)
        padding = self.padding[0]
        if padding and self.padding_mode != "zeros":
            x, padding = F.pad(x, (padding,) * 4, mode=self.padding_mode), 0
        return _Winograd.apply(x, self.weight, self.bias, padding)


def pays_off(x: Tensor, weight: Tensor) -> bool:
    """Whether the convolution of `x` (B, C, H, W) is faster by Winograd's way."""
    fewest = FEWEST_WITH_GRADIENTS if torch.is_grad_enabled() else FEWEST_CHANNELS
    return (
        x.device.type == "cpu"
        and min(x.shape[2:]) >= 3
        and x.dtype == weight.dtype == torch.float32
        and not torch.is_autocast_enabled("cpu")
        and weight.shape[0] * weight.shape[1] >= fewest
        and not torch.compiler.is_compiling()
    )


def working_bytes(network: nn.Module) -> int:
    """Bytes that such convolutions take for a while, whatever the image's size; 0 without any.

    Args:
        network: On a CPU, computed in fp32, with gradients.
    """
    convs = (module for module in network.modules() if isinstance(module, Conv3x3))
    wide = any(c.in_channels * c.out_channels >= FEWEST_WITH_GRADIENTS for c in convs)
    return WORKING_BYTES if wide else 0


class _Winograd(torch.autograd.Function):
    """Convolution of (B, C, H, W) with (K, C, 3, 3); the gradients are computed the same way."""

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, bias: Tensor | None, padding: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.padding = padding
        y = _convolve(x, weight, padding)
        return y if bias is None else y.add_(bias.view(1, -1, 1, 1))

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        for_x = for_weight = for_bias = None
        if ctx.needs_input_grad[0]:
            turned = weight.transpose(0, 1).flip(2, 3)
            for_x = _convolve(gradient, turned, 2 - ctx.padding)
        if ctx.needs_input_grad[1]:
            for_weight = _weight_gradient(x, gradient, ctx.padding)
        if ctx.needs_input_grad[2]:
            for_bias = gradient.sum((0, 2, 3))
        return for_x, for_weight, for_bias, None


def _convolve(x: Tensor, weight: Tensor, padding: int) -> Tensor:
    """(B, C, H, W) with (K, C, 3, 3), zeros around: (B, K, H - 2 + 2 padding, ...)."""
    channels_out, channels = weight.shape[:2]
    height, width = (side - 2 + 2 * padding for side in x.shape[2:])
    kernels = (KERNEL @ weight.reshape(-1, 9).T).view(36, channels_out, channels).transpose(1, 2)
    tiles = _Tiles(x, padding)
    y = x.new_empty(len(x), tiles.down, TILE, tiles.across, TILE, channels_out)
    for part in tiles.parts():
        transformed = (INPUT @ tiles.read(part)).view(36, -1, channels)
        products = torch.bmm(transformed, kernels).view(36, -1)
        pixels = (OUTPUT @ products).view(TILE, TILE, *y[part].shape[:2], tiles.across, -1)
        y[part].copy_(pixels.permute(2, 3, 0, 4, 1, 5))
    y = y.flatten(3, 4).flatten(1, 2)  # (B, 4 down, 4 across, K)
    return y[:, :height, :width].permute(0, 3, 1, 2)


def _weight_gradient(x: Tensor, gradient: Tensor, padding: int) -> Tensor:
    """Gradient (K, C, 3, 3) for the kernel, of that for the result (B, K, H, W)."""
    channels, channels_out = x.shape[1], gradient.shape[1]
    tiles = _Tiles(x, padding)
    height, width = TILE * tiles.down, TILE * tiles.across
    g = F.pad(gradient, (0, width - gradient.shape[3], 0, height - gradient.shape[2]))
    g = g.permute(0, 2, 3, 1).unflatten(2, (-1, TILE)).unflatten(1, (-1, TILE))
    total = x.new_zeros(36, channels_out, channels)
    for part in tiles.parts():
        transformed = (INPUT @ tiles.read(part)).view(36, -1, channels)
        pixels = g[part].permute(2, 4, 0, 1, 3, 5).reshape(TILE * TILE, -1)
        products = (OUTPUT.T @ pixels).view(36, -1, channels_out)
        total.baddbmm_(products.transpose(1, 2), transformed)
    return (KERNEL.T @ total.view(36, -1)).T.reshape(channels_out, channels, 3, 3)


class _Tiles:
    """The overlapping 6x6 tiles of a map, in parts that fit the caches."""

    def __init__(self, x: Tensor, padding: int) -> None:
        """Take (B, C, H, W) and the zeros around it."""
        self.down, self.across = (-(-(side - 2 + 2 * padding) // TILE) for side in x.shape[2:])
        sides = zip(x.shape[:1:-1], (self.across, self.down), strict=True)
        around = [(padding, TILE * count + 2 - padding - side) for side, count in sides]
        x = F.pad(x, (*around[0], *around[1])) if any(map(any, around)) else x
        self.x = x.permute(0, 2, 3, 1).contiguous()  # (B, H, W, C)

    def parts(self) -> list[tuple[slice, slice]]:
        """Which images and which rows of tiles go together."""
        rows = max(1, CHUNK_NUMBERS // self.x.shape[3] // self.across)
        images = max(1, rows // self.down)
        return [
            (slice(image, image + images), slice(row, row + rows))
            for image in range(0, len(self.x), images)
            for row in range(0, self.down, rows)
        ]

    def read(self, part: tuple[slice, slice]) -> Tensor:
        """The tiles of a part: (36, its images x rows x `across` x C)."""
        images, rows = part
        last = min(rows.stop, self.down)
        x = self.x[images, TILE * rows.start : TILE * last + 2]
        down = x.unfold(1, REACH, TILE)  # (b, rows, W, C, 6)
        return down.unfold(2, REACH, TILE).permute(4, 5, 0, 1, 2, 3).reshape(36, -1)
