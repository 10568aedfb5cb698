"""Measure what a control of the painting does to style and content, value by value.

    python scripts/evaluate_controls.py MODEL --style wave=wave.jpg --photos val/ \
        --texture 0 0.25 0.5 0.75 1 --loss-weights vgg19 --grid texture.png

The same photos are painted in one style at each value of `--texture`, `--strength` or `--share`
(of the painting in a plain mix with the photo: what strength is calibrated from). Prints the
table of `evaluate.py` with a row for each, whether brushwork and style distance fall from each
value to the next, and which part of its way each has gone. The picture has a row for each photo.
"""

import argparse
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import torch
from evaluate import (
    add_protocol,
    check_grid,
    make_ruler,
    markdown,
    measure,
    named_path,
    open_loss_network,
)
from torch import Tensor

from fst.data.styles import Style
from fst.errors import FstError
from fst.io import images
from fst.stylize.blend_grid import table_of
from fst.stylize.stylizer import Stylizer

CONTROLS = ("texture", "strength", "share")


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
    control = parser.add_mutually_exclusive_group(required=True)
    for name in CONTROLS:
        control.add_argument(f"--{name}", nargs="+", type=float, metavar="VALUE")
    add_protocol(parser)
    return parser


def painted(stylizer: Stylizer, photo: Tensor, style: str, control: str, value: float) -> Tensor:
    """The painting of a photo (3, H, W) at one value of a control."""
    if control == "share":
        return torch.lerp(photo, stylizer.stylize(photo, style), value)
    return stylizer.stylize(photo, style, **{control: value})


def run(args: argparse.Namespace) -> None:
    """Measure, print and write."""
    check_grid(args.grid)
    name, path = args.style
    stylizer = Stylizer(args.model, args.device)
    pictures = tuple(map(str, images.find(path)))
    control = next(control for control in CONTROLS if getattr(args, control))
    values = {f"{control} {value:g}": value for value in getattr(args, control)}
    for value in values.values():  # refuses what cannot be, before the work
        painted(stylizer, torch.full((3, 32, 32), 0.5), name, control, value)

    def paint(_: Path, photo: Tensor, label: str) -> Tensor:
        return painted(stylizer, photo, name, control, values[label])

    figures, rows = measure(
        paint,
        images.find(args.photos)[:: args.every],
        make_ruler(
            open_loss_network(args.loss_weights, args.device),
            [Style(label, pictures) for label in values],
        ),
        args.size,
        args.grid_photos if args.grid else 0,
    )
    print(f"{markdown(figures)}\n")
    for key, name in (("brushwork", "Brushwork"), ("style", "The style distance")):
        print_way(name, [row[key] for row in figures.values()])
    if args.grid:
        images.save(table_of(rows, args.size), args.grid, overwrite=True)


def print_way(name: str, distances: Sequence[float]) -> None:
    """Say whether a distance falls from value to value, and which part of its way it has gone."""
    falls = all(after < before for before, after in pairwise(distances))
    if len(distances) > 1:
        print(f"{name} {'falls' if falls else 'does NOT fall'} from value to value.")
    if way := distances[0] - distances[-1]:
        parts = (f"{(distances[0] - distance) / way + 0.0:.2f}" for distance in distances)
        print(f"Parts of its way: {' '.join(parts)}")


if __name__ == "__main__":
    sys.exit(main())
