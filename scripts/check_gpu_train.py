"""Sections of check_gpu.py on the training step: how fast, and what torch.compile gives."""

import time
from collections.abc import Callable
from typing import Any

from check_gpu_measure import (
    asked,
    attempt,
    bf16_flops,
    fit,
    in_a_row_ms,
    peak_gib,
    row,
    short,
    step_clock,
    vgg16,
    wait,
)

BATCHES, COMPILED_BATCH = (4, 16, 32, 64), 16
MOST_KERNELS = 6  # named in a row


def throughput() -> None:
    """Steps without Lightning by batch size and loss network, then those of fst-train itself."""
    from fst.networks.loss_network import LITE

    ceiling = bf16_flops()
    row("bf16 floor is taken at", f"{ceiling / 1e12:.0f} TFLOP/s", "measured in this process")
    for name, network in (("lite", LITE), ("VGG-16", vgg16())):
        for batch in (2,) if asked.tiny else BATCHES:
            attempt(
                f"step, {name}, batch {batch}", lambda n=network, b=batch: _timed(n, b, ceiling)
            )
    for batch in (2,) if asked.tiny else (4, 16):
        attempt(f"fst-train, lite, batch {batch}", lambda b=batch: _whole(b))
    attempt("fst-train, lite, batch 4, with its bar", lambda: _whole(4, "true"))
    if asked.on_gpu:
        attempt("kernels, lite, batch 16", lambda: _kernels(LITE, 16))
        attempt("kernels, VGG-16, batch 16", lambda: _kernels(vgg16(), 16))


def compiled() -> None:
    """fst-train with networks and loss compiled, to be compared with the same in `throughput`."""
    batch = 2 if asked.tiny else COMPILED_BATCH
    attempt(f"fst-train, compiled, lite, batch {batch}", lambda: _compiled(batch))


def make_step(network: str, batch: int) -> Callable[[], None]:
    """A training step of the module's parts: paint, loss, gradient, Adam. In bf16 on a GPU."""
    import torch

    from fst.losses.perceptual import PerceptualLoss
    from fst.losses.terms import grid_pattern
    from fst.networks.transformer import TransformerNet
    from fst.training.settings import Objective, read_loss_network

    torch.manual_seed(0)
    usual = Objective()
    last, size = torch.channels_last, asked.size_px
    painter = TransformerNet(2, 0.5, 1 if asked.tiny else 8).to(asked.device).to(memory_format=last)
    judge = read_loss_network(network).to(asked.device).to(memory_format=last)
    perceptual = PerceptualLoss(judge)
    perceptual.set_styles([[torch.rand(3, size, size, device=asked.device)] for _ in range(2)])
    adam = torch.optim.Adam(painter.parameters(), 1e-3, fused=True)
    photos = torch.rand(batch, 3, size, size, device=asked.device).contiguous(memory_format=last)
    index = torch.arange(batch) % 2
    weights = painter.one_hot(index).to(asked.device)

    def loss() -> Any:
        painted = painter(photos, weights)
        crops = painted[:, :, 2:-1, 2:-1], photos[:, :, 2:-1, 2:-1]
        total = perceptual(*crops, index)["total"] + usual.grid_weight * grid_pattern(painted)
        further = perceptual.traits_of(index).terms(painted, photos, *usual.trait_weights)
        return total + sum(weight * term for _, weight, term in further)

    def step() -> None:
        with torch.autocast(photos.device.type, torch.bfloat16, enabled=asked.on_gpu):
            total = loss()
        adam.zero_grad(set_to_none=True)
        total.backward()
        adam.step()

    return step


def _timed(network: str, batch: int, ceiling: float) -> tuple[str, str]:
    from torch.utils.flop_counter import FlopCounterMode

    peak_gib(fresh=True)
    step = make_step(network, batch)
    ms = in_a_row_ms(step)
    peak = peak_gib()
    with FlopCounterMode(display=False) as counter:
        step()
    flops = counter.get_total_flops()
    share = flops / ceiling / (ms / 1e3)
    note = f"{1e3 * batch / ms:.0f} images/s, {flops / batch / 1e9:.1f} GFLOP an image, "
    return f"{ms:.2f} ms/step", note + f"{share:.1%} of the bf16 floor, peak {peak:.1f} GiB"


def _whole(batch: int, bar: str = "false", name: str = "whole", *more: Any) -> tuple[str, str]:
    """A short run of fst-train, with callbacks beside its own."""
    clock = step_clock()
    flags = list(short(6 if asked.tiny else 120, "--batch-size", batch))
    flags[flags.index("--trainer.enable_progress_bar") + 1] = bar
    fit(f"{name}_{batch}_{bar}", *flags, callbacks=[*more, clock])
    return f"{clock.ms(40):.2f} ms/step", f"{1e3 * batch / clock.ms(40):.0f} images/s"


def _kernels(network: str, batch: int) -> tuple[str, str]:
    from torch.autograd import DeviceType
    from torch.profiler import ProfilerActivity, profile

    step, count = make_step(network, batch), 3
    in_a_row_ms(step)
    with profile(activities=[ProfilerActivity.CUDA]) as seen:
        for _ in range(count):
            step()
        wait()
    found = [event for event in seen.events() if event.device_type == DeviceType.CUDA]
    times: dict[str, float] = {}
    for event in found:
        name = event.name.removeprefix("void ").removeprefix("at::native::")[:34]
        times[name] = times.get(name, 0.0) + event.time_range.elapsed_us() / 1e3 / count
    most = sorted(times.items(), key=lambda pair: -pair[1])[:MOST_KERNELS]
    note = f"busy {sum(times.values()):.2f} ms per step; " + ", ".join(
        f"{n} {t:.2f}" for n, t in most
    )
    return f"{len(found) // count} a step", note


def _compiled(batch: int) -> tuple[str, str]:
    from fst.training.compiled import Compiled

    # Without a GPU only the capture is tried: making code for a CPU takes minutes.
    callback = Compiled("inductor" if asked.on_gpu else "aot_eager")
    start = time.perf_counter()
    step, rate = _whole(batch, "false", "compiled", callback)
    if callback.compiled == "nothing":
        raise RuntimeError("the run went on without")
    seconds = time.perf_counter() - start
    return step, f"{callback.compiled} compiled: {rate}; {seconds:.0f} s for the whole run"
