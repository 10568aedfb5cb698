"""A style statistic with its options, as users write it: "eigen top=5% patches=3x3"."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from inspect import signature
from typing import Any

from torch import Tensor

from fst.errors import FstError
from fst.losses.eigen import Amount, shown
from fst.losses.patches import cut
from fst.losses.style import STYLE_LOSSES
from fst.losses.style_loss import StyleLoss

INSTANCES = ("mean", "max", "min")
PATCH_OPTIONS = ("patches", "overlap", "patch_size")  # of every statistic: how pictures are cut


@dataclass(frozen=True)
class Statistic:
    """A statistic of `STYLE_LOSSES` with options.

    Attributes:
        text: As written, without options that say what is so anyhow, sorted.
        loss: What it computes.
        patches: Keyword arguments of `fst.losses.patches.cut`; None leaves pictures whole.
    """

    text: str
    loss: StyleLoss
    patches: Mapping[str, Any] | None = None

    @property
    def has_classic_form(self) -> bool:
        """Whether its targets are Gram matrices, as the absolute sums need them."""
        name, *options = self.text.split()
        return name == "gram" and "centered=yes" not in options

    def pictures(self, picture: Tensor) -> list[Tensor]:
        """The instances that a style picture (3, H, W) gives: its patches, or itself."""
        return [picture] if self.patches is None else cut(picture, **self.patches)


def read_statistic(text: str) -> Statistic:
    """Read a statistic.

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
    known = [*signature(STYLE_LOSSES[name]).parameters, *PATCH_OPTIONS]
    options: dict[str, Any] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if key not in known or key in options:
            raise FstError(
                f"style loss {name}: option {key!r} is unknown or given twice: it takes "
                f"{', '.join(known)}"
            )
        options[key] = _value(name, key, value if equals else "yes")
    patches = _patches(name, options)
    if sum(key in options for key in ("top", "bottom", "slice")) > 1:
        raise FstError(f"style loss {name}: top, bottom and slice: give one of them")
    loss = STYLE_LOSSES[name](**{k: v for k, v in options.items() if k not in PATCH_OPTIONS})
    defaults = {n: p.default for n, p in signature(STYLE_LOSSES[name]).parameters.items()}
    chosen = {k: v for k, v in sorted(options.items()) if k not in defaults or v != defaults[k]}
    written = [name, *(f"{key}={_written(key, value)}" for key, value in chosen.items())]
    return Statistic(" ".join(written), loss, patches)


def _patches(name: str, options: Mapping[str, Any]) -> dict[str, Any] | None:
    if "patches" not in options:
        stray = [key for key in PATCH_OPTIONS if key in options]
        if stray:
            raise FstError(f"style loss {name}: {stray[0]} needs patches=RxC")
        return None
    if "overlap" in options and "patch_size" in options:
        raise FstError(f"style loss {name}: overlap and patch_size: give one of them")
    names = {"patches": "grid", "overlap": "overlap", "patch_size": "size_px"}
    return {names[key]: options[key] for key in PATCH_OPTIONS if key in options}


def _value(name: str, key: str, text: str) -> Any:
    """The value of an option.

    Raises:
        FstError: It is none.
    """
    how = f"style loss {name}: {key}={text}:"
    if key == "instances":
        choice = (*INSTANCES, "beside") if name == "projected" else INSTANCES
        if text not in choice:
            raise FstError(f"{how} expected {', '.join(choice)}")
        return text
    return _READERS[key](how, text)


def _amount(how: str, text: str, beyond: bool = False) -> Amount:
    number = re.fullmatch(r"(\d{1,9}\.?\d{0,9}|\.\d{1,9})(%?)", text)
    if not number:
        raise FstError(f"{how} expected a count such as 8, or a share such as 5%")
    if text.isdecimal():
        amount: Amount = int(text)
    else:
        amount = float(number[1]) / (100 if number[2] else 1)
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
    amount = _amount(how, text, beyond=True)
    if not 0 <= amount < 1:
        raise FstError(f"{how} expected a share from 0 up to below 100%")
    return float(amount)


def _written(key: str, value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
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
