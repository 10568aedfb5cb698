"""Sections of check_gpu.py on what is right: against the CPU, to the bit, and elsewhere."""

import shutil
from pathlib import Path
from typing import Any

from check_gpu_measure import CONTENT, asked, attempt, fit, short, succeeds

STATISTICS = (
    "gram", "gram centered", "gram patches=2x2 instances=max", "eigen top=5%", "projected rank=10%",
    "meanstd", "covariance", "wasserstein", "sliced",
)  # fmt: skip
STEPS, SAVED_AT = 40, 20  # of the runs that are held against each other


# ---- against the CPU ---------------------------------------------------------------------------


def correct() -> None:
    """Network, losses and paintings: relative difference from the CPU in fp32."""
    import torch

    torch.manual_seed(0)
    if asked.on_gpu:
        torch.backends.cudnn.allow_tf32 = False
    _network()
    _losses()
    attempt("paintings", _paintings)


def _apart(there: Any, here: Any) -> str:
    return f"{((there.cpu() - here.cpu()).norm() / here.cpu().norm()).item():.1e}"


def _network() -> None:
    import torch

    from fst.networks.transformer import TransformerNet

    network = TransformerNet(3, 0.5, 1 if asked.tiny else 5).to(memory_format=torch.channels_last)
    photos = torch.rand(2, 3, asked.size_px, asked.size_px + 8)
    one_hot = network.one_hot(torch.tensor([0, 2]))
    maps = torch.rand(2, 3, 20, 20).softmax(1)

    def painted(device: str, weights: Any, dtype: Any = None) -> tuple[Any, ...]:
        network.to(device).zero_grad()
        x = photos.to(device).contiguous(memory_format=torch.channels_last).requires_grad_(True)
        with torch.autocast(x.device.type, dtype or torch.bfloat16, enabled=dtype is not None):
            y = network(x, weights.to(device))
        (y * torch.linspace(-1, 1, y.numel(), device=device).view_as(y)).sum().backward()
        gradients = torch.cat([p.grad.flatten() for p in network.parameters()])
        return tuple(t.detach().cpu() for t in (y, x.grad, gradients))

    def compared(weights: Any, dtype: Any = None, tf32: bool = False) -> tuple[str, str]:
        torch.backends.cudnn.allow_tf32 = tf32
        there, here = painted(asked.device, weights, dtype), painted("cpu", weights)
        torch.backends.cudnn.allow_tf32 = False
        of_photo, of_weights = (_apart(t, h) for t, h in zip(there[1:], here[1:], strict=True))
        return _apart(there[0], here[0]), f"gradient of photo {of_photo}, of weights {of_weights}"

    attempt("network, fp32", lambda: compared(one_hot))
    attempt("network, fp32, TF32 convolutions", lambda: compared(one_hot, tf32=True))
    attempt("network, fp32, a map of styles", lambda: compared(maps))
    attempt("network, bf16", lambda: compared(one_hot, torch.bfloat16))
    if asked.on_gpu:
        attempt("network, fp16", lambda: compared(one_hot, torch.float16))


def _losses() -> None:
    import torch

    from fst.losses.perceptual import PerceptualLoss
    from fst.losses.terms import grid_pattern
    from fst.networks.loss_network import LITE, load_loss_network
    from fst.training.settings import Objective

    usual = Objective()
    sizes = [[(96, 80)], [(80, 96), (96, 96)], [(80, 80)]]
    pictures = [[torch.rand(3, *size) for size in one] for one in sizes]
    painted, photos = torch.rand(2, 2, 3, asked.size_px, asked.size_px)
    index = torch.tensor([0, 2])

    def loss(device: str, statistic: Any, dtype: Any) -> tuple[Any, Any]:
        network = load_loss_network(LITE).to(device).to(memory_format=torch.channels_last)
        perceptual = PerceptualLoss(network, style_loss=statistic, weights=(1.0, 5.0, 0.1))
        perceptual.set_styles([[p.to(device) for p in one] for one in pictures])
        y = painted.clone().to(device).requires_grad_(True)
        with torch.autocast(y.device.type, dtype or torch.bfloat16, enabled=dtype is not None):
            total = perceptual(y, photos.to(device), index)["total"]
        total = total + usual.grid_weight * grid_pattern(y)
        further = perceptual.traits_of(index).terms(y, photos.to(device), *usual.trait_weights)
        total = total + sum(weight * term for _, weight, term in further)
        total.backward()
        return total.detach(), y.grad

    def compared(statistic: Any, dtype: Any = None) -> tuple[str, str]:
        there, here = loss(asked.device, statistic, dtype), loss("cpu", statistic, None)
        return _apart(there[0], here[0]), f"gradient {_apart(there[1], here[1])}"

    for statistic in (*STATISTICS, ["gram", "meanstd", "gram"]):
        attempt(f"loss, {statistic}", lambda s=statistic: compared(s))
    attempt("loss, wasserstein, bf16", lambda: compared("wasserstein", torch.bfloat16))


def _paintings() -> str:
    import torch

    from fst import Stylizer
    from fst.io import images
    from fst.stylize.bands.large import FileOptions, stylize_file

    photo = images.load(CONTENT / "landscape.jpg", asked.size_px)
    here, there = Stylizer("gallery"), Stylizer("gallery", asked.device)
    mask = torch.zeros(photo.shape[1:])
    mask[:, : photo.shape[2] // 2] = 1
    controls = {
        "plain": {},
        "strength 1.3": {"strength": 1.3},
        "texture size 2": {"texture_size": 2.0},
        "mask, where, histogram": {"masks": {0: mask}, "where": mask, "keep_colors": "histogram"},
    }
    for name, options in controls.items():

        def farthest(options: dict = options) -> str:
            difference = there.stylize(photo, 1, **options) - here.stylize(photo, 1, **options)
            return f"{255 * difference.abs().max():.2f}/255"

        attempt(f"painting, {name}, at most", farthest)

    def in_bands() -> str:
        given, painted = asked.work / "photo.png", asked.work / "bands.png"
        images.save(photo, given, overwrite=True)
        options = FileOptions(band_px=64, overwrite=True)
        stylize_file(there, given, painted, 1, file=options)
        whole = there.stylize(images.load(given), 1)
        return f"{255 * (images.load(painted) - whole).abs().max():.2f}/255"

    attempt("bands from whole, at most", in_bands)
    return "done"


# ---- to the bit --------------------------------------------------------------------------------


def equal() -> None:
    """Two equal runs, and one that is interrupted and resumed: largest difference of a weight."""
    for precision in ("32-true", "bf16-mixed") if asked.on_gpu else ("32-true",):
        for deterministic in ("false", "true"):
            flags = "--trainer.precision", precision, "--trainer.deterministic", deterministic
            name = f"{precision}{', deterministic' * (deterministic == 'true')}"
            attempt(f"{name}: two runs differ by", lambda f=flags: _two_runs(f))
            attempt(f"{name}: a resumed run by", lambda f=flags: _resumed(f))


def _counts() -> tuple[int, int]:
    return (6, 3) if asked.tiny else (STEPS, SAVED_AT)


def _run(name: str, flags: tuple) -> dict:
    steps, saved_at = _counts()
    shutil.rmtree(asked.work / name, ignore_errors=True)  # of the section before
    flags = short(steps, "--batch-size", 2, "--save-every", saved_at, *flags)
    return _weights(fit(name, *flags, callbacks=[_keep_half(saved_at)])[0])


def _keep_half(step: int) -> Any:
    """A callback that keeps the checkpoint of a step."""
    import pytorch_lightning as pl

    class KeepHalf(pl.Callback):
        def on_train_batch_start(self, trainer: Any, *_: Any) -> None:
            saved = Path(trainer.default_root_dir) / "last.ckpt"
            if trainer.global_step == step and saved.exists():
                shutil.copy(saved, asked.work / "half.ckpt")

    return KeepHalf()


def _weights(module: Any) -> dict:
    return {k: v.detach().float().cpu().clone() for k, v in module.network.state_dict().items()}


def _farthest(one: dict, other: dict) -> str:
    return f"{max((one[k] - other[k]).abs().max().item() for k in one):.1e}"


_of_first: dict = {}  # weights of the run that the others are held against


def _two_runs(flags: tuple) -> str:
    _of_first.clear()
    _of_first.update(_run("first", flags))
    return _farthest(_of_first, _run("second", flags))


def _half_in(name: str) -> Path:
    """The checkpoint in a folder of its own, so that the run is resumed there."""
    folder = asked.work / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return Path(shutil.copy(asked.work / "half.ckpt", folder / "last.ckpt"))


def _resumed(flags: tuple) -> str:
    module, trainer = fit("", "--resume", _half_in("resumed"), *flags)
    assert trainer.global_step == _counts()[0]
    return _farthest(_of_first, _weights(module))


# ---- elsewhere ---------------------------------------------------------------------------------


def elsewhere() -> None:
    """A checkpoint of this device is gone on with by a process that sees no GPU."""
    _run("first", ("--trainer.precision", "bf16-mixed" if asked.on_gpu else "32-true"))

    def by_cpu() -> str:
        command = ["-m", "fst", "train", "--resume", _half_in("moved")]
        command += ["--steps", _counts()[1] + 2, "--trainer.accelerator", "cpu"]
        succeeds(*command, "--trainer.precision", "32-true", CUDA_VISIBLE_DEVICES="")
        return "goes on"

    attempt("its checkpoint, on a CPU", by_cpu)
