"""A style statistic with its options, as users write it: "eigen top=5% patches=3x3".

The one place where such text is read; `statistic_of` is what others ask, of text and objects alike.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from inspect import Parameter, signature
from typing import Any

import torch
from torch import Tensor

from fst.errors import FstError
from fst.losses import style
from fst.losses.gram import Amount, shown
from fst.losses.patches import cut
from fst.losses.style_loss import STYLE_LOSSES, Features, StyleLoss, StyleStatistic, Targets

INSTANCES = ("mean", "max", "min")
# Of every statistic: how pictures are cut, and what `cut` calls that.
PATCH_OPTIONS = {"patches": "grid", "overlap": "overlap", "patch_size": "size_px"}


@dataclass(frozen=True)
class Statistic:
    """A statistic as a loss uses it.

    Attributes:
        text: As written, without options that say what is so anyhow, sorted; of an object of a
            user's the name of its class.
        patches: Keyword arguments of `fst.losses.patches.cut`; None leaves pictures whole.
        is_named: Whether the text says all: those of one text are the same.
        has_classic_form: Whether its targets are Gram matrices, as the absolute sums need them.
    """

    text: str
    loss: StyleStatistic
    patches: Mapping[str, Any] | None = None
    is_named: bool = True
    has_classic_form: bool = False

    @property
    def key(self) -> Any:
        """Equal for statistics that compute the same."""
        return self.text if self.is_named else id(self.loss)

    def target(self, layer: str, features: Features) -> Targets:
        """Its target at a layer; an FstError names the layer, where it does not fit."""
        try:
            return self.loss.target(features)
        except FstError as error:
            raise FstError(f"style loss {self.text}, {layer}: {error}") from None

    def distances(self, features: Sequence[Tensor], targets: Sequence[Targets]) -> list[Tensor]:
        """How far a batch is from its styles at several layers, (B,) at each."""
        if isinstance(self.loss, StyleLoss) and self.loss.distances is not None:
            return self.loss.distances(features, targets)
        return [self.loss.distance(f, *t) for f, t in zip(features, targets, strict=True)]

    def check(self, channels: Mapping[str, int]) -> None:
        """Raise FstError where it asks for more than a layer, of so many channels, has."""
        for layer, count in channels.items():
            self.target(layer, [torch.rand(1, count, 4, 4)])

    def classic(self) -> "Statistic":
        """The same as absolute sums; FstError where it has no such form."""
        if not self.has_classic_form:
            raise FstError(f"style loss {self.text!r} has no classic form: use gram")
        return replace(self, loss=StyleLoss(self.loss.target, style.classic_distance))

    def pictures(self, picture: Tensor) -> list[Tensor]:
        """The instances that a style picture (3, H, W) gives: its patches, or itself."""
        return [picture] if self.patches is None else cut(picture, **self.patches)


def statistic_of(style_loss: str | StyleStatistic) -> Statistic:
    """A statistic of its name and options, or of an object with the methods of `StyleStatistic`.

    Raises:
        FstError: It is neither, or the text is wrong.
    """
    if isinstance(style_loss, str):
        return read_statistic(style_loss)
    has_methods = all(callable(getattr(style_loss, n, None)) for n in ("target", "distance"))
    if not has_methods or isinstance(style_loss, type):
        raise FstError(
            f"style loss {style_loss!r}: expected a name such as 'gram', or an object with the "
            "methods target and distance"
        )
    return Statistic(type(style_loss).__name__, style_loss, is_named=False)


def read_statistic(text: str) -> Statistic:
    """The statistic of a text.

    Options of all: instances=mean|max|min (several pictures or patches of one style), patches=RxC,
    overlap=SHARE, patch_size=PX. Of gram, eigen and projected: centered. Of eigen: top=, bottom= or
    slice=FROM-TO, and ones. Of projected: rank=, and instances=beside. Of sliced: directions=,
    seed=. Amounts of eigenpairs are counts (8) or shares (5%, 0.05).

    Raises:
        FstError: Name or option unknown, or a value that does not fit.

    Examples:
        >>> read_statistic("eigen  top=0.05 ").text
        'eigen top=5%'
        >>> read_statistic("projected patches=2x2 instances=beside").patches
        {'grid': (2, 2)}
    """
    name, *words = text.split() or [""]
    if name not in STYLE_LOSSES:
        option = name in ("instances", *PATCH_OPTIONS)
        hint = f"an option of each, as in 'gram {name}=...'" if option else "unknown"
        raise FstError(f"style loss {name!r} is {hint}: choose among {', '.join(STYLE_LOSSES)}")
    return _read(name, tuple(words), STYLE_LOSSES[name])


@lru_cache
def _read(name: str, words: tuple[str, ...], make: Callable[..., StyleStatistic]) -> Statistic:
    takes = signature(make).parameters
    known = [*takes, *PATCH_OPTIONS]
    options: dict[str, Any] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if key not in known or key in options:
            raise FstError(
                f"style loss {name}: option {key!r} is unknown or given twice: it takes "
                f"{', '.join(known)}"
            )
        options[key] = _value(name, key, value if equals else "yes", takes.get(key))
    patches = _patches(name, options)
    missing = [n for n, p in takes.items() if p.default is Parameter.empty and n not in options]
    if missing:
        raise FstError(f"style loss {name}: give {', '.join(f'{key}=...' for key in missing)}")
    loss = make(**{k: v for k, v in options.items() if k not in PATCH_OPTIONS})
    chosen = {k: v for k, v in sorted(options.items()) if k not in takes or v != takes[k].default}
    text = " ".join([name, *(f"{key}={_written(key, value)}" for key, value in chosen.items())])
    return Statistic(
        text, loss, patches, has_classic_form=name == "gram" and not options.get("centered")
    )


def _patches(name: str, options: Mapping[str, Any]) -> dict[str, Any] | None:
    if "patches" not in options:
        stray = [key for key in PATCH_OPTIONS if key in options]
        if stray:
            raise FstError(f"style loss {name}: {stray[0]} needs patches=RxC")
        return None
    if "overlap" in options and "patch_size" in options:
        raise FstError(f"style loss {name}: overlap and patch_size: give one of them")
    return {PATCH_OPTIONS[key]: options[key] for key in PATCH_OPTIONS if key in options}


def _value(name: str, key: str, text: str, takes: Parameter | None) -> Any:
    """The value of an option; of one that is not ours by the kind of its default."""
    how = f"style loss {name}: {key}={text}:"
    if key == "instances":
        choice = (*INSTANCES, "beside") if name == "projected" else INSTANCES
        if text not in choice:
            raise FstError(f"{how} expected {', '.join(choice)}")
        return text
    default = None if takes is None else takes.default
    reader = _READERS.get(key) or _READERS_BY_KIND.get(type(default))
    return reader(how, text) if reader else text


def _amount(how: str, text: str, beyond: bool = False) -> Amount:
    number = re.fullmatch(r"(\d{1,9}\.?\d{0,9}|\.\d{1,9})(%?)", text)
    if not number:
        raise FstError(f"{how} expected a count such as 8, or a share such as 5%")
    share = float(number[1]) / (100 if number[2] else 1)
    amount: Amount = int(text) if text.isdecimal() else share
    if not beyond and (amount <= 0 or (isinstance(amount, float) and amount > 1)):
        raise FstError(f"{how} expected a count from 1 up, or a share above 0 to 100%")
    return amount


def _slice(how: str, text: str) -> tuple[Amount, Amount]:
    parts = text.split("-")
    if len(parts) != 2:
        raise FstError(f"{how} expected FROM-TO, such as 10%-20%")
    first, last = _amount(how, parts[0], beyond=True), _amount(how, parts[1])
    if isinstance(first, float) != isinstance(last, float) and first != 0:
        raise FstError(f"{how} expected two counts or two shares")
    if first >= last:
        raise FstError(f"{how} it ends before it begins")
    return first, last


def _yes(how: str, text: str) -> bool:
    if text not in ("yes", "no"):
        raise FstError(f"{how} expected yes or no")
    return text == "yes"


def _whole(how: str, text: str, least: int) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", text) or int(text) < least:
        raise FstError(f"{how} expected a whole number from {least} up")
    return int(text)


def _grid(how: str, text: str) -> tuple[int, int]:
    sides = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", text)
    if not sides:
        raise FstError(f"{how} expected ROWSxCOLUMNS, such as 3x3")
    return int(sides[1]), int(sides[2])


def _share(how: str, text: str) -> float:
    share = _amount(how, text, beyond=True)
    if share >= 1:
        raise FstError(f"{how} expected a share from 0 up to below 100%")
    return float(share)


def _number(how: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise FstError(f"{how} expected a number") from None


def _written(key: str, value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if key not in _READERS:
        return str(value)
    if key == "patches":
        return "x".join(map(str, value))
    if key == "slice":
        return "-".join(shown(end) for end in value)
    return value if isinstance(value, str) else shown(value)


_READERS = {
    "top": _amount,
    "bottom": _amount,
    "rank": _amount,
    "slice": _slice,
    "ones": _yes,
    "centered": _yes,
    "patches": _grid,
    "overlap": _share,
    "patch_size": partial(_whole, least=32),
    "directions": partial(_whole, least=1),
    "seed": partial(_whole, least=0),
}
_READERS_BY_KIND = {bool: _yes, int: partial(_whole, least=0), float: _number}
