"""Measure what a control of the painting does to style and content, value by value.

    python scripts/evaluate_controls.py MODEL --style wave=wave.jpg --photos val/ \
        --texture 0 0.25 0.5 0.75 1 --loss-weights vgg19 --grid texture.png

The same photos are painted in one style at each value; prints the table of `evaluate.py` with a
row for each, and whether the style distance falls from each value to the next. The picture has a
row for each photo.
"""

import argparse
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from evaluate import (
    add_protocol,
    check_grid,
    markdown,
    measure,
    named_path,
    open_loss_network,
)
from torch import Tensor

from fst import images
from fst.errors import FstError
from fst.sheets import table_of
from fst.styles import Style
from fst.stylize.stylizer import Stylizer


def main(argv: Sequence[str] | None = None) -> int:
    """Run the script; returns its exit code."""
    args = make_parser().parse_args(argv)
    try:
        run(args)
    except FstError as error:
        print(f"evaluate_controls: {images.printable(error)}", file=sys.stderr)
        return 2
    return 0


def make_parser() -> argparse.ArgumentParser:
    """Command line of this script."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("model", metavar="MODEL", help="a .safetensors style model or a .ckpt")
    parser.add_argument("--style", type=named_path, required=True, metavar="NAME=PATH")
    parser.add_argument("--texture", nargs="+", type=float, required=True, metavar="T")
    add_protocol(parser)
    return parser


def run(args: argparse.Namespace) -> None:
    """Measure, print and write."""
    check_grid(args.grid)
    name, path = args.style
    stylizer = Stylizer(args.model, args.device)
    pictures = tuple(map(str, images.find(path)))
    values = {f"texture {value:g}": value for value in args.texture}
    for value in values.values():
        stylizer.style_weights(name, value)  # refuses what cannot be, before the work

    def paint(_: Path, photo: Tensor, label: str) -> Tensor:
        return stylizer.stylize(photo, name, texture=values[label])

    figures, rows = measure(
        paint,
        images.find(args.photos)[:: args.every],
        [Style(label, pictures) for label in values],
        open_loss_network(args.loss_weights, args.device),
        args.size,
        args.grid_photos if args.grid else 0,
    )
    print(markdown(figures))
    distances = [row["style"] for row in figures.values()]
    falls = all(after < before for before, after in pairwise(distances))
    print(f"\nThe style distance {'falls' if falls else 'does NOT fall'} from value to value.")
    if args.grid:
        images.save(table_of(rows, args.size), args.grid, overwrite=True)


if __name__ == "__main__":
    sys.exit(main())
