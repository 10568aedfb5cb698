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

from fst.errors import FstError
from fst.io.kept import KeptFile
from fst.networks.sizes import MIN_SIZE_PX
from fst.runtime.console import print_line, tell
from fst.stylize.folder.banded import budget_of, goes_in_bands, paint_in_bands
from fst.stylize.folder.naming import BLEND_ID, FileId, Plan, free_path, identity
from fst.stylize.options import PaintOptions

if TYPE_CHECKING:
    from torch import Tensor

    from fst.stylize.stylizer import Stylizer

PROGRAM = "fst-infer"
KEPT_BYTES = 32 * 2**20  # of a photo's file
WRITTEN_BEHIND = 1  # paintings that may wait for the disk


def paint_all(
    stylizer: "Stylizer", plan: Plan, args: argparse.Namespace, options: PaintOptions
) -> int:
    """Paint every picture of the plan in its styles; returns the exit code."""
    count = sum(len(targets) for _, targets in plan)
    with (
        _progress_bar(count) as bar,
        ThreadPoolExecutor(1) as reader,
        ThreadPoolExecutor(1) as writer,
    ):
        photos = [photo for photo, _ in plan]
        painter = Painter(stylizer, photos, args, options, writer, bar)
        try:
            for (photo, targets), reading in zip(plan, painter.read_ahead(reader), strict=True):
                painter.hand_over(painter.paintings(photo, targets, reading), len(targets))
            painter.report(0)
        except FstError as problem:  # nothing can be saved, as on a full disk: no use to go on
            return painter.stop(problem)
        except KeyboardInterrupt:
            with suppress(FstError):
                painter.report(0)
            raise
    return int(painter.broken > 0)


class Painter:
    """What the pictures of one run share, from the file that is read to the one that is written."""

    def __init__(
        self,
        stylizer: "Stylizer",
        photos: list[Path],
        args: argparse.Namespace,
        options: PaintOptions,
        writer: ThreadPoolExecutor,
        bar: Any = None,
    ) -> None:
        self.stylizer, self.photos, self.args, self.options = stylizer, photos, args, options
        self.writer, self.bar = writer, bar
        # Kept from --overwrite: the inputs, and what this run wrote under a name that comes twice.
        self.protected: set[FileId] = {identity(photo) for photo in photos} - {None}
        self.waiting: deque[Future] = deque()  # paintings that are being written
        self.budget = budget_of(stylizer, args)
        self.left = 0  # paintings of the present picture to come
        self.written = self.broken = 0  # paintings, pictures

    def read_ahead(self, reader: ThreadPoolExecutor) -> Iterator[Future]:
        """What `read` makes of each photo, begun while the one before is painted."""
        ahead: deque[Future] = deque()
        for number in range(len(self.photos)):
            while len(ahead) < 2 and number + len(ahead) < len(self.photos):
                ahead.append(reader.submit(self.read, self.photos[number + len(ahead)]))
            yield ahead.popleft()

    def read(self, photo: Path) -> "Tensor | None":
        """The picture, or None where it is too large to be painted whole."""
        from fst.io import images
        from fst.stylize.bands.large import check_size

        given, photo = photo, _kept(photo)
        with _memory_told(given):
            if goes_in_bands(self.stylizer, photo, self.args, self.options, self.budget):
                return None
            content = images.load_full(photo, self.args.size)
        check_size(photo, tuple(content.shape[1:]))
        return content

    def paintings(
        self, photo: Path, targets: list[tuple[int, Path]], reading: Future
    ) -> Iterator[tuple[Path, "Tensor | None"]]:
        """One picture in its styles, painted as they are asked for, each with its file.

        None stands for a painting that is in its file already: it was painted in bands.
        """
        content = reading.result()
        for style_id, path in targets:
            style = self.args.blend if style_id == BLEND_ID else style_id
            if content is None:
                self.report(0)  # the names that others get are settled
                yield self._paint_in_bands(photo, path, style), None
            else:
                with _memory_told(photo, content):
                    painting = self._painting(content, style)
                yield path, painting

    def hand_over(self, paintings: Iterator[tuple[Path, "Tensor | None"]], count: int) -> None:
        """Have the paintings of one picture written; tells what is wrong with the picture."""
        from fst.io.images import ImageError

        self.left = count
        try:
            for path, painting in paintings:
                work = (self._note, path) if painting is None else (self._write, painting, path)
                self.waiting.append(self.writer.submit(*work))
                self.left -= 1
                self.report(WRITTEN_BEHIND)
        except ImageError as problem:
            _beside(self.bar, _tell, str(problem), self.left)
            self.broken += 1

    def report(self, waiting: int) -> None:
        """Tell the paths of paintings until so many are still being written."""
        while len(self.waiting) > waiting:
            _beside(self.bar, print_line, str(self.waiting.popleft().result()))
            self.written += 1

    def stop(self, problem: FstError) -> int:
        """Tell the problem that ends the run; returns the exit code."""
        for future in self.waiting:
            future.cancel()
        _beside(self.bar, _tell, str(problem), self.left)
        return 1

    def _painting(self, content: "Tensor", style: Any) -> "Tensor":
        if self.args.blend_grid:
            return _blend_grid(self.stylizer, content, self.args, self.options)
        return self.stylizer.stylize(content, style, self.options)

    def _paint_in_bands(self, photo: Path, path: Path, style: Any) -> Path:
        overwrite = self._overwrites(path)
        path = free_path(path, self.protected) if overwrite else path
        with _memory_told(photo):
            return paint_in_bands(
                self.stylizer, photo, path, style, self.args, self.options, overwrite
            )

    def _write(self, painting: "Tensor", path: Path) -> Path:
        from fst.io import images

        overwrite = self._overwrites(path)
        free = free_path(path, self.protected) if overwrite else path
        bits = self.args.bits
        return self._note(
            images.save(painting, free, overwrite=overwrite, bits=bits, numbered=True)
        )

    def _overwrites(self, path: Path) -> bool:
        return self.args.overwrite

    def _note(self, path: Path) -> Path:
        self.protected |= {identity(path)} - {None}
        return path


def _blend_grid(
    stylizer: "Stylizer", content: "Tensor", args: argparse.Namespace, options: PaintOptions
) -> "Tensor":
    from fst.stylize.blend_grid import CELL_PX, blend_grid

    return blend_grid(stylizer, content, args.blend_grid, options, cell_px=args.size or CELL_PX)


def _kept(photo: Path) -> Path | KeptFile:
    """The photo; a file of moderate size is opened once and its bytes are kept until it is read."""
    is_small = os.path.isfile(photo) and os.path.getsize(photo) <= KEPT_BYTES
    return KeptFile(photo) if is_small else photo


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
    from fst.io.images import ImageError

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
