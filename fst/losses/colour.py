"""Paleness: how far a painting falls short of its style in contrast and colour.

Networks paint paler than their styles: in the gallery, the deviation of a channel was mostly 0.65
to 0.95 of the style's. Presumably they hedge where they cannot tell what goes where, and the
content distance, which grows with contrast, rewards that. Pictures that are optimised one by one
have the style's contrast, so this is for training alone.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

# Lightness, red against green, and blue against yellow.
AXES = ((1 / 3, 1 / 3, 1 / 3), (1.0, -1.0, 0.0), (-0.5, -0.5, 1.0))
LEAST_DEVIATION = 0.02  # what is relative to a deviation is divided by at least this


def opponents(images: Tensor) -> Tensor:
    """Lightness and two opponent colours of (B, 3, H, W), as channels: the same shape, fp32."""
    red, green, blue = images.float().unbind(1)
    return torch.stack([r * red + g * green + b * blue for r, g, b in AXES], 1)


def colour_deviations(images: Tensor) -> Tensor:
    """Standard deviations of lightness and of two opponent colours over the pixels of each image.

    Args:
        images: (B, 3, H, W) in [0, 1].

    Returns:
        (B, 3), with finite gradients for images of one colour, too.
    """
    return (opponents(images).var((2, 3), correction=0) + 1e-8).sqrt()


def colours_of_styles(styles: Sequence[Sequence[Tensor]]) -> Tensor:
    """Colour deviations of each style, averaged over its pictures (3, H, W): (S, 3)."""
    each = [torch.cat([colour_deviations(p[None]) for p in pictures]) for pictures in styles]
    return torch.stack([deviations.mean(0) for deviations in each])


def strength(images: Tensor, of_styles: Tensor) -> Tensor:
    """Deviations of images as fractions of their styles', at most 1: (B, 3).

    Args:
        images: (B, 3, H, W) in [0, 1].
        of_styles: (B, 3), of `colours_of_styles`.
    """
    missing = (of_styles - colour_deviations(images)).clamp_min(0)
    return 1 - missing / of_styles.clamp_min(LEAST_DEVIATION)


def paleness(images: Tensor, of_styles: Tensor) -> Tensor:
    """How far images fall short of their styles in contrast and colour: the mean over images and
    axes of max(0, 1 - deviation(y) / deviation(s))^2.

    Stronger ones are not penalised: a dark photo painted in a pale style, or a colourful one in a
    faint style, would lose its contrast.

    Args:
        images: (B, 3, H, W) in [0, 1].
        of_styles: (B, 3), of `colours_of_styles`.

    Returns:
        Scalar, from 0 to 1.
    """
    return (1 - strength(images, of_styles)).square().mean()
