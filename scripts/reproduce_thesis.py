"""The thesis' findings about Gram matrices, as one experiment in Gatys mode.

    python scripts/reproduce_thesis.py --style starry_night.jpg --instances signac/ \
        --judge VGG19.safetensors -o thesis/

(a) all eigenpairs against plain Gram; (b) the top 50, 10 and 5 %; (c) slices of 10 %; (d) the
smallest pair replaced by the ones-vector; (e) `projected` at several ranks; (f) mean, max and min
over instances, Gram against AdaIN statistics; (g) patches; (h) milliseconds of one evaluation of
each.

Each statistic of Gram matrices comes in two forms side by side: of the thesis' uncentred matrix,
whose first eigenpair is mostly the mean, and centred, with the means matched apart.

Each case paints the same photo from the same start with the same weights; only the statistic
differs. It is judged by `fst.metrics.Ruler` with the painting at the size it was learned at: by
brushwork, which is blind to colour, by style and content distance (whatever was optimised), and by
the mean difference of the picture from that of plain Gram of its form, in 1/255. Writes table.md, a
strip of pictures for each part (centred below), and results.json after each case: called again with
the same folder it goes on where it was stopped (times are comparable within one call only).
"""

import argparse
import statistics
import sys
import time
from collections.abc import Sequence
from functools import cache
from inspect import signature
from itertools import pairwise
from pathlib import Path

import torch
from evaluate import open_loss_network, positive
from frame import parser_of, read_results, run_script, write_results
from torch import Tensor
from tqdm import tqdm

from fst.assets import SAMPLE_PHOTO
from fst.data.styles import fingerprint, load_pictures, read_styles
from fst.errors import FstError
from fst.gatys import optimize
from fst.gatys.optimization import PADDING, POOLING
from fst.io import images
from fst.io.atomic import write_atomically
from fst.losses.objective import weights
from fst.losses.perceptual import PerceptualLoss
from fst.losses.style_loss import STYLE_LOSSES
from fst.metrics import Ruler
from fst.networks.loss_network import load_loss_networks
from fst.stylize.blend_grid import table_of

SAMPLE_STYLE = Path(__file__).parents[1] / "datasets" / "samples" / "styles" / "woodblock_waves.jpg"
SLICES = [f"eigen slice={low}%-{low + 10}%" for low in range(0, 100, 10)]
# Part to statistics; the first of a part is what the others are held against.
PARTS = {
    "a, b: top eigenpairs": [
        *("gram", "eigen top=100%", "eigen top=50%", "eigen top=10%", "eigen top=5%"),
    ],
    "c: slices": ["gram", *SLICES],
    "d: ones-vector": ["gram", "eigen ones"],
    "e: projected": [
        *("gram", "projected rank=100%", "projected rank=25%"),
        *("projected rank=10%", "projected rank=5%"),
    ],
    "f: instances": [
        f"{name} instances={how}" for name in ("gram", "meanstd") for how in ("mean", "max", "min")
    ],
    "g: patches": [
        *("gram", "gram patches=2x2", "gram patches=3x3"),
        "projected patches=3x3 rank=10% instances=beside",
    ],
    "others": ["gram", "meanstd", "covariance", "wasserstein", "sliced"],
}
OF_INSTANCES = "f: instances"
FIGURES = ("brushwork", "style", "content")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the script; returns its exit code."""
    return run_script(__file__, make_parser(), run, argv)


def make_parser() -> argparse.ArgumentParser:
    """Command line of this script."""
    parser = parser_of(__doc__)
    add = parser.add_argument
    add("--content", default=SAMPLE_PHOTO, metavar="PHOTO", help="(the sample photo)")
    add("--style", default=SAMPLE_STYLE, metavar="PICTURE", help="(a sample style)")
    add("--instances", metavar="FOLDER", help="several pictures of one style, for part f")
    add("--size", type=positive, default=128, metavar="PX", help="shorter side (128)")
    add("--steps", type=positive, default=150, metavar="N", help="evaluations of each case (150)")
    add("--parts", nargs="+", metavar="LETTER", help="run these: a c d e f g o")
    add("--loss-weights", nargs="+", default=["vgg16-lite"], metavar="NAME", help="(vgg16-lite)")
    add("--judge", default="vgg16-lite", metavar="FILE", help="VGG that measures (vgg16-lite)")
    add("--threads", type=positive, metavar="N", help="of torch")
    add("-o", "--output", type=Path, default=Path("thesis"), metavar="FOLDER", help="(thesis)")
    return parser


def run(args: argparse.Namespace) -> None:
    """Paint every case that results.json lacks, then write tables and strips."""
    parts = chosen_parts(args)
    photo = images.load(args.content, args.size)
    network = load_loss_networks(args.loss_weights, POOLING, PADDING)
    network.to(memory_format=torch.channels_last)
    judge = open_loss_network(args.judge, "cpu")
    path = args.output / "results.json"
    settings = settings_of(args)
    results = read_results(path, settings)
    ruler = cache(lambda source: Ruler(judge, read_styles([source]), sizes_px=[args.size]))
    cases = [
        (part, text)
        for part, texts in parts.items()
        for text in (*texts, *map(centered_form, texts))
        if text
    ]
    for part, text in tqdm(cases, unit="picture", disable=None):
        source = args.instances if part == OF_INSTANCES else args.style
        key = f"{Path(source).stem}, {text}"
        if key in results:
            continue
        image, milliseconds = paint(args, network, photo, source, text)
        images.save(image, picture_path(args.output, key), overwrite=True)
        results[key] = measured(ruler(source), photo, image) | {"ms": milliseconds}
        write_results(path, settings, results)
    report(args, parts, photo, results)


def chosen_parts(args: argparse.Namespace) -> dict[str, list[str]]:
    """The parts asked for, of those that can be run.

    Raises:
        FstError: There is no such part, or it needs --instances.
    """
    letters = [part[0] for part in PARTS]
    wrong = [letter for letter in args.parts or () if letter not in letters]
    if wrong:
        raise FstError(f"--parts {wrong[0]}: choose among {' '.join(letters)}")
    if "f" in (args.parts or ()) and not args.instances:
        raise FstError("--parts f: give --instances FOLDER, several pictures of one style")
    return {
        part: texts
        for part, texts in PARTS.items()
        if part[0] in (args.parts or letters) and (args.instances or part != OF_INSTANCES)
    }


def centered_form(text: str) -> str | None:
    """The same statistic of centred features; None where it has no such form."""
    name, *options = text.split()
    if "centered" not in signature(STYLE_LOSSES[name]).parameters:
        return None
    return " ".join([name, "centered", *options])


def settings_of(args: argparse.Namespace) -> dict:
    """What a result depends on, beside the statistic."""
    sources = {"style": args.style, "instances": args.instances, "content": args.content}
    marks = {n: p and [fingerprint(s) for s in read_styles([p])] for n, p in sources.items()}
    networks = [Path(name).name for name in args.loss_weights]
    return {
        **marks,
        "judge": Path(args.judge).name,
        "loss_network": networks,
        "size_px": args.size,
        "steps": args.steps,
    }


def picture_path(folder: Path, key: str) -> Path:
    """Where the picture of a case lies."""
    return folder / "pictures" / f"{key.replace(', ', '_').replace(' ', '_').replace('%', '')}.png"


def paint(
    args: argparse.Namespace, network: torch.nn.Module, photo: Tensor, source: str, text: str
) -> tuple[Tensor, float]:
    """The picture of a case, and the median milliseconds of its evaluations."""
    pictures = load_pictures(read_styles([source]), args.size)[0]
    loss = PerceptualLoss(network, style_loss=text, weights=weights(gatys=True))
    times = [time.perf_counter()]
    result = optimize(
        photo, pictures, loss=loss, sizes=[min(photo.shape[1:])], steps=args.steps,
        in_grey=False, grain_weight=0, on_step=lambda step: times.append(time.perf_counter()),
    )  # fmt: skip
    # The first evaluation comes after the targets.
    between = [late - early for early, late in pairwise(times[1:])]
    return result.image, 1e3 * statistics.median(between or [0.0])


def measured(ruler: Ruler, photo: Tensor, image: Tensor) -> dict[str, float]:
    """The figures of one painting of a photo."""
    ruler.reset()
    ruler.see(photo)
    ruler.add(image, 0)
    (figures,) = ruler.figures().values()
    return {key: figures[key] for key in FIGURES}


def report(args: argparse.Namespace, parts: dict, photo: Tensor, results: dict) -> None:
    """Write table.md and a strip for each part, and print the table."""
    heading = [*FIGURES, "difference from the first, /255", "ms"]
    heading = ["part", "statistic", *heading, f"centred: {heading[0]}", *heading[1:]]
    lines = [heading, ["---", "---", *["---:"] * (len(heading) - 2)]]
    for part, texts in parts.items():
        source = args.instances if part == OF_INSTANCES else args.style
        forms = (texts, [centered_form(text) for text in texts])
        keys = [[text and f"{Path(source).stem}, {text}" for text in form] for form in forms]
        pictures = [[key and images.load(picture_path(args.output, key)) for key in form]
                    for form in keys]  # fmt: skip
        write_strip(args, part, [photo, load_pictures(read_styles([source]), args.size)[0][0]],
                    pictures)  # fmt: skip
        for place, text in enumerate(texts):
            cells = [
                cell
                for form, shown in zip(keys, pictures, strict=True)
                for cell in cells_of(results.get(form[place]), shown[place], shown[0])
            ]
            lines.append([part, text, *cells])
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    print(table)
    write_atomically(args.output / "table.md", f"{table}\n".encode())


def cells_of(row: dict | None, picture: Tensor | None, first: Tensor | None) -> list[str]:
    """A case's cells of the table: empty where there is no such form."""
    if row is None:
        return [""] * (len(FIGURES) + 2)
    difference = 255 * (picture - first).abs().mean().item()
    return [*(f"{row[key]:.3f}" for key in FIGURES), f"{difference:.1f}", f"{row['ms']:.0f}"]


def write_strip(
    args: argparse.Namespace, part: str, before: list[Tensor], forms: list[list[Tensor | None]]
) -> None:
    """The pictures of a part behind the photo and the painting, a row for each form."""
    blank = torch.ones_like(before[0])
    rows = [
        [*before, *(blank if picture is None else picture for picture in form)]
        for form in forms
        if any(picture is not None for picture in form)
    ]
    strip = table_of(rows, args.size)
    images.save(strip, args.output / f"strip_{part[0]}.png", overwrite=True)


if __name__ == "__main__":
    sys.exit(main())
