"""Consistency: strokes belong to the photo, wherever it lies in the frame."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

EACH = 4  # of so many images of a run one is a twin: the second or the last of them
MOVE_PX = 7  # the largest move, each way
MARGIN_PX = 8  # not compared at each side: what is painted there depends on the padding


@dataclass(frozen=True)
class Twins:
    """Photos of a batch that show again what the one before shows, a few pixels further on.

    A network that paints both alike paints what is in the photo. One that does not draws texture
    on flat ground, shimmers in video, and keeps step with its own pixel grid (Wang et al. 2020,
    *Consistent Video Style Transfer via Relaxation and Regularization*, whose term for motion
    this is). Differs from the paper: moves of whole pixels, no noise, and no further image to
    paint, because the twin is an image of the batch like any other.

    Attributes:
        batch_size: Photos of the batch, B.
        first: Place of the first twin; every `EACH`-th from there on is one.
        down: Rows by which what is seen moves up.
        right: Columns by which it moves left.
    """

    batch_size: int
    first: int
    down: int
    right: int

    @classmethod
    def draw(cls, batch_size: int, number: int, seed: int) -> "Twins":
        """Those of a batch that begins with image `number` of the run.

        The seed, one for all processes of a step, draws the move and which image it is, so that
        small batches have one as often as not. Together they have those of one large batch; but for
        twins whose photo is in another batch, which stay as they are.
        """
        generator = torch.Generator().manual_seed(seed)
        down, right = torch.randint(-MOVE_PX, MOVE_PX + 1, (2,), generator=generator).tolist()
        place = (1, EACH - 1)[torch.randint(2, (1,), generator=generator).item()]
        first = (place - number) % EACH
        return cls(batch_size, first or EACH, down, right)

    @property
    def places(self) -> range:
        """Of the twins in the batch; their photos are one before."""
        return range(self.first, self.batch_size, EACH)

    def join(self, photos: Tensor, style_ids: Tensor) -> tuple[Tensor, Tensor]:
        """The batch with its twins: photos (B, 3, H, W) and (B,) style ids."""
        if not self.places:
            return photos, style_ids
        twins, firsts = self._slices()
        height, width = photos.shape[2:]
        top, left = MOVE_PX + self.down, MOVE_PX + self.right
        wide = F.pad(photos[firsts], [MOVE_PX] * 4, mode="reflect")
        photos, style_ids = photos.clone(), style_ids.clone()
        photos[twins] = wide[..., top : top + height, left : left + width]
        style_ids[twins] = style_ids[firsts]
        return photos, style_ids

    def difference(self, images: Tensor) -> Tensor:
        """Mean squared difference between what is painted of the twins and of their photos.

        Args:
            images: (B, 3, H, W), the batch of `join`, painted.

        Returns:
            Scalar, at least 0: the sum over the twins, over a quarter of B, so that the mean over
            batches is that over images. 0 where there are none, or no pixels beyond the margins.
        """
        height, width = (size - 2 * MARGIN_PX for size in images.shape[2:])
        if not self.places or min(height, width) <= 0:
            return images.new_zeros(())
        top, left = MARGIN_PX + self.down, MARGIN_PX + self.right
        twins, firsts = (images[where] for where in self._slices())
        seen_again = twins[..., MARGIN_PX : MARGIN_PX + height, MARGIN_PX : MARGIN_PX + width]
        difference = seen_again - firsts[..., top : top + height, left : left + width]
        return difference.square().mean() * (len(self.places) * EACH / self.batch_size)

    def _slices(self) -> tuple[slice, slice]:
        """Of the twins, and of their photos."""
        return slice(self.first, None, EACH), slice(self.first - 1, self.batch_size - 1, EACH)
