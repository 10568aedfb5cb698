"""What scripts/benchmark.py measures of whole processes: seconds and peak memory."""

import argparse
import os
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import benchmark_gatys
import torch
from benchmark_networks import infer_cases, train_cases
from benchmark_timing import Rows
from evaluate import positive

from fst.assets import SAMPLE_PHOTO
from fst.errors import FstError
from fst.io import images

STYLE = Path(__file__).parents[1] / "datasets" / "samples" / "styles" / "woodblock_waves.jpg"
# Runs a command and prints its wall and processor seconds and peak MiB; exits as it does. Peaks as
# Linux counts them begin at that of the process that starts one: hence a small one in between.
LAUNCHER = """
import os, sys, time
begun = time.perf_counter()
_, status, used = os.wait4(os.posix_spawnp(sys.argv[1], sys.argv[1:], os.environ), 0)
print(time.perf_counter() - begun, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)
sys.exit(os.waitstatus_to_exitcode(status))
"""


def add_arguments(add: Callable) -> None:
    """What `processes` takes beside the common flags."""
    add("--images", type=positive, default=100, metavar="N", help="processes: of the folder (100)")
    add("--peer-command", metavar="COMMAND", help="processes: another program that paints, such as "
        "'paint {input} -o {output}', where either is a picture or a folder")  # fmt: skip
    add("--other-python", metavar="PYTHON", help="processes: of an environment with another build "
        "of torch and with fst, to import torch and paint one photo there, too")  # fmt: skip
    add("--recipe-weights", metavar="FILE", help="processes: a VGG, to train the baseline, too")


def run_processes(args: argparse.Namespace) -> Rows:
    """Whole processes: seconds and peak memory, against importing torch."""
    with tempfile.TemporaryDirectory() as folder:
        photo = images.save(images.load(SAMPLE_PHOTO, 320), f"{folder}/photo.jpg")
        (photos := Path(folder, "photos")).mkdir()
        for number in range(args.images):
            shutil.copy(photo, photos / f"{number}.jpg")
        commands = process_commands(args, photo.name, photos.name)
        runs: dict[str, list[list[float]]] = {name: [] for name in commands}
        for _ in range(args.repeats + 1):
            for name, command in commands.items():
                runs[name].append(whole_process(command, folder))
    medians = {name: [statistics.median(m) for m in zip(*v[1:], strict=True)]
               for name, v in runs.items()}  # fmt: skip
    first = medians["import torch"][1]
    return [
        {"case": name, "s": s, "processor s": cpu, "peak MiB": mib, "of import torch": cpu / first}
        for name, (s, cpu, mib) in medians.items()
    ]


def process_commands(args: argparse.Namespace, photo: str, photos: str) -> dict[str, list[str]]:
    """The commands by name; photo and photos lie in the folder that they are run in."""
    fst = [sys.executable, "-m"]
    paint = ["--model", "gallery", "--style", "wave", "--overwrite"]
    train = ["--styles", str(STYLE), "--steps", "1"]
    commands = {
        "import torch": [sys.executable, "-c", "import torch"],
        "fst-train --help": [*fst, "fst.cli.train", "--help"],
        "fst-infer, one photo": [*fst, "fst.cli.infer", photo, "-o", "one.jpg", *paint],
        f"fst-infer, {args.images} photos": [*fst, "fst.cli.infer", photos, "-o", "many", *paint],
        "fst-train, one step": [*fst, "fst.cli.train", *train],
    }
    if args.other_python:
        other = os.path.abspath(args.other_python)  # a link of its environment: not resolved
        commands["import torch, other build"] = [other, "-c", "import torch"]
        one = [other, *commands["fst-infer, one photo"][1:]]
        commands["fst-infer, one photo, other build"] = one
    if args.peer_command:
        program = Path(shlex.split(args.peer_command)[0]).name
        for what, given, output in (
            ("one photo", photo, "peer.jpg"),
            (f"{args.images} photos", photos, "peer"),
        ):
            line = args.peer_command.format(input=given, output=output)
            commands[f"{program}, {what}"] = shlex.split(line)
    if args.recipe_weights:
        recipe = [sys.executable, str(Path(__file__).with_name("train_recipe.py")), str(STYLE)]
        recipe += ["--content", photos, "--photos", photo, "--steps", "1", "-o", "recipe"]
        recipe += ["--loss-weights", str(Path(args.recipe_weights).resolve())]
        commands["the baseline's recipe, one step"] = recipe
    return commands


def whole_process(command: Sequence[str], folder: str) -> list[float]:
    """Wall seconds, processor seconds and peak MiB of a command run in a folder."""
    figures = output_of(command, folder, [sys.executable, "-I", "-S", "-c", LAUNCHER])[-1]
    return [float(figure) for figure in figures.split()]


def output_of(
    command: Sequence[str], folder: str | None = None, launcher: Sequence[str] = ()
) -> list[str]:
    """The lines that a command prints, run in a folder."""
    line = [*launcher, *command]
    done = subprocess.run(line, capture_output=True, text=True, cwd=folder, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise FstError(f"{shlex.join(command)} failed: {last}")
    return done.stdout.splitlines()


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
        worker = [sys.executable, *map(str, worker)]
        peak_mib = statistics.median(float(output_of(worker)[-1]) for _ in range(args.repeats))
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
