"""`fst-gatys`: optimise the pixels of one picture, or synthesise a texture.

Only the standard library is imported up here, so that `--help` and a mistyped flag are answered at
once; the arguments themselves are in fst/cli/gatys_arguments.py.
"""

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from fst.cli.gatys_arguments import parse
from fst.cli.loss_arguments import loss_network, statistic
from fst.cli.messages import Problems, told, tried
from fst.errors import FstError
from fst.io.paths import clip
from fst.runtime.console import print_result, tell
from fst.runtime.devices import usable_device
from fst.stylize.folder.naming import check_folder_name

if TYPE_CHECKING:
    from torch import Tensor

    from fst.gatys import GatysResult
    from fst.losses.perceptual import PerceptualLoss

PROGRAM = "fst-gatys"


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    args = parse(argv)
    from fst.io.claims import claimed_file

    try:
        settings, output = prepare(args)
        is_numbered = not (args.overwrite or _is_named(args, output))
        with claimed_file(output, is_numbered) as output:
            _check_free(args, output)  # once more: another may have written it meanwhile
            return run(args, settings, output)
    except FstError as error:
        return told(PROGRAM, error)
    except KeyboardInterrupt:  # before there was a picture to keep
        tell(PROGRAM, "interrupted")
        return 130


def prepare(args: argparse.Namespace) -> tuple[dict, Path]:
    """Read and check everything before work begins: what `optimize` takes, and the file to write.

    Raises:
        FstError: Lists all that is wrong, a line each.
    """
    problems: list[str] = []
    names = ("steps", "optimizer", "seed", "aspect")
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
    from fst.losses import objective
    from fst.losses.perceptual import PerceptualLoss

    device = usable_device(args.device)
    defaults = objective.weights(args.classic_weights, gatys=True)
    given = (args.content_weight, args.style_weight, args.tv_weight)
    padding = None if args.texture else PADDING
    network = loss_network(args, args.pooling, padding)
    return PerceptualLoss(
        # The convolutions of CPUs and tensor cores prefer this layout.
        network.to(device).to(memory_format=torch.channels_last),
        content_layer=_content_layer(args),
        style_layers=args.style_layers,
        weights=tuple(d if g is None else g for g, d in zip(given, defaults, strict=True)),
        style_loss=statistic(args),
        classic=args.classic_weights,
    )


def _content_layer(args: argparse.Namespace) -> str:
    from fst.losses.objective import STYLE_LAYERS

    if not args.texture:
        return args.content_layer
    return (args.style_layers or STYLE_LAYERS)[0]  # not used, but there


def _output(args: argparse.Namespace) -> Path:
    """The file to write; its folder is there, or can be made.

    Raises:
        FstError: It cannot, or something is in the way.
    """
    from fst.io import images

    named = [path for path in (args.content, *args.style[:1]) if path]
    # abspath: a folder may be given as "."; two names have room for the number of a step
    stem = "_".join(clip(Path(os.path.abspath(path)).stem, 110) for path in named)
    path = Path(args.output or f"{stem}.png")
    is_picture = path.suffix.lower() in images.IMAGE_SUFFIXES
    if args.output and not is_picture and not os.path.lexists(path):
        check_folder_name(args.output, images.IMAGE_SUFFIXES, "picture")
    if os.path.isdir(path) or not (is_picture or os.path.lexists(path)):
        path = path / f"{stem}.png"  # as with fst-infer, another name is that of a folder
    elif not is_picture:
        raise FstError(f"-o {path} is a file; name a folder or a new picture file")
    _check_free(args, path)
    for given in (args.content, *args.style):
        both = given and os.path.exists(path) and os.path.exists(given)
        if both and os.path.samefile(path, given):
            raise FstError(f"-o {path} is an input picture and stays; name another output")
    try:
        images.check_place(path)
    except FstError as error:
        raise FstError(f"-o: {error}") from None
    return path


def _is_named(args: argparse.Namespace, path: Path) -> bool:
    """Whether -o is the picture file itself, which gets no number."""
    return bool(args.output) and path == Path(args.output)


def _check_free(args: argparse.Namespace, path: Path) -> None:
    if _is_named(args, path) and os.path.lexists(path) and not args.overwrite:
        raise FstError(f"-o {path} exists; name another file or add --overwrite")


if __name__ == "__main__":
    sys.exit(main())
