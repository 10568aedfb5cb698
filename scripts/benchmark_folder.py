"""Measure what one picture of a folder costs: decoding, network, encoding; and whole folders.

    python scripts/benchmark_folder.py --processes 1 2 --images 24 --repeats 3
    python scripts/benchmark_folder.py --plan 100000

The shipped network, one thread a process. Parts: medians of wall and processor time, in turns.
Folders: `fst-infer --devices N` on copies of one photo; pictures a second between the first and
the last that a process has finished, so without its start, which is told beside it; processor time
less that of a run that finds all finished. On a machine that others use, the processor time is
what to reckon with. --plan: what the first process does before the first picture, alone, for a
folder of so many empty files. Prints Markdown tables.
"""

import argparse
import os
import pickle
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from benchmark import describe_machine, markdown, side
from benchmark_timing import Rows
from evaluate import positive

from fst import Stylizer
from fst.assets import GALLERY, SAMPLE_PHOTO
from fst.io import images
from fst.runtime.memory import keep_freed_memory
from fst.stylize.folder.naming import find_photos, make_plan
from fst.stylize.folder.record import FOLDER, Record, content_key, read_lines, settle_names

STYLE = "wave"
LARGE_PX = (3000, 4000)  # a camera's 12 megapixels


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add = parser.add_argument
    add("--processes", type=positive, nargs="+", default=[1, 2], metavar="N")
    add("--images", type=positive, default=24, metavar="N", help="of a folder, for each process")
    add("--size", type=side, default=512, metavar="PX", help="side of the pictures")
    add("--repeats", type=positive, default=3, metavar="N")
    add("--plan", type=positive, metavar="N", help="only plan a folder of so many files")
    args = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    print("".join(f"- {k}: {v}\n" for k, v in describe_machine().items()))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if args.plan:
            print(markdown(plan_rows(folder, args.plan)))
            return 0
        print(markdown(part_rows(folder, args.size, 5 * args.repeats)) + "\n", flush=True)
        print(markdown(folder_rows(folder, args)))
    return 0


def part_rows(folder: Path, size_px: int, repeats: int) -> Rows:
    """What each step of one picture takes."""
    photo = images.load(SAMPLE_PHOTO)
    small, large = folder / "small.jpg", folder / "large.jpg"
    content = _resized(photo, (size_px, size_px))
    images.save(content, small)
    images.save(_resized(photo, LARGE_PX), large)
    stylizer, record = Stylizer(GALLERY), Record(folder, 0)
    painting = stylizer.stylize(content, STYLE, texture_size="native")

    def noted() -> None:
        record.begin(small)
        record.done(small, "0" * 32)

    cases = {
        f"decode, JPEG of {size_px} px": lambda: images.load_full(small),
        f"decode, JPEG of 12 megapixels, `--size {size_px}`": lambda: images.load_full(
            large, size_px
        ),
        "key to the content, 12 megapixels": lambda: content_key(large),
        f"network, {size_px} px": lambda: stylizer.stylize(content, STYLE, texture_size="native"),
        "encode, JPEG": lambda: images.save(painting, folder / "out.jpg", overwrite=True),
        "encode, PNG": lambda: images.save(painting, folder / "out.png", overwrite=True),
        "two lines of the record": noted,
    }
    return [
        {"step": case, "ms": 1e3 * wall, "ms of processor": 1e3 * busy}
        for case, (wall, busy) in _in_turns(cases, repeats).items()
    ]


def plan_rows(folder: Path, count: int) -> Rows:
    """What planning a folder takes, step after step, and how large the plan is that is sent."""
    (folder / "in").mkdir()
    for number in range(count):
        (folder / "in" / f"{number:06}.jpg").touch()
    output, rows = folder / "out", []

    def step(name: str, run: Callable[[], Any]) -> Any:
        busy = time.process_time()
        result = run()
        rows.append({"step": name, "s of processor": time.process_time() - busy})
        return result

    photos = step("find the pictures", lambda: find_photos([str(folder / "in")], []))
    plan = step("plan", lambda: make_plan(photos, {0: STYLE}, str(output), 8))
    jobs = step("settle the names", lambda: settle_names(plan, output, False, {}, []))
    sent = step("pack the plan", lambda: pickle.dumps(jobs))
    return [*rows, {"step": f"(the plan: {len(sent) / 1e6:.3g} MB)", "s of processor": ""}]


def _resized(image: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    return torch.nn.functional.interpolate(image[None], size, mode="bilinear", antialias=True)[0]


def _in_turns(
    cases: dict[str, Callable[[], object]], repeats: int
) -> dict[str, tuple[float, float]]:
    """Median wall and processor seconds of each case, run A B C A B C ... after a warm-up."""
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in cases}
    for _ in range(repeats + 1):
        for name, run in cases.items():
            wall, busy = time.perf_counter(), time.process_time()
            run()
            taken[name].append((time.perf_counter() - wall, time.process_time() - busy))
    return {
        name: tuple(map(statistics.median, zip(*pairs[1:], strict=True)))
        for name, pairs in taken.items()
    }


def folder_rows(folder: Path, args: argparse.Namespace) -> Rows:
    """Whole runs of the command, the numbers of processes in turns."""
    runs: dict[int, list[dict[str, float]]] = {count: [] for count in args.processes}
    for _ in range(args.repeats):
        for count, taken in runs.items():
            taken.append(_run(folder, count, count * args.images))
    return [
        {"processes": count, "pictures": count * args.images}
        | {name: statistics.median(run[name] for run in taken) for name in taken[0]}
        for count, taken in runs.items()
    ]


def _run(folder: Path, processes: int, count: int) -> dict[str, float]:
    """One folder painted, then asked for again with nothing left to do, which is the start."""
    photos, output = folder / "in", folder / "out"
    for path in (photos, output):
        shutil.rmtree(path, ignore_errors=True)
    photos.mkdir()
    for number in range(count):
        shutil.copy(folder / "small.jpg", photos / f"{number:05}.jpg")
    command = [sys.executable, "-m", "fst.cli.infer", photos, "-o", output, "--style", STYLE]
    command += ["--model", GALLERY, "--device", "cpu", "--devices", processes]
    start = time.time()
    busy = _processor_s(command)
    ends: dict[str, list[float]] = {}
    for file in (output / FOLDER).iterdir():
        ends[file.name] = [at for at, _, key, _ in read_lines(file) if key is not None]
    rate = sum((len(times) - 1) / (max(times) - min(times)) for times in ends.values())
    return {
        "pictures/s": rate,
        "s to the first picture": min(map(min, ends.values())) - start,
        "ms of processor a picture": 1e3 * (busy - _processor_s([*command, "--resume"])) / count,
    }


def _processor_s(command: list[object]) -> float:
    """Processor seconds of a command and the processes that it starts."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    threads = os.environ | {"OMP_NUM_THREADS": "1"}
    subprocess.run(list(map(str, command)), check=True, env=threads, **quiet)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    sys.exit(main())
