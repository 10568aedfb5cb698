"""What `train_gallery.py` does to the colours of a network without training."""

from pathlib import Path

import torch
from torch import Tensor

from fst.io import images
from fst.losses.grey import grey_of
from fst.networks.phases import EvenConv
from fst.networks.transformer import TransformerNet

PHOTO_PX, STYLE_PX, ROUNDS = 256, 512, 3  # shorter sides; how often colours are matched


@torch.no_grad()
def smooth_colours(conv: EvenConv) -> None:
    """Blur what the last convolution gives in colour, and not in lightness.

    The kernels of each channel are those of the lightness plus a difference, and the differences
    are blurred by (1, 2, 1) / 4 along rows and columns, as if the picture were filtered; at the
    rims of the kernels, which keep their size, what would fall off is added to the last entry. The
    four pixels of a place then differ little in colour, and coloured fringes are fainter. Eyes see
    colour less sharply than lightness; JPEG relies on this too. (The norm and the sigmoid come
    after, so a painting's lightness changes a little.)
    """
    # Channel, row and column of the pixel, channel that comes in, row and column of the kernel.
    kernels = conv.kernel().unflatten(0, (3, 2, 2))
    lightness = grey_of(kernels.reshape(1, 3, -1, 1)).view_as(kernels[:1])
    differences = kernels - lightness
    for pixel_dim, kernel_dim in ((1, 4), (2, 5)):
        differences = blurred(differences, pixel_dim, kernel_dim)
    conv.weight.copy_((lightness + differences).flatten(0, 2))


def blurred(kernels: Tensor, pixel_dim: int, kernel_dim: int) -> Tensor:
    """Kernels of pixels at twice the resolution, by (1, 2, 1) / 4 along rows or columns."""
    first, second = kernels.unbind(pixel_dim)
    before, after = moved(second, kernel_dim - 1, -1), moved(first, kernel_dim - 1, 1)
    both = [first / 2 + (before + second) / 4, second / 2 + (first + after) / 4]
    return torch.stack(both, pixel_dim)


def moved(kernels: Tensor, dim: int, by: int) -> Tensor:
    """Kernels moved by one entry; what falls off is added to the last one."""
    size = kernels.shape[dim]
    target = (torch.arange(size) + by).clamp(0, size - 1)
    return torch.zeros_like(kernels).index_add_(dim, target, kernels)


@torch.no_grad()
def match_colours(network: TransformerNet, styles: list[str], photos: list[Path]) -> None:
    """Have the mean and deviation of each colour channel be those of the style's pictures.

    The last norm has a gamma and a beta for each channel of each style, just before the sigmoid:
    those are scaled and shifted until the paintings of the photos agree. Nothing else changes.
    """
    contents = [images.load(path, PHOTO_PX)[None] for path in photos]
    norm = network.conv_out.norm
    for style_id, style in enumerate(styles):
        pictures = [images.load(path, STYLE_PX) for path in images.find([style])]
        mean, deviation = channel_moments(pictures)
        weights = network.one_hot(torch.tensor([style_id]))
        for number in range(ROUNDS):
            painted = [network(content, weights)[0] for content in contents]
            mean_now, deviation_now = channel_moments(painted)
            if not number:
                shares = " ".join(f"{share:.2f}" for share in deviation_now / deviation)
                print(f"{style}: deviations of red, green and blue were {shares} of the painting's")
            norm.beta[style_id] += (mean - mean_now) / (mean_now * (1 - mean_now))  # of sigmoid
            norm.gamma[style_id] *= deviation / deviation_now


def channel_moments(pictures: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of red, green and blue, averaged over pictures (3, H, W)."""
    moments = [torch.std_mean(picture, (1, 2), correction=0) for picture in pictures]
    deviations, means = (torch.stack(part).mean(0) for part in zip(*moments, strict=True))
    return means, deviations
