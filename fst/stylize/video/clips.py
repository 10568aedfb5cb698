"""What all clips are, whatever file they come from: frames with times, and what goes along."""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

from torch import Tensor

from fst.errors import FstError
from fst.io.paths import (
    CLIP_SUFFIXES,
    GIF_SUFFIX,
    IMAGE_SUFFIXES,
    VIDEO_SUFFIXES,
    find,
    printable,
)

DEFAULT_RATE = Fraction(25)  # frames a second, where nothing says how many
MIN_RATE, MAX_RATE = Fraction(1, 1000), 1000  # anything else is a mistake


@dataclass
class Frame:
    """One frame."""

    image: Tensor  # (3 or 4, H, W) in [0, 1], upright, sRGB
    start: Fraction  # seconds
    duration: Fraction | None = None  # seconds; None until the next one
    name: str = ""  # of its file, where it has one of its own


@dataclass
class Clip:
    """Frames in their order, read one at a time.

    Iterating gives a `Frame` each, and between them packets of sound or subtitles (`av.Packet`)
    that are to be copied.
    """

    path: Path
    size: tuple[int, int]  # (H, W) of the frames
    items: Iterator[Any]
    count: int | None = None  # of frames, as far as the file says
    rate: Fraction = DEFAULT_RATE  # frames a second, on average
    time_base: Fraction = Fraction(1, 1000)  # seconds; all times are multiples of it
    pixel_aspect: Fraction = Fraction(1)  # width of a pixel for its height
    streams: list[Any] = field(default_factory=list)  # to copy
    loop: int | None = None  # how often a GIF repeats; 0 for ever, None plays it once
    problems: list[str] = field(default_factory=list)  # what was damaged, while it is read
    close: Any = lambda: None

    def __enter__(self) -> "Clip":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def frame_files(given: str | list[str]) -> list[Path]:
    """The pictures of a folder, a pattern or a list as frames of one clip, in order.

    Numbers in names count as numbers: frame2.png comes before frame10.png.

    Raises:
        FstError: There are none, or two have one name.
    """
    files = sorted(find(given), key=lambda path: (str(path.parent), _natural(path.name)))
    names = [path.name for path in files]
    if len(set(names)) < len(names):
        twice = next(name for name, count in Counter(names).items() if count > 1)
        raise FstError(f"frames of one clip: two are named {printable(twice)}; give one folder")
    return files


def _natural(name: str) -> list[tuple[int, Any]]:
    parts = re.split(r"([0-9]+)", name)  # text, number, text, number, ...
    return [(0, int(part)) if place % 2 else (1, part) for place, part in enumerate(parts)]


def is_folder_name(path: Path) -> bool:
    """Whether pictures that are to become a clip stay pictures, in a folder of that name."""
    return path.is_dir() or path.suffix.lower() not in (*CLIP_SUFFIXES, *IMAGE_SUFFIXES)


def check_target(path: Path) -> None:
    """Refuse the name of a clip to write.

    Raises:
        FstError: Its suffix is none of a video or GIF.
    """
    suffix = path.suffix.lower()
    if suffix in (*VIDEO_SUFFIXES, GIF_SUFFIX):
        return
    known = " ".join((*VIDEO_SUFFIXES, GIF_SUFFIX))
    raise FstError(f"cannot write {printable(path)}: the suffix of a clip must be one of {known}")
