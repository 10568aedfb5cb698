"""Check fst on a GPU: one section after the other, each a process of its own with a time limit.

    bash scripts/check_gpu.sh --vgg vgg16.safetensors
    bash scripts/check_gpu.sh --only equal,throughput --budget 200

See check_gpu.sh for what it needs. A row that fails says so and the rest goes on; the exit code
tells whether any did.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

# Section -> its module, and seconds at most. What is right comes first, what may be left out last.
SECTIONS = {
    "machine": ("check_gpu_machine", 40),
    "correct": ("check_gpu_equal", 70),
    "equal": ("check_gpu_equal", 90),
    "elsewhere": ("check_gpu_equal", 60),
    "phases": ("check_gpu_run", 130),
    "throughput": ("check_gpu_train", 110),
    "precisions": ("check_gpu_run", 50),
    "infer": ("check_gpu_paint", 70),
    "video": ("check_gpu_paint", 40),
    "gatys": ("check_gpu_paint", 40),
    "ddp": ("check_gpu_run", 40),
    "compiled": ("check_gpu_train", 150),
}
LEAST_S = 10  # left of the budget: a section is not begun with less
TINY_FACTOR = 4  # of the limits: a CPU takes its time


def main() -> int:
    """Run the sections; 0 if every row could be measured."""
    args = arguments()
    if args.section:
        return run_section(args)
    out, work = Path(os.environ.get("OUT", "build/check_gpu")), Path(tempfile.mkdtemp())
    out.mkdir(parents=True, exist_ok=True)
    begun, table = time.monotonic(), []
    print(f"{'section':11} {'what':42} {'value':>14}  note", flush=True)
    try:
        for name in args.only.split(",") if args.only else SECTIONS:
            left = args.budget - (time.monotonic() - begun)
            if left < LEAST_S:
                table.append(shown([name, "the section", "left out", "the time is used up"]))
                continue
            limit = SECTIONS[name][1] * (TINY_FACTOR if args.tiny else 1)
            table += in_own_process(name, min(left, limit), work)
            (out / "check_gpu.json").write_text(json.dumps(table, indent=1))
    finally:
        shutil.rmtree(work, ignore_errors=True)
    print(f"{time.monotonic() - begun:.0f} s in all; also in {out / 'check_gpu.json'}", flush=True)
    return int(any(value == "FAILS" for _, _, value, _ in table))


def arguments() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--device", default="cuda", help='"cuda", or "cpu" to try the check')
    parser.add_argument("--tiny", action="store_true", help="small and few, for a CPU")
    parser.add_argument("--vgg", default="", help="weights of a real VGG-16; else random ones")
    parser.add_argument("--wheels", help="see check_gpu.sh, which installs them")
    parser.add_argument("--only", default="", help=f"of {','.join(SECTIONS)}")
    parser.add_argument("--budget", type=float, default=480, help="seconds for everything")
    parser.add_argument("--section", choices=SECTIONS, help=argparse.SUPPRESS)
    parser.add_argument("--work", help=argparse.SUPPRESS)
    args = parser.parse_args()
    unknown = set(args.only.split(",") if args.only else ()) - set(SECTIONS)
    if unknown:
        parser.error(f"--only: no section {', '.join(sorted(unknown))}; of {','.join(SECTIONS)}")
    if args.vgg and not Path(args.vgg).is_file():
        parser.error(f"--vgg {args.vgg}: no such file")
    return args


def run_section(args: argparse.Namespace) -> int:
    """This process is that of one section."""
    import importlib

    import check_gpu_measure as measure

    measure.settle(args)
    getattr(importlib.import_module(SECTIONS[args.section][0]), args.section)()
    return 0


def in_own_process(name: str, limit_s: float, work: Path) -> list[list]:
    """Run a section, print its rows as they come, and end it at its limit."""
    command = [sys.executable, __file__, *sys.argv[1:], "--section", name, "--work", str(work)]
    rows, errors = [], work / f"{name}.err"
    start = time.monotonic()
    with open(errors, "w") as told:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=told, text=True, start_new_session=True
        )
    timer = threading.Timer(limit_s, os.killpg, (process.pid, signal.SIGKILL))
    timer.start()
    for line in process.stdout:
        if line.startswith("ROW\t"):
            rows.append(shown([name, *json.loads(line[4:])]))
    code = process.wait()
    is_late = not timer.is_alive()
    timer.cancel()
    if is_late:
        rows.append(shown([name, "the section", "FAILS", f"stopped after {limit_s:.0f} s"]))
    elif code:
        why = errors.read_text(errors="replace").strip().rpartition("\n")[2]
        rows.append(shown([name, "the section", "FAILS", f"exit {code}: {why[:300]}"]))
    rows.append(shown([name, "the section took", f"{time.monotonic() - start:.0f} s", ""]))
    return rows


def shown(row: list) -> list:
    """A row, printed."""
    section, what, value, note = row
    print(f"{section:11} {what!s:42.42} {value!s:>14}  {str(note)[:210]}", flush=True)
    return row


if __name__ == "__main__":
    sys.exit(main())
