"""How scripts/benchmark.py times: cases in turns, medians, and what the arithmetic would take."""

import contextlib
import math
import statistics
import time
from collections.abc import Callable, Iterator

import torch

from fst.networks import winograd
from fst.runtime.memory import keep_freed_memory

Case = Callable[[], object]
Rows = list[dict[str, object]]


def interleaved(
    cases: dict[str, Case], repeats: int, warmup: int = 2, settle: bool = False
) -> dict[str, float]:
    """Median seconds of each case, run in turns A B C A B C ... after the warm-up.

    Args:
        settle: Run a case once without timing before each time: for cases that set the allocator,
            which gives back memory that the next run would have, were it one of a series.
    """
    for run in [*cases.values()] * warmup:
        run()
    seconds: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(repeats):
        for name, run in cases.items():
            if settle:
                run()
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def with_allocator(run: Case, keep: bool) -> None:
    """Run under fst-train's allocator settings or under glibc's own."""
    keep_freed_memory(keep)
    run()


def against_first(cases: dict[str, Case], repeats: int) -> Rows:
    """Median times, and their ratio to the first case's."""
    keep_freed_memory()
    medians = interleaved(cases, repeats)
    keep_freed_memory(False)
    first = next(iter(medians.values()))
    return [{"case": n, "ms": 1e3 * s, "ratio": first / s} for n, s in medians.items()]


def peak_flops(repeats: int = 5) -> float:
    """Multiply-adds a second, times two, of the best of some fp32 products and convolutions."""
    x = torch.rand(1, 64, 256, 256).contiguous(memory_format=torch.channels_last)
    kernel = torch.rand(64, 64, 3, 3).contiguous(memory_format=torch.channels_last)
    a = torch.rand(1024, 1024)
    works = {
        (lambda: torch.nn.functional.conv2d(x, kernel)): 2 * 64 * 64 * 9 * 254**2,
        (lambda: a @ a): 2 * 1024**3,
    }
    rates = []
    for run, flops in works.items():
        run()
        for _ in range(repeats):
            start = time.perf_counter()
            run()
            rates.append(flops / (time.perf_counter() - start))
    return max(rates)


def flops_of(run: Case) -> int:
    """Floating-point operations of convolutions and products, forward and backward."""
    from torch.utils.flop_counter import FlopCounterMode

    # Of products added in place, Winograd's gradient for a kernel, torch's counter knows nothing.
    in_place = {torch.ops.aten.baddbmm_: _flops_of_added}
    with FlopCounterMode(display=False, custom_mapping=in_place) as counter:
        run()
    return counter.get_total_flops()


def _flops_of_added(total: list[int], a: list[int], b: list[int], **_: object) -> int:
    return 2 * math.prod(a) * b[2]  # shapes (B, M, N), (B, M, K), (B, K, N)


@contextlib.contextmanager
def winograd_from(channels: float) -> Iterator[None]:
    """Winograd's way for convolutions of so many channels in times out and more, for no other."""
    fewest = winograd.FEWEST_CHANNELS, winograd.FEWEST_FOR_KERNEL
    winograd.FEWEST_CHANNELS = winograd.FEWEST_FOR_KERNEL = channels
    try:
        yield
    finally:
        winograd.FEWEST_CHANNELS, winograd.FEWEST_FOR_KERNEL = fewest


by_torch = winograd_from(math.inf)  # as a decorator: all convolutions torch's own, as in baselines
