"""Strokes of a size that follows the picture, not its pixels.

A style model paints strokes of so many pixels: right in a picture of 768 px, dust in one of
twelve megapixels. So a large picture is painted small, and the painting enlarged. What that
leaves soft is sharpened between the painting's own colours, see `Enlargement`: at a 100 % crop
strokes have clean edges, and nothing is painted at full size.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

SHARPEN = 1.0  # times the detail that is added; at 2 strokes become bricks
_BLUR = (1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16)  # binomial: a Gaussian of standard deviation 1
_ROWS = 256  # enlarged at once

RowsOf = Callable[[int, int], Tensor]


def painted_at_size(
    paint: Callable[[Tensor], Tensor], content: Tensor, work: tuple[int, int]
) -> Tensor:
    """Paint a picture (3, H, W) in [0, 1] at another size (h, w), see `work_size`, and bring it
    back."""
    size = tuple(content.shape[1:])
    painting = paint(resized(content, work).clamp(0, 1)).clamp(0, 1)
    if min(work) > min(size):
        return resized(painting, size).clamp(0, 1)
    large = Enlargement(lambda low, high: painting[:, low:high], work[0], size)
    tops = range(0, size[0], _ROWS)
    return torch.cat([large.rows(low, min(low + _ROWS, size[0])) for low in tops], dim=1)


class Enlargement:
    """A painting P enlarged to the size of its picture, crisp, by rows.

    S = P + k (P - G P), Q = min(max(U S, U min P), U max P): unsharp masking (G is a Gaussian of
    one pixel, k is 1), held between the darkest and the lightest of the 3 x 3 pixels around as in
    Kramer & Bruckner 1975, "Iterations of a non-linear transformation for enhancement of digital
    images", so that edges become steep without bright rims; U enlarges by cubic convolution.

    Looked at beside it, 100 % crops of 3000 x 2000 px: enlarged alone is blurred; the finest detail
    of a painting at full size brings colour fringes, its brightness alone pixel noise, both cost
    seven times as much; the photo's detail by the painting's local slope (guided filter, He & Sun
    2015) leaves strokes soft.
    """

    def __init__(self, painting: RowsOf, height: int, size: tuple[int, int]) -> None:
        """Take a painting by its rows, `height` of them, and the size (H, W) to enlarge it to."""
        self.painting, self.height, self.size = painting, height, size

    def rows(self, low: int, high: int) -> Tensor:
        """Rows `low` to `high` exclusive, (3, high - low, W) in [0, 1]."""
        first, weights = cubic_weights(self.height, self.size[0], low, high)
        last = first + weights.shape[1]
        top, end = max(0, first - 2), min(self.height, last + 2)  # as far as the blur reaches
        window = _bounded(self.painting(top, end))[:, first - top : last - top]
        wide = resized(window, (last - first, self.size[1]))
        sharp, darkest, lightest = torch.einsum("oi,ciw->cow", weights, wide).split(3)
        return sharp.maximum(darkest).minimum(lightest).clamp(0, 1)


def _bounded(painting: Tensor) -> Tensor:
    """S, min P and max P of a painting (3, h, w), one after the other: (9, h, w)."""
    sharp = painting + SHARPEN * (painting - _blurred(painting))
    darkest = -F.max_pool2d(-painting[None], 3, 1, 1)[0]
    lightest = F.max_pool2d(painting[None], 3, 1, 1)[0]
    return torch.cat([sharp, darkest, lightest])


def _blurred(image: Tensor) -> Tensor:
    """(3, h, w), each pixel the mean of those around."""
    kernel = torch.tensor(_BLUR)
    padded = F.pad(image[:, None], (2, 2, 2, 2), mode="replicate")  # (3, 1, h + 4, w + 4)
    return F.conv2d(F.conv2d(padded, kernel.view(1, 1, 1, 5)), kernel.view(1, 1, 5, 1))[:, 0]


def cubic_weights(size_in: int, size_out: int, low: int, high: int) -> tuple[int, Tensor]:
    """What `resized` does along one side, for the outputs `low` to `high` exclusive: the first
    input that they need, and the weights (high - low, n) of it and those after it.

    Keys 1981, "Cubic convolution interpolation for digital image processing", eq. 4 with a = -1/2,
    stretched to the larger of the two pixels (as `F.interpolate` with antialias).
    """
    scale = size_in / size_out
    reach = 2 * max(1.0, scale)
    centres = (torch.arange(low, high, dtype=torch.double) + 0.5) * scale
    first = max(0, math.floor(centres[0] - reach))
    last = min(size_in, math.ceil(centres[-1] + reach))
    places = torch.arange(first, last, dtype=torch.double) + 0.5
    x = (places[None] - centres[:, None]).abs() / max(1.0, scale)
    near = ((1.5 * x - 2.5) * x) * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    weights = torch.where(x < 1, near, torch.where(x < 2, far, 0.0))
    return first, (weights / weights.sum(1, keepdim=True)).float()


class Shrinking:
    """An image (3, H, W), given by its rows from the top, as `resized` shrinks it."""

    def __init__(self, size: tuple[int, int], small: tuple[int, int]) -> None:
        self.height, self.low = size[0], 0
        self.image = torch.zeros(3, *small)

    def add(self, rows: Tensor) -> None:
        """Add the next rows, (3, n, W)."""
        small_height, small_width = self.image.shape[1:]
        scale, top, end = self.height / small_height, self.low, self.low + rows.shape[1]
        out_low = max(0, math.floor(top / scale - 3))
        out_high = min(small_height, math.ceil(end / scale + 3))
        first, weights = cubic_weights(self.height, small_height, out_low, out_high)
        start, stop = max(top, first), min(end, first + weights.shape[1])
        narrow = resized(rows[:, start - top : stop - top], (stop - start, small_width))
        share = weights[:, start - first : stop - first]
        self.image[:, out_low:out_high] += torch.einsum("oi,ciw->cow", share, narrow)
        self.low = end


def resized(image: Tensor, size: tuple[int, int]) -> Tensor:
    """(C, h, w) as (C, *size), bicubic; may leave [0, 1] a little."""
    return F.interpolate(image[None], size, mode="bicubic", antialias=True)[0]
