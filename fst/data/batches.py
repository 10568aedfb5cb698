"""What a training batch may be: our own, or what a user's data loader gives."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from fst.errors import FstError


class StyleBatch(NamedTuple):
    """Photos, and the style that each is to be painted in.

    Attributes:
        photos: (B, 3, H, W), uint8, or floating point in [0, 1].
        style_index: (B,) style ids, int64, on the CPU: a GPU would have to be waited for to know
            which they are.
    """

    photos: Tensor
    style_index: Tensor

    def to(self, device: torch.device | str) -> "StyleBatch":
        """The photos on a device, the style ids where they are; Lightning calls this."""
        not_waiting = torch.device(device).type == "cuda"
        return self._replace(photos=self.photos.to(device, non_blocking=not_waiting))


def read_batch(
    batch: Any, num_styles: int, seed: Callable[[], int], check: bool = True
) -> StyleBatch:
    """Any batch as photos in [0, 1], fp32, channels last, and style ids, drawn ones on the CPU.

    Args:
        batch: A `StyleBatch`; or images alone, or a list or tuple that begins with them (image and
            label, say): then each image gets a style drawn at random.
        num_styles: S, how many to draw from.
        seed: Gives that of the draw.
        check: The range of float images too, for which a GPU has to be waited for.

    Raises:
        FstError: There are no images (B, 3, H, W) in it, or they are not in [0, 1].
    """
    images = batch[0] if isinstance(batch, list | tuple) and batch else batch
    if not isinstance(images, Tensor) or images.dim() != 4 or images.shape[1] != 3:
        what = tuple(images.shape) if isinstance(images, Tensor) else type(images).__name__
        raise FstError(
            f"a batch begins with {what}: expected images (B, 3, H, W), uint8 or float in [0, 1]"
        )
    if isinstance(batch, StyleBatch):
        style_index = batch.style_index
    else:
        generator = torch.Generator().manual_seed(seed())
        style_index = torch.randint(num_styles, (len(images),), generator=generator)
    if not images.is_floating_point():
        images = images.float() / 255
    elif check:
        _check_range(images)
    photos = images.float().contiguous(memory_format=torch.channels_last)
    return StyleBatch(photos, style_index)


def _check_range(images: Tensor) -> None:
    low, high = (value.item() for value in images.aminmax())
    if not -0.5 <= low <= high <= 1.5:  # resizing may overshoot a little
        raise FstError(
            f"float images of values from {low:g} to {high:g}: expected [0, 1], not normalised"
        )
