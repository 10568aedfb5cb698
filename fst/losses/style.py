"""The style losses by name: each a statistic of the style images and a distance from it."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from fst.losses.gram import gram_matrix


class StyleLoss(NamedTuple):
    """A style statistic and how far features are from it, at one layer.

    Attributes:
        target: Takes the features of the images of ONE style, each (1, C, H, W), and returns its
            target, of any shape without a batch dimension.
        distance: Takes features (B, C, H, W) and the targets of their styles (B, ...), and
            returns the distances (B,), fp32.
    """

    target: Callable[[Sequence[Tensor]], Tensor]
    distance: Callable[[Tensor, Tensor], Tensor]


def gram_target(features: Sequence[Tensor]) -> Tensor:
    """Elementwise mean of the Gram matrices of a style's images: (C, C)."""
    return torch.cat([gram_matrix(image) for image in features]).mean(0)


def gram_distance(features: Tensor, targets: Tensor) -> Tensor:
    """Relative squared distance of Gram matrices: ||G(y) - A||_F^2 / ||A||_F^2.

    Gatys et al. 2016, eq. 4. Differs from the paper: divided by the size of the target, so that
    one weight suits every style, layer and network; 1 is the distance of a black image.

    Args:
        features: (B, C, H, W).
        targets: A, (B, C, C).

    Returns:
        (B,), at least 0.
    """
    squares = (gram_matrix(features) - targets).square().sum((1, 2))
    # A black style image has an all-zero Gram matrix at relu1_1 at worst; 1e-12 keeps it finite.
    return squares / targets.square().sum((1, 2)).clamp_min(1e-12)


def classic_distance(features: Tensor, targets: Tensor) -> Tensor:
    """Mean squared difference of Gram matrices over C H W (Johnson et al. 2016, eq. 4).

    Differs from the paper: a mean over the C x C entries, as the widely used implementations do
    and as the weight 1e10 presumes.
    """
    channels = features.shape[1]
    return ((gram_matrix(features) - targets) / channels).square().mean((1, 2))


STYLE_LOSSES: dict[str, StyleLoss] = {
    "gram": StyleLoss(gram_target, gram_distance),
    "classic": StyleLoss(gram_target, classic_distance),
}
