"""Compare shapes of the network: trained alike from scratch, judged, and timed.

    python scripts/search_network.py --styles wave.jpg the_scream.jpg --content photos/ \
        --photos val/ --every 5 --styles-dir paintings/ --loss-weights VGG16.safetensors \
        --steps 900 -o search/

Every shape of `SHAPES` (search_shapes.py) sees the same images in the same order, by the objective
of fst-train. Prints a Markdown table of `fst.metrics.Ruler`'s means over the styles, and with
--time multiply-adds for each pixel and milliseconds for a picture of 1024 px, by torch's plain
layers. results.json is written after each
shape: called again with the same folder it goes on where it was stopped.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytorch_lightning as pl
import torch
from evaluate import add_protocol, make_ruler, means, measure, open_loss_network, positive
from frame import parser_of, read_results, run_script, write_results
from paintings import Painter, other_styles
from search_shapes import SHAPES, ShapedNet
from torch import Tensor, nn

from fst import ContentDataModule, Objective, Schedule, StyleTransferModule
from fst.data.styles import read_styles
from fst.io import images
from fst.metrics import COLUMNS
from fst.runtime.memory import best_precision

TIMED_PX, TIMES = 1024, 5
SPEED = {"adds": "multiply-adds per pixel", "ms_1": "ms, 1 thread", "ms_2": "ms, 2 threads"}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the script; returns its exit code."""
    return run_script(__file__, make_parser(), run, argv)


def make_parser() -> argparse.ArgumentParser:
    """Command line of this script."""
    parser = parser_of(__doc__)
    add = parser.add_argument
    add("--styles", nargs="+", required=True, metavar="PATH", help="what every network learns")
    add("--content", required=True, metavar="FOLDER", help="photos to train on")
    add("--styles-dir", type=Path, metavar="FOLDER", help="what a picture may be taken for")
    add("--steps", type=positive, default=900, metavar="N", help="for each shape (900)")
    add("--batch-size", type=positive, default=4, metavar="N", help="of 256 px (4)")
    add("--time", action="store_true", help="time every shape, on an idle machine")
    add("--only", nargs="+", choices=SHAPES, metavar="SHAPE", help="these shapes")
    add("-o", "--output", type=Path, required=True, metavar="FOLDER")
    add_protocol(parser)
    return parser


def run(args: argparse.Namespace) -> None:
    """Train, judge and time what has not been yet, and print the table."""
    styles = read_styles(args.styles)
    photos = images.find(args.photos)[:: args.every]
    settings = {
        "styles": [style.name for style in styles],
        "photos": [photo.name for photo in photos],
        "steps": args.steps,
        "batch_size": args.batch_size,
    }
    path = args.output / "results.json"
    results = read_results(path, settings)
    args.output.mkdir(parents=True, exist_ok=True)
    missing = [shape for shape in args.only or SHAPES if shape not in results]
    if missing:
        others = other_styles([style.name for style in styles], args.styles_dir, {})
        loss_network = open_loss_network(args.loss_weights, args.device)
        ruler = make_ruler(loss_network, styles, others)
        data = ContentDataModule(args.content, batch_size=args.batch_size, num_styles=len(styles))
    perceptual = None  # the style pictures and the loss network are read once
    for shape in missing:
        pl.seed_everything(0)
        objective = Objective(loss_network=args.loss_weights)
        schedule = Schedule(learning_rate=2e-3)
        module = StyleTransferModule(styles, objective=objective, schedule=schedule)
        module.perceptual = perceptual
        network = trained(args, module, data, shape)
        perceptual, names = module.perceptual, [style.name for style in styles]
        figures, _ = measure(painter_of(network, names, args.device), photos, ruler, args.size)
        results[shape] = means(figures) | {"styles": figures}
        write_results(path, settings, results)
    if args.time:
        for shape in results:
            results[shape] |= speed_of(ShapedNet(1, SHAPES[shape]))
        write_results(path, settings, results)
    print(table(results))


def trained(
    args: argparse.Namespace, module: StyleTransferModule, data: ContentDataModule, shape: str
) -> ShapedNet:
    """A network of a shape after the run; kept beside the results."""
    network = ShapedNet(len(module.styles), SHAPES[shape])
    module.network = network = network.to(memory_format=torch.channels_last)
    trainer = pl.Trainer(
        accelerator=args.device,
        max_steps=args.steps,
        precision=best_precision(args.device),
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        limit_val_batches=0,
    )
    trainer.fit(module, datamodule=data)
    name = shape.replace(" ", "_").replace(",", "").replace("/", "_")
    torch.save(network.state_dict(), args.output / f"{name}.pt")
    return network.eval().requires_grad_(False)


def painter_of(network: ShapedNet, names: Sequence[str], device: str) -> Painter:
    """Paints with a network, which is moved to the device."""
    network = network.to(device)

    def paint(path: Path, photo: Tensor, style: str) -> Tensor:
        batch = photo[None].to(device).contiguous(memory_format=torch.channels_last)
        style_weights = network.one_hot(torch.tensor([names.index(style)])).to(device)
        return network(batch, style_weights)[0]

    return paint


@torch.inference_mode()
def speed_of(network: ShapedNet) -> dict[str, float]:
    """The figures of `SPEED`."""
    network = network.eval().to(memory_format=torch.channels_last)
    photo = torch.rand(1, 3, TIMED_PX, TIMED_PX).contiguous(memory_format=torch.channels_last)
    weights, adds = network.one_hot(torch.tensor([0])), []

    def count(conv: nn.Conv2d, _: object, result: Tensor) -> None:
        adds.append(conv.weight.numel() * result.shape[2] * result.shape[3])

    hooks = [m.register_forward_hook(count) for m in network.modules() if isinstance(m, nn.Conv2d)]
    network(photo, weights)
    for hook in hooks:
        hook.remove()
    threads, found = torch.get_num_threads(), {"adds": sum(adds) / TIMED_PX**2}
    for number in (1, 2):
        torch.set_num_threads(number)
        seconds = []
        for _ in range(TIMES):
            start = time.perf_counter()
            network(photo, weights)
            seconds.append(time.perf_counter() - start)
        found[f"ms_{number}"] = 1000 * statistics.median(seconds)
    torch.set_num_threads(threads)
    return found


def table(results: dict[str, dict[str, float | None]]) -> str:
    """The means of every shape as a Markdown table."""
    headings = COLUMNS | SPEED
    lines = [f"| | {' | '.join(headings.values())} |", "|---|" + "---:|" * len(headings)]
    for shape, row in results.items():
        cells = ["-" if row.get(key) is None else f"{row[key]:.3f}" for key in COLUMNS]
        cells += [f"{row[key]:,.0f}" if key in row else "-" for key in SPEED]
        lines.append(f"| {shape} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
