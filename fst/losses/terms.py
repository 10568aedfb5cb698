"""The terms of the loss beside style: content, smoothness, patterns in step with the pixel grid."""

from torch import Tensor

# How the trunk and the last convolution can show: patterns that repeat with their pixels. Period,
# tile in which it is looked for, both in px, and weight: the last one's come in small dark patches.
GRIDS = (4, 64, 1.0), (2, 16, 10.0)


def content_distance(features: Tensor, target: Tensor) -> Tensor:
    """Relative squared distance of features: ||F(y) - F(x)||^2 / ||F(x)||^2, (B,).

    Gatys et al. 2016, eq. 1. Differs from the paper: relative to the content's features. A
    one-colour photo may have none at all, hence the small floor.
    """
    squares = (features - target).square().sum((1, 2, 3))
    return squares / target.square().sum((1, 2, 3)).clamp_min(1e-6 * target[0].numel())


def classic_content_distance(features: Tensor, target: Tensor) -> Tensor:
    """Mean squared difference of features, (B,) (Johnson et al. 2016, eq. 2)."""
    return (features - target).square().mean((1, 2, 3))


def total_variation(images: Tensor) -> Tensor:
    """Mean squared difference of neighbouring pixels of (B, 3, H, W), summed over both directions.

    Johnson et al. 2016, section 3.2. Differs from the paper: a mean, so that size drops out.
    """
    rows = (images[:, :, 1:] - images[:, :, :-1]).square().mean()
    columns = (images[:, :, :, 1:] - images[:, :, :, :-1]).square().mean()
    return rows + columns


def grid_pattern(images: Tensor) -> Tensor:
    """Energy of what repeats in step with the pixel grid, averaged over the batch.

    In each tile the image is averaged over its periods; the variance of that pattern is a
    checkerboard's energy, while strokes, which do not keep step, average out. Gram matrices cannot
    tell such a pattern from the painter's texture, the eye can. The sum of `GRIDS`.

    Args:
        images: (B, 3, H, W), row and column 0 on the grid; a rest below a tile's size is left out.

    Returns:
        Scalar, at least 0; 0 for images smaller than a tile.
    """
    return sum(weight * pattern_energy(images, period, tile) for period, tile, weight in GRIDS)


def pattern_energy(images: Tensor, period: int, tile: int) -> Tensor:
    """One term of `grid_pattern`: period and tile in px."""
    rows, columns = (size // tile for size in images.shape[2:])
    if not (rows and columns):
        return images.new_zeros(())
    cut = images[:, :, : rows * tile, : columns * tile]
    cells = cut.unflatten(3, (columns, -1, period)).unflatten(2, (rows, -1, period))
    pattern = cells.mean((3, 6))  # (B, 3, rows, n, p, columns, n, p) -> (B, 3, rows, p, columns, p)
    return pattern.var((3, 5), correction=0).mean()
