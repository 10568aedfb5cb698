"""Clips that fst-infer paints: videos, animated GIFs, and pictures that are the frames of one."""

import argparse
from collections.abc import Callable

from fst.cli.messages import Problems, noting
from fst.errors import FstError
from fst.io.paths import is_clip
from fst.runtime.devices import usable_device
from fst.stylize.video.clips import clip_jobs, paint_clips_in_turn, stopping

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


def paint_clips(args: argparse.Namespace, open_model: Callable[..., tuple | None]) -> int:
    """Paint all clips in their styles; returns the exit code. `open_model` gives the stylizer, the
    styles chosen, and the controls."""
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
    if problems:
        raise Problems(problems)
    with stopping() as stopped:
        return paint_clips_in_turn(chosen[0], jobs, args, chosen[2], stopped)


def _check_flags(args: argparse.Namespace) -> None:
    """Refuse what does not go together with clips."""
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
