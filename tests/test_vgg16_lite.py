"""The loss network that ships: its size, its shape, and how well it explains a real VGG-16."""

from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from fst.assets import VGG16_LITE
from fst.io import images
from fst.networks.loss_network import layer_names, load_loss_network

# What it has, less 0.02 to 0.08: the pictures here are a part of those measured, and the border
# that the teacher's zeros reach counts a little more.
BARS = {
    "relu1_2": 0.97,
    "relu2_2": 0.92,
    "relu3_3": 0.81,
    "relu4_2": 0.62,
    "relu4_3": 0.46,
    "relu5_1": 0.35,
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
    assert '"seed"' in metadata["made_by"] and "relu3_3" in metadata["held_out_r2"]


def inside(features, teacher):
    frame = 4 if teacher.padding == "zeros" else 0
    height, width = features.shape[2:]
    return features[0, :, frame : height - frame, frame : width - frame].flatten(1)  # (C, N)


def explained(layers, teacher, files):
    """R2 per layer: 1 - squared error / squared deviation from each channel's mean.

    Without the frame that a teacher's zero padding reaches: no reflection can tell it.
    """
    student, (tensors, _) = load_loss_network("vgg16-lite"), stored()
    errors, targets = {layer: 0.0 for layer in layers}, {layer: [] for layer in layers}
    for file in files:
        picture = images.load(file, 256)[None]
        ours, theirs = student(picture, layers), teacher(picture, layers)
        for layer in layers:
            weight, bias = (tensors[f"to_vgg16.{layer}.{part}"] for part in ("weight", "bias"))
            flat = inside(ours[layer], teacher)
            predicted = (weight.float().flatten(1) @ flat + bias.float()[:, None]).clamp(0)
            target = inside(theirs[layer], teacher)
            errors[layer] += (predicted - target).square().sum()
            targets[layer].append(target)
    spreads = {
        layer: (all_ := torch.cat(parts, 1)).sub(all_.mean(1, keepdim=True)).square().sum()
        for layer, parts in targets.items()
    }
    return {layer: float(1 - errors[layer] / spreads[layer]) for layer in layers}


@pytest.mark.parametrize("kind", ["photos", "unseen paintings"])
def test_a_linear_map_explains_the_teachers_features_on_unseen_pictures(kind):
    weights = SHARED / "weights" / "vgg16.safetensors"
    if not weights.is_file():
        pytest.skip("the shared weights are not on this machine")
    if kind == "photos":
        files = sorted((SHARED / "data" / "content" / "val").iterdir())[::8]
    else:
        names = ("candy", "la_muse", "mosaic", "rain_princess", "seated_nude")
        files = [SHARED / "data" / "styles" / f"{name}.jpg" for name in names]
    for layer, r2 in explained(list(BARS), load_loss_network(weights), files).items():
        assert r2 >= BARS[layer], (layer, r2)
