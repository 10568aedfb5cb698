"""`fst-gram`: what the Gram matrices of style pictures say, as a report."""

import argparse
import os
import sys
from functools import partial
from pathlib import Path

from fst.cli.argument_types import device_name, grid, positive, whole
from fst.cli.commands import finish, new_parser
from fst.cli.loss_arguments import add_loss_network, loss_network
from fst.cli.messages import Problems, noting, told
from fst.errors import FstError
from fst.losses.objective import STYLE_LAYERS
from fst.networks.sizes import MIN_VGG_PX
from fst.runtime.console import tell
from fst.runtime.memory import usable_device

PROGRAM = "fst-gram"
_EXAMPLES = """examples:
  fst-gram wave.jpg -o report/
  fst-gram signac/ wave.jpg                         instances of one style, compared with each other
  fst-gram wave.jpg --centered                      covariances: the mean is not in them
  fst-gram wave.jpg --synthesize                    with textures from parts of the statistics
  fst-gram wave.jpg --synthesize gram "eigen top=5%" "meanstd"

The path of the report goes to stdout, all else to stderr. Exit code: 0 done, 1 it could not be
written, 2 wrong arguments (nothing was done), 130 interrupted."""


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    args = finish(make_parser()).parse_intermixed_args(argv)
    from fst.io.atomic import claimed_folder

    try:
        names, pictures, network = prepare(args)
        with claimed_folder(args.output):
            _check_output(args)  # once more: another may have written it meanwhile
            return run(args, names, pictures, network)
    except FstError as error:
        return told(PROGRAM, error)
    except KeyboardInterrupt:
        tell(PROGRAM, "interrupted; there is no report")
        return 130


def make_parser() -> argparse.ArgumentParser:
    """Command line of fst-gram."""
    about = "Report what the Gram matrices of style pictures say."
    parser = new_parser(PROGRAM, about, _EXAMPLES)
    add = parser.add_argument
    add("pictures", nargs="+", metavar="PICTURE", help="files, folders or 'patterns'")
    add("-o", "--output", type=Path, default=Path("gram-report"), metavar="FOLDER",
        help="(gram-report)")  # fmt: skip
    add("--overwrite", action="store_true", help="replace the report that is there")
    add("--size", type=positive, default=384, metavar="PX", help="shorter sides at most (384)")
    add("--layers", nargs="+", metavar="LAYER", help="relu1_1 ... relu5_1")
    add("--centered", action="store_true", help="the matrices of centred features: covariances")
    add("--patches", type=grid, default=(3, 3), metavar="RxC", help="grid of patches (3x3)")
    add("--synthesize", nargs="*", metavar="STATISTIC",
        help="textures too: of these statistics, or of a selection")  # fmt: skip
    add("--texture-size", type=partial(whole, least=MIN_VGG_PX), default=128, metavar="PX",
        help="of the textures (128)")  # fmt: skip
    add("--steps", type=positive, default=150, metavar="N", help="of each texture (150)")
    add("--seed", type=whole, default=0, metavar="N", help="of the noise they start from (0)")
    add_loss_network(parser)
    add("--device", type=device_name, metavar="NAME", help="cpu, cuda, ... (a GPU or cpu)")
    return parser


def prepare(args: argparse.Namespace) -> tuple:
    """Read and check everything: names, pictures, loss network."""
    from fst.gramlab.synthesis import SYNTHESIZED, problems_of
    from fst.io import images
    from fst.losses.parse import read_statistic

    problems: list[str] = []
    files, network, device = [], None, "cpu"
    if args.synthesize is not None:
        args.synthesize = args.synthesize or list(SYNTHESIZED)
    for text in args.synthesize or ():
        with noting(problems):
            read_statistic(text)
    with noting(problems):
        device = usable_device(args.device)
    for given in args.pictures:
        with noting(problems):
            found = images.find(given)
            folder = f"{Path(given).resolve().name}/" if os.path.isdir(given) else ""
            files += [(f"{folder}{file.stem}", file) for file in found]
    with noting(problems):
        network = loss_network(args)
        network.require(args.layers or ())
    with noting(problems):
        _check_output(args)
    pictures = []
    for name, file in files:
        with noting(problems):
            pictures.append(_picture(name, file, args.size).to(device))
    if not problems:
        layers = args.layers or STYLE_LAYERS
        problems += problems_of(network, layers, pictures, args.synthesize or (), args.patches)
    if problems:
        raise Problems(problems)
    return [name for name, _ in files], pictures, network.to(device)


def _check_output(args: argparse.Namespace) -> None:
    if args.output.suffix.lower() in (".html", ".pdf") and not os.path.isdir(args.output):
        raise FstError(f"-o {args.output}: name a folder; the report in it is report.html")
    if os.path.exists(args.output / "report.html") and not args.overwrite:
        raise FstError(f"-o {args.output} holds a report; name another folder or add --overwrite")
    if os.path.exists(args.output) and not os.path.isdir(args.output):
        raise FstError(f"-o {args.output} is a file; name a folder")


def _picture(name: str, file: Path, size_px: int):
    from fst.io import images

    picture = images.load(file, size_px)
    if min(picture.shape[1:]) < MIN_VGG_PX:
        raise FstError(f"{name}: below {MIN_VGG_PX} px a side; give a larger picture or --size")
    return picture


def run(args: argparse.Namespace, names: list[str], pictures: list, network) -> int:
    """Measure, synthesise if asked, and write the report."""
    from fst.gramlab import report
    from fst.gramlab.measure import Laboratory
    from fst.runtime.memory import keep_freed_memory

    keep_freed_memory()
    layers = args.layers or STYLE_LAYERS
    laboratory = Laboratory(network, pictures, names, layers, args.centered)
    parts = report.sections(laboratory, args.patches)
    if args.synthesize:
        sources = dict(zip(laboratory.names, pictures, strict=True))
        parts.insert(1, report.texture_section(synthesized(args, pictures, layers), sources))
    networks = args.loss_weights or [args.loss_network]
    settings = (
        f"{', '.join(Path(name).name for name in networks)} at {', '.join(layers)}; "
        f"shorter sides of at most {args.size} px{'; centred' if args.centered else ''}"
    )
    try:
        path = report.write(args.output, laboratory.names, settings, parts)
    except FstError as error:
        return told(PROGRAM, error, 1)
    print(path, flush=True)
    return 0


def synthesized(args: argparse.Namespace, pictures: list, layers) -> dict:
    """The textures, made as fst-gatys makes them."""
    from fst.gatys.optimization import POOLING
    from fst.gramlab.synthesis import synthesize

    network = loss_network(args, POOLING).to(pictures[0].device)
    options = {"size_px": args.texture_size, "steps": args.steps, "seed": args.seed}
    return synthesize(network, pictures, args.synthesize, layers=layers, **options)


if __name__ == "__main__":
    sys.exit(main())
