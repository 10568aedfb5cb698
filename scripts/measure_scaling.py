"""Measure what docs/scaling.md calculates with, and print it as a Markdown table.

    python scripts/measure_scaling.py
    python scripts/measure_scaling.py --photos photos/ --json scaling.json

Bytes that a step communicates; how long an all-reduce of as many takes between two processes of
this machine (gloo, loopback); images a second of fst-train with one and with two processes of one
thread each, the same batch in each; and photos a second that one reader decodes and crops.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.distributed as dist
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from fst.content.photos import read_photo
from fst.networks.transformer import TransformerNet
from fst.stylize.style_model import write_atomically

ROOT = Path(__file__).parents[1]
STYLES = sorted((ROOT / "datasets" / "samples" / "styles").glob("*.jpg"))
WIDTHS, NUM_STYLES = (0.5, 1.0), (16, 256)
GRADIENT_BYTES = 4  # fp32, whatever precision the products have
REPEATS = 21


def main(argv: Sequence[str] | None = None) -> int:
    """Run the script; returns its exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photos", type=Path, default=ROOT / "datasets" / "samples" / "content")
    parser.add_argument("--steps", type=int, default=40, metavar="N", help="of each training (40)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here too")
    args = parser.parse_args(argv)
    figures = {**communicated(), **all_reduce_ms(), **throughput(args.steps), **read(args.photos)}
    print("| what | figure |\n|---|---:|")
    for name, value in figures.items():
        print(f"| {name} | {value:.4g} |")
    if args.json:
        write_atomically(args.json, f"{json.dumps(figures, indent=2)}\n".encode())
    return 0


def communicated() -> dict[str, float]:
    """MB of gradients that a step reduces over the processes."""
    return {
        f"MB a step, width {width:g}, {styles} styles": gradient_bytes(width, styles) / 1e6
        for width in WIDTHS
        for styles in NUM_STYLES
    }


def gradient_bytes(width: float, num_styles: int) -> int:
    """Bytes of the gradients of a network."""
    parameters = TransformerNet(num_styles, width).parameters()
    return GRADIENT_BYTES * sum(parameter.numel() for parameter in parameters)


def all_reduce_ms() -> dict[str, float]:
    """Milliseconds of an all-reduce between two processes, gloo over loopback."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "result"
        torch.multiprocessing.spawn(_reduce, (Path(folder) / "meet", file), nprocs=2)
        seconds = json.loads(file.read_text())
    return {
        f"ms an all-reduce, gloo, 2 processes, width {width:g}": 1e3 * of_width
        for width, of_width in zip(WIDTHS, seconds, strict=True)
    }


def _reduce(rank: int, meet: Path, file: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{meet}", rank=rank, world_size=2)
    medians = []
    for width in WIDTHS:
        values = torch.ones(gradient_bytes(width, NUM_STYLES[0]) // GRADIENT_BYTES)
        seconds = []
        for _ in range(REPEATS):
            dist.barrier()
            start = time.perf_counter()
            dist.all_reduce(values)
            seconds.append(time.perf_counter() - start)
        medians.append(statistics.median(seconds))
    if rank == 0:
        file.write_text(json.dumps(medians))
    dist.destroy_process_group()


def throughput(steps: int) -> dict[str, float]:
    """Images a second of fst-train in one and in two processes of one thread, and their ratio."""
    one, two = (images_per_s(devices, steps) for devices in (1, 2))
    return {
        "images/s, fst-train as shipped, 1 process of 1 thread": one,
        "images/s, 2 processes of 1 thread": two,
        "efficiency of 2 processes": two / (2 * one),
    }


def images_per_s(devices: int, steps: int) -> float:
    """Median throughput that a run of fst-train logs, its first figure left out."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "fst.cli.train", "--styles", *map(str, STYLES)]
        command += ["--steps", str(steps), "--review-every", str(steps), "-o", f"{folder}/run"]
        command += ["--trainer.accelerator", "cpu", "--trainer.devices", str(devices)]
        command += ["--trainer.log_every_n_steps", "4", "--trainer.limit_val_batches", "0"]
        settings = {**os.environ, "OMP_NUM_THREADS": "1"}
        subprocess.run(command, check=True, capture_output=True, env=settings)
        events = EventAccumulator(f"{folder}/run/tensorboard").Reload()
        values = [event.value for event in events.Scalars("throughput/images_per_s")]
    return statistics.median(values[1:])


def read(photos: Path) -> dict[str, float]:
    """Photos a second that one reader decodes for crops of 256 px."""
    files = sorted(file for file in photos.iterdir() if file.suffix.lower() in (".jpg", ".jpeg"))
    seconds = []
    for file in files * max(1, REPEATS // max(1, len(files))):
        start = time.perf_counter()
        read_photo(file, 288)
        seconds.append(time.perf_counter() - start)
    return {"photos/s, one reader": 1 / statistics.median(seconds)} if seconds else {}


if __name__ == "__main__":
    sys.exit(main())
