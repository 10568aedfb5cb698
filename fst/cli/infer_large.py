"""Pictures that fst-infer paints in bands, because memory would not hold them whole."""

import argparse
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fst.cli.messages import tell

if TYPE_CHECKING:
    from fst.stylize.stylizer import Stylizer

PROGRAM = "fst-infer"


def goes_in_bands(stylizer: "Stylizer", photo: Path, args: argparse.Namespace) -> bool:
    """Whether a picture is too large to be painted whole, or bands were asked for.

    Raises:
        ImageError: It cannot be read.
    """
    if args.blend_grid:  # its cells are small
        return False
    if args.fast_statistics:
        return True
    from fst.images import shape_of
    from fst.stylize.large import memory_left, whole_bytes

    needed = whole_bytes(stylizer.network, *shape_of(photo, args.size))
    return needed > memory_left(args.max_memory, stylizer.device)


def paint_in_bands(
    stylizer: "Stylizer",
    photo: Path,
    path: Path,
    style: Any,
    args: argparse.Namespace,
    options: dict[str, Any],
) -> None:
    """Paint one file into another, with a progress bar where somebody sees it."""
    from fst.stylize.large import stylize_file

    how = "means and variances of a small copy" if args.fast_statistics else "exact"
    tell(PROGRAM, f"{photo}: in bands of rows ({how})")
    with _percent_bar() as bar:

        def progress(share: float) -> None:
            if bar is not None:
                bar.update(round(100 * share, 1) - bar.n)

        stylize_file(
            stylizer,
            photo,
            path,
            style,
            **options,
            shorter_side_px=args.size,
            bits=args.bits,
            overwrite=args.overwrite,
            max_memory_bytes=args.max_memory,
            fast_statistics=args.fast_statistics,
            progress=progress,
        )


def _percent_bar() -> Any:
    if not sys.stderr.isatty():
        return nullcontext()
    from tqdm import tqdm

    return tqdm(total=100, unit="%", leave=False, bar_format="{l_bar}{bar}| {elapsed}<{remaining}")
