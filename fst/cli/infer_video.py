"""Clips that fst-infer paints: videos, animated GIFs, and pictures that are the frames of one."""

import argparse
import glob
import os
import re
from collections.abc import Callable
from fractions import Fraction

from fst.cli.argument_types import share
from fst.cli.messages import noting
from fst.errors import FstError
from fst.runtime.console import tell
from fst.runtime.devices import usable_device
from fst.stylize.video.clips import clip_jobs, paint_clips_in_turn, stopping

PROGRAM = "fst-infer"
# Flags that only pictures have, and what they are when they are not given.
_OF_PICTURES = {
    "blend_grid": None,
    "sheet": False,
    "devices": None,
    "num_nodes": None,
    "resume": False,
    "bits": 8,
    "max_memory": None,
    "fast_statistics": False,
}


def add_clip_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    add = parser.add_argument
    add("--steady", type=share, metavar="S", help="videos: 0 frame by frame, to 1 (0.8)")
    add("--sequence", nargs="?", const=Fraction(25), type=_rate, metavar="FPS",
        help="the pictures are frames of one video")  # fmt: skip


def _rate(text: str) -> Fraction:
    from fst.stylize.video.clips import MAX_RATE, MIN_RATE

    if re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,6}|/[0-9]{1,6})?", text):
        top, _, below = text.partition("/")
        if not below or int(below):
            rate = Fraction(top) / int(below or 1)
            if MIN_RATE <= rate <= MAX_RATE:
                return rate
    raise argparse.ArgumentTypeError(
        f"{text!r} is not a number of frames a second such as 25 or 30000/1001; "
        "pictures go before --sequence"
    )


def asks_for_clips(args: argparse.Namespace) -> bool:
    """Whether there is a clip among what is to be painted."""
    from fst.io.paths import is_clip

    if args.sequence is not None:
        return True
    named = [given for given in args.inputs if is_clip(given)]
    there = any(os.path.lexists(given) or glob.glob(given) for given in named)
    return bool(named) and (there or len(named) == len(args.inputs))


def check_no_clip_flags(args: argparse.Namespace) -> None:
    """Refuse flags of clips where only pictures are given.

    Raises:
        FstError: There is one.
    """
    if args.steady is not None:
        raise FstError("--steady is for videos: leave it out, or add --sequence if the pictures "
                       "are frames of one")  # fmt: skip


def paint_clips(args: argparse.Namespace, open_model: Callable[..., tuple | None]) -> int:
    """Paint all clips in their styles; returns the exit code.

    Args:
        args: The command line.
        open_model: Gives the stylizer, the styles chosen, and the controls.
    """
    problems: list[str] = []
    device, jobs = "cpu", []
    with noting(problems):
        device = usable_device(args.device)
    with noting(problems):
        _check_flags(args)
    chosen = open_model(args, device, problems)
    if not problems:
        with noting(problems):
            jobs = clip_jobs(args, chosen[1])
    for problem in dict.fromkeys(problems):
        tell(PROGRAM, f"error: {problem}")
    if problems:
        return 2
    with stopping() as stopped:
        return paint_clips_in_turn(chosen[0], jobs, args, chosen[2], stopped)


def _check_flags(args: argparse.Namespace) -> None:
    """Refuse what does not go together with clips."""
    from fst.io.paths import is_clip

    given = [name for name, unset in _OF_PICTURES.items() if getattr(args, name) != unset]
    if given:
        flags = " ".join("--" + name.replace("_", "-") for name in given)
        raise FstError(f"{flags}: for pictures only; leave it out to paint clips")
    others = [name for name in args.inputs if not is_clip(name)]
    if args.sequence is None and others:
        raise FstError(
            f"videos and pictures are painted in runs of their own: leave out {others[0]}, or the "
            "videos"
        )
    if args.sequence is not None and (not args.inputs or len(others) < len(args.inputs)):
        raise FstError("--sequence: name pictures, or a folder of them, that are the frames")
