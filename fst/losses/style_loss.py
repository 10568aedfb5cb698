"""What a style statistic is, those known by name, and what all of them share."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from torch import Tensor

from fst.errors import FstError

Targets = tuple[Tensor, ...]
Features = Sequence[Tensor]  # of the images of ONE style, each (1, C, H, W)
FLOOR = 1e-12  # a black style image has an all-zero Gram matrix at relu1_1 at worst


class StyleStatistic(Protocol):
    """What describes a style at one layer of the loss network, and how far features are from it.

    Any object with these two methods is one: `PerceptualLoss(network, style_loss=MyStatistic())`.
    It is asked layer by layer; all state of a style is in its targets, which move between devices
    and processes.

    Examples:
        >>> class Means:
        ...     def target(self, features):
        ...         means = [image.mean((2, 3))[0] for image in features]  # each (C,)
        ...         return (sum(means) / len(means),)
        ...     def distance(self, features, means):
        ...         return (features.mean((2, 3)) - means).square().sum(1)
    """

    def target(self, features: Features) -> Targets:
        """What is computed, once, from the pictures of ONE style: tensors without a batch.

        Args:
            features: Of each picture, (1, C, H, W), at least 0.

        Raises:
            FstError: The statistic does not fit the layer.
        """

    def distance(self, features: Tensor, *targets: Tensor) -> Tensor:
        """How far each image of a batch is from the style it is painted in; gradients flow.

        Args:
            features: (B, C, H, W), fp32 or, under autocast, half precision.
            targets: What `target` returned for the style of each image, each (B, ...).

        Returns:
            (B,), at least 0, relative to the size of the target: one weight suits all styles.
        """


@dataclass(frozen=True)
class StyleLoss:
    """A `StyleStatistic` of functions.

    Attributes:
        target: As of `StyleStatistic`.
        distance: As there.
        distances: Optional: `distance` for several layers at once, where that is faster on a GPU.
            Takes the features and the targets of each layer; returns the distances at each.
    """

    target: Callable[[Features], Targets]
    distance: Callable[..., Tensor]
    distances: Callable[[Sequence[Tensor], Sequence[Targets]], list[Tensor]] | None = None


# Their keyword arguments are the options that users write, see `fst.losses.parse`.
STYLE_LOSSES: dict[str, Callable[..., StyleStatistic]] = {}
Maker = TypeVar("Maker", bound=Callable[..., StyleStatistic])


def register(name: str) -> Callable[[Maker], Maker]:
    """Enter a class of statistics, or a function that makes one, under a name.

    The name can then be written wherever a statistic is: in Python, in YAML and, where the module
    is imported, on the command line. Keyword arguments become options; their defaults tell how an
    option is read: yes or no, a whole number, a number or a word.

    Args:
        name: Small letters, digits and "_".

    Raises:
        FstError: Another statistic has the name.

    Examples:
        >>> @register("nothing")
        ... class Nothing:
        ...     def __init__(self, scale: float = 1.0): ...
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise FstError(f"a statistic's name {name!r}: expected small letters, digits and _")

    def enter(make: Maker) -> Maker:
        known = STYLE_LOSSES.get(name, make)
        if known.__qualname__ != make.__qualname__:  # a notebook's cell may run again
            raise FstError(f"there is a style loss {name!r} already: choose another name")
        STYLE_LOSSES[name] = make
        return make

    return enter


def aggregated(rows: Tensor, instances: str) -> Tensor:
    """Mean, max or min over the first dimension, one row an instance, element by element.

    Thesis, "descriptive statistics". Maxima and minima of Gram matrices are symmetric, but can
    have negative eigenvalues.
    """
    return {"mean": rows.mean, "max": rows.amax, "min": rows.amin}[instances](0)
