"""The arguments of fst-gatys."""

import argparse
from pathlib import Path

from fst.cli.argument_types import (
    Former,
    amount,
    device_name,
    number,
    positive,
    positive_number,
    whole,
)
from fst.cli.commands import finish, new_parser
from fst.cli.loss_arguments import add_loss
from fst.losses import objective

_EXAMPLES = """examples:
  fst-gatys --content photo.jpg --style wave.jpg -o painted.png
  fst-gatys --content photo.jpg --style signac/ --size 256 512 1024
  fst-gatys --texture --style wave.jpg --size 256 512
  fst-gatys --content photo.jpg --style wave.jpg --start noise --seed 3 --log runs/wave

The written path goes to stdout, all else to stderr. Exit code: 0 done, 1 the loss diverged (the
last good image is written) or the picture could not be written, 2 wrong arguments (nothing was
done), 130 interrupted (Ctrl-C; the best image so far is written)."""


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Read the arguments; shows help and usage errors and exits as argparse does."""
    usage = "fst-gatys --content PHOTO --style PICTURE [-o FILE] [options]"
    about = "Optimise the pixels of one picture (Gatys et al. 2016)."
    parser = new_parser("fst-gatys", about, _EXAMPLES, usage=usage)
    _add_pictures(parser)
    _add_descent(parser)
    _add_loss(parser)
    args = finish(parser).parse_args(argv)
    if args.steps and len(args.steps) not in (1, len(args.size)):
        parser.error(f"--steps: {len(args.steps)} numbers for {len(args.size)} sizes")
    return args


def _add_pictures(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--content", metavar="PHOTO", help="photo to paint")
    add("--style", nargs="+", default=[], metavar="PICTURE", help="of one style; or a folder")
    add("--texture", action="store_true", help="the style alone, without content")
    add("--start", default="content", metavar="WHAT", help="content, noise, or a picture (content)")
    add("--sizes", dest="size", nargs="+", type=positive, action=Former,
        default=argparse.SUPPRESS, help=argparse.SUPPRESS)  # fmt: skip
    add("--size", nargs="+", type=positive, default=[256, 512], metavar="PX",
        help="shorter sides, ascending: each begins from the one before (256 512)")  # fmt: skip
    add("--style-size", type=positive, metavar="PX",
        help="of the style at the last size; larger: larger strokes (that size)")  # fmt: skip
    add("--aspect", type=positive_number, default=1.0, metavar="R",
        help="of a texture, width over height (1)")  # fmt: skip
    add("-o", "--output", metavar="PATH", help="file or folder (PHOTO_STYLE.png in this folder)")
    add("--overwrite", action="store_true", help="replace the file instead of numbering a new one")
    add("--save-every", type=positive, metavar="N", help="write the image so far every N steps")
    add("--json", action="store_true", help="tell the result as a JSON object in place of its path")
    add("--log", type=Path, metavar="DIR", help="losses and images for TensorBoard")


def _add_descent(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--steps", nargs="+", type=positive, metavar="N",
        help="one number, or one a size (300 at the first, 150 at others)")  # fmt: skip
    add("--optimizer", choices=("lbfgs", "adam"), default="lbfgs", help="(lbfgs)")
    add("--lr", type=positive_number, metavar="R", help="learning rate (lbfgs 1, adam 0.02)")
    add("--seed", type=whole, default=0, metavar="N", help="of the noise (0)")
    add("--device", type=device_name, metavar="NAME", help="cpu, cuda, ... (a GPU or cpu)")
    add("--precision", choices=("fp32", "bf16"),
        help="of the loss network (bf16 where the processor has it)")  # fmt: skip
    add("--max-memory", type=amount, metavar="N",
        help="such as 4G: L-BFGS remembers as much as fits (half of what is free)")  # fmt: skip


def _add_loss(parser: argparse.ArgumentParser) -> None:
    add_loss(parser)
    add = parser.add_argument
    add("--pooling", choices=("avg", "max"), default="avg", help="of the loss network (avg)")
    add("--content-weight", type=number, metavar="W", help="weight of content (1)")
    add("--style-weight", type=number, metavar="W",
        help=f"weight of style ({objective.GATYS_STYLE_WEIGHT:g})")  # fmt: skip
    add("--tv-weight", type=number, metavar="W", help="weight of smoothness (0)")
