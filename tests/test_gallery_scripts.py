"""The scripts that train the gallery and paint the pictures of README and docs."""

import re
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from conftest import SCRIPTS
from PIL import Image

from fst.assets import GALLERY
from fst.io import images
from fst.networks.phases import EvenConv
from fst.networks.transformer import TransformerNet
from fst.style_model.format import describe, load_style_model, save_style_model


@pytest.fixture
def script(load_script):
    """Loads a script of the project by name."""
    return load_script


def test_the_gallery_is_trained_in_runs_that_can_be_resumed(script, run, tmp_path, monkeypatch):
    train_gallery = script("train_gallery")
    seen, steps = [], load_style_model(run / "model.safetensors")[1]["training"]["step"]

    def values(argv, flag):
        rest = argv[argv.index(flag) + 1 :]
        return rest[: next(i for i, a in enumerate([*rest, "--"]) if a.startswith("-"))]

    def train(argv):
        seen.append(argv)
        folder = Path(*values(argv, "-o"))
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "model.safetensors").symlink_to(run / "model.safetensors")
        return 0

    monkeypatch.setattr(train_gallery, "fst_train", train)
    changes = []
    monkeypatch.setattr(train_gallery, "match_colours", lambda *_: changes.append("matched"))
    monkeypatch.setattr(train_gallery, "smooth_colours", lambda _: changes.append("smoothed"))
    monkeypatch.setattr(train_gallery.images, "find", lambda _: [])
    argv = ["train_gallery", "--paintings", "p", "--photos", "c", "--loss-weights", "v"]
    argv += ["--steps", *[str(steps)] * len(train_gallery.RUNS), "-o", str(tmp_path / "all")]
    monkeypatch.setattr(sys, "argv", argv)
    assert train_gallery.main() == 0

    for call in seen:
        for flag in ("--styles", "--style-weight", "--style-size"):
            assert len(values(call, flag)) == len(train_gallery.STYLES)
    assert [values(call, "--grey-every") for call in seen] == [["0"]] * 7 + [["2"]] * 7
    assert "--from-scratch" in seen[0] and values(seen[1], "--rows-first") == ["0"]
    assert values(seen[2], "--warm-start")[0].endswith("subjects/model.safetensors")
    assert [values(call, "--grain-weight") for call in seen] == [["0"]] * 12 + [["0.1"]] * 2
    began = "settled/mean", "matched/mean", "matched/model", "clean/mean"
    files = [str(tmp_path / "all" / f"{name}.safetensors") for name in began]
    assert [values(call, "--warm-start") for call in seen[10:]] == [[file] for file in files]

    assert changes == ["matched", "smoothed", "matched"]  # of the 12th run and of the last

    # The first is done, the second was stopped.
    (tmp_path / "all" / "subjects" / "model.safetensors").unlink()
    (tmp_path / "all" / "subjects" / "last.ckpt").touch()
    seen.clear()
    assert train_gallery.main() == 0
    checkpoint = str(tmp_path / "all" / "subjects" / "last.ckpt")
    assert [values(call, "--resume") for call in seen] == [[checkpoint]]


def test_a_run_of_the_gallery_begins_from_the_mean_of_others(script, tmp_path):
    train_gallery = script("train_gallery")
    models = [tmp_path / r.folder / "model.safetensors" for r in train_gallery.RUNS]
    networks = [TransformerNet(1, width=0.125, num_blocks=1) for _ in models]
    for network, model in zip(networks, models, strict=True):
        model.parent.mkdir(exist_ok=True)
        save_style_model(model, network, describe(network, [{"name": "wave"}], {}))

    assert train_gallery.parent(None, models, 4) == models[3]
    state = load_style_model(train_gallery.parent(None, models, 10))[0].state_dict()
    parts = [networks[place].state_dict() for place in (6, 8, 9)]
    for name, tensor in state.items():
        wanted = 0.3 * parts[0][name] + 0.3 * parts[1][name] + 0.4 * parts[2][name]
        torch.testing.assert_close(tensor, wanted)


def test_matched_colours_are_those_of_the_style(script, run, photo_folder, style_files):
    network = load_style_model(run / "model.safetensors")[0]
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    photos = sorted(photo_folder.iterdir())[:4]
    styles = [str(path) for path in style_files]
    script("gallery_colours").match_colours(network, styles, photos)

    def statistics(pictures):
        each = [torch.stack([p.mean((1, 2)), p.std((1, 2))]) for p in pictures]
        return torch.stack(each).mean(0)

    contents = [images.load(photo, 256)[None] for photo in photos]
    for style_id, style in enumerate(styles):
        weights = network.one_hot(torch.tensor([style_id]))
        painted = statistics([network(content, weights)[0] for content in contents])
        wanted = statistics([images.load(path, 512) for path in images.find([style])])
        torch.testing.assert_close(painted, wanted, rtol=0.1, atol=0.01)
    changed = {
        n for n, tensor in network.state_dict().items() if not torch.equal(tensor, before[n])
    }
    assert changed == {"conv_out.norm.gamma", "conv_out.norm.beta"}


def test_smoothed_colours_are_those_of_a_filtered_picture(script):
    """Kernels whose rims are empty lose nothing, so the oracle is the filter itself."""
    generator = torch.Generator().manual_seed(0)
    conv = EvenConv(4, 12, 5, bias=False)
    conv.weight.data = F.pad(torch.randn(12, 4, 3, 3, generator=generator), (1, 1, 1, 1))
    conv.weight.data[:, :, 1:4, 1:4] -= conv.weight.data.sum((2, 3), keepdim=True) / 9
    x = torch.randn(1, 4, 14, 12, generator=generator)
    painted = F.pixel_shuffle(conv(x), 2).detach()  # the network is linear here
    script("gallery_colours").smooth_colours(conv)
    smoothed = F.pixel_shuffle(conv(x), 2).detach()

    luma = torch.tensor([0.299, 0.587, 0.114])
    lightness = torch.einsum("c,bchw->bhw", luma, painted)[:, None]
    taps = torch.tensor([1.0, 2.0, 1.0])
    kernel = (taps[:, None] * taps / 16).expand(3, 1, 3, 3)
    expected = F.conv2d(painted - lightness, kernel, groups=3) + lightness[:, :, 1:-1, 1:-1]
    torch.testing.assert_close(smoothed[:, :, 1:-1, 1:-1], expected, atol=1e-5, rtol=1e-4)


def test_smoothed_kernels_keep_their_sums(script):
    """So flat ground is painted as before, whatever is at the rims."""
    conv = EvenConv(2, 12, 5, bias=False)
    before = conv.kernel().detach().clone()
    script("gallery_colours").smooth_colours(conv)
    assert not torch.allclose(conv.weight, before, atol=0.01)
    torch.testing.assert_close(conv.kernel().sum((2, 3)), before.sum((2, 3)))


def test_the_sheet_holds_every_photo_in_every_style(
    script, run, photo_folder, tmp_path, monkeypatch
):
    target = tmp_path / "sheet.png"
    argv = ["paint_samples", "--model", run / "model.safetensors", "--columns", 3, "--cell", 60]
    argv += ["--photos", photo_folder / "photo00.png", photo_folder / "photo01.png", "-o", target]
    monkeypatch.setattr(sys, "argv", [str(a) for a in argv])
    script("paint_samples").main()
    with Image.open(target) as sheet:
        assert sheet.size == (3 * 64, 2 * (45 + 22 + 4))  # 96x72 photos, two styles


def test_the_sheets_of_controls_are_those_that_the_documentation_shows(
    script, tmp_path, monkeypatch
):
    argv = [
        "paint_controls",
        "--size",
        32,
        "-o",
        tmp_path,
        "--photos",
        SCRIPTS.parent / "datasets/samples/content",
    ]
    monkeypatch.setattr(sys, "argv", [str(a) for a in [*argv, "--model", GALLERY]])
    script("paint_controls").main()
    shown = re.findall(r"\(pictures/(.*?)\)", (SCRIPTS.parent / "docs/control.md").read_text())
    assert sorted(shown) == sorted(path.name for path in tmp_path.iterdir())
