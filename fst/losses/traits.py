"""What training knows of styles beside the statistics of their features."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from fst.losses.colour import colours_of_styles
from fst.losses.grain import grain_of_styles


class Traits(NamedTuple):
    """A row for each style.

    Attributes:
        colours: (S, 3), of `fst.losses.colour.colours_of_styles`; of lightness first.
        grain: (S, 3, K), of `fst.losses.grain.grain_of_styles`.
    """

    colours: Tensor
    grain: Tensor

    @classmethod
    def of(cls, styles: Sequence[Sequence[Tensor]]) -> "Traits | None":
        """Of the pictures (3, H, W) of each style; None without styles."""
        return cls(colours_of_styles(styles), grain_of_styles(styles)) if styles else None

    def rows(self, style_index: Tensor) -> "Traits":
        """Those of style ids (B,)."""
        index = style_index.to(self.colours.device, non_blocking=True)
        return Traits(*(table[index] for table in self))

    def to(self, device: torch.device | str) -> "Traits":
        """The same on a device."""
        return Traits(*(table.to(device) for table in self))
