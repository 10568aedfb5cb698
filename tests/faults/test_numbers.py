"""Numbers that are not finite stop a run within a step, named, and reach no file."""

import math
import os
import signal
import subprocess
import sys
from itertools import product

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from warm_process import WarmProcess, read_trace

from fst.cli.train import main
from fst.losses import moments
from fst.losses.style_loss import STYLE_LOSSES
from fst.networks.conditional import ConditionalInstanceNorm2d
from fst.training.curves import RunLog
from fst.training.module import StyleTransferModule

BAD_STEP = 5  # steps done when the number is put in
INFINITY, NAN = float("inf"), float("nan")


def broken_photo(module, batch, bad):
    photos = batch[0].float()
    photos[0, 1, 7, 9] = bad
    return photos, batch[1]


def broken_content_features(module, batch, bad):
    genuine = module.perceptual.content_target

    def content_target(content):
        target = genuine(content)
        target[0, 0, 0, 0] = bad
        return target

    module.perceptual.content_target = content_target


def broken_style_target(module, batch, bad):
    """In colour and in grey: which of them a step compares is drawn by lot."""
    style_id = batch[1][0].item()
    for group in module.perceptual.groups:
        for targets in group.targets.values():
            for place in (style_id, module.perceptual.num_styles + style_id):
                targets[0][place].view(-1)[0] = bad


def broken_covariance(module, batch, bad):
    genuine = moments.covariance_matrix
    moments.covariance_matrix = lambda features: [part + bad for part in genuine(features)]


def broken_weight(module, batch, bad):
    module.network.conv_in.conv.weight.data[0, 0, 0, 0] = bad


def broken_norm_table(module, batch, bad):
    norms = [m for m in module.network.modules() if isinstance(m, ConditionalInstanceNorm2d)]
    norms[1].gamma.data[batch[1][0], 0] = bad


def broken_gradient(module, batch, bad):
    module.network.conv_in.conv.weight.register_hook(lambda gradient: gradient * bad)


def broken_first_moment(module, batch, bad):
    _moments(module)["exp_avg"][0, 0, 0, 0] = bad


def broken_second_moment(module, batch, bad):
    """Infinite, it leaves the weights finite and keeps them where they are for ever."""
    _moments(module)["exp_avg_sq"][0, 0, 0, 0] = bad


def _moments(module):
    return module.trainer.optimizers[0].state[module.network.conv_in.conv.weight]


def broken_loss(module, batch, bad):
    """A constant: its gradient is as finite as ever."""
    genuine = module.perceptual.compare

    def compare(*args):
        found = genuine(*args)
        return found | {"total": found["total"] + bad}

    module.perceptual.compare = compare


def broken_learning_rate(module, batch, bad):
    for group in module.trainer.optimizers[0].param_groups:
        group["lr"] = bad


def broken_loss_network(module, batch, bad):
    next(iter(module.perceptual.loss_network.parameters())).data[0, 0, 0, 0] = bad


PLACES = [
    broken_photo,
    broken_content_features,
    broken_style_target,
    broken_covariance,
    broken_weight,
    broken_norm_table,
    broken_gradient,
    broken_first_moment,
    broken_second_moment,
    broken_loss,
    broken_learning_rate,
    broken_loss_network,
]
QUICK = [(broken_second_moment, INFINITY), (broken_loss, NAN)]


def shade_photos(folder, count):
    """Photos that tell their place in the folder by how bright they are."""
    folder.mkdir()
    noise = np.random.default_rng(0).integers(-5, 6, (50, 60, 3))
    for place in range(count):
        pixels = (20 + 20 * place + noise).clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"shade{place:02}.png")
    return folder


def photo_of(image):
    return f"shade{round((image.float().mean().item() - 20) / 20):02}.png"


def all_tensors(value):
    if isinstance(value, torch.Tensor):
        yield value
    for entry in value.values() if isinstance(value, dict) else ():
        yield from all_tensors(entry)
    for entry in value if isinstance(value, list | tuple) else ():
        yield from all_tensors(entry)


def finite_tensors_in(folder):
    """How many tensors the files of a run hold; all of them are finite."""
    tensors = [*load_file(folder / "model.safetensors").values()]
    tensors += all_tensors(torch.load(folder / "last.ckpt", weights_only=True))
    assert all(tensor.isfinite().all() for tensor in tensors)
    return len(tensors)


@pytest.fixture
def stopped(train_argv, tmp_path, monkeypatch, capfd):
    """Runs fst-train with one photo a step, breaks it once, and checks how it stops."""

    def run(break_it, bad, name):
        photos = shade_photos(tmp_path / f"photos_{name}", 10)
        batches, genuine = [], StyleTransferModule.training_step
        monkeypatch.setattr(moments, "covariance_matrix", moments.covariance_matrix)

        def training_step(self, batch, batch_idx):
            style = self.styles[batch[1].item()].name
            batches.append((photo_of(batch[0][0]), style))
            if self.global_step == BAD_STEP and len(batches) == BAD_STEP + 1:
                batch = break_it(self, batch, bad) or batch
            return genuine(self, batch, batch_idx)

        monkeypatch.setattr(StyleTransferModule, "training_step", training_step)
        folder = tmp_path / name
        argv = train_argv(folder, "--batch-size", 1, "--save-every", 1, "--held-out", photos)
        argv[argv.index("--content") + 1] = str(photos)
        code = main(argv)
        error = capfd.readouterr().err
        assert code == 1, error
        (line,) = error.strip().splitlines()
        assert len(batches) <= BAD_STEP + 2  # the step it broke in, and one more
        photo, style = batches[BAD_STEP]
        assert f"batch {BAD_STEP}: {photo} in {style}" in line
        stored = torch.load(folder / "last.ckpt", weights_only=True)
        assert stored["global_step"] == BAD_STEP
        monkeypatch.undo()
        return line, finite_tensors_in(folder), len(batches) - BAD_STEP

    return run


@pytest.mark.parametrize(("break_it", "bad"), QUICK)
def test_a_number_that_is_not_finite_stops_the_run_with_the_batch_named(stopped, break_it, bad):
    stopped(break_it, bad, "run")


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_wherever_it_appears_it_stops_the_run(stopped, capfd):
    rows = []
    for break_it, bad in product(PLACES, (NAN, INFINITY)):
        name = f"{break_it.__name__.removeprefix('broken_')}_{bad}"
        line, tensors, steps = stopped(break_it, bad, name)
        what = line.removeprefix("fst-train: error: ").split(" (")[0]
        rows.append(f"  {name:24} {steps:5} {tensors:5}   {what}")
    with capfd.disabled():
        print(f"\n{len(PLACES)} places, NaN and infinity: {len(rows)} stopped, 0 files not finite")
        print("  place                    steps tensors in files, all finite")
        print("\n".join(rows))


def test_a_gradient_that_adam_cannot_square_stops_the_run(stopped):
    """Finite itself, it would make the second moment infinite."""
    line, *_ = stopped(broken_gradient, 1e30, "run")
    assert "gradient of network.conv_in.conv.weight" in line


@pytest.mark.parametrize("bad", [NAN, pytest.param(INFINITY, marks=pytest.mark.slow)])
def test_of_a_step_of_several_batches_the_bad_one_is_named(train_argv, tmp_path, capfd, bad,
                                                           monkeypatch):  # fmt: skip
    genuine, seen = StyleTransferModule.training_step, []

    def training_step(self, batch, batch_idx):
        seen.append(batch_idx)
        outputs = genuine(self, batch, batch_idx)
        if len(seen) == 6:  # the second of three
            self.finite._seen[-1].terms["total"].fill_(bad)
        return outputs

    monkeypatch.setattr(StyleTransferModule, "training_step", training_step)
    assert main(train_argv(tmp_path / "run", "--trainer.accumulate_grad_batches", 4)) == 1
    line = capfd.readouterr().err
    assert f"the loss is {bad} at step 1 (batch 5: " in line and len(seen) == 8
    assert line.count("batch ") == 1


# Several processes


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs fork")
@pytest.mark.parametrize("bad_rank", [0, 1])
def test_a_nan_in_one_process_stops_both_within_the_step(train_argv, tmp_path, bad_rank, capsys):
    warm = WarmProcess()
    options = [{"nan_at": 4 if rank == bad_rank else None} for rank in range(2)]
    argv = train_argv(tmp_path / "run", "--save-every", 1)
    codes = warm.run_ranks(argv, tmp_path / "out", tmp_path / "trace", options.__getitem__)
    warm.close()
    said = [(tmp_path / f"out.{rank}").read_text() for rank in range(2)]
    assert codes == [1, 1], said
    lines = [text.strip().splitlines()[-1] for text in said]
    assert lines[0] == lines[1]
    assert "the loss is nan at step 4 (batch 4: photo" in lines[0] and lines[0].count(" in ") == 2
    for rank in range(2):
        begun = [w for w in read_trace(tmp_path / f"trace.{rank}") if w[0] == "begin"]
        assert len(begun) == 5
    assert torch.load(tmp_path / "run" / "last.ckpt", weights_only=True)["global_step"] == 4
    finite_tensors_in(tmp_path / "run")
    with capsys.disabled():
        print(f"\nNaN in process {bad_rank} of 2: both ended with code 1 in that step")


NAN_RUN = """
import os, sys
import torch
torch.set_num_threads(1)
from fst.cli.train import main
from fst.training.module import StyleTransferModule

genuine = StyleTransferModule.training_step

def training_step(self, batch, batch_idx):
    photos, style_index = batch
    if self.global_step == 4 and self.global_rank == int(os.environ["BAD_RANK"]):
        photos = photos.float() * float("nan")
    return genuine(self, (photos, style_index), batch_idx)

if __name__ == "__main__":
    StyleTransferModule.training_step = training_step
    sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("bad_rank", [0, 1])
def test_a_nan_in_one_process_of_a_run_by_lightning_ends_it(train_argv, tmp_path, bad_rank, capsys):
    """As users start it: the first process starts the second."""
    program = tmp_path / "nan.py"
    program.write_text(NAN_RUN)
    flags = ["--save-every", 1, "--trainer.devices", 2, "--trainer.strategy", "ddp"]
    command = [sys.executable, str(program), *train_argv(tmp_path / "run", *flags)]
    variables = os.environ | {"BAD_RANK": str(bad_rank), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=variables)
    assert done.returncode not in (0, None), done.stderr
    assert "the loss is nan at step 4 (batch 4: photo" in done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    assert torch.load(tmp_path / "run" / "last.ckpt", weights_only=True)["global_step"] == 4
    finite_tensors_in(tmp_path / "run")
    with capsys.disabled():
        print(f"\nNaN in process {bad_rank} of 2 by Lightning: ended with {done.returncode}")


# Pictures without anything in them

FLAT = {"black": (0, 0, 0), "white": (255, 255, 255), "red": (255, 0, 0), "grey": (128, 128, 128)}


@pytest.fixture(scope="module")
def flat_pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("flat")
    for name, colour in FLAT.items():
        Image.new("RGB", (60, 50), colour).save(folder / f"{name}.png")
    return [folder / f"{name}.png" for name in FLAT]


def flat_argv(train_argv, folder, pictures, *extra):
    argv = train_argv(folder, *extra)
    styles, content = argv.index("--styles"), argv.index("--content")
    given = ["--styles", *map(str, pictures), "--content", *map(str, pictures)]
    return [*given, *argv[:styles], *argv[content + 2 :]]


@pytest.mark.parametrize(
    "precision", [pytest.param("32-true", marks=pytest.mark.slow), "bf16-mixed"]
)
def test_flat_photos_and_styles_train_and_paint(
    train_argv, flat_pictures, tmp_path, precision, monkeypatch
):
    from fst import Stylizer

    logged, genuine = [], RunLog.on_train_batch_end

    def on_train_batch_end(self, trainer, module, outputs, *rest):
        logged.append(outputs["loss"].item())
        genuine(self, trainer, module, outputs, *rest)

    monkeypatch.setattr(RunLog, "on_train_batch_end", on_train_batch_end)
    extra = ["--steps", 3, "--batch-size", 4, "--save-every", 1, "--trainer.precision", precision]
    assert main(flat_argv(train_argv, tmp_path / "run", flat_pictures, *extra)) == 0
    assert len(logged) == 3 and all(map(math.isfinite, logged))
    finite_tensors_in(tmp_path / "run")
    for paint_in in ("fp32", "bf16"):
        stylizer = Stylizer(tmp_path / "run" / "model.safetensors", precision=paint_in)
        for photo, style in product(flat_pictures, FLAT):
            painted = stylizer.stylize(photo, style)
            assert painted.isfinite().all() and painted.min() >= 0 and painted.max() <= 1


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_flat_pictures_train_by_every_style_loss(train_argv, flat_pictures, tmp_path, capsys):
    runs = 0
    for loss, precision in product(STYLE_LOSSES, ("32-true", "bf16-mixed")):
        folder = tmp_path / f"{loss}-{precision}"
        extra = ["--steps", 3, "--batch-size", 4, "--style-loss", loss]
        extra += ["--trainer.precision", precision]
        assert main(flat_argv(train_argv, folder, flat_pictures, *extra)) == 0, (loss, precision)
        finite_tensors_in(folder)
        runs += 1
    with capsys.disabled():
        print(f"\nflat pictures: {runs} runs ({', '.join(STYLE_LOSSES)}; fp32, bf16), 0 not finite")
