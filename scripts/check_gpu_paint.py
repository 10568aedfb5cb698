"""Sections of check_gpu.py on paintings: pictures, clips, and single ones by optimisation."""

import shutil
import time
from typing import Any

from check_gpu_measure import ROOT, asked, attempt, each_ms, peak_gib, succeeds, wait

SIZES = ((512, 512), (1024, 1024), (3000, 4000))  # H, W; the last one has 12 megapixels
FRAME, FRAMES = (1080, 1920), 8
FOLDER = 32  # pictures


def infer() -> None:
    """Pictures whole, in bands, and a folder of them."""
    from fst import Stylizer

    sizes = ((64, 96),) if asked.tiny else SIZES
    for precision in ("fp32", "bf16"):
        stylizer = Stylizer("gallery", asked.device, precision)
        for size in sizes:
            name = f"stylize, {precision}, {size[1]} x {size[0]}"
            attempt(name, lambda s=stylizer, hw=size: _whole(s, hw))
    photo = _smooth(*sizes[-1])
    for limit in (None, 2**31):
        name = "what is free" if limit is None else "--max-memory 2G"
        attempt(f"in bands, {name}", lambda m=limit: _in_bands(photo, m))
    attempt("fst-infer, a folder", lambda: _folder(photo))


def _smooth(height: int, width: int) -> Any:
    """A cloudy picture (3, H, W)."""
    import torch

    small = torch.rand(1, 3, height // 8, width // 8, generator=torch.Generator().manual_seed(0))
    large = torch.nn.functional.interpolate(small, (height, width), mode="bicubic")
    return large[0].clamp(0, 1)


def _whole(stylizer: Any, size: tuple[int, int]) -> tuple[str, str]:
    import torch

    from fst.stylize.bands.memory_plan import whole_bytes

    peak_gib(fresh=True)
    photo, weights = _smooth(*size), stylizer.style_weights(1)
    batch = photo[None].to(asked.device).contiguous(memory_format=torch.channels_last)

    @torch.inference_mode()
    def network_alone() -> None:
        on = stylizer.precision == "bf16"
        with torch.autocast(batch.device.type, torch.bfloat16, enabled=on):
            stylizer.network(batch, weights)

    alone = each_ms(network_alone, 2, 5)
    options = {"texture_size": "native"}  # as many pixels as the picture has
    everything = each_ms(lambda: stylizer.stylize(photo, 1, **options), 1, 3)
    planned = whole_bytes(stylizer.network, size) / 2**30
    note = f"network alone {alone:.1f} ms; peak {peak_gib():.2f} GiB, planned {planned:.2f}"
    return f"{everything:.1f} ms", note


def _in_bands(photo: Any, limit: int | None) -> str:
    from fst import Stylizer
    from fst.io import images
    from fst.stylize.bands.large import FileOptions, stylize_file
    from fst.stylize.options import PaintOptions

    given, painted = asked.work / "photo.bmp", asked.work / "painted.bmp"
    if not given.exists():
        images.save(photo, given)
    options = FileOptions(max_memory_bytes=limit, overwrite=True)
    stylizer = Stylizer("gallery", asked.device)
    start = time.perf_counter()
    stylize_file(stylizer, given, painted, 1, PaintOptions(texture_size="native"), options)
    return f"{time.perf_counter() - start:.2f} s"


def _folder(photo: Any) -> tuple[str, str]:
    from fst.io import images

    folder, count = asked.work / "folder", 2 if asked.tiny else FOLDER
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    height, width = (min(side, 4 * asked.size_px) for side in photo.shape[1:])
    images.save(photo[:, :height, :width], folder / "0.jpg")
    for number in range(1, count):
        shutil.copy(folder / "0.jpg", folder / f"{number}.jpg")
    command = ["-m", "fst", "infer", folder, "--model", "gallery", "--style-id", 1]
    start = time.perf_counter()
    succeeds(*command, "-o", asked.work / "painted", "--device", asked.device)
    seconds = time.perf_counter() - start
    return f"{seconds:.1f} s", f"{count} JPEGs of {width} x {height} px, its start included"


def video() -> None:
    """Frames of a clip, each for itself and steady, and the part of it that is motion."""
    from fst import Stylizer

    for precision in ("fp32", "bf16"):
        stylizer = Stylizer("gallery", asked.device, precision)
        attempt(f"frames, {precision}", lambda s=stylizer: _frames(s))


def _frames(stylizer: Any) -> tuple[str, str]:
    import torch

    from fst.stylize.video import motion
    from fst.stylize.video.steady import SteadyStylizer

    height, width = (64, 96) if asked.tiny else FRAME
    first = _smooth(height, width)
    frames = [torch.roll(first, 2 * n, 2) for n in range(3 if asked.tiny else FRAMES)]
    steady = SteadyStylizer(stylizer)
    for frame in frames[:2]:
        steady.stylize(frame, 1)
    wait()
    start = time.perf_counter()
    for frame in frames[2:]:
        steady.stylize(frame, 1)
    wait()
    each = 1e3 * (time.perf_counter() - start) / len(frames[2:])
    plain = each_ms(lambda: stylizer.stylize(frames[0], 1), 1, 3)
    field = each_ms(lambda: motion.motion_between(frames[0], frames[1]), 1, 2)
    note = f"ms per frame of {width} x {height}: alone {plain:.0f}; motion on the CPU {field:.0f}"
    return f"steady {each:.0f}", note


def gatys() -> None:
    """One picture by gradient descent, by optimiser and precision."""
    for optimizer in ("lbfgs", "adam"):
        for bf16 in (False, True) if asked.on_gpu else (False,):
            name = f"gatys, {optimizer}, {'bf16' if bf16 else 'fp32'}"
            attempt(name, lambda o=optimizer, b=bf16: _gatys(o, b))


def _gatys(optimizer: str, bf16: bool) -> tuple[str, str]:
    from fst.gatys import optimize
    from fst.gatys.optimization import default_loss
    from fst.io import images

    size, steps = (32, 4) if asked.tiny else (512, 60)
    samples = ROOT / "datasets/samples"
    photo = images.load(samples / "content/landscape.jpg", size)
    style = images.load(samples / "styles/pointillism.jpg", size)
    loss = default_loss().to(asked.device)
    options = {"loss": loss, "sizes": [size], "optimizer": optimizer, "bf16": bf16}
    optimize(photo, [style], steps=2, **options)
    start = time.perf_counter()
    result = optimize(photo, [style], steps=steps, **options)
    each = 1e3 * (time.perf_counter() - start) / result.steps
    note = f"loss {result.losses['total']:.4f} after {result.steps}, {result.stopped}, {size} px"
    return f"{each:.1f} ms/step", note
