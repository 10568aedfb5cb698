"""fst-infer --watch: paints what arrives in a folder."""

import argparse
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from fst.errors import FstError
from fst.runtime.console import tell

if TYPE_CHECKING:
    from fst.stylize.folder.naming import Plan
    from fst.stylize.options import PaintOptions
    from fst.stylize.stylizer import Stylizer

PROGRAM = "fst-infer"
State = tuple[int, int] | None
POLL_S = 1.0  # between looks: a file is painted when it is as it was one look before


def check_watch(args: argparse.Namespace) -> None:
    """Refuse what does not go with --watch."""
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


def watch(
    args: argparse.Namespace,
    stylizer: "Stylizer",
    styles: dict[int, str],
    options: "PaintOptions",
) -> int:
    """Paint what is there and has no painting, then what arrives; Ctrl-C ends it."""
    from fst.stylize.folder.naming import find_photos, make_plan
    from fst.stylize.folder.painter import Painter

    def plan_of(photos: dict[Path, Path]) -> "Plan":
        return make_plan(photos, styles, args.output, args.bits)

    painted: dict[Path, State] = {}
    if not args.overwrite:  # begun anew, it goes on where it was
        for photo, targets in plan_of(find_photos([args.watch], [])):
            if all(path.exists() for _, path in targets):
                painted[photo] = _state(photo)
    tell(PROGRAM, f"watching {args.watch}; Ctrl-C ends it")
    before: dict[Path, State] = {}
    try:
        while True:
            found = find_photos([args.watch], [])
            states = {photo: _state(photo) for photo in found}
            arrived = [p for p, state in states.items() if before.get(p) == state != painted.get(p)]
            if plan := plan_of({photo: found[photo] for photo in arrived}):
                Painter(stylizer, plan, args, options).paint(show_progress=False)
            painted |= {photo: states[photo] for photo in arrived}
            before = states
            time.sleep(POLL_S)
    except KeyboardInterrupt:
        return 0


def _state(photo: Path) -> State:
    """What changes while a file is written; None of one that is gone again."""
    try:
        status = os.stat(photo)
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size
