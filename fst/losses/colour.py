"""Contrast and colours: a painting as strong as its style's pictures.

Without it a network paints paler than its styles: in the gallery, the deviation of a channel was
mostly 0.65 to 0.95 of the style's. Pictures that are optimised one by one by the other terms have
the style's contrast, so this is for training alone. Presumably a network hedges where it cannot
tell what goes where, and the content distance, which grows with contrast, rewards that.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

LEAST_DEVIATION = 0.02  # of a channel, which a style of one colour has not


def colour_statistics(pictures: Sequence[Tensor]) -> Tensor:
    """Mean and standard deviation of each channel, averaged over the pictures of a style.

    Args:
        pictures: Each (3, H, W) in [0, 1].

    Returns:
        (2, 3): means, and deviations of at least `LEAST_DEVIATION`.
    """
    means, deviations = zip(*(_moments(picture[None]) for picture in pictures), strict=True)
    deviation = torch.cat(deviations).mean(0).clamp_min(LEAST_DEVIATION)
    return torch.stack([torch.cat(means).mean(0), deviation])


def colours_of_styles(styles: Sequence[Sequence[Tensor]]) -> Tensor | None:
    """Those of each style, (S, 2, 3); None of no styles."""
    each = [colour_statistics(pictures) for pictures in styles]
    return torch.stack(each) if each else None


def colour_distance(images: Tensor, targets: Tensor) -> Tensor:
    """How far mean and deviation of the channels are from those of the styles.

    The statistics of AdaIN (Huang and Belongie 2017, eq. 8), of pixels in place of features:
    ((mean(y) - mean(s))^2 + (deviation(y) - deviation(s))^2) / deviation(s)^2.

    Args:
        images: (B, 3, H, W) in [0, 1].
        targets: (B, 2, 3), each of `colour_statistics`.

    Returns:
        Scalar, at least 0: the mean over images and channels.
    """
    mean, deviation = _moments(images)
    wanted_mean, wanted = targets.unbind(1)
    squares = (mean - wanted_mean).square() + (deviation - wanted).square()
    return (squares / wanted.square()).mean()


def by_last_norm(images: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
    """The same images, as a function of the gamma and beta of the network's last norm alone.

    A painting is sigmoid(gamma x + beta) with x of mean 0 and variance 1, so these two set mean and
    deviation of its channels, whatever the convolutions do.

    Args:
        images: (B, 3, H, W), what the network painted; no gradient flows into it.
        gamma: (B, 3), that it was painted with.
        beta: (B, 3), likewise.

    Returns:
        Equal to `images`, but where those are within 1e-6 of 0 or 1.
    """
    gamma, beta = gamma[:, :, None, None], beta[:, :, None, None]
    scaled = images.detach().float().logit(1e-6) - beta.detach()  # gamma x
    return (scaled * (gamma / gamma.detach()) + beta).sigmoid()


def _moments(images: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of (B, C, H, W), each (B, C); its gradient is finite at 0."""
    variance, mean = torch.var_mean(images.float(), (2, 3), correction=0)
    return mean, (variance + 1e-8).sqrt()
