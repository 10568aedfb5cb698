"""Paintings as the metrics look at them: at several sizes, because strokes have no natural one."""

from collections.abc import Sequence

from PIL import Image
from torch import Tensor

from fst.data.styles import Style
from fst.io import images
from fst.networks.loss_network import LossNetwork

VIEW_SIZES_PX = (320, 480, 640)


def load_views(style: Style, size_px: int) -> list[Tensor]:
    """The pictures of a style (3, H, W) in [0, 1], enlarged where smaller than wanted.

    Args:
        style: A style.
        size_px: Shorter side of the pictures. In training small pictures stay small; a ruler must
            show all paintings alike, or small ones would be compared with at too few sizes. Lanczos
            both ways: `images.resize` enlarges by the softer bicubic, which has other features.

    Raises:
        FstError: A picture cannot be read.
    """
    pictures = (images.decode(path) for path in style.images)
    return [
        images.to_tensor(
            picture.resize(
                images.size_with_shorter_side(picture.size, size_px), Image.Resampling.LANCZOS
            )
        )
        for picture in pictures
    ]


def layers_of(network: LossNetwork, wanted: Sequence[str]) -> tuple[str, ...]:
    """Those of the wanted layers that the network has; its deepest where it has none of them."""
    return tuple(layer for layer in wanted if layer in network.layers) or network.layers[-1:]
