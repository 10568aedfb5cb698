"""Style without colour: some images of a batch are compared in grey with equalised histograms."""

import torch
import torch.nn.functional as F
from torch import Tensor

LEVELS = 128  # bins of the histogram; its slope bounds the gradient
DARKEST, LIGHTEST = 0.05, 0.95


def grey_of(images: Tensor) -> Tensor:
    """Luma of images (B, 3, H, W) by ITU-R BT.601, as (B, 1, H, W), fp32."""
    red, green, blue = images.float().split(1, 1)
    return 0.299 * red + 0.587 * green + 0.114 * blue


def equalised(images: Tensor) -> Tensor:
    """Images in grey, with histograms that are nearly uniform on [0.05, 0.95]; differentiable.

    g becomes 0.05 + 0.9 P(g), with P the share of the image's pixels that are darker, whose density
    is piecewise linear over `LEVELS` bins: tones change as gently as the pixels.
    Gradients go through P as well: without that part, all pixels drift to white or black together,
    which leaves the tones as they are. What is left of a painting is its hand: strokes and shapes,
    without palette and contrast. Ranks, as `fst.metrics.brushwork` takes them, have no gradient.

    Args:
        images: (B, 3, H, W) in [0, 1].

    Returns:
        (B, 3, H, W), fp32, its channels alike.
    """
    grey = grey_of(images)
    place = grey.nan_to_num(0.0).clamp(0, 1).flatten(1) * LEVELS  # (B, N), in bins
    below = place.detach().floor().clamp(max=LEVELS - 1)
    inside, below = place - below, below.long()
    density = _density(below, inside)
    darker = F.pad(((density[:, :-1] + density[:, 1:]) / 2).cumsum(1), (1, 0))
    start, end = density.gather(1, below), density.gather(1, below + 1)
    # The integral of the density, which goes from start to end.
    rank = darker.gather(1, below) + inside * start + inside.square() / 2 * (end - start)
    tones = DARKEST + (LIGHTEST - DARKEST) * rank
    # What is not finite must show in the loss, which stops the run.
    tones = torch.where(grey.isfinite(), tones.view_as(grey), torch.nan)
    return tones.expand(-1, 3, -1, -1)


def _density(below: Tensor, inside: Tensor) -> Tensor:
    """Share of the pixels per bin at the edges of the bins, (B, LEVELS + 1).

    Args:
        below: Bin of each pixel, (B, N).
        inside: How far into it the pixel lies, in [0, 1]: it counts at both edges accordingly.
    """
    count, pixels = below.shape
    first = ((LEVELS + 1) * torch.arange(count, device=below.device)[:, None] + below).flatten()
    density = inside.new_zeros(count * (LEVELS + 1))
    density.index_add_(0, first, (1 - inside).flatten()).index_add_(0, first + 1, inside.flatten())
    density = density.view(count, LEVELS + 1) / pixels
    density[:, ::LEVELS] *= 2  # the outermost have one bin, not two
    return density


def grey_places(every: int, number: int, seed: int) -> slice:
    """Which images of a batch are compared in grey: each `every`-th from one drawn by lot.

    Args:
        every: One in so many; 0 for none.
        number: Of the batch's first image in the run, so that the batches of several processes
            have together those of one large batch.
        seed: One for all processes of a step.
    """
    if not every:
        return slice(0)
    generator = torch.Generator().manual_seed(seed)
    lot = torch.randint(every, (1,), generator=generator).item()
    return slice((lot - number) % every, None, every)


def with_grey(images: Tensor, places: slice | Tensor) -> Tensor:
    """Images (B, 3, H, W), those at `places` equalised: a slice, or a boolean mask (B,), for which
    all are computed."""
    if isinstance(places, Tensor):
        return torch.where(places[:, None, None, None], equalised(images), images.float())
    if not len(images[places]):
        return images
    images = images.float().clone()
    images[places] = equalised(images[places])
    return images
