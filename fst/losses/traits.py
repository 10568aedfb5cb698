"""Traits of styles beside the statistics of their features, and the terms of training on them."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from fst.losses.colour import colours_of_styles, paleness
from fst.losses.grain import excess_grain, grain_of_styles
from fst.losses.tone import misplaced_tone


class Traits(NamedTuple):
    """A row for each style.

    Attributes:
        colours: (S, 3), of `fst.losses.colour.colours_of_styles`; of lightness first.
        grain: (S, 3, K), of `fst.losses.grain.grain_of_styles`.
    """

    colours: Tensor
    grain: Tensor

    @classmethod
    @torch.no_grad()
    def of(cls, styles: Sequence[Sequence[Tensor]]) -> "Traits | None":
        """Of the pictures (3, H, W) of each style; None without styles."""
        return cls(colours_of_styles(styles), grain_of_styles(styles)) if styles else None

    def rows(self, style_index: Tensor) -> "Traits":
        """Those of style ids (B,)."""
        index = style_index.to(self.colours.device, non_blocking=True)
        return Traits(*(table[index] for table in self))

    def terms(
        self, images: Tensor, photos: Tensor, grain: float, colour: float, tone: float
    ) -> Iterator[tuple[str, float, Tensor]]:
        """Name, weight and value of the terms that have a weight.

        Args:
            images: Stylized images, (B, 3, H, W) in [0, 1]; the traits are of their styles.
            photos: Theirs, the same shape.
            grain: Weight of `excess_grain`.
            colour: Weight of `paleness`.
            tone: Weight of `misplaced_tone`.
        """
        if grain:
            yield "grain", grain, excess_grain(images, self.grain)
        if colour:
            yield "colour", colour, paleness(images, self.colours)
        if tone:
            yield "tone", tone, misplaced_tone(images, photos, self.colours[:, 0])

    def to(self, device: torch.device | str) -> "Traits":
        """The same on a device."""
        return Traits(*(table.to(device) for table in self))
