"""Grain: more fine texture than the style image has.

Networks paint a fine weave and coloured fringes, in steps of 2 to 4 px: a VGG hardly sees them, and
the colours of a style image vary far less from pixel to pixel than its lightness does. The finest
frequencies of both tell them apart.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from fst.losses.colour import opponents

BLOCK_PX = 8
COARSEST_PX = 4  # period of the coarsest frequencies that count
LEAST_GRAIN = 1 / 255  # what grain is divided by at least; rounding to 8 bits leaves a third of it


def grain(images: Tensor) -> Tensor:
    """How strong the finest frequencies are in lightness and two opponent colours.

    Root mean square of the coefficients of the discrete cosine transform of blocks of 8 x 8 px, as
    of JPEG (Ahmed, Natarajan & Rao 1974), for the K = 48 frequencies whose period is 4 px or less
    in at least one direction. Rows and columns beyond the last whole block are left out.

    Args:
        images: (B, 3, H, W) in [0, 1], both sides at least 8 px.

    Returns:
        (B, 3, K), with finite gradients for images of one colour, too.
    """
    rows, columns = (side // BLOCK_PX for side in images.shape[2:])
    cut = opponents(images)[:, :, : rows * BLOCK_PX, : columns * BLOCK_PX]
    blocks = cut.unflatten(3, (columns, BLOCK_PX)).unflatten(2, (rows, BLOCK_PX))
    blocks = blocks.transpose(3, 4).flatten(4).flatten(2, 3)  # (B, 3, rows x columns, 64)
    with torch.autocast(images.device.type, enabled=False):
        coefficients = blocks @ fine_waves(images.device)  # (B, 3, rows x columns, K)
    return (coefficients.square().mean(2) + 1e-10).sqrt()


def fine_waves(device: torch.device) -> Tensor:
    """The finest waves of the transform, of length 1, as columns: (64, K).

    Made anew for each call: a copy that is kept would be of the mode that it was made in (inference
    mode, fake tensors).
    """
    places = torch.arange(BLOCK_PX, device=device)
    # Row k has k half periods in the block.
    waves = torch.cos(math.pi / (2 * BLOCK_PX) * (2 * places + 1) * places[:, None])
    waves = waves / waves.norm(dim=1, keepdim=True)
    fine = 2 * BLOCK_PX // COARSEST_PX
    both = waves[:, None, :, None] * waves[None, :, None, :]  # (8, 8, 8, 8): numbers, places
    return torch.cat([both[fine:].flatten(0, 1), both[:fine, fine:].flatten(0, 1)]).flatten(1).T


def grain_of_styles(styles: Sequence[Sequence[Tensor]]) -> Tensor:
    """Grain of each style, the mean over its pictures (3, H, W): (S, 3, K)."""
    each = [torch.cat([grain(picture[None]) for picture in pictures]) for pictures in styles]
    return torch.stack([rows.mean(0) for rows in each])


def excess_grain(images: Tensor, of_styles: Tensor) -> Tensor:
    """Grain beyond the style's, of which less is not penalised: many styles have that of a canvas.

    The mean over images, axes and frequencies of max(0, grain(y) / max(grain(s), 1/255) - 1)^2.
    Ours.

    Args:
        images: y, (B, 3, H, W) in [0, 1], both sides at least 8 px.
        of_styles: (B, 3, K), of `grain_of_styles`.

    Returns:
        Scalar, at least 0 and without a bound: noise in a style of plain colours has thousands.
    """
    excess = grain(images) / of_styles.clamp_min(LEAST_GRAIN) - 1
    return excess.clamp_min(0).square().mean()
