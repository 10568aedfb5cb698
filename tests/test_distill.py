"""Tests of scripts/distill_loss_network.py: two steps, with a slim random VGG-19 as the teacher."""

import importlib.util
import json
import sys
from argparse import Namespace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import nn

from fst.content.photos import read_photo
from fst.networks.vgg import load_loss_network

SCRIPT = Path(__file__).parents[1] / "scripts" / "distill_loss_network.py"
SPEC = importlib.util.spec_from_file_location("distill_loss_network", SCRIPT)
distill = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(distill)


@pytest.fixture(scope="module")
def distilled(tmp_path_factory, photo_folder, style_files, loss_weights):
    """A file after two steps, and its held-out photo."""
    photos = sorted(photo_folder.iterdir())
    file = tmp_path_factory.mktemp("distilled") / "lite.safetensors"
    argv = ["--shallow", loss_weights, "--photos", *photos[:2], "--paintings", style_files[0]]
    argv += ["--held-out-photos", photos[2], "--held-out-paintings", style_files[1]]
    argv += ["--scenes", 1, "--steps", 2, "--pool-crops", 1, "--threads", 1, "-o", file]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(distill, "BATCH_SIZE", 2)  # quicker
        patch.setattr(sys, "argv", ["distill_loss_network.py", *map(str, argv)])
        distill.main()
    return file, photos[2]


def test_result_is_a_small_reflect_padded_vgg19_to_relu5_1(distilled):
    network = load_loss_network(distilled[0])
    assert network.layers[-1] == "relu5_1"
    assert (network.padding, network.pooling) == ("reflect", "max")
    assert distilled[0].stat().st_size < 2.5e6
    assert not list(distilled[0].parent.glob("*.part"))


def test_recorded_r2_is_that_of_the_file(distilled, loss_weights):
    file, photo = distilled
    with safe_open(file, framework="pt") as weights:
        recorded = json.loads(weights.metadata()["held_out_r2"])["photos"]
    images, tensors = read_photo(photo, distill.PHOTO_SIDE_PX)[None] / 255, load_file(file)
    features = load_loss_network(file)(images, distill.BARS)
    targets = load_loss_network(loss_weights)(images, distill.BARS)
    for name, target in targets.items():
        weight, bias = (tensors[f"to_vgg19.{name}.{part}"].float() for part in ("weight", "bias"))
        mapped = torch.einsum("oc,bchw->bohw", weight[:, :, 0, 0], features[name])
        error = (mapped + bias.view(1, -1, 1, 1)).relu() - target
        deviation = target - target.mean((0, 2, 3), keepdim=True)
        r2 = 1 - error.square().sum() / deviation.square().sum()
        assert recorded[name] == pytest.approx(float(r2), abs=2e-3)


def test_saved_network_equals_convolution_and_normalisation(tmp_path):
    torch.manual_seed(0)
    student = distill.make_student()
    for _, norm in student.convs.values():
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2)
        nn.init.normal_(norm.weight, 1, 0.2)
        nn.init.normal_(norm.bias)
    student.convs.eval()
    maps = distill.make_maps({name: torch.zeros(3, 1, 1) for name in distill.LAYERS})
    options = {"seed": 0, "minutes": 1, "steps": None, "lr": 0.1, "scenes": 1}
    args = Namespace(output=tmp_path / "saved.safetensors", **options)
    distill.save(student, maps, {}, args)
    images = torch.rand(2, 3, 32, 32)
    expected = student(images, ["relu5_1"])["relu5_1"].detach()
    saved = load_loss_network(tmp_path / "saved.safetensors")(images, ["relu5_1"])["relu5_1"]
    assert torch.allclose(saved, expected, atol=0.02 * float(expected.max()))  # fp16 weights


@pytest.mark.parametrize(("padding", "width"), [("reflect", 0), ("zeros", 3)])
def test_only_a_zero_padded_teacher_has_a_frame(loss_weights, padding, width):
    teacher = load_loss_network(loss_weights)
    teacher.padding = padding
    assert distill.frame(teacher, "relu3_1") == width


def test_frame_holds_every_feature_that_zero_padding_reaches(loss_weights):
    tensors = load_file(loss_weights)
    images = torch.rand(1, 3, 64, 64)
    zeros, reflect = (
        distill.LossNetwork(tensors, padding=padding)(images, ["relu1_1", "relu2_1", "relu3_1"])
        for padding in ("zeros", "reflect")
    )
    for name, width in (("relu1_1", 1), ("relu2_1", 2), ("relu3_1", 3)):
        inside = [distill.inside(features[name], width) for features in (zeros, reflect)]
        assert torch.allclose(*inside, atol=1e-5)
        wider = [distill.inside(features[name], width - 1) for features in (zeros, reflect)]
        assert not torch.allclose(*wider, atol=1e-5)
