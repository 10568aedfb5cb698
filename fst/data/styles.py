"""Which picture or pictures each style id stands for."""

import hashlib
import itertools
import math
import os
import re
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from fst.errors import FstError
from fst.io import images
from fst.io.decode import KeptFile
from fst.networks.sizes import MIN_VGG_PX

SPECIFICATION = ("images", "name", "weight", "size", "statistic", "options")


@dataclass(frozen=True)
class Style:
    """One style: its id is its place in the list.

    Attributes:
        name: What users call it; letters, digits, `.`, `_` and `-`.
        images: The pictures that show it, as given; each is read once, when it is first asked for.
        weight: Of the style loss; None, here and below: as in the rest of the run.
        size_px: Shorter side of the pictures.
        statistic: What describes it, see `fst.losses.parse.read_statistic`.
    """

    name: str
    images: tuple[str, ...]
    weight: float | None = None
    size_px: int | None = None
    statistic: str | None = None

    def __post_init__(self) -> None:
        kept = (i if isinstance(i, KeptFile) else KeptFile(i) for i in self.images)
        object.__setattr__(self, "images", tuple(kept))

    def as_dict(self) -> dict[str, Any]:
        """Plain values for checkpoints and metadata; without those not set."""
        values = {**vars(self), "images": list(map(str, self.images))}
        return {key: value for key, value in values.items() if value is not None}

    @classmethod
    def of(cls, style: "Style | str | Path | Mapping[str, Any]") -> "Style":
        """A style of a picture, of a folder of its pictures, or of what `as_dict` gave.

        Raises:
            FstError: The folder holds no picture, or a mapping is no style's.
        """
        if isinstance(style, Style):
            return style
        if isinstance(style, Mapping):
            return _from_mapping(style)
        return _found(style)[0] if os.path.isdir(style) else cls(Path(style).stem, (str(style),))


def _from_mapping(values: Mapping[str, Any]) -> Style:
    _check_keys(values, [field.name for field in fields(Style)])
    paths = _listed(values["images"])
    name = values.get("name") or Path(paths[0]).stem
    return Style(**{**values, "name": name, "images": tuple(paths)})


def _listed(given: Any) -> Sequence:
    return given if isinstance(given, list | tuple) else [given]


def _check_keys(values: Mapping[str, Any], known: Sequence[str]) -> None:
    unknown = [key for key in values if key not in known]
    if unknown or not values.get("images"):
        wrong = f"the unknown key {unknown[0]!r}" if unknown else "no images"
        raise FstError(f"a style has {wrong}: it takes {', '.join(known)}")


def read_styles(entries: Sequence[str | Path | Mapping[str, Any]]) -> list[Style]:
    """Make styles of files, folders and specifications.

    A file is a style, a folder one style of several pictures. A specification is a mapping of
    "images" (a path or several, all one style) and, as wanted, "name", "weight", "size" (px),
    "statistic" and "options" (of the statistic). Names are by default the file or folder names
    without suffix; one met twice gets "-2", "-3", ...

    Raises:
        FstError: Lists every path that is missing, holds no picture or cannot be read, and every
            specification that is wrong.
    """
    styles: list[Style] = []
    problems: list[str] = []
    for entry in entries:
        try:
            found = _specified(entry) if isinstance(entry, Mapping) else _found(entry)
        except FstError as error:
            problems.append(str(error))
            continue
        for style in found:
            problems += _unreadable(style.images)
            taken = {other.name for other in styles}
            styles.append(replace(style, name=_free_name(style.name, taken)))
    if problems:
        raise FstError("; ".join(problems))
    if not styles:
        raise FstError("give at least one style picture")
    return styles


def _found(path: str | Path) -> list[Style]:
    """The styles that a path stands for: several, where it is a pattern."""
    pictures = images.find([path])
    if os.path.isdir(path):
        return [Style(Path(path).resolve().name, tuple(map(str, pictures)))]
    return [Style(picture.stem, (str(picture),)) for picture in pictures]


def _specified(entry: Mapping[str, Any]) -> list[Style]:
    """The style of a specification."""
    _check_keys(entry, SPECIFICATION)
    paths = _listed(entry["images"])
    if not all(isinstance(path, str | Path) for path in paths):
        given = entry["images"]
        raise FstError(f"a style has images {given!r}: expected a path or a list of paths")
    first = Path(paths[0])
    name = str(entry.get("name") or (first.resolve().name if os.path.isdir(first) else first.stem))
    # Not isinstance: true and false are whole numbers to it.
    weight, size = entry.get("weight"), entry.get("size")
    if weight is not None and (type(weight) not in (int, float) or not 0 < weight < math.inf):
        raise FstError(f"style {name}: weight {weight!r} is not a number above 0")
    if size is not None and (type(size) is not int or size < MIN_VGG_PX):
        raise FstError(f"style {name}: size {size!r} is not a whole number from {MIN_VGG_PX} up")
    pictures = tuple(map(str, images.find(paths)))
    return [Style(name, pictures, weight, size, _statistic(name, entry))]


def _statistic(name: str, entry: Mapping[str, Any]) -> str | None:
    given = entry.get("statistic")
    options = entry.get("options") or {}
    if not isinstance(options, Mapping):
        raise FstError(f"style {name}: options {options!r}: expected names and values")
    if options and not given:
        raise FstError(f"style {name}: options need a statistic")
    words = [f"{key}={_word(key, value)}" for key, value in options.items()]
    return " ".join([*map(str, _listed(given)), *words]) if given else None


def _word(key: str, value: Any) -> str:
    """A value of YAML as an option's: true is yes, a list of two a grid or a slice."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    between = "x" if key == "patches" else "-"
    return between.join(map(str, value)) if isinstance(value, list) else str(value)


def _unreadable(pictures: Sequence[str]) -> list[str]:
    """What is wrong with those that cannot be read."""
    problems = []
    for picture in pictures:
        try:
            images.decode(picture, shorter_side_px=16)
        except FstError as error:
            problems.append(str(error))
    return problems


def fingerprint(style: Style) -> str:
    """Tells pictures apart whose files have the same names: a digest of their contents."""
    digest = hashlib.sha256()
    for path in style.images:
        digest.update(hashlib.sha256(path.contents()).digest())
    return digest.hexdigest()[:16]


def load_pictures(
    styles: Sequence[Style], style_size_px: int | Sequence[int]
) -> list[list[Tensor]]:
    """The pictures of each style, (3, H, W) in [0, 1], with `style_size_px` (one, or one a style)
    the most that a shorter side has."""
    sizes = [style_size_px] * len(styles) if isinstance(style_size_px, int) else style_size_px
    return [
        [images.load(path, size) for path in style.images]
        for style, size in zip(styles, sizes, strict=True)
    ]


def _free_name(stem: str, taken: Container[str]) -> str:
    # A leading dash would read as an option in `--style NAME`.
    return numbered(re.sub(r"[^\w.-]+", "_", stem).strip("._-") or "style", taken)


def numbered(base: str, taken: Container[str]) -> str:
    """A name that is not taken: the base, or with "-2", "-3", ... behind it."""
    names = (base if count == 1 else f"{base}-{count}" for count in itertools.count(1))
    return next(name for name in names if name not in taken)
