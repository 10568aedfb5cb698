"""The loss network that ships: its size, its shape, and how well it explains a real VGG-16."""

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from fst.assets import VGG16_LITE
from fst.io import images
from fst.networks.loss_network import layer_names, load_loss_network

# Measured on these pictures, the lower of photos and paintings, less 0.02.
BARS = {
    "max, reflect": {
        "relu1_1": 0.97,
        "relu2_1": 0.96,
        "relu3_1": 0.87,
        "relu4_1": 0.74,
        "relu4_2": 0.63,
        "relu5_1": 0.36,
    },
    "avg, zeros": {
        "relu1_1": 0.97,
        "relu2_1": 0.96,
        "relu3_1": 0.89,
        "relu4_1": 0.78,
        "relu4_2": 0.68,
        "relu5_1": 0.38,
    },
}
SHARED = Path(__file__).parents[2] / "shared"


def stored():
    with safe_open(VGG16_LITE, "pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118


def test_it_is_small_and_half_precision():
    assert VGG16_LITE.stat().st_size <= 2.5e6
    assert {tensor.dtype for tensor in stored()[0].values()} == {torch.float16}


def test_it_has_every_layer_of_vgg16_down_to_relu5_1():
    names = list(layer_names("vgg16"))
    assert load_loss_network("vgg16-lite").layers == tuple(names[: names.index("relu5_1") + 1])


def test_the_file_tells_how_it_was_made_and_how_good_it_is():
    metadata = stored()[1]
    assert '"seed"' in metadata["made_by"]
    assert set(BARS) < set(json.loads(metadata["held_out_r2"]))


def explained(layers, mode, teacher_file, files):
    """R2 per layer: 1 - squared error / squared deviation from each channel's mean."""
    student, (tensors, _) = load_loss_network("vgg16-lite", *mode), stored()
    teacher = load_loss_network(teacher_file, *mode)
    errors, targets = dict.fromkeys(layers, 0.0), {layer: [] for layer in layers}
    for file in files:
        picture = images.load(file, 256)[None]
        ours, theirs = student(picture, layers), teacher(picture, layers)
        for layer in layers:
            weight, bias = (tensors[f"to_vgg16.{layer}.{part}"] for part in ("weight", "bias"))
            flat, target = ours[layer][0].flatten(1), theirs[layer][0].flatten(1)  # (C, N)
            predicted = (weight.float().flatten(1) @ flat + bias.float()[:, None]).clamp(0)
            errors[layer] += (predicted - target).square().sum()
            targets[layer].append(target)
    spreads = {
        layer: (all_ := torch.cat(parts, 1)).sub(all_.mean(1, keepdim=True)).square().sum()
        for layer, parts in targets.items()
    }
    return {layer: float(1 - errors[layer] / spreads[layer]) for layer in layers}


@pytest.mark.parametrize("mode", BARS)  # pooling and padding of fst-train, of fst-gatys
@pytest.mark.parametrize("kind", ["photos", "unseen paintings"])
def test_a_linear_map_explains_the_teachers_features_on_unseen_pictures(kind, mode):
    weights = SHARED / "weights" / "vgg16.safetensors"
    if not weights.is_file():
        pytest.skip("the shared weights are not on this machine")
    if kind == "photos":
        files = sorted((SHARED / "data" / "content" / "val").iterdir())[::8]
    else:
        names = ("candy", "la_muse", "mosaic", "rain_princess", "seated_nude")
        files = [SHARED / "data" / "styles" / f"{name}.jpg" for name in names]
    for layer, r2 in explained(list(BARS[mode]), mode.split(", "), weights, files).items():
        assert r2 >= BARS[mode][layer], (layer, r2)
