"""What is computed on a GPU, by a pretended one: the numbers of the CPU, and nobody waits."""

import shutil
from contextlib import ExitStack
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from pretended_gpu import GPU, OnGpu, pretended_gpu
from pytorch_lightning.accelerators import CPUAccelerator
from pytorch_lightning.strategies import SingleDeviceStrategy
from torch._subclasses.fake_tensor import FakeTensorMode

from fst import Stylizer
from fst.assets import SAMPLE_PHOTO
from fst.cli import train
from fst.cli.train_arguments import parse
from fst.gatys import optimize
from fst.io import images
from fst.losses.perceptual import PerceptualLoss
from fst.networks.conditional import ConditionalInstanceNorm2d
from fst.networks.frozen import FrozenConv
from fst.networks.loss_network import load_loss_network
from fst.networks.transformer import TransformerNet
from fst.stylize.bands.large import FileOptions, stylize_file
from fst.stylize.video.steady import SteadyStylizer
from fst.training.trainer import train as fit

STATISTICS = (
    "gram", "gram centered", "gram patches=2x2 overlap=25%", "gram instances=max", "eigen top=5%",
    "eigen slice=1-3 ones", "projected rank=10%", "projected rank=10% instances=beside",
    "meanstd", "covariance", "wasserstein", "wasserstein instances=max", "sliced",
    "sliced directions=16",
)  # fmt: skip


@pytest.fixture
def gpu():
    with pretended_gpu() as pretended:
        yield pretended


def random(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


# ---- the pretended GPU itself ------------------------------------------------------------------


def test_devices_do_not_mix(gpu):
    here, there = torch.ones(2), torch.ones(2).to(GPU)
    with pytest.raises(RuntimeError, match="same device"):
        here + there
    assert (there + torch.tensor(1.0)).tolist() == [2.0, 2.0]  # as CUDA takes single numbers


@pytest.mark.parametrize(
    "read",
    [
        lambda x: x.sum().item(),
        lambda x: x.cpu(),
        lambda x: bool((x > 0).all()),
        lambda x: x[x > 0.5],
        lambda x: x.nonzero(),
        lambda x: torch.empty(3).copy_(x),
        lambda x: x.tolist(),
    ],
)
def test_waits_are_counted(gpu, read):
    read(random(3).to(GPU))
    assert sum(gpu.waits.values()) == 1


def test_what_stays_there_is_not_waited_for(gpu):
    x = random(3).to(GPU)
    x[torch.tensor([0, 2])] += x.sum()
    x.clone().copy_(x)
    assert not gpu.waits


# ---- networks and losses -----------------------------------------------------------------------


def gradients_of(network, photos, weights):
    """The painting, and the gradients of photo and weights for an uneven sum of it."""
    photos = photos.requires_grad_(True)
    painted = network(photos, weights)
    (painted * torch.linspace(-1, 1, painted.shape[3]).to(painted.device)).sum().backward()
    return [painted.detach(), photos.grad, *(p.grad for p in network.parameters())]


@pytest.mark.parametrize("maps", [False, True])
def test_the_network_paints_and_learns_as_on_the_cpu(gpu, maps):
    network = TransformerNet(2, 0.125, 1).to(memory_format=torch.channels_last)
    photos = random(2, 3, 36, 46).contiguous(memory_format=torch.channels_last)
    weights = random(2, 2, 9, 9) if maps else network.one_hot(torch.tensor([0, 1]))
    here = gradients_of(network, photos.clone(), weights)
    network.zero_grad()
    there = gradients_of(network.to(GPU), photos.to(GPU), weights.to(GPU))
    assert not gpu.waits
    torch.testing.assert_close(there[0].cpu(), here[0], rtol=0, atol=1e-4)
    largest = max(
        gradient.abs().max().item() for gradient in here[1:]
    )  # some are 0 but for rounding
    for one, other in zip(there[1:], here[1:], strict=True):
        torch.testing.assert_close(one.cpu(), other, rtol=1e-3, atol=1e-5 * largest)


def test_maps_keep_their_channels_last_through_a_step(gpu):
    """Each copy to the other layout and back reads and writes the whole map twice more."""
    network = TransformerNet(1, 0.125, 1).to(memory_format=torch.channels_last).to(GPU)
    layouts = []

    def note(module, inputs, output):
        layouts.append(output.is_contiguous(memory_format=torch.channels_last))

    for part in network.modules():
        if isinstance(part, torch.nn.Conv2d):
            part.register_forward_hook(note)
    photos = random(1, 3, 36, 44).contiguous(memory_format=torch.channels_last)
    network(photos.to(GPU), torch.ones(1, 1).to(GPU)).sum().backward()
    assert layouts and all(layouts)
    assert "reflection_pad2d" not in gpu.kernels and "replication_pad2d" not in gpu.kernels


def loss_and_gradient(device, weights, statistic, style_weight=5.0):
    loss = PerceptualLoss(
        load_loss_network(weights).to(device), style_loss=statistic, weights=(1, style_weight, 0.1)
    )
    pictures = [[random(3, 70, 64, seed=1)], [random(3, 64, 72, seed=2), random(3, 66, 66, seed=3)]]
    loss.set_styles([[picture.to(device) for picture in style] for style in pictures])
    painted = random(2, 3, 48, 48, seed=4).to(device).requires_grad_(True)
    photos = random(2, 3, 48, 48, seed=5).to(device)

    def measure():
        total = loss(painted, photos, torch.tensor([1, 0]))["total"]
        total.backward()
        return total.detach(), painted.grad

    return measure


@pytest.mark.parametrize("statistic", [*STATISTICS, ["gram", "meanstd"]], ids=str)
def test_each_statistic_measures_as_on_the_cpu_without_waiting(gpu, loss_weights, statistic):
    there = loss_and_gradient(GPU, loss_weights, statistic)
    gpu.waits.clear()  # eigenvalues of the targets are taken once
    value, gradient = there()
    assert not gpu.waits
    expected, expected_gradient = loss_and_gradient("cpu", loss_weights, statistic)()
    torch.testing.assert_close(value.cpu(), expected, rtol=1e-3, atol=1e-5)
    difference = (gradient.cpu() - expected_gradient).norm() / expected_gradient.norm()
    assert difference < 5e-3


def test_weights_of_each_style_do_not_wait_either(gpu, loss_weights):
    there = loss_and_gradient(GPU, loss_weights, "gram", style_weight=[1.0, 3.0])
    gpu.waits.clear()
    there()
    assert not gpu.waits


@pytest.fixture
def fake_cuda(monkeypatch):
    """Tensors of CUDA without numbers, and autocast, which the pretended GPU has not."""
    monkeypatch.setattr(torch.cuda.amp.common, "amp_definitely_not_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda *_, **__: True)
    with FakeTensorMode(), torch.device("cuda"):
        yield


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_features_are_in_half_precision_under_autocast(fake_cuda, dtype):
    network = TransformerNet(2, 0.125, 1)
    seen = []
    for part in network.modules():
        if isinstance(part, ConditionalInstanceNorm2d):
            part.register_forward_hook(lambda module, inputs, output: seen.append(output))
    photos = torch.empty(2, 3, 32, 40)
    with torch.autocast("cuda", dtype):
        painted = network(photos, torch.empty(2, 2))
    assert painted.dtype == torch.float32 and painted.shape == photos.shape
    assert {features.dtype for features in seen} == {dtype}


def test_frozen_weights_are_rounded_once_under_autocast(fake_cuda):
    conv = FrozenConv(3, 4, padding=1, padding_mode="reflect").requires_grad_(False)
    photos = torch.empty(2, 3, 8, 8)
    assert conv(photos).dtype == torch.float32
    with torch.autocast("cuda", torch.bfloat16):
        assert conv(photos).dtype == torch.bfloat16
        first = conv._rounded
        conv(photos)
    assert conv._rounded is first and first[0].dtype == torch.bfloat16
    with torch.autocast("cuda", torch.float16):
        assert conv(photos).dtype == torch.float16
    conv.weight.mul_(2)  # other weights are rounded anew
    with torch.autocast("cuda", torch.float16):
        conv(photos)
    assert conv._rounded[2] == conv.weight._version


# ---- paintings ---------------------------------------------------------------------------------

MASK = torch.zeros(40, 56)
MASK[:, :28] = 1
CONTROLS = {
    "plain": {},
    "strength": {"strength": 1.3},
    "texture size": {"texture_size": 2.0},
    "masks": {"masks": {0: MASK}, "where": MASK},
    "histogram": {"keep_colors": "histogram"},
}


@pytest.mark.parametrize("controls", CONTROLS.values(), ids=CONTROLS)
def test_paintings_are_those_of_the_cpu_and_are_waited_for_once(gpu, controls):
    here, there = Stylizer("gallery"), Stylizer("gallery", GPU)
    assert isinstance(next(there.network.parameters()), OnGpu)
    photo = images.load(SAMPLE_PHOTO, 40)[:, :, :56]
    gpu.waits.clear()
    painting = there.stylize(photo, {"wave": 0.5, "signac": 0.5}, **controls)
    looks = 1 if controls.get("masks") else 0  # whether the masks leave anything of them
    assert sum(gpu.waits.values()) == 1 + looks, gpu.waits
    expected = here.stylize(photo, {"wave": 0.5, "signac": 0.5}, **controls)
    torch.testing.assert_close(painting, expected, rtol=0, atol=2e-3)


def test_bands_equal_the_whole(gpu, tmp_path):
    stylizer = Stylizer("gallery", GPU)
    photo = tmp_path / "photo.png"
    images.save(random(3, 48, 40), photo)
    stylize_file(stylizer, photo, tmp_path / "bands.png", 1, file=FileOptions(band_px=16))
    whole = stylizer.stylize(images.load(photo), 1)
    assert (images.load(tmp_path / "bands.png") - whole).abs().max() < 1.5 / 255


def test_frames_of_a_clip_are_those_of_the_cpu(gpu):
    frames = [random(3, 40, 48).roll(shift, 2) for shift in range(3)]
    here, there = (SteadyStylizer(Stylizer("gallery", device)) for device in ("cpu", GPU))
    for frame in frames:
        torch.testing.assert_close(
            there.stylize(frame, 1), here.stylize(frame, 1), rtol=0, atol=5e-3
        )


@pytest.mark.parametrize("optimizer", ["lbfgs", "adam"])
def test_one_picture_is_optimised_there(gpu, loss_weights, optimizer):
    loss = PerceptualLoss(load_loss_network(loss_weights).to(GPU))
    photo, style = random(3, 40, 40, seed=1), random(3, 40, 40, seed=2)
    settings = {"sizes": [32], "steps": 6, "optimizer": optimizer, "bf16": False}
    result = optimize(photo, [style], loss=loss, max_memory_bytes=2**30, **settings)
    assert result.stopped == "done" and result.image.device.type == "cpu"


# ---- training ----------------------------------------------------------------------------------


class PretendedAccelerator(CPUAccelerator):
    """Lightning's, for a device that is not the CPU."""

    def setup_device(self, device):
        """Nothing has to be."""


class Steps(pl.Callback):
    """What has been waited for before each step; and keeps the checkpoint of one of them."""

    def __init__(self, gpu, kept, folder):
        self.gpu, self.kept, self.folder = gpu, kept, folder
        self.waits, self.launches = {}, {}

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        self.waits[trainer.global_step] = self.gpu.waits.copy()
        self.launches[trainer.global_step] = self.gpu.launches()
        if trainer.global_step == self.kept and not self.folder.exists():
            self.folder.mkdir()
            shutil.copy(Path(trainer.default_root_dir) / "last.ckpt", self.folder)


def train_there(argv, steps):
    """The weights of a run of fst-train, on the CPU."""
    with ExitStack() as held:
        settings, flags = parse(argv)
        flags["accelerator"] = None
        flags["strategy"] = SingleDeviceStrategy(GPU, PretendedAccelerator())
        module, data, trainer, saver = train.prepare(settings, flags, held)
        trainer.callbacks.append(steps)
        fit(settings, module, data, trainer, saver)
    return {name: value.cpu() for name, value in module.network.state_dict().items()}


def test_a_step_waits_once_and_a_resumed_run_is_the_same(gpu, train_argv, tmp_path):
    """For what says whether the numbers are finite; all that is shown comes along with it."""
    flags = ["--steps", 6, "--save-every", 3, "--trainer.limit_val_batches", 0]
    flags += ["--trainer.log_every_n_steps", 100, "--trainer.enable_progress_bar", "true"]
    steps = Steps(gpu, 3, tmp_path / "half")
    whole = train_there(train_argv(tmp_path / "run", *flags), steps)
    waits = steps.waits[5] - steps.waits[4]  # of a step without a save
    assert sum(waits.values()) == 1 and "finite.py" in next(iter(waits)), waits
    # There were 1,248 when this was written, with one block; a few more are no fault.
    assert steps.launches[5] - steps.launches[4] < 1300
    resumed = train_there(["--resume", str(tmp_path / "half/last.ckpt")], steps)
    assert all(torch.equal(value, resumed[name]) for name, value in whole.items())
