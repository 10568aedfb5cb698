"""What the sections of check_gpu.py share: rows, times, and runs of fst-train."""

import argparse
import contextlib
import io
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
STYLES = [ROOT / "datasets/samples/styles" / f"{n}.jpg" for n in ("woodblock_waves", "pointillism")]
CONTENT = ROOT / "datasets/samples/content"
# What was asked for, set by `settle`: device, tiny, vgg (a file or ""), work (a folder), size_px.
asked = SimpleNamespace()


def settle(args: argparse.Namespace) -> None:
    """Take over what the command was given."""
    vars(asked).update(vars(args), work=Path(args.work), size_px=64 if args.tiny else 256)
    asked.on_gpu = args.device.startswith("cuda")
    if not asked.on_gpu:
        import torch

        torch.set_num_threads(1)


def row(what: str, value: Any, note: Any = "") -> None:
    """One line of the table."""
    print("ROW\t" + json.dumps([what, str(value), str(note)]), flush=True)


def attempt(what: str, measure: Callable[[], Any]) -> None:
    """A row of what `measure` returns, a value or a value and a note; or of how it fails."""
    try:
        found = measure()
    except (Exception, SystemExit) as error:
        row(what, "FAILS", f"{type(error).__name__}: {' '.join(str(error).split())[:300]}")
        return
    row(what, *(found if isinstance(found, tuple) else (found,)))


def wait() -> None:
    """Wait for the GPU."""
    if asked.on_gpu:
        import torch

        torch.cuda.synchronize()


def each_ms(run: Callable[[], Any], warm: int = 3, repeats: int = 10) -> float:
    """Median milliseconds of a call whose result is waited for."""
    for _ in range(1 if asked.tiny else warm):
        run()
    times = []
    for _ in range(2 if asked.tiny else repeats):
        wait()
        start = time.perf_counter()
        run()
        wait()
        times.append(1e3 * (time.perf_counter() - start))
    return statistics.median(times)


def in_a_row_ms(run: Callable[[], Any], warm: int = 5, count: int = 20) -> float:
    """Milliseconds a call of many, which only the last is waited for: as in training."""
    warm, count = (1, 2) if asked.tiny else (warm, count)
    for _ in range(warm):
        run()
    wait()
    start = time.perf_counter()
    for _ in range(count):
        run()
    wait()
    return 1e3 * (time.perf_counter() - start) / count


def peak_gib(fresh: bool = False) -> float:
    """Most GPU memory taken since it was asked last with `fresh`."""
    if not asked.on_gpu:
        return 0.0
    import torch

    peak = torch.cuda.max_memory_allocated() / 2**30
    if fresh:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    return peak


def bf16_flops() -> float:
    """What this device multiplies in a second, in bf16, on random numbers."""
    import torch

    side = 256 if asked.tiny else 8192
    factor = torch.randn(side, side, device=asked.device, dtype=torch.bfloat16)
    return 2 * side**3 / each_ms(lambda: factor @ factor) * 1e3


def vgg16() -> str:
    """The file of the real VGG-16, or one of its shape with random weights."""
    path = asked.work / "vgg16_random.safetensors"
    if asked.vgg or path.exists():
        return asked.vgg or str(path)
    import torch
    from safetensors.torch import save_file

    from fst.networks.loss_network import VGG_CHANNELS, layer_names

    tensors, before, generator = {}, 3, torch.Generator().manual_seed(0)
    for name, index in layer_names("vgg16").items():
        channels = VGG_CHANNELS[int(name[4]) - 1] // (8 if asked.tiny else 1)
        weight = torch.randn(channels, before, 3, 3, generator=generator)
        # He et al. 2015: the variance that keeps the features' scale through ReLUs.
        tensors[f"features.{index}.weight"] = weight * (2 / (9 * before)) ** 0.5
        tensors[f"features.{index}.bias"] = torch.zeros(channels)
        before = channels
    save_file(tensors, path, metadata={"topology": "vgg16"})
    return str(path)


def succeeds(*command: Any, **more_environment: str) -> None:
    """Run this Python in the repository, as a process of its own.

    Raises:
        RuntimeError: It failed; says how.
    """
    done = subprocess.run(
        [sys.executable, *map(str, command)],
        cwd=ROOT, capture_output=True, text=True, env=os.environ | more_environment,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(done.stderr.strip()[-250:])


def fit(name: str, *flags: Any, callbacks: Sequence = ()) -> tuple[Any, Any]:
    """fst-train in this process.

    Args:
        name: Of the run's folder; a run that is resumed has its own.
        flags: Beside styles, folder and accelerator.
        callbacks: Beside its own, after them.

    Returns:
        The module and the trainer, when the run is over.
    """
    from fst.cli import train
    from fst.cli.train_arguments import parse
    from fst.training.trainer import train as fit

    given = [str(flag) for flag in flags]
    argv = ["--trainer.accelerator", "gpu" if asked.on_gpu else "cpu", *given]
    if "--resume" not in given:
        argv += ["-o", str(asked.work / name), "--styles", *map(str, STYLES)]
    quiet = io.StringIO()
    with contextlib.ExitStack() as held, contextlib.redirect_stderr(quiet):
        held.enter_context(contextlib.redirect_stdout(quiet))
        settings, trainer_settings = parse(argv)
        run = train.prepare(settings, trainer_settings, held)
        module, _, trainer, _ = run
        trainer.callbacks += callbacks
        fit(settings, *run)
    return module, trainer


def short(steps: int, *more: Any) -> tuple:
    """Flags of a short run on the sample photos, without reviews, log and bar."""
    flags = ["--content", CONTENT, "--size", asked.size_px, "--style-size", asked.size_px]
    flags += ["--steps", steps, "--trainer.limit_val_batches", 0]
    flags += ["--trainer.enable_progress_bar", "false"]
    if asked.tiny:
        flags += ["--from-scratch", "--width", 0.125, "--num-blocks", 1]
    return *flags, *more


def step_clock() -> Any:
    """A callback that notes when batches begin; its `ms(skip)` is the median from one to the next,
    the first ones left out."""
    import pytorch_lightning as pl

    class StepClock(pl.Callback):
        def __init__(self) -> None:
            self.stamps: list[float] = []

        def on_train_batch_start(self, *_: Any) -> None:
            self.stamps.append(time.perf_counter())

        def ms(self, skip: int) -> float:
            gaps = [b - a for a, b in zip(self.stamps, self.stamps[1:], strict=False)]
            return 1e3 * statistics.median(gaps[1 if asked.tiny else skip :])

    return StepClock()
