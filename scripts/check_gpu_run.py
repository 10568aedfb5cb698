"""Sections of check_gpu.py on whole runs of fst-train."""

import contextlib
import json
import time
from collections.abc import Callable
from typing import Any

from check_gpu_measure import (
    CONTENT,
    STYLES,
    asked,
    attempt,
    fit,
    peak_gib,
    row,
    short,
    step_clock,
    succeeds,
    wait,
)

# ---- where the seconds of a run go -------------------------------------------------------------


def phases() -> None:
    """fst-train as a user types it: from the command to the pictures, and part by part."""
    small = ["--steps", 4, "--size", 64, "--style-size", 64, "--content", CONTENT]
    flags = small if asked.tiny else []

    def as_typed() -> tuple[str, str]:
        command = ["-m", "fst", "train", "-o", asked.work / "typed", *flags, "--styles", *STYLES]
        if not asked.on_gpu:
            command += ["--trainer.accelerator", "cpu"]
        start = time.perf_counter()
        succeeds(*command)
        seconds = time.perf_counter() - start
        return f"{seconds:.1f} s", "fst-train --styles A B, a process of its own"

    attempt("command to pictures", as_typed)
    attempt("the same, watched", lambda: _watched(flags))


def _watched(flags: list) -> str:
    spent: dict[str, float] = {}
    start = time.perf_counter()
    with contextlib.ExitStack() as clocks:
        _put_clocks(clocks, spent)
        _, trainer = fit("phases", *flags)
    spent["all"] = time.perf_counter() - start
    parts = ("before the first step", "drawing scenes", "style targets", "training", "reviews",
             "of them grids", "saves", "card")  # fmt: skip
    for part in parts:
        row(f"  {part}", f"{spent.get(part, 0.0):.2f} s")
    steps = spent["training"] - spent.get("reviews", 0) - spent.get("saves", 0)
    row("  steps alone", f"{steps:.2f} s", f"{trainer.max_steps} steps, {trainer.precision}")
    return f"{spent['all']:.1f} s"


def _put_clocks(clocks: contextlib.ExitStack, spent: dict[str, float]) -> None:
    """Have parts of a run note their seconds, until `clocks` is closed."""
    from unittest.mock import patch

    from pytorch_lightning.loops import _EvaluationLoop, _FitLoop

    from fst.data.datamodule import ContentDataModule
    from fst.training.card import RunCard
    from fst.training.checkpoint import RunSaver
    from fst.training.curves import PaintingGrid
    from fst.training.module import StyleTransferModule

    begun = time.perf_counter()
    places = [
        (ContentDataModule, "setup", "drawing scenes"),
        (StyleTransferModule, "setup", "style targets"),
        (_FitLoop, "run", "training"),
        (_EvaluationLoop, "run", "reviews"),
        (PaintingGrid, "on_validation_epoch_end", "of them grids"),
        (RunSaver, "save", "saves"),
        (RunCard, "on_fit_end", "card"),
    ]
    for owner, method, part in places:
        genuine = getattr(owner, method)

        def clocked(
            *args: Any, genuine: Callable = genuine, part: str = part, **options: Any
        ) -> Any:
            wait()
            start = time.perf_counter()
            if part == "training":
                spent["before the first step"] = start - begun
            try:
                return genuine(*args, **options)
            finally:
                wait()
                spent[part] = spent.get(part, 0.0) + time.perf_counter() - start

        clocks.enter_context(patch.object(owner, method, clocked))


# ---- precisions --------------------------------------------------------------------------------


def precisions() -> None:
    """The same short run in each precision: time, memory, and the loss that it comes to."""
    for precision in ("32-true", "bf16-mixed", *(["16-mixed"] if asked.on_gpu else [])):
        attempt(f"train, {precision}, batch 4", lambda p=precision: _in_precision(p))


def _in_precision(precision: str) -> tuple[str, str]:
    peak_gib(fresh=True)
    clock = step_clock()
    flags = short(4 if asked.tiny else 80, "--batch-size", 4, "--trainer.precision", precision)
    _, trainer = fit(f"precision_{precision}", *flags, callbacks=[clock])
    told = trainer.callback_metrics
    losses = {
        name: round(told[f"train/{name}"].item(), 4) for name in ("total", "content", "style")
    }
    return f"{clock.ms(20):.1f} ms/step", f"{json.dumps(losses)}, peak {peak_gib():.2f} GiB"


# ---- distributed -------------------------------------------------------------------------------


def ddp() -> None:
    """One process with DDP: its collective calls, over NCCL where there is a GPU."""
    attempt("fst-train, ddp, one device", _one_device)
    attempt("objects and flags", _objects)


def _one_device() -> tuple[str, str]:
    clock = step_clock()
    more = ["--batch-size", 4, "--trainer.strategy", "ddp", "--trainer.devices", 1]
    fit("ddp", *short(4 if asked.tiny else 50, *more), callbacks=[clock])
    return f"{clock.ms(15):.1f} ms/step", "batch 4"


def _objects() -> tuple[str, str]:
    """What fst/runtime/processes.py and fst/training/finite.py send."""
    import torch
    import torch.distributed as dist

    backend = "nccl" if asked.on_gpu else "gloo"
    if dist.is_initialized():
        dist.destroy_process_group()
    store = dist.TCPStore("127.0.0.1", 0, 1, True)
    dist.init_process_group(backend, store=store, rank=0, world_size=1)
    try:
        dist.broadcast_object_list([{"gram": torch.rand(3, 3)}], src=0)
        dist.all_gather_object([None], "fault")
        flags = torch.tensor(1, device=asked.device)
        dist.all_reduce(flags, dist.ReduceOp.MAX)
        return "works" if flags.item() == 1 else "FAILS", backend
    finally:
        dist.destroy_process_group()
