"""Measure speed and memory against a named baseline, both in one run, taking turns.

    python scripts/benchmark.py train --threads 2
    python scripts/benchmark.py infer --sizes 256 512 1024
    python scripts/benchmark.py processes --peer-command 'paint {input} -o {output}'
    python scripts/benchmark.py memory
    python scripts/benchmark.py gatys --judge vgg19
    python scripts/benchmark.py onnx --threads 1
    python scripts/benchmark.py layers
    python scripts/benchmark.py profile
    python scripts/benchmark.py streaming --megapixels 100 --limit 2
    python scripts/benchmark.py growth
    python scripts/benchmark.py all --json benchmark.json

The baseline is the recipe of pytorch/examples fast_neural_style: one style, affine instance norm
and convolution biases, upsampling before a full-resolution convolution, VGG-16 to relu4_3 for
stylised image and photo alike, fp32, NCHW, eager. VGG weights are random: speed is the same. That
of `gatys` is the classical recipe of scripts/benchmark_gatys.py.
Prints Markdown tables; times are medians, a ratio above 1 is in favour of fst.
"""

import argparse
import json
import os
import platform
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import benchmark_gatys
import benchmark_onnx
import benchmark_processes
import benchmark_streaming
import torch
from benchmark_growth import run_growth
from benchmark_layers import layer_cases
from benchmark_networks import infer_cases, loss_cases, train_cases
from benchmark_profile import run_profile
from benchmark_timing import (
    Rows,
    against_first,
    flops_of,
    interleaved,
    peak_flops,
    with_allocator,
)
from evaluate import positive

from fst.errors import FstError
from fst.io import images
from fst.io.atomic import write_atomically
from fst.runtime.memory import best_precision, keep_freed_memory

BASELINE = "pytorch/examples fast_neural_style recipe, fp32 NCHW eager"

# ---- the subcommands ---------------------------------------------------------------------------


def run_train(args: argparse.Namespace) -> Rows:
    """Training steps in images per second."""
    steps = {name: make() for name, make in train_cases(args).items()}
    baseline = next(iter(steps))
    # fst-train keeps freed memory and the baseline's script does not; what that alone is worth
    # stands in a row of its own.
    cases = {name: partial(with_allocator, step, name != baseline) for name, step in steps.items()}
    cases[f"{baseline}, freed memory kept"] = partial(with_allocator, steps[baseline], True)
    medians = interleaved(cases, args.repeats, settle=True)
    keep_freed_memory(False)
    first, peak = next(iter(medians.values())), peak_flops()
    return [
        {
            "case": name,
            "ms per step": 1e3 * s,
            "images/s": args.batch_size / s,
            "ratio": first / s,
            "share of the floor": flops_of(cases[name]) / peak / s,
        }
        for name, s in medians.items()
    ]


def run_loss(args: argparse.Namespace) -> Rows:
    """One loss and its gradient for the stylised images, at equal VGG depth."""
    return against_first(loss_cases(args), args.repeats)


def run_layers(args: argparse.Namespace) -> Rows:
    """Layers as fst computes them against torch's own of the same result, forward."""
    return [row for pair in layer_cases(args.size) for row in against_first(pair, args.repeats)]


def run_infer(args: argparse.Namespace) -> Rows:
    """Paintings at equal weights, and by how much they differ."""
    rows: Rows = []
    for size_px in args.sizes:
        cases = infer_cases(args.width, size_px, args.compile)
        # As they are run: fst-infer keeps freed memory, the baseline's script does not.
        timed = {n: partial(with_allocator, run, n != "baseline") for n, run in cases.items()}
        timed["baseline, freed memory kept"] = partial(with_allocator, cases["baseline"], True)
        medians = interleaved(timed, args.repeats, settle=True)
        keep_freed_memory(False)
        cases["baseline, freed memory kept"] = cases["baseline"]
        expected, peak = cases["baseline"](), peak_flops()
        for name, run in cases.items():
            difference = (run() - expected).abs()
            rows.append(
                {
                    "case": f"{name}, width {args.width:g}, {size_px} px",
                    "ms": 1e3 * medians[name],
                    "ratio": medians["baseline"] / medians[name],
                    "share of the floor": flops_of(run) / peak / medians[name],
                    "max difference": difference.max().item(),
                    "share beyond 1/255": (difference > 1 / 255).any(0).float().mean().item(),
                }
            )
    return rows


# ---- command line and report -------------------------------------------------------------------

COMMANDS = {
    "train": run_train,
    "loss": run_loss,
    "layers": run_layers,
    "profile": run_profile,
    "infer": run_infer,
    "streaming": benchmark_streaming.run_streaming,
    "growth": run_growth,
    "gatys": benchmark_gatys.run_gatys,
    "onnx": benchmark_onnx.run_onnx,
    "processes": benchmark_processes.run_processes,
    "memory": benchmark_processes.run_memory,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the script; returns its exit code."""
    args = make_parser().parse_args(argv)
    torch.manual_seed(0)
    if args.threads:
        torch.set_num_threads(args.threads)
    try:
        benchmark_processes.run_peak(args) if args.command == "peak" else run_commands(args)
    except FstError as error:
        print(f"benchmark: {images.printable(error)}", file=sys.stderr)
        return 2
    return 0


def make_parser() -> argparse.ArgumentParser:
    """Command line of this script."""
    shared = argparse.ArgumentParser(add_help=False)
    add = shared.add_argument
    add("--width", type=float, default=1.0, help="of the networks compared")
    add("--size", type=side, default=256, metavar="PX", help="of training images")
    add("--sizes", type=side, nargs="+", metavar="PX", help="of images painted")
    add("--batch-size", type=positive, default=4, metavar="N", help="of training")
    add("--repeats", type=positive, metavar="N", help="runs of which the median is taken")
    add("--threads", type=positive, metavar="N", help="of torch (its own choice)")
    add("--compile", action="store_true", help="paint with torch.compile, too (minutes)")
    add("--json", type=Path, metavar="FILE", help="write the figures here too")
    benchmark_gatys.add_arguments(add)
    benchmark_streaming.add_arguments(add)
    benchmark_onnx.add_arguments(add)
    benchmark_processes.add_arguments(add)
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, run in COMMANDS.items():
        commands.add_parser(name, parents=[shared], help=run.__doc__)
    commands.add_parser("all", parents=[shared], help="All of these.")
    peak = commands.add_parser("peak", parents=[shared])  # for run_memory, hence without help
    peak.add_argument("kind", choices=("train", "infer", "gatys"))
    peak.add_argument("case")
    return parser


def side(text: str) -> int:
    """An image side: the baseline takes multiples of 4, the loss network at least 32 px."""
    if positive(text) % 4 or int(text) < 32:
        raise argparse.ArgumentTypeError(f"{text!r} is not a multiple of 4 from 32 up")
    return int(text)


# Without --repeats and --sizes. 512 and 1024 px for memory: below, the weights weigh most.
REPEATS = {"train": 10, "loss": 10, "layers": 10, "infer": 10, "streaming": 3, "growth": 10}
REPEATS |= {"profile": 3, "gatys": 0, "onnx": 10, "processes": 3, "memory": 3}
SIZES = {"infer": [256, 512, 1024], "onnx": [256, 512, 1024], "memory": [512, 1024]}


def run_commands(args: argparse.Namespace) -> None:
    """Measure, print, and write the JSON file."""
    names = list(COMMANDS) if args.command == "all" else [args.command]
    machine = describe_machine()
    print(f"Baseline: {BASELINE}\n" + "".join(f"- {k}: {v}\n" for k, v in machine.items()))
    results = {}
    for name in names:
        chosen = {
            "repeats": args.repeats or REPEATS[name],
            "sizes": args.sizes or SIZES.get(name, []),
        }
        settings = argparse.Namespace(**{**vars(args), **chosen})
        results[name] = COMMANDS[name](settings)
        print(f"## {name}\n\n{markdown(results[name])}\n", flush=True)
    if args.json:
        options = {"width": args.width, "size_px": args.size, "batch_size": args.batch_size}
        text = json.dumps(
            {"baseline": BASELINE, "machine": machine, "options": options, "results": results},
            indent=2,
        )
        write_atomically(args.json, f"{text}\n".encode())


def describe_machine() -> dict[str, object]:
    """Processor, cores and versions that the figures hold for."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "processor": models[0] if models else platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "training precision of fst": best_precision("cpu"),
    }


def markdown(rows: Rows) -> str:
    """Rows as a Markdown table, four digits to a number."""
    lines = [f"| {' | '.join(rows[0])} |", "|---|" + "---:|" * (len(rows[0]) - 1)]
    for row in rows:
        cells = [f"{v:.4g}" if isinstance(v, float) else str(v) for v in row.values()]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
