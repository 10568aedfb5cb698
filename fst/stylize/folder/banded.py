"""Pictures that fst-infer paints in bands, because memory would not hold them whole."""

import argparse
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fst.runtime.console import tell
from fst.stylize.options import PaintOptions

if TYPE_CHECKING:
    from fst.stylize.stylizer import Stylizer

PROGRAM = "fst-infer"


def budget_of(stylizer: "Stylizer", args: argparse.Namespace) -> int:
    """What one picture may take beyond what the process has, at the start of a run, in bytes."""
    from fst.stylize.bands.memory_plan import memory_left

    return memory_left(args.max_memory, stylizer.device)


def goes_in_bands(
    stylizer: "Stylizer",
    photo: Path,
    args: argparse.Namespace,
    options: PaintOptions,
    budget: int,
) -> bool:
    """Whether a picture is too large to be painted whole, or bands were asked for.

    Raises:
        ImageError: It cannot be read.
    """
    if args.blend_grid:  # its cells are small
        return False
    from fst.io.images import shape_of
    from fst.stylize.bands.memory_plan import fast_pays_off, whole_bytes
    from fst.stylize.controls.texture_size import work_size

    size = shape_of(photo, args.size)
    work = work_size(size, options.texture_size)
    if args.fast_statistics and fast_pays_off(*work):
        return True
    return whole_bytes(stylizer.network, size, work) > budget


def paint_in_bands(
    stylizer: "Stylizer",
    photo: Path,
    path: Path,
    style: Any,
    args: argparse.Namespace,
    options: PaintOptions,
    overwrite: bool,
) -> Path:
    """Paint one file into another, with a progress bar where somebody sees it.

    Returns:
        What was written: `path`, or the next free number of that name.
    """
    from fst.io.images import shape_of
    from fst.stylize.bands.large import FileOptions, stylize_file
    from fst.stylize.bands.memory_plan import fast_pays_off
    from fst.stylize.controls.texture_size import work_size

    work = work_size(shape_of(photo, args.size), options.texture_size)
    fast = args.fast_statistics and fast_pays_off(*work)
    how = "means and variances of parts of it" if fast else "exact"
    tell(PROGRAM, f"{photo}: in bands of rows ({how})")
    with _percent_bar() as bar:

        def progress(share: float) -> None:
            if bar is not None:
                bar.update(round(100 * share, 1) - bar.n)

        file = FileOptions(
            args.size, args.bits, overwrite, True, args.max_memory, fast_statistics=fast
        )
        return stylize_file(stylizer, photo, path, style, options, file, progress)


def _percent_bar() -> Any:
    if not sys.stderr.isatty():
        return nullcontext()
    from tqdm import tqdm

    return tqdm(total=100, unit="%", leave=False, bar_format="{l_bar}{bar}| {elapsed}<{remaining}")
