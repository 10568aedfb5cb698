"""Which picture or pictures each style id stands for."""

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from fst import images
from fst.errors import FstError


@dataclass(frozen=True)
class Style:
    """One style: its id is its place in the list.

    Attributes:
        name: What users call it; letters, digits, `.`, `_` and `-`.
        images: The pictures that show it, as given.
    """

    name: str
    images: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain values for checkpoints and metadata."""
        return {**asdict(self), "images": list(self.images)}


def read_styles(paths: Sequence[str | Path]) -> list[Style]:
    """Make one style of each file, and one of all the pictures in each folder.

    Names are the file or folder names without suffix; a name met twice gets "-2", "-3", ...

    Raises:
        FstError: Lists every path that is missing, holds no picture or cannot be read.
    """
    styles: list[Style] = []
    problems: list[str] = []
    for path in paths:
        try:
            pictures = images.find([path])
        except FstError as error:
            problems.append(str(error))
            continue
        for picture in pictures:
            try:
                images.decode(picture, shorter_side_px=16)
            except FstError as error:
                problems.append(str(error))
        groups = [pictures] if Path(path).is_dir() else [[p] for p in pictures]
        for group in groups:
            stem = Path(path).resolve().name if Path(path).is_dir() else group[0].stem
            name = _free_name(stem, {style.name for style in styles})
            styles.append(Style(name, tuple(str(p) for p in group)))
    if problems:
        raise FstError("--styles: " + "; ".join(problems))
    if not styles:
        raise FstError("--styles: give at least one style picture, for example --styles wave.jpg")
    return styles


def load_pictures(
    styles: Sequence[Style], style_size_px: int | Sequence[int]
) -> list[list[Tensor]]:
    """The pictures of each style, (3, H, W) in [0, 1].

    Args:
        styles: The styles.
        style_size_px: The most that a picture's shorter side may have, or one number a style.
    """
    sizes = [style_size_px] * len(styles) if isinstance(style_size_px, int) else style_size_px
    return [
        [images.load(path, size) for path in style.images]
        for style, size in zip(styles, sizes, strict=True)
    ]


def _free_name(stem: str, taken: set[str]) -> str:
    # A leading dash would read as an option in `--style NAME`.
    base = re.sub(r"[^\w.-]+", "_", stem).strip("._-") or "style"
    name, count = base, 1
    while name in taken:
        count += 1
        name = f"{base}-{count}"
    return name
