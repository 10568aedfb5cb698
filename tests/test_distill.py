"""Tests of scripts/distill_loss_network.py: two steps, with a slim random VGG-16 as the teacher."""

import json
import sys
from argparse import Namespace

import pytest
import torch
from conftest import SCRIPTS
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from fst.data.photos import read_photo
from fst.networks.loss_network import layer_names, load_loss_network

sys.path.insert(0, str(SCRIPTS))  # as when a script runs: scripts import their neighbours
import distill_loss_network as distill
import distill_start as start

sys.path.remove(str(SCRIPTS))


@pytest.fixture(scope="module")
def teacher_file(tmp_path_factory):
    """A random VGG-16 of few channels, reflect-padded."""
    generator, tensors, channels = torch.Generator().manual_seed(0), {}, 3
    for name, index in layer_names("vgg16").items():
        weight = torch.randn(8 * int(name[4]), channels, 3, 3, generator=generator)
        # He et al. 2015: the variance that keeps the features' scale through ReLUs.
        tensors[f"features.{index}.weight"] = weight * (2 / (9 * channels)) ** 0.5
        tensors[f"features.{index}.bias"] = 0.1 * torch.randn(len(weight), generator=generator)
        channels = len(weight)
    path = tmp_path_factory.mktemp("teacher") / "slim_vgg16.safetensors"
    save_file(tensors, path, metadata={"topology": "vgg16", "padding": "reflect"})
    return path


@pytest.fixture(scope="module")
def distilled(tmp_path_factory, photo_folder, style_files, teacher_file):
    """A file after two steps, and its held-out photo."""
    photos = sorted(photo_folder.iterdir())
    file = tmp_path_factory.mktemp("distilled") / "lite.safetensors"
    argv = ["--teacher", teacher_file, "--photos", *photos[:2], "--paintings", style_files[0]]
    argv += ["--held-out-photos", photos[2], "--held-out-paintings", style_files[1]]
    argv += ["--scenes", 1, "--steps", 2, "--pool-crops", 1, "--threads", 1, "-o", file]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(distill, "BATCH_SIZE", 2)  # quicker
        patch.setattr(sys, "argv", ["distill_loss_network.py", *map(str, argv)])
        distill.main()
    return file, photos[2]


def test_result_is_a_small_reflect_padded_vgg16_to_relu5_1(distilled):
    network = load_loss_network(distilled[0])
    assert (network.topology, network.layers[-1]) == ("vgg16", "relu5_1")
    assert (network.padding, network.pooling) == ("reflect", "max")
    assert distilled[0].stat().st_size < 2.5e6
    assert not list(distilled[0].parent.glob("*.part"))


def test_recorded_r2_is_that_of_the_file(distilled, teacher_file):
    file, photo = distilled
    with safe_open(file, framework="pt") as weights:
        recorded = json.loads(weights.metadata()["held_out_r2"])["photos"]
    images, tensors = read_photo(photo, distill.PHOTO_SIDE_PX)[None] / 255, load_file(file)
    features = load_loss_network(file)(images, distill.BARS)
    targets = load_loss_network(teacher_file)(images, distill.BARS)
    for name, target in targets.items():
        weight, bias = (tensors[f"to_vgg16.{name}.{part}"].float() for part in ("weight", "bias"))
        mapped = torch.einsum("oc,bchw->bohw", weight[:, :, 0, 0], features[name])
        error = (mapped + bias.view(1, -1, 1, 1)).relu() - target
        deviation = target - target.mean((0, 2, 3), keepdim=True)
        r2 = 1 - error.square().sum() / deviation.square().sum()
        assert recorded[name] == pytest.approx(float(r2), abs=2e-3)


def test_saved_network_equals_convolution_and_normalisation(tmp_path, teacher_file):
    torch.manual_seed(0)
    student = distill.make_student()
    for _, norm in student.convs.values():
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2)
        nn.init.normal_(norm.weight, 1, 0.2)
        nn.init.normal_(norm.bias)
    student.convs.eval()
    maps = distill.make_maps(load_loss_network(teacher_file))
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


def test_first_weights_are_the_teachers_where_there_is_room(teacher_file, photo_folder):
    """A student as wide as its teacher is its teacher, but for rounding."""
    teacher = load_loss_network(teacher_file)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(distill, "CHANNELS_PER_STAGE", (8, 16, 24, 32, 40))
        student, maps = distill.make_student(), distill.make_maps(teacher)
    images = torch.stack([read_photo(p, 144)[:, :144, :144] for p in photo_folder.iterdir()]) / 255
    start.begin(student, maps, teacher, images)
    student.convs.eval()
    layers = ["relu1_2", "relu3_3", "relu4_2"]
    ours, theirs = student(images, layers), teacher(images, layers)
    for name in layers:
        stride = maps[name].stride[0]
        mapped, target = maps[name](ours[name]).relu(), theirs[name][:, :, ::stride, ::stride]
        spread = target - target.mean((0, 2, 3), keepdim=True)
        assert (mapped - target).square().sum() < 0.05 * spread.square().sum(), name


def test_the_channels_chosen_explain_the_others():
    sources = torch.randn(500, 3, generator=torch.Generator().manual_seed(0))
    weak = sources @ torch.tensor([[0.5, 0.4, 0.1], [0.1, 0.5, 0.4], [0.4, 0.1, 0.5]])
    features = torch.cat([weak[:, :1], sources, 1e-3 * torch.randn(500, 2), weak[:, 1:]], 1)
    chosen = start.best_channels(features, 3)
    assert not {4, 5} & set(chosen.tolist())  # noise explains nothing
    weight, bias = start.least_squares(features[:, chosen], features)
    error = features[:, chosen] @ weight + bias - features
    assert error.square().sum() < 1e-3 * features.square().sum()
    assert sorted(start.best_channels(features, 8).tolist()) == list(range(8))
