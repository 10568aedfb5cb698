"""What a style loss is, and what all of them share."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from torch import Tensor

Targets = tuple[Tensor, ...]
Features = Sequence[Tensor]  # of the images of ONE style, each (1, C, H, W)
FLOOR = 1e-12  # a black style image has an all-zero Gram matrix at relu1_1 at worst


class StyleLoss(NamedTuple):
    """A style statistic and how far features are from it, at one layer.

    Attributes:
        target: Takes the features of the images of ONE style, each (1, C, H, W), and returns its
            target: tensors of any shape without a batch dimension.
        distance: Takes features (B, C, H, W) and the targets of their styles, each (B, ...), and
            returns the distances (B,), fp32.
    """

    target: Callable[[Features], Targets]
    distance: Callable[..., Tensor]


def aggregated(rows: Tensor, instances: str) -> Tensor:
    """Mean, max or min over the first dimension, one row an instance, element by element.

    Thesis, "descriptive statistics". Maxima and minima of Gram matrices are symmetric, but can
    have negative eigenvalues.
    """
    return {"mean": rows.mean, "max": rows.amax, "min": rows.amin}[instances](0)
