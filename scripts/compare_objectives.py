"""Compare objectives: the same network, seed, steps and images, one setting of fst-train changed.

    python scripts/compare_objectives.py --styles mosaic.jpg derain.jpg --photos val/ --every 5 \
        --styles-dir paintings/ --loss-weights VGG16.safetensors --steps 250 -o objectives/

Trains every case of `CASES` from the shipped gallery (or as --train says: any flags of fst-train,
such as "--from-scratch --steps 1000") and measures it on held-out photos by `fst.metrics.Ruler`.
*Found* counts among the given styles and all of --styles-dir. Prints a Markdown table of means over
the styles. results.json is written after each case: called again with the same folder it goes on
where it was stopped.
"""

import argparse
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from evaluate import add_protocol, make_ruler, means, measure, open_loss_network
from frame import parser_of, read_results, run_script, write_results
from paintings import model_painter, other_styles

from fst.cli.train import main as fst_train
from fst.data.styles import read_styles
from fst.errors import FstError
from fst.io import images
from fst.metrics import COLUMNS
from fst.stylize.stylizer import Stylizer

# Name to flags of fst-train; the first is what it does by itself.
CASES = {
    "as shipped": "",
    "gram": "--style-loss gram",
    "covariance": "--style-loss covariance",
    "sliced": "--style-loss sliced",
    "content relu3_2": "--content-layer relu3_2",
    "style size 320": "--style-size 320",
    "style size 640": "--style-size 640",
    "style weight 10": "--style-weight 10",
    "style weight 40": "--style-weight 40",
    "no image in grey": "--grey-every 0",
    "one image of four in grey": "--grey-every 4",
    "no colour term": "--colour-weight 0",
    "no grain term": "--grain-weight 0",
    "tone weight 1": "--tone-weight 1",
    "tone weight 3": "--tone-weight 3",
    "no consistency": "--consistency-weight 0",
    "consistency weight 100": "--consistency-weight 100",
    "no grid term": "--grid-weight 0",
    "the last layer of each stage": "--style-layers relu1_2 relu2_2 relu3_3 relu4_3 relu5_1",
    "the recipe before": "--style-loss gram --content-layer relu3_2 --style-weight 5 "
    "--style-size 384 --grey-every 0 --consistency-weight 0 --colour-weight 0 "
    "--grain-weight 0",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the script; returns its exit code."""
    return run_script(__file__, make_parser(), run, argv)


def make_parser() -> argparse.ArgumentParser:
    """Command line of this script."""
    parser = parser_of(__doc__)
    add = parser.add_argument
    add("--styles", nargs="+", required=True, metavar="PATH", help="what each case learns")
    add("--styles-dir", type=Path, metavar="FOLDER", help="what a picture may be taken for")
    add("--steps", default="250", metavar="N", help="of each case (250)")
    add("--train", default="", metavar="FLAGS", help="more flags of fst-train, for every case")
    add("--only", nargs="+", choices=CASES, metavar="CASE", help="these cases")
    add("-o", "--output", type=Path, required=True, metavar="FOLDER")
    add_protocol(parser)
    return parser


def run(args: argparse.Namespace) -> None:
    """Train and measure what has not been measured yet, and print the table."""
    styles = read_styles(args.styles)
    photos = images.find(args.photos)[:: args.every]
    settings = {
        "styles": [style.name for style in styles],
        "photos": [photo.name for photo in photos],
        "train": f"--steps {args.steps} {args.train}".strip(),
    }
    path = args.output / "results.json"
    results = read_results(path, settings)
    args.output.mkdir(parents=True, exist_ok=True)
    missing = [case for case in args.only or CASES if case not in results]
    if missing:  # the paintings are measured once
        others = other_styles([style.name for style in styles], args.styles_dir, {})
        ruler = make_ruler(open_loss_network(args.loss_weights, args.device), styles, others)
    for case in missing:
        minutes, model = trained(args, case)
        paint = model_painter(Stylizer(model, args.device))
        figures, _ = measure(paint, photos, ruler, args.size)
        results[case] = {**means(figures), "minutes": minutes}
        write_results(path, settings, results)
    print(table(results))


def trained(args: argparse.Namespace, case: str) -> tuple[float, Path]:
    """Minutes that the training of a case took, and its model.

    Raises:
        FstError: It failed.
    """
    folder = args.output / case.replace(" ", "_").replace(",", "")
    argv = ["--styles", *args.styles, "--steps", args.steps, "--seed", "0", "-o", str(folder)]
    argv += ["--batch-size", "4", "--lr", "0.001"]  # whatever the device's own
    start = time.monotonic()
    if fst_train([*argv, *shlex.split(args.train), *shlex.split(CASES[case])]):
        raise FstError(f"case {case!r}: fst-train failed")
    return (time.monotonic() - start) / 60, folder / "model.safetensors"


def table(results: dict[str, dict[str, float | None]]) -> str:
    """The means of every case as a Markdown table."""
    headings = COLUMNS | {"minutes": "minutes"}
    lines = [f"| | {' | '.join(headings.values())} |", "|---|" + "---:|" * len(headings)]
    for case, row in results.items():
        cells = ("-" if row.get(key) is None else f"{row[key]:.3f}" for key in headings)
        lines.append(f"| {case} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
