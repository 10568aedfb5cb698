"""Judge loss networks by the pictures that are optimised with them (Gatys et al. 2016).

    python scripts/compare_loss_networks.py vgg16-lite VGG19_16X.safetensors \
        --judge VGG19.safetensors --photos val/ --every 8 --styles-dir paintings/ \
        --only wave mosaic -o compared/

Each network paints each photo in each style: L-BFGS on the pixels, from the photo, with the
default weights of training. The judge, another network, measures the results as
scripts/evaluate.py does. Writes the pictures and prints a Markdown table: per style the distances
of each network and their ratio to those of the last network named.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from evaluate import make_ruler, measure, open_loss_network, positive
from frame import parser_of, run_script
from paintings import find_styles, style_files
from torch import Tensor

from fst.data.styles import Style, load_pictures
from fst.errors import FstError
from fst.io import images
from fst.losses.perceptual import PerceptualLoss
from fst.networks.loss_network import load_loss_network


def main(argv: Sequence[str] | None = None) -> int:
    """Run the script; returns its exit code."""
    return run_script(__file__, make_parser(), run, argv)


def make_parser() -> argparse.ArgumentParser:
    """Command line of this script."""
    parser = parser_of(__doc__)
    add = parser.add_argument
    add("networks", nargs="+", metavar="NETWORK", help="vgg16-lite, vgg19, or weights files")
    add("--judge", required=True, metavar="FILE", help="loss network that measures")
    add("--photos", nargs="+", required=True, metavar="PATH", help="content images")
    add("--every", type=positive, default=1, metavar="N", help="take every N-th photo, sorted")
    add("--styles-dir", type=Path, required=True, metavar="FOLDER", help="NAME.jpg or NAME/")
    add("--only", nargs="+", metavar="NAME", help="these styles (all)")
    add("--size", type=positive, default=256, metavar="PX", help="shorter side of the photos (256)")
    add("--style-size", type=positive, default=384, metavar="PX", help="of the paintings (384)")
    add("--steps", type=positive, default=200, metavar="N", help="L-BFGS iterations (200)")
    add("-o", "--output", type=Path, default=Path("compared"), metavar="FOLDER")
    return parser


def run(args: argparse.Namespace) -> None:
    """Paint with every network, measure, print."""
    if len({Path(name).stem for name in args.networks}) < len(args.networks):
        raise FstError("two networks have the same file name: rename one")
    photos = images.find(args.photos)[:: args.every]
    names = args.only or [name for name, _ in style_files(args.styles_dir)]
    styles = find_styles(names, args.styles_dir, {})
    ruler = make_ruler(open_loss_network(args.judge, "cpu"), styles)
    figures, seconds = {}, {}
    for name in args.networks:
        start = time.monotonic()
        paint = gatys_painter(name, styles, args)
        figures[name] = measure(paint, photos, ruler, args.size)[0]
        seconds[name] = (time.monotonic() - start) / (len(photos) * len(styles))
        print(f"{Path(name).stem}: {seconds[name]:.1f} s a picture", flush=True)
    print(markdown({Path(name).stem: figures[name] for name in args.networks}))


def gatys_painter(network: str, styles: Sequence[Style], args: argparse.Namespace):
    """A `Painter` that optimises pixels with a loss network, and keeps the pictures."""
    loss = PerceptualLoss(load_loss_network(network).to(memory_format=torch.channels_last))
    loss.set_styles(load_pictures(styles, args.style_size))
    ids = {style.name: index for index, style in enumerate(styles)}
    folder = args.output / Path(network).stem

    def paint(path: Path, photo: Tensor, style: str) -> Tensor:
        painting = optimise(loss, photo, ids[style], args.steps)
        images.save(painting, folder / f"{path.stem}_{style}.png", overwrite=True)
        return painting

    return paint


def optimise(loss: PerceptualLoss, photo: Tensor, style_id: int, steps: int) -> Tensor:
    """L-BFGS from the photo (3, H, W), at most one evaluation an iteration; clamped at the end."""
    pixels = photo[None].clone().requires_grad_(True)  # (1, 3, H, W)
    index = torch.tensor([style_id])
    optimizer = torch.optim.LBFGS([pixels], max_iter=steps, max_eval=steps, history_size=20,
        tolerance_grad=0, tolerance_change=0)  # fmt: skip

    def closure() -> Tensor:
        optimizer.zero_grad()
        with torch.enable_grad(), torch.autocast("cpu", torch.bfloat16):
            total = loss(pixels, photo[None], index)["total"]
            total.backward()
        return total

    optimizer.step(closure)
    return pixels.detach()[0].clamp(0, 1)


def markdown(figures: dict[str, dict[str, dict[str, float]]]) -> str:
    """A row a style: style and content distance of each network, and of each to the last."""
    networks = list(figures)
    last = networks[-1]
    heads = [f"{name}: {kind}" for name in networks for kind in ("style", "content")]
    heads += [f"{name} / {last}: style" for name in networks[:-1]]
    lines = [f"| style | {' | '.join(heads)} |", "|---|" + "---:|" * len(heads)]
    rows = list(figures[last])
    table = {
        network: {
            kind: [figures[network][row][kind] for row in rows] for kind in ("style", "content")
        }
        for network in networks
    }
    for place, row in enumerate([*rows, "**mean**"]):

        def value(network: str, kind: str, place: int = place) -> float:
            column = table[network][kind]
            return column[place] if place < len(column) else sum(column) / len(column)

        cells = [value(name, kind) for name in networks for kind in ("style", "content")]
        cells += [value(name, "style") / value(last, "style") for name in networks[:-1]]
        lines.append(f"| {row} | {' | '.join(f'{cell:.3f}' for cell in cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
