"""Clips: what they are, whatever file they come from, and those of one fst-infer.

Without torch, so that a command line can be checked before it is there.
"""

import argparse
import glob
import os
import re
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fst.errors import FstError
from fst.io.paths import (
    CLIP_SUFFIXES,
    GIF_SUFFIX,
    IMAGE_SUFFIXES,
    VIDEO_SUFFIXES,
    check_place,
    clip,
    find,
    printable,
)
from fst.runtime.console import on_signals, print_result, tell
from fst.stylize.folder.naming import (
    BLEND_ID,
    check_can_take,
    check_folder_name,
    check_free,
    clash,
    identity,
    safe_name,
)
from fst.stylize.options import PaintOptions

if TYPE_CHECKING:
    from torch import Tensor

    from fst.stylize.stylizer import Stylizer

PROGRAM = "fst-infer"
DEFAULT_RATE = Fraction(25)  # frames a second, where nothing says how many
MIN_RATE, MAX_RATE = Fraction(1, 1000), 1000  # anything else is a mistake
WRITTEN_SUFFIXES = (*VIDEO_SUFFIXES, GIF_SUFFIX)
# A source, the style to paint it in, the target, and whether that may get another name.
Job = tuple[Any, Any, Path, bool]


@dataclass
class Frame:
    """One frame."""

    image: "Tensor"  # (3 or 4, H, W) in [0, 1], upright, sRGB
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
    name, count = Counter(path.name for path in files).most_common(1)[0]
    if count > 1:
        raise FstError(f"frames of one clip: two are named {printable(name)}; give one folder")
    return files


def _natural(name: str) -> list[str | int]:
    parts = re.split(r"([0-9]+)", name)  # text, number, text, number, ...
    return [int(part) if place % 2 else part for place, part in enumerate(parts)]


def is_folder_name(path: Path) -> bool:
    """Whether pictures that are to become a clip stay pictures, in a folder of that name."""
    return path.is_dir() or path.suffix.lower() not in (*CLIP_SUFFIXES, *IMAGE_SUFFIXES)


def check_target(path: Path) -> None:
    """Refuse the name of a clip to write with an FstError if it is that of no video or GIF."""
    if path.suffix.lower() not in WRITTEN_SUFFIXES:
        known = " ".join(WRITTEN_SUFFIXES)
        raise FstError(
            f"cannot write {printable(path)}: the suffix of a clip must be one of {known}"
        )


# ---- those of one fst-infer ---------------------------------------------------------------------


def clip_jobs(args: argparse.Namespace, styles: dict[int, str]) -> list[Job]:
    """What to paint into what.

    Raises:
        FstError: A clip is not there, or the output cannot be written.
    """
    output, is_sequence = args.output or "", args.sequence is not None
    # os.path.splitext, not Path.suffix: "out.mp4/" is a folder.
    suffix = os.path.splitext(output)[1].lower()
    is_file = suffix in (*CLIP_SUFFIXES, *IMAGE_SUFFIXES) and not os.path.isdir(output)
    if is_file:
        check_target(Path(output))
    sources = [frame_files(args.inputs)] if is_sequence else _found(args.inputs)
    count = len(sources) * len(styles)
    if output and not os.path.isdir(output):
        check_can_take(output, is_file, count, "clips", "clip such as a.mp4")
        if count == 1 and not is_file and not is_sequence:
            check_folder_name(output, CLIP_SUFFIXES, "clip")
    inputs = {identity(file) for file in (sources[0] if is_sequence else sources)} - {None}
    jobs: list[Job] = []
    for source, (style_id, name) in product(sources, styles.items()):
        style = safe_name(name) or f"style{style_id}"
        target = _target(output, is_file, source, style, len(styles) > 1)
        # Of two clips that would get one name the second gets a number.
        is_named = is_file or is_sequence
        numbered = not is_named and (not args.overwrite or target in {job[2] for job in jobs})
        files = [target]
        if is_sequence and is_folder_name(target):  # a file for each frame
            files = [target / frame.name for frame in source]
        check_place(files[0])
        for path in [] if numbered else files:
            if identity(path) in inputs:
                raise FstError(clash(path))
            check_free(path, args.overwrite)
        jobs.append((source, args.blend if style_id == BLEND_ID else style_id, target, numbered))
    return jobs


def _target(output: str, is_file: bool, source: Any, style: str, several: bool) -> Path:
    """The file or folder that a clip is painted into, in one of several styles."""
    if is_file:
        return Path(output)
    if isinstance(source, list):
        own_name = f"{source[0].absolute().parent.name or 'frames'}_{style}"
        return Path(output, style) if output and several else Path(output or own_name)
    kind = source.suffix.lower()
    kind = kind if kind in WRITTEN_SUFFIXES else ".mp4"
    return Path(output, f"{clip(source.stem, 200 - len(style.encode()))}_{style}{kind}")


def _found(inputs: list[str]) -> list[Path]:
    """Files and patterns of videos as files."""
    matches = {
        given: [given] if os.path.lexists(given) else sorted(glob.glob(given)) for given in inputs
    }
    if missing := [given for given, files in matches.items() if not files]:
        raise FstError(f"no such file: {' '.join(missing)}")
    return list(dict.fromkeys(Path(file) for files in matches.values() for file in files))


@contextmanager
def stopping() -> Iterator[Callable[[], bool]]:
    """Tells whether Ctrl-C or SIGTERM has asked to stop; a second one is an interrupt."""
    asked: list[int] = []

    def ask(number: int, _: object) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(number)

    with on_signals(ask, signal.SIGINT, signal.SIGTERM):
        yield lambda: bool(asked)


def paint_clips(
    args: argparse.Namespace, stylizer: "Stylizer", styles: dict[int, str], options: PaintOptions
) -> int:
    """Paint all clips in their styles, telling their paths and problems; returns the exit code.

    Raises:
        FstError: As `clip_jobs`.
    """
    jobs = clip_jobs(args, styles)
    with stopping() as stopped:
        return _paint_in_turn(args, stylizer, jobs, options, stopped)


def _paint_in_turn(
    args: argparse.Namespace,
    stylizer: "Stylizer",
    jobs: list[Job],
    options: PaintOptions,
    stopped: Callable[[], bool],
) -> int:
    from tqdm import tqdm

    from fst.stylize.video.paint import VideoOptions, paint_video
    from fst.stylize.video.steady import DEFAULT

    failed = False
    for source, style, target, numbered in jobs:
        video = VideoOptions(
            steadiness=DEFAULT if args.steady is None else args.steady,
            shorter_side_px=args.size,
            frame_rate=args.sequence or 25,
            overwrite=args.overwrite,
            numbered=numbered,
        )
        with tqdm(unit="frame", leave=False, disable=None) as bar:  # shown on a terminal alone

            def progress(done: int, count: int | None, bar: Any = bar) -> None:
                bar.total = count if count and count >= done else None
                bar.update(1)

            try:
                painted = paint_video(
                    stylizer, source, target, style, options, video,
                    progress=progress, stopped=stopped,
                )  # fmt: skip
                problems = painted.problems
            except FstError as error:
                painted, problems = None, [str(error)]
        for problem in problems:
            tell(PROGRAM, problem)
            failed = True
        if painted is None:
            continue
        if painted.frames:
            shown = stylizer.style_names[style] if isinstance(style, int) else style
            given = [str(frame) for frame in source] if isinstance(source, list) else str(source)
            print_result(str(painted.path), args.json, picture=given, style=shown)
        if stopped():
            held = f"; {painted.path} holds them" if painted.frames else ""
            tell(PROGRAM, f"interrupted after {painted.frames} frames{held}")
            return 130
    return int(failed)
