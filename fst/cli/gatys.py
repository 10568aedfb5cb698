"""`fst-gatys`: optimise the pixels of one picture, or synthesise a texture."""

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

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
from fst.cli.loss_arguments import add_loss, loss_network
from fst.cli.messages import Problems, told, tried
from fst.errors import FstError
from fst.io.paths import clip
from fst.losses import objective
from fst.runtime.console import print_result, tell
from fst.runtime.memory import usable_device
from fst.stylize.folder.naming import check_free, check_output, clash, identity, is_output_file

if TYPE_CHECKING:
    from torch import Tensor

    from fst.gatys import GatysResult
    from fst.losses.perceptual import PerceptualLoss

PROGRAM = "fst-gatys"
_EXAMPLES = """examples:
  fst-gatys --content photo.jpg --style wave.jpg -o painted.png
  fst-gatys --content photo.jpg --style signac/ --size 256 512 1024
  fst-gatys --texture --style wave.jpg --size 256 512
  fst-gatys --content photo.jpg --style wave.jpg --start noise --seed 3 --log runs/wave

The written path goes to stdout, all else to stderr. Exit code: 0 done, 1 the loss diverged (the
last good image is written) or the picture could not be written, 2 wrong arguments (nothing was
done), 130 interrupted (Ctrl-C; the best image so far is written)."""


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    args = _parsed(argv)
    from fst.io.atomic import claimed_file

    try:
        settings, output = prepare(args)
        is_numbered = not (args.overwrite or is_output_file(args.output))
        with claimed_file(output, is_numbered) as output:
            if not is_numbered:
                check_free(output, args.overwrite)  # another may have written it meanwhile
            return run(args, settings, output)
    except FstError as error:
        return told(PROGRAM, error)
    except KeyboardInterrupt:  # before there was a picture to keep
        tell(PROGRAM, "interrupted")
        return 130


def _parsed(argv: list[str] | None) -> argparse.Namespace:
    usage = "fst-gatys --content PHOTO --style PICTURE [-o FILE] [options]"
    about = "Optimise the pixels of one picture (Gatys et al. 2016)."
    parser = new_parser(PROGRAM, about, _EXAMPLES, usage=usage)
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
    add("--style", nargs="+", default=[], metavar="PICTURE",
        help="pictures of one style, or a folder of them")  # fmt: skip
    add("--texture", action="store_true", help="the style alone, without content")
    add("--start", default="content", metavar="WHAT", help="content, noise, or a picture (content)")
    add("--sizes", dest="size", nargs="+", type=positive, action=Former,
        default=argparse.SUPPRESS, help=argparse.SUPPRESS)  # fmt: skip
    add("--size", nargs="+", type=positive, default=[256, 512], metavar="PX",
        help="shorter sides, ascending: each starts from the one before (256 512)")  # fmt: skip
    add("--style-size", type=positive, metavar="PX",
        help="of the style at the last size; larger: larger strokes (that size)")  # fmt: skip
    add("--aspect", type=positive_number, default=1.0, metavar="R",
        help="of a texture, width over height (1)")  # fmt: skip
    add("-o", "--output", metavar="PATH", help="file or folder (PHOTO_STYLE.png in this folder)")
    add("--overwrite", action="store_true", help="replace the file instead of numbering a new one")
    add("--save-every", type=positive, metavar="N", help="write the image so far every N steps")
    add("--json", action="store_true", help="print the result as JSON instead of its path")
    add("--log", type=Path, metavar="DIR", help="losses and images for TensorBoard")


def _add_descent(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--steps", nargs="+", type=positive, metavar="N",
        help="one number, or one per size (150 at the first, 75 at others; twice as many "
        "in colour alone)")  # fmt: skip
    add("--optimizer", choices=("lbfgs", "adam"), default="lbfgs", help="(lbfgs)")
    add("--lr", type=positive_number, metavar="R", help="learning rate (lbfgs 1, adam 0.02)")
    add("--seed", type=whole, default=0, metavar="N", help="of the noise (0)")
    add("--device", type=device_name, metavar="NAME", help="cpu, cuda, ... (a GPU or cpu)")
    add("--precision", choices=("fp32", "bf16"),
        help="of the loss network (bf16 where that is faster)")  # fmt: skip
    add("--max-memory", type=amount, metavar="N",
        help="such as 4G: L-BFGS remembers as much as fits (half of what is free)")  # fmt: skip


def _add_loss(parser: argparse.ArgumentParser) -> None:
    add_loss(parser)
    add = parser.add_argument
    add("--pooling", choices=("avg", "max"), default="avg", help="of the loss network (avg)")
    add("--content-weight", type=number, metavar="W", help="weight of content (1)")
    add("--style-weight", type=number, metavar="W",
        help=f"weight of style ({objective.GATYS_STYLE_WEIGHT:g})")  # fmt: skip
    add("--no-grey", dest="in_grey", action="store_false", default=None,
        help="compare in colour alone, as for textures and --classic-weights: half the time per "
        "step, weaker strokes")  # fmt: skip
    add("--tv-weight", type=number, metavar="W", help="weight of total variation (0)")
    add("--grain-weight", type=number, metavar="W",
        help="weight against more fine texture than the style's "
        f"({objective.GATYS_GRAIN_WEIGHT:g})")  # fmt: skip


def prepare(args: argparse.Namespace) -> tuple[dict, Path]:
    """Read and check everything: what `optimize` takes, and the file to write."""
    problems: list[str] = []
    names = ("steps", "optimizer", "seed", "aspect", "in_grey", "grain_weight")
    settings: dict = {name: getattr(args, name) for name in names}
    made = {"content": _content, "style": _style, "start": _start, "loss": _loss, "output": _output}
    settings |= {name: tried(problems, make, args) for name, make in made.items()}
    if problems:
        raise Problems(problems)
    output = settings.pop("output")
    settings |= {"sizes": args.size, "style_size_px": args.style_size, "learning_rate": args.lr}
    settings["bf16"] = None if args.precision is None else args.precision == "bf16"
    settings["max_memory_bytes"] = args.max_memory
    return settings, output


def run(args: argparse.Namespace, settings: dict, output: Path) -> int:
    """Optimise, write the picture, and say how it ended."""
    from fst.gatys import optimize
    from fst.gatys.review import Review
    from fst.io import images
    from fst.runtime.memory import keep_freed_memory

    keep_freed_memory()
    with Review(output, args.save_every, args.log) as review:
        result = optimize(**settings, on_step=review)
        review.finish(result)
    try:
        # Whatever has taken the name meanwhile: minutes of work get the next number.
        written = images.save(result.image, output, overwrite=args.overwrite, numbered=True)
    except FstError as error:
        return told(PROGRAM, error, 1)
    height, width = result.image.shape[1:]
    about = {"width": width, "height": height, "steps": result.steps, "stopped": result.stopped}
    print_result(str(written), args.json, **about, losses=result.losses)
    return _conclude(result)


def _conclude(result: "GatysResult") -> int:
    shown = ", ".join(f"{n} {result.losses[n]:.4f}" for n in ("total", "content", "style"))
    height, width = result.image.shape[1:]
    tell(PROGRAM, f"{width}x{height} px after {result.steps} steps: {shown}")
    if result.stopped == "interrupted":
        tell(PROGRAM, "interrupted; the best image so far is kept")
        return 130
    if result.stopped == "diverged":
        tell(PROGRAM, "the loss diverged twice; the last good image is kept: try a lower --lr")
        return 1
    return 0


def _content(args: argparse.Namespace) -> "Tensor | None":
    from fst.io import images

    if args.texture:
        if args.content:
            raise FstError("--texture takes no --content: leave one of them out")
        return None
    if not args.content:
        raise FstError("give --content PICTURE, or --texture for the style alone")
    return images.load(args.content, max(args.size))


def _style(args: argparse.Namespace) -> "list[Tensor]":
    """All pictures given: they are one style."""
    from fst.io import images

    if not args.style:
        if args.style_weight == 0 and args.content:
            return []  # what the content layer keeps
        raise FstError("give --style PICTURE: one or more, or a folder, of one style")
    try:
        files = images.find(args.style)
    except FstError as error:
        raise FstError(f"--style: {error}") from None
    return [images.load(file, args.style_size or max(args.size)) for file in files]


def _start(args: argparse.Namespace) -> "str | Tensor":
    from fst.gatys.optimization import STARTS
    from fst.io import images

    if args.start in STARTS:
        return args.start
    if not os.path.isfile(args.start):
        raise FstError(f"--start {args.start}: neither {' nor '.join(STARTS)} nor a file")
    return images.load(args.start, max(args.size))


def _loss(args: argparse.Namespace) -> "PerceptualLoss":
    import torch

    from fst.gatys.optimization import PADDING
    from fst.losses.perceptual import PerceptualLoss

    device = usable_device(args.device)
    given = (args.content_weight, args.style_weight, args.tv_weight)
    padding = None if args.texture else PADDING
    network = loss_network(args, args.pooling, padding)
    first_style_layer = (args.style_layers or objective.STYLE_LAYERS)[0]
    # Of a texture it is not used, but there.
    content_layer = first_style_layer if args.texture else args.content_layer
    return PerceptualLoss(
        # The convolutions of CPUs and tensor cores prefer this layout.
        network.to(device).to(memory_format=torch.channels_last),
        content_layer=content_layer,
        style_layers=args.style_layers,
        weights=objective.weights(args.classic_weights, gatys=True, given=given),
        style_loss=objective.statistic(args.classic_weights, args.style_loss),
        classic=args.classic_weights,
    )


def _output(args: argparse.Namespace) -> Path:
    """The file to write, by the rules of fst-infer; its folder is there, or can be made."""
    if args.output == "-":
        raise FstError("-o -: fst-gatys writes files; name one")
    pictures = [Path(given) for given in (args.content, *args.style) if given]
    check_output(args.output, True, {}, 1, 8)
    # abspath: a folder may be given as "."; two names have room for the number of a step
    named = pictures[: 2 if args.content else 1]
    stem = "_".join(clip(Path(os.path.abspath(path)).stem, 110) for path in named)
    path = Path(args.output or "")
    if not is_output_file(args.output):
        path /= f"{stem}.png"
    else:
        check_free(path, args.overwrite)
    if identity(path) in {identity(picture) for picture in pictures} - {None}:
        raise FstError(clash(path))
    return path


if __name__ == "__main__":
    sys.exit(main())
