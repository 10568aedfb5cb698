"""What scripts/benchmark.py measures of painting in bands: equality, time, arithmetic, memory."""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from benchmark_timing import Rows

from fst import Stylizer
from fst.assets import GALLERY, SAMPLE_PHOTO
from fst.io import images
from fst.runtime.memory import keep_freed_memory, resident_bytes
from fst.stylize.bands.large import FileOptions, stylize_file
from fst.stylize.bands.memory_plan import whole_bytes
from fst.stylize.bands.streaming import forward_work
from fst.stylize.options import PaintOptions

SIZES = [(509, 763), (1024, 1536), (2003, 3001)]  # height and width, two of them odd
BANDS_PX = [16, 64, 512]
STYLE = "wave"
NATIVE = PaintOptions(texture_size="native")  # the network at full size


def add_arguments(add) -> None:
    """The flags of `streaming`."""
    add("--megapixels", type=float, default=16.0, help="of the picture whose memory is measured")
    add("--limit", type=float, default=1.0, metavar="GIB", help="--max-memory of it, in GiB")


def run_streaming(args: argparse.Namespace) -> Rows:
    """Paintings in bands against whole ones, and the resident memory of one large picture."""
    stylizer = Stylizer(GALLERY)
    keep_freed_memory()
    rows: Rows = []
    with tempfile.TemporaryDirectory() as folder:
        for height, width in SIZES:
            photo = enlarged(Path(folder), height, width)
            whole_s, whole = whole_painting(stylizer, photo, args.repeats)
            for band_px in BANDS_PX:
                options = {"band_px": band_px}
                rows.append(banded_row(stylizer, photo, whole, whole_s, options, args.repeats))
            options = {"fast_statistics": True}
            rows.append(banded_row(stylizer, photo, whole, whole_s, options, args.repeats))
        rows += memory_rows(Path(folder), args)
    keep_freed_memory(False)
    return rows


def enlarged(folder: Path, height: int, width: int) -> Path:
    """The sample photo at a size, without loss."""
    from PIL import Image

    picture = images.decode(SAMPLE_PHOTO).resize((width, height), Image.Resampling.BICUBIC)
    picture.save(folder / f"{width}x{height}.png")
    return folder / f"{width}x{height}.png"


def whole_painting(stylizer: Stylizer, photo: Path, repeats: int) -> tuple[float, torch.Tensor]:
    """Median seconds, decoding and encoding left out, and the painting."""
    content, seconds = images.load(photo), []
    for _ in range(repeats):
        start = time.perf_counter()
        painting = stylizer.stylize(content, STYLE, NATIVE)
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds), painting


def banded_row(
    stylizer: Stylizer,
    photo: Path,
    whole: torch.Tensor,
    whole_s: float,
    options: dict[str, object],
    repeats: int,
) -> dict[str, object]:
    """One painting in bands, from file to file."""
    output, seconds = photo.with_name("bands.tif"), []
    for _ in range(repeats):
        start = time.perf_counter()
        file = FileOptions(bits=16, overwrite=True, **options)
        stylize_file(stylizer, photo, output, STYLE, NATIVE, file)
        seconds.append(time.perf_counter() - start)
    difference = (images.load_full(output) - whole.clamp(0, 1)).abs()
    done = work_of(stylizer, photo, options)
    height, width = whole.shape[1:]
    return {
        "case": f"{width}x{height}, " + " ".join(f"{k} {v}" for k, v in options.items()),
        "max difference x 255": 255 * difference.max().item(),
        "mean difference x 255": 255 * difference.mean().item(),
        "arithmetic of one forward": done / forward_work(stylizer.network, height, width),
        "time of a whole painting": statistics.median(seconds) / whole_s,
        "s": statistics.median(seconds),
        "peak MiB": "",
    }


def work_of(stylizer: Stylizer, photo: Path, options: dict[str, object]) -> int:
    """Multiplications of a painting in bands: of its convolutions, those by blocks as they are."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        output = photo.with_name("counted.png")
        stylize_file(stylizer, photo, output, STYLE, NATIVE, FileOptions(overwrite=True, **options))
    return counter.get_total_flops() // 2


def memory_rows(folder: Path, args: argparse.Namespace) -> Rows:
    """One large picture within a limit, in a process of its own."""
    height = round((args.megapixels * 1e6 / 1.5) ** 0.5)
    photo = enlarged(folder, height, round(1.5 * height))
    limit = round(args.limit * 2**30)
    code = (
        f"import sys, time, threading; sys.path.insert(0, {str(Path(__file__).parent)!r}); "
        f"from benchmark_streaming import watched; watched({str(photo)!r}, {limit})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    *curve, seconds = (float(word) for word in done.stdout.split())
    needed = whole_bytes(Stylizer(GALLERY).network, (height, round(1.5 * height))) / 2**20
    tenths = [f"{value:.0f}" for value in curve[:: max(1, len(curve) // 10)]]
    print(f"Resident MiB of {args.megapixels:g} megapixels, second by second: {' '.join(tenths)}\n")
    return [
        {
            "case": f"{args.megapixels:g} megapixels within {args.limit:g} GiB "
            f"(whole: about {needed:.0f} MiB)",
            "max difference x 255": "",
            "mean difference x 255": "",
            "arithmetic of one forward": "",
            "time of a whole painting": "",
            "s": seconds,
            "peak MiB": max(curve),
        }
    ]


def watched(photo: str, limit: int) -> None:
    """The process of `memory_rows`: prints its resident MiB every second, then the seconds."""
    import threading

    curve, done = [], threading.Event()

    def watch() -> None:
        while not done.wait(1):
            curve.append(resident_bytes() / 2**20)

    stylizer = Stylizer(GALLERY)
    keep_freed_memory()
    thread = threading.Thread(target=watch)
    thread.start()
    start = time.perf_counter()
    try:
        output = Path(photo).with_name("large.png")
        file = FileOptions(overwrite=True, max_memory_bytes=limit)
        stylize_file(stylizer, photo, output, STYLE, NATIVE, file)
    finally:
        done.set()
        thread.join()
    peak = next(
        int(line.split()[1]) / 1024
        for line in Path("/proc/self/status").read_text().splitlines()
        if line.startswith("VmHWM")
    )
    print(*curve, peak, time.perf_counter() - start)
