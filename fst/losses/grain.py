"""Grain: texture finer than strokes that the painting does not have.

Networks paint fine grids and coloured fringes, in steps of 2 to 4 px: features of a VGG hardly tell
these from the texture of a painting, whose colours vary far less from pixel to pixel than its
lightness does. The finest frequencies do.
"""

from collections.abc import Sequence
from functools import cache

import numpy as np
import torch
from torch import Tensor

from fst.losses.colour import opponents

BLOCK_PX = 8
COARSEST_PX = 4  # period of the coarsest frequencies that count
LEAST_GRAIN = 1 / 255  # what excess is divided by at least: less cannot be stored


def grain(images: Tensor) -> Tensor:
    """How strong the finest frequencies are in lightness and two opponent colours.

    Root mean square of the coefficients of the discrete cosine transform of blocks of 8 x 8 px, as
    of JPEG (Ahmed, Natarajan & Rao 1974), of the K = 48 frequencies with a period of 4 px or less
    in either direction. Rows and columns beyond the last whole block are left out.

    Args:
        images: (B, 3, H, W) in [0, 1], both sides at least 8 px.

    Returns:
        (B, 3, K), with finite gradients for images of one colour, too.
    """
    rows, columns = (side // BLOCK_PX for side in images.shape[2:])
    cut = opponents(images)[:, :, : rows * BLOCK_PX, : columns * BLOCK_PX]
    blocks = cut.unflatten(3, (columns, BLOCK_PX)).unflatten(2, (rows, BLOCK_PX))
    blocks = blocks.permute(0, 1, 2, 4, 3, 5).reshape(*cut.shape[:2], rows * columns, -1)
    with torch.autocast(images.device.type, enabled=False):
        coefficients = blocks @ _fine_waves(images.device)  # (B, 3, blocks, K)
    return (coefficients.square().mean(2) + 1e-10).sqrt()


@cache
def _fine_waves(device: torch.device) -> Tensor:
    """The finest waves of the transform as columns, (64, K)."""
    places = np.arange(BLOCK_PX)
    waves = np.cos(np.pi * (2 * places + 1) * places[:, None] / (2 * BLOCK_PX))  # of rising number
    waves /= np.linalg.norm(waves, axis=1, keepdims=True)
    both = np.einsum("ui,vj->uvij", waves, waves).reshape(BLOCK_PX**2, -1)
    number = np.maximum(*np.divmod(np.arange(BLOCK_PX**2), BLOCK_PX))  # half periods in a block
    fine = both[number >= 2 * BLOCK_PX // COARSEST_PX]
    return torch.from_numpy(fine.T).float().contiguous().to(device)


def grain_of_styles(styles: Sequence[Sequence[Tensor]]) -> Tensor:
    """Grain of each style, the mean over its pictures (3, H, W): (S, 3, K)."""
    each = [torch.cat([grain(picture[None]) for picture in pictures]) for pictures in styles]
    return torch.stack([rows.mean(0) for rows in each])


def excess_grain(images: Tensor, of_styles: Tensor) -> Tensor:
    """Grain beyond the style's: the mean over images, axes and frequencies of
    max(0, grain(y) / grain(s) - 1)^2.

    Less is not penalised: many a painting has the grain of its canvas.

    Args:
        images: (B, 3, H, W) in [0, 1].
        of_styles: (B, 3, K), of `grain_of_styles`.

    Returns:
        Scalar, at least 0.
    """
    excess = grain(images) / of_styles.clamp_min(LEAST_GRAIN) - 1
    return excess.clamp_min(0).square().mean()
