"""Paint what fst-infer has planned: read one picture ahead, paint, write one behind."""

import argparse
import os
import re
import sys
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fst.cli.infer_controls import BLEND_ID
from fst.cli.infer_large import budget_of, goes_in_bands, paint_in_bands
from fst.cli.infer_outputs import FileId, Plan, free_path, identity
from fst.cli.messages import tell
from fst.errors import FstError

if TYPE_CHECKING:
    from torch import Tensor

    from fst.stylize.stylizer import Stylizer

PROGRAM = "fst-infer"
MIN_SIZE_PX = 16  # as in networks.transformer, which would import torch
WRITTEN_BEHIND = 1  # paintings that may wait for the disk


def paint_all(
    stylizer: "Stylizer", plan: Plan, args: argparse.Namespace, options: dict[str, Any]
) -> int:
    """Paint every picture of the plan in its styles; returns the exit code."""
    from fst.images import ImageError

    exit_code = 0
    count = sum(len(targets) for _, targets in plan)
    with (
        _progress_bar(count) as bar,
        ThreadPoolExecutor(1) as reader,
        ThreadPoolExecutor(1) as writer,
    ):
        painter = _Painter(stylizer, plan, args, options, writer, bar)
        ahead: deque[Future] = deque()
        for number, (photo, targets) in enumerate(plan):
            while len(ahead) < 2 and number + len(ahead) < len(plan):
                ahead.append(reader.submit(painter.read, plan[number + len(ahead)][0]))
            painter.left = len(targets)
            try:
                painter.paint(photo, targets, ahead.popleft())
            except ImageError as problem:
                _beside(bar, _tell, str(problem), painter.left)
                exit_code = 1
            except FstError as problem:  # nothing can be saved, as on a full disk: no use to go on
                return painter.stop(problem)
            except KeyboardInterrupt:
                with suppress(FstError):
                    painter.report(0)
                raise
        try:
            painter.report(0)
        except FstError as problem:
            return painter.stop(problem)
    return exit_code


class _Painter:
    """What the pictures of one run share."""

    def __init__(
        self,
        stylizer: "Stylizer",
        plan: Plan,
        args: argparse.Namespace,
        options: dict[str, Any],
        writer: ThreadPoolExecutor,
        bar: Any,
    ) -> None:
        self.stylizer, self.args, self.options = stylizer, args, options
        self.writer, self.bar = writer, bar
        # Kept from --overwrite: the inputs, and what this run wrote under a name that comes twice.
        self.protected: set[FileId] = {identity(photo) for photo, _ in plan} - {None}
        self.waiting: deque[Future] = deque()  # paintings that are being written
        self.budget = budget_of(stylizer, args)
        self.left = 0  # paintings of the present picture to come

    def read(self, photo: Path) -> "Tensor | None":
        """The picture, or None where it is too large to be painted whole."""
        from fst import images
        from fst.stylize.large import check_size

        with _memory_told(photo):
            if goes_in_bands(self.stylizer, photo, self.args, self.budget):
                return None
            content = images.load_full(photo, self.args.size)
        check_size(photo, tuple(content.shape[1:]))
        return content

    def paint(self, photo: Path, targets: list[tuple[int, Path]], reading: Future) -> None:
        """Paint one picture in its styles and hand the paintings to the writer."""
        content = reading.result()
        for style_id, path in targets:
            style = self.args.blend if style_id == BLEND_ID else style_id
            if content is None:
                self.report(0)  # the names that others get are settled
                path = free_path(path, self.protected) if self.args.overwrite else path
                with _memory_told(photo):
                    path = paint_in_bands(
                        self.stylizer, photo, path, style, self.args, self.options
                    )
                self.waiting.append(self.writer.submit(self._note, path))
            else:
                with _memory_told(photo, content):
                    painting = self._painting(content, style)
                self.waiting.append(self.writer.submit(self._write, painting, path))
            self.left -= 1
            self.report(WRITTEN_BEHIND)

    def report(self, waiting: int) -> None:
        """Tell the paths of paintings until so many are still being written."""
        while len(self.waiting) > waiting:
            _beside(self.bar, print_line, str(self.waiting.popleft().result()))

    def stop(self, problem: FstError) -> int:
        """Tell the problem that ends the run; returns the exit code."""
        for future in self.waiting:
            future.cancel()
        _beside(self.bar, _tell, str(problem), self.left)
        return 1

    def _painting(self, content: "Tensor", style: Any) -> "Tensor":
        if self.args.blend_grid:
            return _blend_grid(self.stylizer, content, self.args, self.options)
        return self.stylizer.stylize(content, style, **self.options)

    def _write(self, painting: "Tensor", path: Path) -> Path:
        from fst import images

        free = free_path(path, self.protected) if self.args.overwrite else images.unused_path(path)
        images.save(painting, free, overwrite=self.args.overwrite, bits=self.args.bits)
        return self._note(free)

    def _note(self, path: Path) -> Path:
        self.protected |= {identity(path)} - {None}
        return path


def _blend_grid(
    stylizer: "Stylizer", content: "Tensor", args: argparse.Namespace, options: dict[str, Any]
) -> "Tensor":
    from fst.stylize.blend_grid import CELL_PX, blend_grid

    options = {key: value for key, value in options.items() if key != "texture"}
    return blend_grid(stylizer, content, args.blend_grid, cell_px=args.size or CELL_PX, **options)


@contextmanager
def _memory_told(photo: Path, content: "Tensor | None" = None) -> Iterator[None]:
    """Turns what an allocator says into a line that names the picture."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        # CUDA and MPS say the first, a CPU one of the others.
        told = re.search("out of memory|allocate memory|enough memory|bad_alloc", str(error))
        if not told and not isinstance(error, MemoryError):
            raise
        raise _too_large(photo, content) from None


def _too_large(photo: Path, content: "Tensor | None") -> FstError:
    from fst.images import ImageError

    if content is None:  # it ended while decoding
        return ImageError(f"{photo}: does not fit in memory; try --max-memory 2G or --size 1080")
    height, width = content.shape[1:]
    smaller = max(MIN_SIZE_PX, min(height, width) // 2)
    return ImageError(
        f"{photo}: {width}x{height} px do not fit in memory; try --max-memory 2G or "
        f"--size {smaller}"
    )


def _progress_bar(total: int) -> Any:
    """A tqdm bar, or None where nobody would see it move."""
    if total < 2 or not sys.stderr.isatty():
        return nullcontext()
    from tqdm import tqdm

    return tqdm(total=total, unit="picture")


def _beside(bar: Any, write: Callable[[str], None], text: str, steps: int = 1) -> None:
    """Writes a line without tearing the bar, then moves the bar."""
    if bar is None:
        return write(text)
    with bar.external_write_mode():
        write(text)
    bar.update(steps)


def _tell(text: str) -> None:
    tell(PROGRAM, text)


def print_line(text: str) -> None:
    """A line to stdout at once."""
    try:
        print(text, flush=True)
    except UnicodeEncodeError:  # a file name that is no text: its bytes, for the next in the pipe
        sys.stdout.buffer.write(os.fsencode(text) + b"\n")
        sys.stdout.flush()
