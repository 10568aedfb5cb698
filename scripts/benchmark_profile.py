"""Where the time of a training step and of a painting goes, for scripts/benchmark.py."""

import argparse
from collections import Counter

from benchmark_networks import infer_cases, train_cases
from benchmark_timing import Case, Rows
from torch.autograd.profiler_util import FunctionEvent
from torch.profiler import ProfilerActivity, profile

from fst.runtime.memory import keep_freed_memory

# Parts of an operator's name, looked for in this order.
PARTS = {
    "convolutions": ("convolution",),
    "Gram and other products": ("::mm", "::bmm", "::addmm", "::baddbmm"),
    "norms": ("batch_norm", "::addcmul"),
    "padding": ("_pad",),
    "moving numbers": ("::copy_", "::cat", "::stack", "::clone"),
    "pooling": ("pool",),
    "optimiser": ("adam",),
}
REST, WINOGRAD = "the rest", "Winograd convolutions"


def run_profile(args: argparse.Namespace) -> Rows:
    """Where the time goes: the steps of fst and one painting, by kinds of operator."""
    size_px = (args.sizes or [512])[0]
    steps = train_cases(args)
    cases = {name: make for name, make in steps.items() if not name.startswith("baseline")}
    cases[f"painting, width {args.width:g}, {size_px} px"] = lambda: infer_cases(
        args.width, size_px
    )["fst"]
    return [row for name, make in cases.items() for row in profiled(name, make(), args.repeats)]


def profiled(name: str, run: Case, repeats: int) -> Rows:
    """Rows of one case: milliseconds a run and share, the largest first."""
    keep_freed_memory()
    run()
    with profile(activities=[ProfilerActivity.CPU]) as record:
        for _ in range(repeats):
            run()
    keep_freed_memory(False)
    parts: Counter[str] = Counter()
    for event in record.events():
        parts[part_of(event.name, _function_around(event))] += event.self_cpu_time_total
    total = parts.total()
    return [
        {"case": name, "part": part, "ms": us / repeats / 1e3, "share": us / total}
        for part, us in parts.most_common()
    ]


def part_of(operator: str, function: str = "") -> str:
    """Which part an operator belongs to, called in an autograd function or in none."""
    parts = (part for part, names in PARTS.items() if any(name in operator for name in names))
    part = next(parts, REST)
    # torch's own convolutions stay that: Winograd's function may compute the kernel's gradient only
    within = "Winograd" in operator or "Winograd" in function
    return WINOGRAD if within and part != "convolutions" else part


def _function_around(event: FunctionEvent) -> str:
    """Name of the Winograd function that called the operator, or nothing."""
    while event.cpu_parent is not None:
        event = event.cpu_parent
        if "Winograd" in event.name:
            return event.name
    return ""
