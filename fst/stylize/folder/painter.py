"""Paint what fst-infer has planned: read one picture ahead, paint, write one behind; with --watch
what arrives in a folder."""

import argparse
import os
import sys
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from fst.errors import FstError
from fst.io import images
from fst.io.paths import numbered
from fst.networks.sizes import MIN_SIZE_PX
from fst.runtime.console import print_result, tell
from fst.runtime.memory import is_out_of_memory
from fst.stylize.bands import memory_plan
from fst.stylize.blend_grid import CELL_PX, blend_grid
from fst.stylize.folder.naming import BLEND_ID, FileId, Plan, find_photos, identity, make_plan
from fst.stylize.options import PaintOptions, work_size
from fst.stylize.style_sheet import style_sheet
from fst.stylize.stylizer import Stylizer, check_size

PROGRAM = "fst-infer"
WRITTEN_BEHIND = 1  # paintings that may wait for the disk
MASK_TOLERANCE = 0.02  # of the ratio of sides: rounding when a picture is shrunk
POLL_S = 1.0  # between looks: a file is painted when it is as it was one look before
State = tuple[int, int] | None


class Painter:
    """What the pictures of one run share, from the file that is read to the one that is written."""

    def __init__(
        self, stylizer: Stylizer, plan: Plan, args: argparse.Namespace, options: PaintOptions
    ) -> None:
        self.stylizer, self.plan, self.args, self.options = stylizer, plan, args, options
        # Kept from --overwrite: the inputs, and what this run wrote under a name that comes twice.
        self.protected: set[FileId] = {identity(photo) for photo, _ in plan} - {None}
        self.ours: set[Path] = set()  # what an earlier run wrote
        # Paintings that are being written, and what is told of them.
        self.waiting: deque[tuple[Future, dict[str, Any]]] = deque()
        self.budget = memory_plan.memory_left(args.max_memory, stylizer.device)
        self.left = 0  # paintings of the present picture to come
        self.broken = 0  # pictures
        self.told_of_masks: set[str] = set()

    def paint(self, show_progress: bool = True) -> int:
        """Paint every picture of the plan in its styles; returns the exit code."""
        photos = [photo for photo, _ in self.plan]
        count = sum(len(targets) for _, targets in self.plan)
        shown = show_progress and count > 1
        with (
            _progress_bar(total=count, unit="picture") if shown else nullcontext() as self.bar,
            ThreadPoolExecutor(1) as reader,
            ThreadPoolExecutor(1) as self.writer,
        ):
            try:
                ahead = deque(reader.submit(self.read, photo) for photo in photos[:1])
                for number, (photo, targets) in enumerate(self.plan, start=1):
                    ahead.extend(reader.submit(self.read, p) for p in photos[number : number + 1])
                    self._paint(photo, targets, ahead.popleft())
                self.report(0)
            except FstError as problem:  # nothing can be saved, as on a full disk: no use to go on
                for future, _ in self.waiting:
                    future.cancel()
                self._say(partial(tell, PROGRAM), self._shown(problem), self.left)
                return 1
            except KeyboardInterrupt:
                with suppress(FstError):
                    self.report(0)
                raise
        return int(self.broken > 0)

    def read(self, photo: Path) -> Tensor | None:
        """The picture; None where it is painted in bands, being too large or by --fast-statistics.
        An ImageError where it cannot be read, or is too small."""
        content = images.load_full(photo, self.args.size, self._is_painted_whole)
        if content is not None:
            check_size(photo, tuple(content.shape[1:]))
        return content

    def _is_painted_whole(self, size: tuple[int, int]) -> bool:
        if self.args.blend_grid or self.args.sheet:  # their cells are small
            return True
        work = work_size(size, self.options.texture_size)
        if self.args.fast_statistics and memory_plan.fast_pays_off(*work):
            return False
        masked = bool(self.options.masks)
        needed = memory_plan.whole_bytes(self.stylizer.network, size, work, masked=masked)
        return needed <= self.budget

    def _paint(self, photo: Path, targets: list[tuple[int, Path]], reading: Future) -> None:
        """Have one picture painted and written in its styles; tells what is wrong with it."""
        self.left, content = len(targets), None
        try:
            content = reading.result()
            self._tell_of_masks(photo, content)
            for style_id, path in targets:
                style = self.args.blend if style_id == BLEND_ID else style_id
                if content is None:
                    self.report(0)  # the names that others get are settled
                    written: Future = Future()
                    written.set_result(self._write(path, partial(self._in_bands, photo, style)))
                else:
                    save = partial(images.save, self._painting(content, style), bits=self.args.bits)
                    written = self.writer.submit(self._write, path, save)
                # A style is told by its name, a blend by its shares; None is a sheet of several.
                name = self.stylizer.style_names[style] if isinstance(style, int) else style
                self.waiting.append((written, {"picture": self._shown(photo), "style": name}))
                self.left -= 1
                self.report(WRITTEN_BEHIND)
            return
        except images.ImageError as error:
            problem = str(error)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            problem = _too_large(photo, content)
        self._say(partial(tell, PROGRAM), self._shown(problem), self.left)
        self.broken += 1

    def _shown(self, text: object) -> str:
        """A path, or a text that names it: the picture that came on stdin is "-"."""
        file = self.args.from_stdin
        return str(text) if file is None else str(text).replace(file, "-")

    def _tell_of_masks(self, photo: Path, content: Tensor | None) -> None:
        """Say, once for each mask, that its proportions differ from those of a picture."""
        masks = {f" for {style}": mask for style, mask in self.options.masks.items()}
        if self.options.where is not None:
            masks[""] = self.options.where
        masks = {name: mask for name, mask in masks.items() if name not in self.told_of_masks}
        if not masks:
            return
        shape = images.shape_of(photo, self.args.size) if content is None else content.shape[1:]
        height, width = shape
        for name, (h, w) in ((name, mask.shape) for name, mask in masks.items()):
            if abs(h * width / (w * height) - 1) > MASK_TOLERANCE:
                self.told_of_masks.add(name)
                line = (
                    f"{self._shown(photo)}: the mask{name} ({w}x{h} px) has other proportions and "
                    f"is stretched to {width}x{height} px (not repeated for other pictures)"
                )
                self._say(partial(tell, PROGRAM), line, 0)

    def report(self, waiting: int) -> None:
        """Tell the paths of paintings until so many are still being written."""
        while len(self.waiting) > waiting:
            future, about = self.waiting.popleft()
            written = str(future.result())
            self._say(partial(print_result, as_json=self.args.json, **about), written)

    def _painting(self, content: Tensor, style: Any) -> Tensor:
        stylizer, args = self.stylizer, self.args
        if args.sheet:
            return style_sheet(stylizer, content, args.sheet, self.options, args.size)
        if args.blend_grid:
            cell_px = args.size or CELL_PX
            return blend_grid(stylizer, content, args.blend_grid, self.options, cell_px=cell_px)
        return stylizer.stylize(content, style, self.options)

    def _in_bands(self, photo: Path, style: Any, path: Path, *, overwrite: bool, **_: Any) -> Path:
        from fst.stylize.bands.large import FileOptions, stylize_file

        args = self.args
        work = work_size(images.shape_of(photo, args.size), self.options.texture_size)
        fast = args.fast_statistics and memory_plan.fast_pays_off(*work)
        how = "means and variances of parts of it" if fast else "exact"
        tell(PROGRAM, f"{self._shown(photo)}: in bands of rows ({how})")
        file = FileOptions(args.size, args.bits, overwrite, True, args.max_memory, fast)
        shown = "{l_bar}{bar}| {elapsed}<{remaining}"
        with _progress_bar(total=100, unit="%", leave=False, bar_format=shown) as bar:

            def progress(share: float) -> None:
                if bar is not None:
                    bar.update(round(100 * share, 1) - bar.n)

            return stylize_file(self.stylizer, photo, path, style, self.options, file, progress)

    def _write(self, path: Path, write: Callable[..., Path]) -> Path:
        """Have a painting written under the name planned, or the next free number of it."""
        overwrite = self.args.overwrite or path in self.ours
        if overwrite:
            path = next(name for name in numbered(path) if identity(name) not in self.protected)
        written = write(path, overwrite=overwrite, numbered=True)
        self.protected |= {identity(written)} - {None}
        return written

    def _say(self, write: Callable[[str], None], text: str, steps: int = 1) -> None:
        """Write a line without tearing the bar, then move the bar."""
        if self.bar is None:
            return write(text)
        with self.bar.external_write_mode():
            write(text)
        self.bar.update(steps)


def _too_large(photo: Path, content: Tensor | None) -> str:
    what, size_px = "does", 1080
    if content is not None:  # else it ended while decoding
        height, width = content.shape[1:]
        what, size_px = f"{width}x{height} px do", max(MIN_SIZE_PX, min(height, width) // 2)
    return f"{photo}: {what} not fit in memory; try --max-memory 2G or --size {size_px}"


def _progress_bar(**options: Any) -> Any:
    """A tqdm bar, or None where nobody would see it move: forked processes would share its lock,
    and wait for ever for one that was killed with it."""
    if not sys.stderr.isatty():
        return nullcontext()
    from tqdm import tqdm

    return tqdm(**options)


# ---- --watch ------------------------------------------------------------------------------------


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
