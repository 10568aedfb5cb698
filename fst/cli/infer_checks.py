"""Flags of fst-infer that do not go together."""

import argparse
import os
from pathlib import Path

from fst.errors import FstError
from fst.io.paths import is_clip

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


def check_for_pictures(args: argparse.Namespace) -> None:
    """Refuse what does not go with pictures, or with a folder of them that is watched."""
    if args.steady is not None:
        raise FstError("--steady is for videos: leave it out, or add --sequence if the "
                       "pictures are frames of one")  # fmt: skip
    if args.watch is None:
        return
    if args.inputs:
        raise FstError("--watch takes its pictures from the folder: leave out " + args.inputs[0])
    if args.devices or args.num_nodes or args.resume:
        raise FstError("--watch paints in one process: leave out --devices, --num-nodes, --resume")
    if not os.path.isdir(args.watch):
        raise FstError(f"--watch {args.watch}: no such folder")
    watched, output = Path(args.watch).resolve(), Path(args.output or "").resolve()
    if watched in (output, *output.parents):
        raise FstError(f"--watch {args.watch}: paintings would arrive there too; name another "
                       "folder with -o")  # fmt: skip
    if os.path.splitext(args.output or "")[1] and not os.path.isdir(args.output):
        raise FstError(f"-o {args.output}: name a folder for what --watch paints")


def check_for_clips(args: argparse.Namespace) -> None:
    """Refuse what does not go with videos, GIFs and pictures that are the frames of one."""
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


def check_sheets(args: argparse.Namespace) -> None:
    """Refuse what does not go with --sheet and --blend-grid."""
    if args.sheet and (args.blend_grid or args.texture is not None):
        raise FstError("--sheet shows one style beside the other: leave out --blend-grid and "
                       "--texture")  # fmt: skip
    if args.blend_grid and (args.fast_statistics or args.max_memory):
        raise FstError("--blend-grid paints small pictures: leave out --max-memory and "
                       "--fast-statistics")  # fmt: skip
    others = args.style or args.style_id or args.all_styles or args.texture is not None
    if args.blend_grid and others:
        raise FstError("--blend-grid names its styles: leave out --style, --style-id, --all-styles "
                       "and --texture")  # fmt: skip
