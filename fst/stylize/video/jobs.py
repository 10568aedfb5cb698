"""The clips of one run: what is painted into what, and the painting."""

import argparse
import glob
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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
)
from fst.runtime.console import print_result, tell
from fst.stylize.folder.naming import BLEND_ID, check_folder_name, clash, identity, safe_name
from fst.stylize.options import PaintOptions

if TYPE_CHECKING:
    from fst.stylize.stylizer import Stylizer

PROGRAM = "fst-infer"
# A source, the style to paint it in, the target, and whether that may get another name.
Job = tuple[Any, Any, Path, bool]


def clip_jobs(args: argparse.Namespace, styles: dict[int, str]) -> list[Job]:
    """What to paint into what.

    Raises:
        FstError: A clip is not there, or the output cannot be written.
    """
    from fst.stylize.video.clips import check_target, frame_files, is_folder_name

    output, is_sequence = args.output or "", args.sequence is not None
    # os.path.splitext, not Path.suffix: "out.mp4/" is a folder.
    suffix = os.path.splitext(output)[1].lower()
    is_file = suffix in (*CLIP_SUFFIXES, *IMAGE_SUFFIXES) and not os.path.isdir(output)
    if is_file:
        check_target(Path(output))
    sources = [frame_files(args.inputs)] if is_sequence else _found(args.inputs)
    count = len(sources) * len(styles)
    if is_file and count > 1:
        raise FstError(
            f"-o {output} is one file, but {count} clips are to be written; name a folder"
        )
    if output and not is_file and not os.path.isdir(output):
        if os.path.lexists(output):
            raise FstError(f"-o {output} is a file; name a folder or a new clip such as a.mp4")
        if count == 1 and not is_sequence:
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
            if os.path.lexists(path) and not args.overwrite:
                raise FstError(f"{path} exists; name another output with -o or add --overwrite")
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
    kind = kind if kind in (*VIDEO_SUFFIXES, GIF_SUFFIX) else ".mp4"
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

    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(asked)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def paint_clips_in_turn(
    stylizer: "Stylizer",
    jobs: list[Job],
    args: argparse.Namespace,
    options: PaintOptions,
    stopped: Callable[[], bool],
) -> int:
    """Paint the clips, telling their paths and problems; returns the exit code."""
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
            except FstError as error:
                problem, failed = str(error), True
            else:
                problem = ""
        if problem:
            tell(PROGRAM, problem)
            continue
        for problem in painted.problems:
            tell(PROGRAM, problem)
            failed = True
        if painted.frames:
            shown = stylizer.style_names[style] if isinstance(style, int) else style
            given = [str(frame) for frame in source] if isinstance(source, list) else str(source)
            print_result(str(painted.path), args.json, picture=given, style=shown)
        if stopped():
            held = f"; {painted.path} holds them" if painted.frames else ""
            tell(PROGRAM, f"interrupted after {painted.frames} frames{held}")
            return 130
    return int(failed)
