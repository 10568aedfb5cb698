"""Which styles of a batch are measured together: those of one statistic, with targets alike."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from fst.errors import FstError
from fst.losses.parse import Statistic
from fst.losses.style_loss import Targets

StyleIndex = Tensor | np.ndarray | Sequence[int] | int  # one style id an image, or one for all


@dataclass(frozen=True)
class StyleGroup:
    """The styles that share a statistic, with targets of one shape.

    Attributes:
        statistic: Theirs.
        ids: Their style ids.
        targets: Layer to tensors of (len(ids), ...), one entry a style.
    """

    statistic: Statistic
    ids: tuple[int, ...]
    targets: dict[str, Targets]

    def members(self, style_ids: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Where the style ids of a batch are of this group, and their places in `targets`."""
        found = [(at, self.ids.index(i)) for at, i in enumerate(style_ids) if i in self.ids]
        pairs = torch.tensor(found, dtype=torch.long).reshape(-1, 2)
        return pairs[:, 0], pairs[:, 1]

    def to(self, device: torch.device) -> "StyleGroup":
        """The same with targets on a device."""
        moved = {n: tuple(t.to(device) for t in parts) for n, parts in self.targets.items()}
        return replace(self, targets=moved)


class Comparison(NamedTuple):
    """What the images of a batch are compared with, on the device of the loss.

    Attributes:
        members: Of each group of styles the places of its images in the batch, and those of their
            targets in the group.
        style_weight: One for all images, or (B,).
        grey: Which images are compared in grey: a slice or, as (B,), a mask.
    """

    members: list[tuple[Tensor, Tensor]]
    style_weight: float | Tensor
    grey: slice | Tensor

    def as_tensors(self, images: Tensor) -> "Comparison":
        """The same with a mask in place of the slice, on the device of the images (B, ...):
        torch.compile would recompile for each new slice."""
        if self.grey == slice(0):  # none, in every batch
            return self
        is_grey = torch.zeros(len(images), dtype=torch.bool)
        is_grey[self.grey] = True
        return self._replace(grey=is_grey.to(images.device, non_blocking=True))


def grouped(
    statistics: Sequence[Statistic], targets: Sequence[dict[str, Targets]], layers: Sequence[str]
) -> list[StyleGroup]:
    """The groups of all styles, of the statistic of each and its targets at some layers."""
    members: dict[Any, list[int]] = {}
    for style_id, (statistic, target) in enumerate(zip(statistics, targets, strict=True)):
        # Those of `instances=beside` are as wide as there are pictures.
        shapes = [part.shape for layer in layers for part in target[layer]]
        members.setdefault((statistic.key, *shapes), []).append(style_id)
    return [
        StyleGroup(
            statistics[ids[0]],
            tuple(ids),
            {
                layer: tuple(map(torch.stack, zip(*(targets[i][layer] for i in ids), strict=True)))
                for layer in layers
            },
        )
        for ids in members.values()
    ]


def each_id(style_index: StyleIndex, count: int) -> Tensor:
    """Style ids of a batch of `count` images as (B,), int64, on the device that they are on.

    Raises:
        FstError: They are no whole numbers, or not one an image.
    """
    ids = torch.as_tensor(style_index)
    if ids.is_floating_point() or ids.is_complex() or ids.dim() > 1:
        raise FstError(f"style ids {style_index!r}: expected one whole number an image")
    if ids.dim() and len(ids) != count:
        raise FstError(
            f"{len(ids)} style ids for {count} images: give one an image, or one for all"
        )
    return ids.long().expand(count)


def check_ids(style_ids: Sequence[int], num_styles: int) -> None:
    """Raise FstError of ids that are no style's."""
    if not all(0 <= style_id < num_styles for style_id in style_ids):
        raise FstError(f"style ids {style_ids}: expected 0 to {num_styles - 1}")
