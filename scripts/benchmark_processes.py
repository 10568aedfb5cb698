"""What scripts/benchmark.py measures of whole processes: start-up and peak memory."""

import argparse
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import benchmark_gatys
import torch
from benchmark_networks import infer_cases, train_cases
from benchmark_timing import Rows, interleaved

from fst.errors import FstError
from fst.io import images
from fst.networks.transformer import TransformerNet
from fst.style_model.format import describe, save_style_model


def run_startup(args: argparse.Namespace) -> Rows:
    """Whole processes, against importing torch."""
    with tempfile.TemporaryDirectory() as folder:
        network = TransformerNet(1, width=0.125, num_blocks=1)
        styles = [{"name": "random", "images": []}]
        save_style_model(f"{folder}/model.safetensors", network, describe(network, styles, {}))
        images.save(torch.rand(3, 64, 64), f"{folder}/photo.png")
        paint = ["photo.png", "--model", "model.safetensors", "-o", "painting.png", "--overwrite"]
        commands = {
            "import torch": ["-c", "import torch"],
            "fst-infer, a 64 px picture": ["-m", "fst.cli.infer", *paint],
            "fst-train --help": ["-m", "fst.cli.train", "--help"],
        }
        cases = {name: partial(python, c, folder) for name, c in commands.items()}
        medians = interleaved(cases, args.repeats, warmup=1)
        modules = {
            name: python(["-X", "importtime", *command], folder).stderr.count("import time:") - 1
            for name, command in commands.items()
        }
    first = medians["import torch"]
    return [
        {"case": name, "ms": 1e3 * s, "modules imported": modules[name], "ratio": first / s}
        for name, s in medians.items()
    ]


def run_memory(args: argparse.Namespace) -> Rows:
    """Peaks above what the imports take, each in a process of its own."""
    names = [("train", name, args.size) for name in train_cases(args)]
    names += [("infer", name, size_px) for size_px in args.sizes for name in ("baseline", "fst")]
    names.append(("gatys", "fst", args.sizes[0]))
    rows: Rows = []
    first = 0.0
    for kind, name, size_px in names:
        worker = [Path(__file__).with_name("benchmark.py"), "peak", kind, name]
        worker += ["--width", args.width, "--size", size_px, "--batch-size", args.batch_size]
        worker += ["--threads", torch.get_num_threads()]
        peaks = [float(python([str(w) for w in worker]).stdout) for _ in range(args.repeats)]
        peak_mib = statistics.median(peaks)
        if kind == "gatys":  # held against the bound that fst-gatys promises
            first = benchmark_gatys.promised_mib(size_px)
            rows.append({"case": f"gatys: stated bound, {size_px} px", "peak MiB": first})
            rows[-1]["ratio"] = 1.0
        first = peak_mib if name.startswith("baseline") else first
        case = f"{kind}: {name}, {size_px} px"
        rows.append({"case": case, "peak MiB": peak_mib, "ratio": first / peak_mib})
    return rows


def run_peak(args: argparse.Namespace) -> None:
    """The process that `run_memory` starts: prints the MiB that two runs of one case add."""
    before = resident_mib("VmRSS")
    if args.kind == "train":
        case = train_cases(args)[args.case]()
    elif args.kind == "infer":
        case = infer_cases(args.width, args.size)[args.case]
    else:
        case = partial(benchmark_gatys.descend, args.size)
    for _ in range(1 if args.kind == "gatys" else 2):  # Adam makes its state in the first step
        case()
    print(resident_mib("VmHWM") - before)


def resident_mib(field: str) -> float:
    """Resident memory of this process: VmRSS now, VmHWM its peak."""
    # Not getrusage: Linux carries its ru_maxrss over from the process that started this one.
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        raise FstError("memory is measured on Linux only: /proc/self/status is missing") from None
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(field))


def python(arguments: Sequence[str], folder: str | None = None) -> subprocess.CompletedProcess:
    """Run this Python with arguments, in a folder."""
    done = subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, cwd=folder, check=False
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise FstError(f"python {' '.join(arguments)} failed: {last}")
    return done
