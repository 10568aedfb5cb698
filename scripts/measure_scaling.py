"""Measure what docs/scaling.md calculates with, calculate, and print both as Markdown tables.

    python scripts/measure_scaling.py
    python scripts/measure_scaling.py --photos photos/ --json scaling.json

Bytes that a step communicates; how long an all-reduce of as many takes between two processes of
this machine (gloo, loopback); images a second of fst-train with one and with two processes of one
thread each, the same batch in each; and photos a second that one reader decodes and crops.
"""

import argparse
import json
import math
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
from benchmark_networks import (
    SHIPPED_WIDTH,
    STYLE_LAYERS,
    module_step,
    random_loss_network,
)
from benchmark_timing import by_torch, flops_of
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from fst.data.photos import read_photo
from fst.io.atomic import write_atomically
from fst.networks.loss_network import load_loss_network
from fst.networks.transformer import TransformerNet

ROOT = Path(__file__).parents[1]
STYLES = sorted((ROOT / "datasets" / "samples" / "styles").glob("*.jpg"))
WIDTHS, NUM_STYLES = (0.5, 1.0), (16, 256)
GRADIENT_BYTES = 4  # fp32, whatever precision the products have
REPEATS = 21
# Of a link, as its makers state them: bytes a second of one GPU, and seconds of one hop.
LINKS = {8: (450e9, 5e-6), 64: (50e9, 10e-6), 512: (50e9, 10e-6)}  # NVLink; 400 Gb/s Infiniband
STEP_MS = (5, 20, 100)
# Words that a step exchanges beside: is a process told to stop (Lightning, fst), is all finite?
FLAGS = 3


def main(argv: Sequence[str] | None = None) -> int:
    """Run the script; returns its exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photos", type=Path, default=ROOT / "datasets" / "samples" / "content")
    parser.add_argument("--steps", type=int, default=40, metavar="N", help="of each training (40)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here too")
    args = parser.parse_args(argv)
    figures = {**communicated(), **arithmetic(), **read(args.photos), **all_reduce_ms()}
    figures |= throughput(args.steps)
    print("| what | figure |\n|---|---:|")
    for name, value in figures.items():
        print(f"| {name} | {value:.4g} |")
    print("\n| GPUs | MB | " + " | ".join(f"step of {ms} ms" for ms in STEP_MS) + " |")
    print("|---:|---:|" + "---:|" * len(STEP_MS))
    for width in WIDTHS:
        size = gradient_bytes(width, NUM_STYLES[0])
        for gpus in LINKS:
            shares = [f"{efficiency(gpus, size, ms / 1e3):.1%}" for ms in STEP_MS]
            print(f"| {gpus} | {size / 1e6:.2g} | {' | '.join(shares)} |")
    if args.json:
        write_atomically(args.json, f"{json.dumps(figures, indent=2)}\n".encode())
    return 0


def communicated() -> dict[str, float]:
    """MB of gradients that a step reduces over the processes."""
    return {
        f"MB per step, width {width:g}, {styles} styles": gradient_bytes(width, styles) / 1e6
        for width in WIDTHS
        for styles in NUM_STYLES
    }


def gradient_bytes(width: float, num_styles: int) -> int:
    """Bytes of the gradients of a network."""
    parameters = TransformerNet(num_styles, width).parameters()
    return GRADIENT_BYTES * sum(parameter.numel() for parameter in parameters)


@by_torch
def arithmetic() -> dict[str, float]:
    """GFLOP of a training step an image of 256 px, convolutions counted as their definition."""
    options = argparse.Namespace(size=256, batch_size=1, width=1.0)
    steps = {
        "as shipped": lambda: module_step(options, SHIPPED_WIDTH, load_loss_network("vgg16-lite")),
        "width 1, VGG-16": lambda: module_step(
            options, 1.0, random_loss_network("vgg16", "relu4_3"), STYLE_LAYERS
        ),
    }
    return {f"GFLOP an image, {name}": flops_of(make()) / 1e9 for name, make in steps.items()}


def efficiency(gpus: int, size: int, step_s: float) -> float:
    """Expected share of a step that is work, nothing of the communication hidden behind it.

    A double tree (Sanders et al. 2009) sends each byte twice and takes 2 log2(N) hops.
    """
    bandwidth, hop = LINKS[gpus]
    hops = 2 * math.log2(gpus)
    return step_s / (step_s + 2 * size / bandwidth + (1 + FLAGS) * hops * hop)


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
        command += ["--steps", str(steps), "--val-every", str(steps), "-o", f"{folder}/run"]
        command += ["--trainer.accelerator", "cpu", "--trainer.devices", str(devices)]
        command += ["--trainer.log_every_n_steps", "4", "--trainer.limit_val_batches", "0"]
        settings = {**os.environ, "OMP_NUM_THREADS": "1"}
        subprocess.run(command, check=True, capture_output=True, env=settings)
        events = EventAccumulator(f"{folder}/run").Reload()
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
