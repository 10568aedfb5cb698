"""Tone: light and dark in a stylized image should lie as they do in its photo.

Instance norm and the statistics of style ask for as much light and dark in every image as there is
in the style image: a network that is left to itself puts them where the photo has neither, such as
blue patches on snow or a pale sky instead of a dark one. Painters change colours and keep tones.
"""

import torch.nn.functional as F
from torch import Tensor

from fst.losses.colour import LEAST_DEVIATION

CELL_PX = 16  # wider than most strokes, so that these stay free


def tones(images: Tensor) -> Tensor:
    """Lightness, the mean of R, G and B, in cells of 16 x 16 px, less its mean over the image.

    (B, 3, H, W) to (B, N). Rows and columns beyond the last whole cell are left out; a smaller
    image is a single cell.
    """
    height, width = (min(CELL_PX, side) for side in images.shape[2:])
    cells = F.avg_pool2d(images.float().mean(1, keepdim=True), (height, width)).flatten(1)
    return cells - cells.mean(1, keepdim=True)


def misplaced_tone(images: Tensor, photos: Tensor, deviations: Tensor) -> Tensor:
    """Light and dark that the photo does not explain.

    With the tones t of the image y and the photo x: the mean over images of
    min over k >= 0 of mean[(t(y) - k t(x))^2] / max(deviation(s), 0.02)^2. Where tones lie as in
    the photo, any contrast k will do, but not the reverse, nor patches where the photo is plain.
    It grows with the square of the image's contrast, so it needs `fst.losses.colour.paleness`
    beside it. Ours.

    Args:
        images: y, (B, 3, H, W) in [0, 1].
        photos: x, the same shape.
        deviations: Of the lightness of each image's style, (B,), of `colours_of_styles`.

    Returns:
        Scalar, at least 0.
    """
    painted, given = tones(images), tones(photos)
    spread = given.square().sum(1)  # (B,)
    slope = (painted * given).sum(1).clamp_min(0) / spread.clamp_min(1e-6 * given.shape[1])
    rest = (painted - slope[:, None] * given).square().mean(1)
    return (rest / deviations.clamp_min(LEAST_DEVIATION).square()).mean()
