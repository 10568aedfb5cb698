"""Patches of a style picture (thesis, "style image patches")."""

from torch import Tensor

from fst.errors import FstError
from fst.networks.sizes import MIN_VGG_PX


def cut(
    picture: Tensor, grid: tuple[int, int], overlap: float = 0.0, size_px: int | None = None
) -> list[Tensor]:
    """Cut a picture in a grid of equal patches that spans it from edge to edge.

    Args:
        picture: (C, H, W).
        grid: Rows and columns.
        overlap: Share of a patch's side that it has in common with the next, in [0, 1).
        size_px: Side of square patches, evenly spread, instead of `overlap`; with large ones they
            overlap, with small ones they leave gaps.

    Returns:
        rows x columns views (C, h, w), row by row.

    Raises:
        FstError: The patches are below 32 px, or larger than the picture.

    Examples:
        >>> import torch
        >>> patches = cut(torch.zeros(3, 64, 97), (2, 3))
        >>> len(patches), patches[0].shape
        (6, torch.Size([3, 32, 32]))
    """
    height, width = picture.shape[1:]
    sides = [
        size_px or int(length / (count - (count - 1) * overlap))
        for length, count in zip((height, width), grid, strict=True)
    ]
    if min(sides) < MIN_VGG_PX or sides[0] > height or sides[1] > width:
        raise FstError(
            f"patches {grid[0]}x{grid[1]} of {sides[1]}x{sides[0]} px from a style picture of "
            f"{width}x{height} px: they must be within it and at least {MIN_VGG_PX} px; take "
            "fewer patches or a larger style size"
        )
    tops, lefts = _spread(height, sides[0], grid[0]), _spread(width, sides[1], grid[1])
    return [
        picture[:, top : top + sides[0], left : left + sides[1]] for top in tops for left in lefts
    ]


def _spread(length: int, side: int, count: int) -> list[int]:
    """Where patches begin: evenly from edge to edge; a single one in the middle."""
    room = length - side
    if count == 1:
        return [room // 2]
    return [round(place * room / (count - 1)) for place in range(count)]
