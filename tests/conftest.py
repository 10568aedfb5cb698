"""What the path tests share: small real pictures, a slim loss network, and how to run fst-train."""

import importlib.util
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

# Convolutions of VGG-19 down to relu5_1: torchvision's index and a sixteenth of its channels.
SLIM_VGG19 = {0: 4, 2: 4, 5: 8, 7: 8, 10: 16, 12: 16, 14: 16, 16: 16}
SLIM_VGG19 |= {19: 16, 21: 16, 23: 16, 25: 16, 28: 16}

SCRIPTS = Path(__file__).parents[1] / "scripts"

# Tests run side by side, and those of two threads would wait for each other; so in what they start.
torch.set_num_threads(1)
os.environ["OMP_NUM_THREADS"] = "1"


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup():
    """No test reaches another machine, where pytest-socket is installed (`make test`)."""
    with suppress(ImportError):
        from pytest_socket import socket_allow_hosts

        socket_allow_hosts(["127.0.0.1", "::1"], allow_unix_socket=True)


def smooth_field(seed, height=72, width=96):
    """A cloudy picture: a few random colours, enlarged smoothly."""
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def stripes(seed, size=80):
    """A picture of diagonal stripes in two colours."""
    random = np.random.default_rng(seed)
    colours = random.integers(0, 256, (2, 3), dtype=np.uint8)
    rows, columns = np.mgrid[:size, :size]
    return Image.fromarray(colours[(rows * (1 + seed % 3) + columns) // 5 % 2])


@pytest.fixture(scope="session")
def load_script():
    """Loads a script of the project by name."""

    def load(name):
        spec = importlib.util.spec_from_file_location(name, SCRIPTS / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module  # where dataclasses look for their module
        spec.loader.exec_module(module)
        return module

    sys.path.insert(0, str(SCRIPTS))  # as when a script runs: scripts import their neighbours
    yield load
    sys.path.remove(str(SCRIPTS))


@pytest.fixture(scope="session")
def photo_folder(tmp_path_factory):
    """Twelve photos, so that one of them is held out."""
    folder = tmp_path_factory.mktemp("photos")
    for seed in range(12):
        smooth_field(seed).save(folder / f"photo{seed:02}.png")
    return folder


@pytest.fixture(scope="session")
def style_files(tmp_path_factory):
    """Two style pictures: "stripes" and "cloud"."""
    folder = tmp_path_factory.mktemp("styles")
    stripes(1).save(folder / "stripes.png")
    smooth_field(100, 80, 80).save(folder / "cloud.jpg")
    return [folder / "stripes.png", folder / "cloud.jpg"]


@pytest.fixture(scope="session")
def loss_weights(tmp_path_factory):
    """A random VGG-19 of a sixteenth of the channels, down to relu5_1, reflect-padded."""
    generator, tensors, channels = torch.Generator().manual_seed(0), {}, 3
    for index, channels_out in SLIM_VGG19.items():
        weight = torch.randn(channels_out, channels, 3, 3, generator=generator)
        # He et al. 2015: the variance that keeps the features' scale through ReLUs.
        tensors[f"features.{index}.weight"] = weight * (2 / (9 * channels)) ** 0.5
        tensors[f"features.{index}.bias"] = 0.1 * torch.randn(channels_out, generator=generator)
        channels = channels_out
    path = tmp_path_factory.mktemp("weights") / "slim_vgg19.safetensors"
    save_file(tensors, path, metadata={"topology": "vgg19", "padding": "reflect"})
    return path


@pytest.fixture(scope="session")
def train_argv(photo_folder, style_files, loss_weights):
    """Makes the arguments of a tiny run in a folder: 12 steps of 2 x 48 px, saved every third."""

    def make(output, *extra):
        argv = ["--styles", *style_files, "--content", photo_folder, "--loss-weights", loss_weights]
        argv += ["--size", 48, "--batch-size", 2, "--width", 0.125, "--num-blocks", 1]
        argv += ["--steps", 12, "--save-every", 3, "--val-every", 6, "--num-workers", 0]
        argv += ["--trainer.accelerator", "cpu", "--trainer.precision", "32-true"]
        argv += ["--trainer.log_every_n_steps", 2, "--trainer.enable_progress_bar", "false"]
        return [str(argument) for argument in [*argv, "-o", output, *extra]]

    return make


@pytest.fixture(scope="session")
def run(train_argv, tmp_path_factory):
    """A finished run of 12 steps."""
    from fst.cli.train import main

    folder = tmp_path_factory.mktemp("finished") / "run"
    assert main(train_argv(folder)) == 0
    return folder


@pytest.fixture
def interrupted_at(monkeypatch):
    """Makes the training step of a given step raise, once."""

    def arrange(step, exception):
        from fst.training.module import StyleTransferModule

        genuine = StyleTransferModule.training_step

        def training_step(self, batch, batch_idx):
            if self.global_step == step:
                monkeypatch.setattr(StyleTransferModule, "training_step", genuine)
                raise exception
            return genuine(self, batch, batch_idx)

        monkeypatch.setattr(StyleTransferModule, "training_step", training_step)

    return arrange


@pytest.fixture
def keep_interrupts():
    """Lightning ignores SIGINT after an interrupted fit; give it back."""
    handler = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, handler)
