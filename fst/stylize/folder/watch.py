"""fst-infer --watch: paints what arrives in a folder."""

import argparse
import os
import time
from pathlib import Path

from fst.runtime.console import tell
from fst.stylize.folder.naming import Plan, find_photos, make_plan
from fst.stylize.folder.painter import PROGRAM, Painter
from fst.stylize.options import PaintOptions
from fst.stylize.stylizer import Stylizer

State = tuple[int, int] | None
POLL_S = 1.0  # between looks: a file is painted when it is as it was one look before


def watch(
    args: argparse.Namespace, stylizer: Stylizer, styles: dict[int, str], options: PaintOptions
) -> int:
    """Paint what is there and has no painting, then what arrives; Ctrl-C ends it."""

    def plan_of(photos: dict[Path, Path]) -> Plan:
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
