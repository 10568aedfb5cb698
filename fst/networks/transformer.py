"""The transformer network: paints a content image in any of its styles in one pass."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fst.networks.conditional import ConditionalInstanceNorm2d
from fst.networks.padding import pad
from fst.networks.sizes import MIN_SIZE_PX
from fst.networks.winograd import Conv3x3, conv2d

PHASES = (0, 0), (0, 1), (1, 0), (1, 1)  # of an upsampled row and column: even and odd
CHANNELS = 64, 96  # at half and quarter resolution, at width 1
STRIDE = 4  # two halvings: sizes are padded up to a multiple of this and cropped back


class TransformerNet(nn.Module):
    """Feed-forward stylisation network with conditional instance norm after every convolution.

        conv 9x9/2 -> 64, 3x3/2 -> 96, residual blocks, x2 -> 64, 5x5 -> 12 = 2x2 pixels of 3

    reflect padding, nearest-neighbour upsampling, sigmoid. In the manner of Johnson et al. 2016
    ("Perceptual Losses for Real-Time Style Transfer and Super-Resolution"), with the conditioning
    of Dumoulin et al. 2017. Differs from both: no features at full resolution, where most of the
    time went (the first convolution halves the picture, the last one gives four pixels at once),
    and more, narrower blocks, which see further; upsampling is computed at low resolution (see
    `UpsampleConv`). Chosen by `scripts/search_network.py`.

    Examples:
        >>> network = TransformerNet(num_styles=3, width=0.25, num_blocks=1)
        >>> photo = torch.rand(1, 3, 37, 50)
        >>> network(photo, network.one_hot(torch.tensor([2]))).shape
        torch.Size([1, 3, 37, 50])
    """

    def __init__(self, num_styles: int, width: float = 1.0, num_blocks: int = 8) -> None:
        """Make the network.

        Args:
            num_styles: S, how many styles the tables hold, at least 1.
            width: Scales the channel counts 64-96; rounded, at least 1 channel.
            num_blocks: Residual blocks at quarter resolution.
        """
        super().__init__()
        self.num_styles, self.width, self.num_blocks = num_styles, width, num_blocks
        c1, c2 = (max(1, round(width * channels)) for channels in CHANNELS)
        self.conv_in = ConditionedConv(num_styles, 3, c1, 9, stride=2)
        self.down = ConditionedConv(num_styles, c1, c2, 3, stride=2)
        self.blocks = nn.ModuleList(ResidualBlock(num_styles, c2) for _ in range(num_blocks))
        self.up = UpsampleConv(num_styles, c2, c1)
        self.conv_out = ShuffledConv(num_styles, c1, 3, 5)

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
        pad_bottom, pad_right = -height % STRIDE, -width % STRIDE
        x = pad(content, (0, pad_right, 0, pad_bottom), "reflect")
        if style_weights.dim() == 4:  # the maps follow the picture: its size, then its padding
            style_weights = F.interpolate(style_weights, (height, width), mode="bilinear")
            style_weights = pad(style_weights, (0, pad_right, 0, pad_bottom), "replicate")
        x = F.relu_(self.conv_in(x, style_weights))  # (B, c1, H/2, W/2)
        x = F.relu_(self.down(x, style_weights))  # (B, c2, H/4, W/4)
        for block in self.blocks:
            x = block(x, style_weights)
        x = F.relu_(self.up(x, style_weights))  # (B, c1, H/2, W/2)
        x = self.conv_out(x, style_weights).float().sigmoid()  # (B, 3, H, W)
        return x[:, :, :height, :width]

    def one_hot(self, style_index: Tensor) -> Tensor:
        """Style weights (B, S) that pick the style ids `style_index` (B,)."""
        return F.one_hot(style_index, self.num_styles).float()

    def _check(self, content: Tensor, style_weights: Tensor) -> None:
        if content.dim() != 4 or content.shape[1] != 3:
            raise ValueError(f"content must be (B, 3, H, W), got {tuple(content.shape)}")
        if min(content.shape[-2:]) < MIN_SIZE_PX:
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


class ConditionedConv(nn.Module):
    """Reflect-padded convolution, then conditional instance norm."""

    def __init__(self, num_styles: int, c_in: int, c_out: int, kernel_size: int, stride: int = 1):
        super().__init__()
        # No bias: the norm that follows removes any constant.
        if (kernel_size, stride) == (3, 1):
            self.conv = Conv3x3(c_in, c_out, bias=False)
        else:
            self.conv = nn.Conv2d(c_in, c_out, kernel_size, stride, bias=False)
        self.norm = ConditionalInstanceNorm2d(num_styles, c_out)
        self.padding = (kernel_size // 2,) * 4

    def forward(self, x: Tensor, style_weights: Tensor) -> Tensor:
        return self.norm(self.conv(pad(x, self.padding, "reflect")), style_weights)


class ResidualBlock(nn.Module):
    """Two conditioned 3x3 convolutions around an identity; no activation after the sum."""

    def __init__(self, num_styles: int, channels: int):
        super().__init__()
        self.conv1 = ConditionedConv(num_styles, channels, channels, 3)
        self.conv2 = ConditionedConv(num_styles, channels, channels, 3)

    def forward(self, x: Tensor, style_weights: Tensor) -> Tensor:
        return x + self.conv2(F.relu_(self.conv1(x, style_weights)), style_weights)


class ShuffledConv(ConditionedConv):
    """A conditioned convolution of stride 1/2: each place gives 2x2 pixels.

    Shi et al. 2016, "Real-Time Single Image and Video Super-Resolution Using an Efficient Sub-Pixel
    Convolutional Neural Network". The four begin alike, as nearest-neighbour upsampling would have
    them, so that no checkerboard is there to be unlearnt (Aitken et al. 2017, "Checkerboard
    artifact free sub-pixel convolution").
    """

    def __init__(self, num_styles: int, c_in: int, c_out: int, kernel_size: int):
        super().__init__(num_styles, c_in, c_out, kernel_size)
        weight = self.conv.weight.detach().repeat_interleave(4, dim=0)
        self.conv = nn.Conv2d(c_in, 4 * c_out, kernel_size, bias=False)
        self.conv.weight.data.copy_(weight)

    def forward(self, x: Tensor, style_weights: Tensor) -> Tensor:
        return self.norm(self.shuffled(self.conv(pad(x, self.padding, "reflect"))), style_weights)

    @staticmethod
    def shuffled(y: Tensor) -> Tensor:
        """Four maps a channel as one of twice the size: (B, 4 C, H, W) -> (B, C, 2H, 2W)."""
        # With few channels norms and shuffles are several times faster where these come first.
        return F.pixel_shuffle(y.contiguous(), 2)


class UpsampleConv(nn.Module):
    """Nearest x2 upsampling and a 3x3 convolution, computed as four 2x2 phases at low resolution.

    An output pixel of even row sees the low-resolution rows (i-1, i, i) and one of odd row
    (i, i, i+1); likewise in columns. Adding up the kernel entries that meet the same pixel gives
    a 2x2 kernel for each of the four phases: exactly the same function in 4/9 of the arithmetic.
    Reflect padding of the upsampled map equals replicate padding of the map itself.
    """

    def __init__(self, num_styles: int, c_in: int, c_out: int):
        super().__init__()
        self.conv = nn.Conv2d(c_in, c_out, 3, bias=False)  # holds the 3x3 kernel; see forward
        self.norm = ConditionalInstanceNorm2d(num_styles, c_out)

    def forward(self, x: Tensor, style_weights: Tensor) -> Tensor:
        return self.norm(self.upsampled(pad(x, (1, 1, 1, 1), "replicate")), style_weights)

    def upsampled(self, padded: Tensor) -> Tensor:
        """The convolution alone: (B, C_in, H+2, W+2) -> (B, C_out, 2H, 2W)."""
        y = conv2d(padded, self._phase_kernels())  # (B, 4 C, H+1, W+1)
        return _Interleaved.apply(y)

    def _phase_kernels(self) -> Tensor:
        """The four 2x2 kernels as one weight (4 C_out, C_in, 2, 2), row phase outermost."""
        w = self.conv.weight  # (C_out, C_in, 3, 3)
        even = torch.stack([w[:, :, 0], w[:, :, 1] + w[:, :, 2]], dim=2)  # (C_out, C_in, 2, 3)
        odd = torch.stack([w[:, :, 0] + w[:, :, 1], w[:, :, 2]], dim=2)
        kernels = [
            torch.stack(columns, dim=3)  # (C_out, C_in, 2, 2)
            for r in (even, odd)
            for columns in (
                (r[..., 0], r[..., 1] + r[..., 2]),
                (r[..., 0] + r[..., 1], r[..., 2]),
            )
        ]
        return torch.cat(kernels)


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
