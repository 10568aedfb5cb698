"""Hold a style model against Gatys optimisation: the same loss, photo by photo, style by style.

    python scripts/compare_with_gatys.py --photos val/ --every 4 --styles-dir paintings/ \
        --size 128 --judge VGG19.safetensors -o compared/

For each photo and style the network paints once, and `fst.gatys.optimize` begins from the photo
with the weight and size of style that the model was trained with. Both are measured by the same
`PerceptualLoss` after clipping to [0, 1]; with --judge also by `fst.metrics`, as
scripts/evaluate.py does. "Equivalent iterations" are the L-BFGS evaluations after which Gatys first
has the network's total loss (interpolated; the median over the photos).

Writes table.md, loss.png (loss against iterations, the network's level drawn in), strip.png
(content | style | Gatys | network), the pictures, and results.json after every picture: called
again with the same folder it goes on where it was stopped.
"""

import argparse
import json
import math
import statistics
import sys
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from evaluate import (
    make_judge,
    named_path,
    open_loss_network,
    photo_size,
    positive,
)
from paintings import chosen_names, find_styles
from torch import Tensor
from tqdm import tqdm

from fst.assets import GALLERY
from fst.data.styles import Style, load_pictures
from fst.errors import FstError
from fst.gatys import GatysStep, optimize
from fst.io import images
from fst.io.atomic import write_atomically
from fst.losses.objective import WEIGHTS
from fst.losses.perceptual import PerceptualLoss
from fst.networks.combined import load_loss_networks
from fst.runtime.memory import keep_freed_memory
from fst.stylize.blend_grid import table_of
from fst.stylize.stylizer import Stylizer

TERMS = ("content", "style", "total")
JUDGED = ("judged style", "judged content")
STYLE_SIZE_PX = 384  # of models that do not say


def main(argv: Sequence[str] | None = None) -> int:
    """Run the script; returns its exit code."""
    args = make_parser().parse_args(argv)
    keep_freed_memory()
    if args.threads:
        torch.set_num_threads(args.threads)
    try:
        run(args)
    except FstError as error:
        print(f"compare_with_gatys: {images.printable(error)}", file=sys.stderr)
        return 2
    return 0


def make_parser() -> argparse.ArgumentParser:
    """Command line of this script."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    add = parser.add_argument
    add("model", nargs="?", default=GALLERY, metavar="MODEL", help="a style model (the gallery)")
    add("--photos", nargs="+", required=True, metavar="PATH", help="held-out photos")
    add("--every", type=positive, default=1, metavar="N", help="take every N-th photo, sorted")
    add("--size", type=photo_size, default=256, metavar="PX", help="shorter side of the photos")
    add("--styles-dir", type=Path, metavar="FOLDER", help="NAME.jpg, or a folder NAME, per style")
    add("--style", action="append", type=named_path, default=[], metavar="NAME=PATH",
        help="file or folder of one style, whatever --styles-dir holds")  # fmt: skip
    add("--only", nargs="+", metavar="NAME", help="compare these styles")
    add("--iterations", type=positive, nargs="+", default=[10, 50, 100, 200, 500], metavar="N",
        help="evaluations at which Gatys is measured (10 50 100 200 500)")  # fmt: skip
    add("--loss-weights", nargs="+", default=["vgg16-lite"], metavar="NAME",
        help="loss networks that both are measured by (vgg16-lite)")  # fmt: skip
    add("--content-layer", metavar="LAYER", help="see fst-train")
    add("--pooling", choices=("avg", "max"), help="of the loss networks (as their files say)")
    add("--judge", metavar="FILE", help="another VGG that measures the pictures as well")
    add("--threads", type=positive, metavar="N", help="of torch")
    add("-o", "--output", type=Path, default=Path("compared"), metavar="FOLDER")
    return parser


@dataclass
class Contest:
    """All that a comparison needs, made once."""

    args: argparse.Namespace
    stylizer: Stylizer
    styles: list[Style]
    pictures: list[list[Tensor]]
    weights: list[float]
    loss_network: torch.nn.Module
    judge: torch.nn.Module | None


def run(args: argparse.Namespace) -> None:
    """Compare every pair that results.json lacks, then write what came out."""
    contest = prepare(args)
    photos = images.find(args.photos)[:: args.every]
    path = args.output / "results.json"
    settings = settings_of(args)
    results = read_results(path, settings)
    pairs = [(photo, place) for photo in photos for place in range(len(contest.styles))]
    for photo, place in tqdm(pairs, unit="picture", disable=None):
        key = f"{photo.stem}/{contest.styles[place].name}"
        if key not in results:
            results[key] = compare(contest, photo, place)
            write_results(path, settings, results)
    names = [style.name for style in contest.styles]
    kept = {n: [results[f"{photo.stem}/{n}"] for photo in photos] for n in names}
    table = markdown(kept, args.iterations)
    print(table)
    write_atomically(args.output / "table.md", f"{table}\n".encode())
    plot(kept, args.output / "loss.png")
    write_strip(contest, photos[0])


def prepare(args: argparse.Namespace) -> Contest:
    """Read model, styles and loss networks.

    Raises:
        FstError: Whatever is wrong with them.
    """
    stylizer = Stylizer(args.model)
    names = chosen_names(stylizer, args.only)
    styles = find_styles(names, args.styles_dir, dict(args.style))
    ids = [stylizer.style_id(name) for name in names]
    record = stylizer.metadata.get("training", {}).get("settings", {})

    def trained(name: str, default: float) -> list:
        value = record.get(name) or default
        return [value[i] for i in ids] if isinstance(value, list) else [value] * len(ids)

    sizes = [round(size) for size in trained("style_size_px", STYLE_SIZE_PX)]
    network = load_loss_networks(args.loss_weights, args.pooling).to(
        memory_format=torch.channels_last
    )
    return Contest(
        args,
        stylizer,
        styles,
        load_pictures(styles, sizes),
        trained("style_weight", WEIGHTS[1]),
        network,
        open_loss_network(args.judge, "cpu") if args.judge else None,
    )


def settings_of(args: argparse.Namespace) -> dict:
    """What a result depends on, beside photo and style."""
    networks = [Path(name).name for name in args.loss_weights]
    judge = Path(args.judge).name if args.judge else None
    return {
        "model": Path(args.model).name,
        "size_px": args.size,
        "iterations": args.iterations,
        "loss_network": networks,
        "content_layer": args.content_layer,
        "pooling": args.pooling,
        "judge": judge,
    }


def read_results(path: Path, settings: dict) -> dict:
    """Results of an earlier call, by "photo/style".

    Raises:
        FstError: They were made with other settings.
    """
    if not path.is_file():
        return {}
    stored = json.loads(path.read_text())
    if stored["settings"] != settings:
        raise FstError(f"{path} was made with other settings: choose another -o")
    return stored["results"]


def write_results(path: Path, settings: dict, results: dict) -> None:
    """Keep what has been found so far, for `read_results`."""
    text = json.dumps({"settings": settings, "results": results}, indent=2)
    write_atomically(path, text.encode())


# ---- one photo in one style --------------------------------------------------------------------


def compare(contest: Contest, path: Path, place: int) -> dict:
    """The losses of the network and of Gatys at the iterations that are plotted."""
    args, style = contest.args, contest.styles[place]
    loss = PerceptualLoss(
        contest.loss_network,
        content_layer=args.content_layer,
        weights=(WEIGHTS[0], contest.weights[place], WEIGHTS[2]),
    )
    loss.set_styles([contest.pictures[place]])
    photo = images.load(path, args.size)
    target, index = loss.content_target(photo[None]), torch.tensor([0])
    judge = make_judge(contest.judge, style, photo) if contest.judge else None

    @torch.no_grad()
    def measured(image: Tensor, judged: bool = True) -> dict[str, float]:
        terms = loss.terms(image[None], target, index)
        figures = {name: terms[name].item() for name in TERMS}
        if judge and judged:
            figures |= {f"judged {kind}": distance for kind, distance in judge(image).items()}
        return figures

    painting = contest.stylizer.stylize(photo, style.name)
    wanted, curve = plotted(args.iterations), {}

    def look(step: GatysStep) -> None:
        if step.number in wanted:
            curve[str(step.number)] = measured(step.image, step.number in args.iterations)

    result = optimize(
        photo, contest.pictures[place], loss=loss, sizes=[min(photo.shape[1:])],
        steps=max(args.iterations), style_size_px=max(min(p.shape[1:]) for p in
        contest.pictures[place]), on_step=look,
    )  # fmt: skip
    for kind, image in (("gatys", result.image), ("network", painting)):
        name = f"{path.stem}_{style.name}.png"
        images.save(image, args.output / kind / name, overwrite=True)
    return {"network": measured(painting), "photo": measured(photo), "gatys": curve}


def plotted(iterations: Sequence[int]) -> set[int]:
    """The iterations asked for and some between: eight to a decade."""
    steps = range(int(8 * math.log10(max(iterations))) + 1)
    return {*iterations, *(round(10 ** (step / 8)) for step in steps)}


# ---- what came out -----------------------------------------------------------------------------


def equivalent_iterations(result: dict) -> float:
    """Evaluations until Gatys has the network's total loss; infinite if it never does.

    Interpolated between the iterations measured, along the logarithm of their number.
    """
    level = result["network"]["total"]
    curve = sorted((int(number), figures["total"]) for number, figures in result["gatys"].items())
    place = bisect_left([-total for _, total in curve], -level)
    if place == len(curve):
        return math.inf
    if place == 0:
        return curve[0][0]
    (n0, t0), (n1, t1) = curve[place - 1], curve[place]
    share = (t0 - level) / (t0 - t1)
    return math.exp(math.log(n0) + share * (math.log(n1) - math.log(n0)))


def markdown(kept: dict[str, list[dict]], iterations: Sequence[int]) -> str:
    """One block of rows a style: the network, then Gatys; means over the photos."""
    some = next(iter(kept.values()))[0]["network"]
    columns = [name for name in (*TERMS, *JUDGED) if name in some]
    lines = [f"| style | painted by | {' | '.join(columns)} | equivalent iterations |"]
    lines += ["|---|---|" + "---:|" * (len(columns) + 1)]
    for style, results in kept.items():
        rows = {"network": [r["network"] for r in results]}
        rows |= {f"Gatys, {n}": [r["gatys"][str(n)] for r in results] for n in iterations}
        for name, figures in rows.items():
            means = [statistics.mean(f[column] for f in figures) for column in columns]
            cells = " | ".join(f"{mean:.3f}" for mean in means)
            last = spread(results) if name == "network" else ""
            lines.append(f"| {style if last else ''} | {name} | {cells} | {last} |")
    return "\n".join(lines)


def spread(results: Sequence[dict]) -> str:
    """Median, least and most of the equivalent iterations."""
    values = sorted(equivalent_iterations(result) for result in results)
    last = max(int(n) for n in results[0]["gatys"])

    def text(value: float) -> str:
        return f"> {last}" if math.isinf(value) else f"{value:.0f}"

    middle = statistics.median_low(values)
    return f"{text(middle)} ({text(values[0])} to {text(values[-1])})"


def plot(kept: dict[str, list[dict]], path: Path) -> None:
    """Mean total loss against iterations, a panel a style, the network's level as a line."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    columns = min(4, len(kept))
    rows = math.ceil(len(kept) / columns)
    figure, axes = pyplot.subplots(
        rows, columns, figsize=(3.2 * columns, 2.6 * rows), squeeze=False, layout="constrained"
    )
    for axis in axes.flat[len(kept) :]:
        axis.axis("off")
    for axis, (style, results) in zip(axes.flat, kept.items(), strict=False):
        numbers = sorted(int(n) for n in results[0]["gatys"])
        means = [statistics.mean(r["gatys"][str(n)]["total"] for r in results) for n in numbers]
        level = statistics.mean(r["network"]["total"] for r in results)
        axis.loglog(numbers, means, color="tab:blue", label="Gatys (L-BFGS)")
        axis.axhline(level, color="tab:orange", label="network, one pass")
        axis.set_title(style, fontsize=9)
        axis.tick_params(labelsize=7, which="both")
    axes.flat[0].legend(fontsize=7)
    figure.supxlabel("evaluations", fontsize=8)
    figure.supylabel("total loss, mean over the photos", fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
    pyplot.close(figure)


def write_strip(contest: Contest, photo: Path) -> None:
    """A row a style: content | style | Gatys | network."""
    folder, size_px = contest.args.output, contest.args.size
    rows = []
    for style in contest.styles:
        name = f"{photo.stem}_{style.name}.png"
        files = [photo, style.images[0], folder / "gatys" / name, folder / "network" / name]
        rows.append([images.load(file) for file in files])
    images.save(table_of(rows, size_px), folder / "strip.png", overwrite=True)


if __name__ == "__main__":
    sys.exit(main())
