"""The clips of one run: what is painted into what, and the painting."""

import argparse
import glob
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fst.errors import FstError
from fst.io.paths import clip
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
    from fst.io.images import IMAGE_SUFFIXES, check_place
    from fst.stylize.video.clips import CLIP_SUFFIXES, check_target, frame_files

    # os.path.splitext, not Path.suffix: "out.mp4/" is a folder.
    suffix = os.path.splitext(args.output or "")[1].lower()
    is_file = suffix in (*CLIP_SUFFIXES, *IMAGE_SUFFIXES) and not os.path.isdir(args.output)
    if is_file:
        check_target(Path(args.output))
    sources = [frame_files(args.inputs)] if args.sequence is not None else _found(args.inputs)
    count = len(sources) * len(styles)
    if is_file and count > 1:
        raise FstError(
            f"-o {args.output} is one file, but {count} clips are to be written; name a folder"
        )
    is_taken = bool(args.output) and os.path.lexists(args.output) and not is_file
    if is_taken and not os.path.isdir(args.output):
        raise FstError(f"-o {args.output} is a file; name a folder or a new clip such as a.mp4")
    if args.output and not is_file and count == 1 and args.sequence is None:
        check_folder_name(args.output, CLIP_SUFFIXES, "clip")
    inputs = {identity(file) for file in (sources[0] if args.sequence else sources)}
    jobs: list[Job] = []
    for source in sources:
        for style_id, name in styles.items():
            style = args.blend if style_id == BLEND_ID else style_id
            style_name = safe_name(name) or f"style{style_id}"
            if is_file:
                target, named = Path(args.output), True
            elif isinstance(source, list):
                target, named = _folder_for(args.output, source, style_name, len(styles)), True
            else:
                target, named = Path(args.output or "", _file_name(source, style_name)), False
            # Of two clips that would get one name the second gets a number.
            numbered = not named and (not args.overwrite or target in {job[2] for job in jobs})
            targets = _files(target, source)
            check_place(targets[0])
            if not numbered:
                _check_free(targets, inputs, args.overwrite)
            jobs.append((source, style, target, numbered))
    return jobs


def _found(inputs: list[str]) -> list[Path]:
    """Files and patterns of videos as files."""
    files: dict[Path, None] = {}
    missing = []
    for given in inputs:
        matches = [given] if os.path.lexists(given) else sorted(glob.glob(given))
        missing += [] if matches else [given]
        files.update({Path(match): None for match in matches})
    if missing:
        raise FstError(f"no such file: {' '.join(missing)}")
    return list(files)


def _file_name(source: Path, style_name: str) -> str:
    from fst.stylize.video.clips import GIF_SUFFIX, VIDEO_SUFFIXES

    suffix = source.suffix.lower()
    suffix = suffix if suffix in (*VIDEO_SUFFIXES, GIF_SUFFIX) else ".mp4"
    return f"{clip(source.stem, 200 - len(style_name.encode()))}_{style_name}{suffix}"


def _folder_for(output: str | None, frames: list[Path], style_name: str, styles: int) -> Path:
    if output:
        return Path(output, style_name) if styles > 1 else Path(output)
    return Path(f"{frames[0].absolute().parent.name or 'frames'}_{style_name}")


def _files(target: Path, source: Path | list[Path]) -> list[Path]:
    """What is written: a file, or one for each frame."""
    from fst.stylize.video.clips import is_folder_name

    is_folder = isinstance(source, list) and is_folder_name(target)
    return [target / frame.name for frame in source] if is_folder else [target]


def _check_free(targets: list[Path], inputs: set, may_exist: bool) -> None:
    """Refuse targets that are an input, of whichever clip, or that there are already."""
    for path in targets:
        if identity(path) in inputs - {None}:
            raise FstError(clash(path))
        if os.path.lexists(path) and not may_exist:
            raise FstError(f"{path} exists; name another output with -o or add --overwrite")


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
    failed = False
    for job in jobs:
        try:
            painted = _paint(stylizer, job, args, options, stopped)
        except FstError as problem:
            tell(PROGRAM, str(problem))
            failed = True
            continue
        for problem in painted.problems:
            tell(PROGRAM, problem)
            failed = True
        if painted.frames:
            style = stylizer.style_names[job[1]] if isinstance(job[1], int) else job[1]
            source = "" if isinstance(job[0], list) else str(job[0])
            print_result(str(painted.path), args.json, picture=source, style=style)
        if stopped():
            held = f"; {painted.path} holds them" if painted.frames else ""
            tell(PROGRAM, f"interrupted after {painted.frames} frames{held}")
            return 130
    return int(failed)


def _paint(
    stylizer: "Stylizer",
    job: Job,
    args: argparse.Namespace,
    options: PaintOptions,
    stopped: Callable[[], bool],
) -> Any:
    from tqdm import tqdm

    from fst.stylize.video.paint import VideoOptions, paint_video
    from fst.stylize.video.steady import DEFAULT

    source, style, target, numbered = job
    with tqdm(unit="frame", leave=False, disable=None) as bar:  # shown on a terminal alone

        def progress(done: int, count: int | None) -> None:
            bar.total = count if count and count >= done else None
            bar.update(1)

        video = VideoOptions(
            steadiness=DEFAULT if args.steady is None else args.steady,
            shorter_side_px=args.size,
            frame_rate=args.sequence or 25,
            overwrite=args.overwrite,
            numbered=numbered,
        )
        return paint_video(
            stylizer, source, target, style, options, video, progress=progress, stopped=stopped
        )
