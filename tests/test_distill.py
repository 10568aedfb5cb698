"""Tests of scripts/distill_loss_network.py: a few steps after a slim random VGG-16."""

import json
import random
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
import distill_crops as crops
import distill_loss_network as distill
import distill_start as start

sys.path.remove(str(SCRIPTS))


@pytest.fixture(scope="module")
def teacher_file(tmp_path_factory):
    """A random VGG-16 of few channels, padded with zeros."""
    generator, tensors, channels = torch.Generator().manual_seed(0), {}, 3
    for name, index in layer_names("vgg16").items():
        weight = torch.randn(8 * int(name[4]), channels, 3, 3, generator=generator)
        # He et al. 2015: the variance that keeps the features' scale through ReLUs.
        tensors[f"features.{index}.weight"] = weight * (2 / (9 * channels)) ** 0.5
        tensors[f"features.{index}.bias"] = 0.1 * torch.randn(len(weight), generator=generator)
        channels = len(weight)
    path = tmp_path_factory.mktemp("teacher") / "slim_vgg16.safetensors"
    save_file(tensors, path, metadata={"topology": "vgg16", "padding": "zeros"})
    return path


@pytest.fixture(scope="module")
def distilled(tmp_path_factory, photo_folder, style_files, teacher_file):
    """A file after two steps and then one more, that after the two alone, the held-out photo."""
    photos = sorted(photo_folder.iterdir())
    file = tmp_path_factory.mktemp("distilled") / "lite.safetensors"
    files = []
    argv = ["--teacher", teacher_file, "--photos", *photos[:2], "--paintings", style_files[0]]
    argv += ["--held-out-photos", photos[2], "--held-out-paintings", style_files[1]]
    argv += ["--scenes", 1, "--buffer-crops", 1, "--threads", 1, "-o", file]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(crops, "BATCH_SIZE", 2)  # quicker
        patch.setattr(distill, "START_BATCHES", 4)
        for further in (["--steps", 2], ["--steps", 1, "--seed", 7, "--start-from", file]):
            program = ["distill_loss_network.py", *map(str, [*argv, *further])]
            patch.setattr(sys, "argv", program)
            distill.main()
            files.append(file.read_bytes())
    before = file.with_name("before.safetensors")
    before.write_bytes(files[0])
    return file, before, photos[2]


def test_result_is_a_small_reflect_padded_vgg16_to_relu5_1(distilled):
    network = load_loss_network(distilled[0])
    assert (network.topology, network.layers[-1]) == ("vgg16", "relu5_1")
    assert (network.padding, network.pooling) == ("reflect", "max")
    assert distilled[0].stat().st_size < 2.5e6
    assert not list(distilled[0].parent.glob("*.part"))


@pytest.mark.parametrize("mode", crops.MODES)
def test_recorded_r2_is_that_of_the_file(distilled, teacher_file, mode):
    file, _, photo = distilled
    with safe_open(file, framework="pt") as weights:
        recorded = json.loads(weights.metadata()["held_out_r2"])[", ".join(mode)]["photos"]
    images, tensors = read_photo(photo, distill.PHOTO_SIDE_PX)[None] / 255, load_file(file)
    features = load_loss_network(file, *mode)(images, distill.BARS)
    targets = load_loss_network(teacher_file, *mode)(images, distill.BARS)
    for name, target in targets.items():
        weight, bias = (tensors[f"to_vgg16.{name}.{part}"].float() for part in ("weight", "bias"))
        mapped = torch.einsum("oc,bchw->bohw", weight[:, :, 0, 0], features[name])
        error = (mapped + bias.view(1, -1, 1, 1)).relu() - target
        deviation = target - target.mean((0, 2, 3), keepdim=True)
        r2 = 1 - error.square().sum() / deviation.square().sum()
        assert recorded[name] == pytest.approx(float(r2), abs=2e-3)


def test_a_file_names_all_the_runs_that_made_it(distilled):
    runs = distill.made_by(distilled[0]).split("; then ")
    assert len(runs) == 2
    assert '"steps": 2' in runs[0] and '"steps": 1' in runs[1] and '"seed": 7' in runs[1]


def test_a_run_starts_from_the_file_that_it_is_given(distilled):
    after, before = (load_file(file) for file in distilled[:2])
    convolutions = [name for name in after if name.startswith("features.")]  # maps are fitted anew
    for name in convolutions:
        assert torch.allclose(after[name], before[name], rtol=0.01, atol=1e-3), name
    assert any(not torch.equal(after[name], before[name]) for name in convolutions)


@pytest.mark.parametrize("content", [None, b"nonsense", "teacher"])
def test_another_file_to_start_from_is_refused(tmp_path, teacher_file, capsys, content):
    file = tmp_path / "other.safetensors"
    if content is not None:
        file.write_bytes(teacher_file.read_bytes() if content == "teacher" else content)
    required = ["--teacher", "--photos", "--paintings", "--held-out-photos", "--held-out-paintings"]
    argv = ["distill", *(word for flag in required for word in (flag, "unread"))]
    argv += ["--start-from", str(file)]
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(sys, "argv", argv)
        distill.parse_arguments()
    assert f"--start-from {file}: not a file of this script" in capsys.readouterr().err


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
    options = {"runs": [], "seed": 0, "minutes": 1, "steps": None, "lr": 0.1, "scenes": 1}
    args = Namespace(output=tmp_path / "saved.safetensors", **options)
    distill.save(student, maps, {}, args)
    images = torch.rand(2, 3, 32, 32)
    expected = student(images, ["relu5_1"])["relu5_1"].detach()
    saved = load_loss_network(tmp_path / "saved.safetensors")(images, ["relu5_1"])["relu5_1"]
    assert torch.allclose(saved, expected, atol=0.02 * float(expected.max()))  # fp16 weights


@pytest.fixture
def sources(photo_folder):
    pictures = [read_photo(path, 160) for path in sorted(photo_folder.iterdir())]
    return {"photos": pictures[:2], "paintings": pictures[2:], "scenes": pictures[:1]}


@pytest.fixture
def student_and_teacher(teacher_file):
    """A student that has just begun, and its teacher."""
    torch.manual_seed(0)
    return distill.make_student(), load_loss_network(teacher_file)


@pytest.mark.parametrize("mode", crops.MODES)
def test_a_mode_is_what_loading_with_it_gives(teacher_file, mode):
    images, layers = torch.rand(1, 3, 48, 48), ["relu2_1", "relu4_2"]
    network, expected = load_loss_network(teacher_file), load_loss_network(teacher_file, *mode)
    crops.set_mode(network, *mode)
    for name, features in expected(images, layers).items():
        assert torch.equal(network(images, layers)[name], features)
    assert (network.pooling, network.padding) == mode


def test_buffered_features_are_the_teachers_in_the_mode_sampled(student_and_teacher, sources):
    student, teacher = student_and_teacher
    buffer = crops.ReplayBuffer(sources, student, teacher, random.Random(0), 1)
    for _ in range(8):
        buffer.refresh()
        sample, variances = buffer.sample()
        crops.set_mode(teacher, student.pooling, student.padding)
        images = torch.stack([crop["crop"] for crop in sample])
        for name, features in teacher(images, ["relu1_2", "relu5_1"]).items():
            stride = crops.STRIDES[int(name[4]) - 1]
            stored = torch.stack([crop[name] for crop in sample]).float()
            error = (features[:, :, ::stride, ::stride] - stored).square().mean()
            assert error < 0.01 * variances[name]  # bfloat16


def test_a_canvas_comes_nearer_to_its_painting_in_the_students_eyes(student_and_teacher, sources):
    student, _ = student_and_teacher
    canvases = crops.Canvases(sources, student, random.Random(0))

    def distance():
        grams = [
            crops.gram_matrix(features["relu2_1"])
            for features in (student(canvases.images, ["relu2_1"]), paintings)
        ]
        return float(crops.relative(*grams))

    canvases.advance()
    with torch.no_grad():
        paintings = student(canvases.paintings, ["relu2_1"])
        canvases.images = canvases.photos.clone()
        before = distance()
        for _ in range(3):
            images = canvases.advance()
        assert distance() < 0.8 * before
    assert images.min() >= 0 and images.max() <= 1


def test_content_holds_a_canvas_to_its_photo(student_and_teacher, sources):
    student, _ = student_and_teacher
    distances = []
    for style_weight in (0.01, 5.0):
        canvases = crops.Canvases(sources, student, random.Random(0))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(crops, "GATYS_STYLE_WEIGHT", style_weight)
            for _ in range(2):
                canvases.advance()
        both = canvases.images.detach(), canvases.photos
        pair = [canvases._features(images, ["relu4_2"])["relu4_2"] for images in both]
        distances.append(crops.relative(*pair).item())
    assert distances[0] < distances[1]


def test_other_canvases_are_begun_after_a_while(student_and_teacher, sources, monkeypatch):
    monkeypatch.setattr(crops, "ADVANCES", 2)
    canvases = crops.Canvases(sources, student_and_teacher[0], random.Random(0))
    begun_from = []
    for _ in range(3):
        canvases.advance()
        begun_from.append(canvases.photos)
    assert torch.equal(*begun_from[:2]) and not torch.equal(*begun_from[1:])


def test_what_was_written_before_is_where_a_run_can_start(distilled, teacher_file, sources):
    student, maps = distill.make_student(), distill.make_maps(load_loss_network(teacher_file))
    images = crops.crop_batch(sources, random.Random(0))
    first = load_loss_network(distilled[0])
    start.begin(student, maps, load_loss_network(teacher_file), images, first)
    student.convs.eval()
    ours, before = (net(images, ["relu5_1"])["relu5_1"] for net in (student, first))
    assert torch.allclose(ours, before, atol=1e-4 * float(before.max()))


def test_first_weights_are_the_teachers_where_there_is_room(teacher_file, photo_folder):
    """A student as wide as its teacher is its teacher, but for rounding."""
    teacher = load_loss_network(teacher_file, padding="reflect")
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
