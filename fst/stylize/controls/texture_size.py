"""Strokes of a size that follows the picture, not its pixels."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from fst.errors import FstError
from fst.networks.transformer import MIN_SIZE_PX

PREVIEW_PX = 512  # shorter side of the picture whose strokes texture size 1 shows
MAX_ENLARGEMENT = 4.0
MIN_TEXTURE_SIZE, MAX_TEXTURE_SIZE = 0.5, 3.0


def check_texture_size(texture_size: float) -> None:
    """Refuse a texture size outside [0.5, 3].

    Raises:
        FstError: It is outside, or no number.
    """
    if not MIN_TEXTURE_SIZE <= texture_size <= MAX_TEXTURE_SIZE:
        raise FstError(
            f"texture size {texture_size:g}: expected a number from {MIN_TEXTURE_SIZE:g} to "
            f"{MAX_TEXTURE_SIZE:g}"
        )


def painted_at_size(
    paint: Callable[[Tensor], Tensor], content: Tensor, texture_size: float
) -> Tensor:
    """Paint as if the shorter side had 512 / `texture_size` px, at the full size: (3, H, W).

    The painting at that size is enlarged, and what it lacks, the finest detail, is taken from a
    painting at full size. (Looked at beside it: enlarged alone is blurred; with the photo's detail
    the strokes stay soft; painted over a second time it is crisp, in other colours.)

    Args:
        paint: Gives the painting of an image (3, h, w).
        content: (3, H, W) in [0, 1].
        texture_size: From 0.5 to 3.
    """
    size = tuple(content.shape[1:])
    work = work_size(size, texture_size)
    if work == size:
        return paint(content)
    large_forms = paint(resized(content, work).clamp(0, 1)).clamp(0, 1)
    if min(work) > min(size):
        return resized(large_forms, size).clamp(0, 1)
    native = paint(content)
    return (native + resized(large_forms - resized(native, work), size)).clamp(0, 1)


def work_size(size: tuple[int, int], texture_size: float) -> tuple[int, int]:
    """The size at which strokes have the size asked for, (h, w)."""
    scale = PREVIEW_PX / texture_size / min(size)
    # A strip would grow to any size: enlarged fourfold its strokes are fine enough.
    scale = min(MAX_ENLARGEMENT, max(scale, MIN_SIZE_PX / min(size)))
    return round(size[0] * scale), round(size[1] * scale)


def enlarges(size: tuple[int, int], texture_size: float) -> bool:
    """Whether strokes of this size ask for a larger painting than the picture, (H, W), is."""
    return min(work_size(size, texture_size)) > min(size)


def cubic_weights(size_in: int, size_out: int) -> Tensor:
    """What `resized` does along one side, as a matrix (size_out, size_in).

    Keys 1981, "Cubic convolution interpolation for digital image processing", eq. 4 with a = -1/2,
    stretched to the larger of the two pixels (as `F.interpolate` with antialias).
    """
    scale = size_in / size_out
    centres = (torch.arange(size_out, dtype=torch.double) + 0.5) * scale
    places = torch.arange(size_in, dtype=torch.double) + 0.5
    # Some rows at a time: the fp64 in between is several times as large.
    return torch.cat([_cubic(places, some, max(1.0, scale)) for some in centres.split(64)])


def _cubic(places: Tensor, centres: Tensor, stretch: float) -> Tensor:
    x = (places[None] - centres[:, None]).abs() / stretch
    near = ((1.5 * x - 2.5) * x) * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    weights = torch.where(x < 1, near, torch.where(x < 2, far, 0.0))
    return (weights / weights.sum(1, keepdim=True)).float()


def resized(image: Tensor, size: tuple[int, int]) -> Tensor:
    """(3, h, w) as (3, *size), bicubic; may leave [0, 1] a little."""
    return F.interpolate(image[None], size, mode="bicubic", antialias=True)[0]
