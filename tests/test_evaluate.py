"""Tests of scripts/evaluate.py on a random tiny model and a slim random loss network."""

import json
import re
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import SCRIPTS
from PIL import Image
from safetensors.torch import load_file, save_file

from fst import Stylizer
from fst.io import images
from fst.metrics import COLUMNS
from fst.networks.transformer import TransformerNet
from fst.style_model.format import describe, load_style_model, save_style_model

sys.path.insert(0, str(SCRIPTS))  # as when a script runs: scripts import their neighbours
import evaluate

sys.path.remove(str(SCRIPTS))

STYLES = ["wave", "two_views"]
SIZE_PX = 40
VIEW_SIZES_PX = (48, 72)  # in place of 320 to 640, which take longer


@pytest.fixture(autouse=True)
def small_views(monkeypatch):
    monkeypatch.setattr(evaluate, "VIEW_SIZES_PX", VIEW_SIZES_PX)


def smooth_picture(path, width, height, seed):
    noise = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC).save(path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Photos, style pictures, a model and a loss network."""
    top = tmp_path_factory.mktemp("evaluate")
    for i, (width, height) in enumerate([(60, 40), (40, 52), (90, 80)]):
        smooth_picture(top / "photos" / f"p{i}.png", width, height, i)
    smooth_picture(top / "styles" / "wave.jpg", 400, 300, 10)
    smooth_picture(top / "styles" / "dawn.jpg", 64, 64, 13)  # a painting in no style of the model
    smooth_picture(top / "styles" / "two_views" / "a.png", 64, 64, 11)
    smooth_picture(top / "styles" / "two_views" / "b.png", 50, 64, 12)
    torch.manual_seed(0)
    network = TransformerNet(2, width=0.125, num_blocks=1)
    for name, parameter in network.named_parameters():
        if name.endswith("gamma"):
            torch.nn.init.normal_(parameter)
    styles = [{"name": name, "images": []} for name in STYLES]
    save_style_model(top / "model.safetensors", network, describe(network, styles, {}))
    weights, channels = {}, 3
    for index, out in ((0, 4), (2, 4), (5, 6), (7, 6), (10, 8)):  # VGG-19 to relu3_1
        weights[f"features.{index}.weight"] = torch.randn(out, channels, 3, 3) / channels**0.5
        weights[f"features.{index}.bias"] = 0.1 * torch.randn(out)
        channels = out
    save_file(weights, top / "vgg.safetensors", metadata={"topology": "vgg19"})
    return top


def run(folder, *extra, model=True):
    arguments = ["--photos", folder / "photos", "--size", SIZE_PX, *extra]
    arguments += ["--loss-weights", folder / "vgg.safetensors"]
    arguments += ["--styles-dir", folder / "styles"] * ("--styles-dir" not in extra)
    arguments = [folder / "model.safetensors"] * model + arguments
    return evaluate.main([str(argument) for argument in arguments])


def figures(folder, tmp_path, *extra, model=True):
    assert run(folder, *extra, "--json", tmp_path / "out.json", model=model) == 0
    return json.loads((tmp_path / "out.json").read_text())


MEASURED = (2, 7, 10)  # convolutions before relu1_2, relu2_2 and relu3_1, the deepest


def naive_features(image, weights):
    mean = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    x, found = ((image - mean) / std)[None], []
    for index in (0, 2, 5, 7, 10):
        if index in (5, 10):
            x = F.max_pool2d(x, 2)
        x = F.conv2d(
            x, weights[f"features.{index}.weight"], weights[f"features.{index}.bias"], 1, 1
        )
        x = x.clamp_min(0)
        if index in MEASURED:
            found.append(x[0].double().numpy())
    return found


def naive_gram(features):
    flat = features.reshape(len(features), -1)
    return np.array([[np.mean(a * b) for b in flat] for a in flat])


def relative(found, wanted):
    return np.sqrt(((found - wanted) ** 2).sum() / (wanted**2).sum())


def naive_views(pictures, size_px):
    for path in pictures:
        picture = Image.open(path).convert("RGB")
        sides = [round(side * size_px / min(picture.size)) for side in picture.size]
        yield images.to_tensor(picture.resize(sides, Image.Resampling.LANCZOS))


def naive_style_distance(features, pictures, weights):
    """Of the layers that the network has: relu1_2 and relu2_2."""
    by_size = []
    for size_px in VIEW_SIZES_PX:
        views = [naive_features(view, weights) for view in naive_views(pictures, size_px)]
        targets = [sum(naive_gram(view[i]) for view in views) / len(views) for i in (0, 1)]
        by_size.append(np.mean([relative(naive_gram(features[i]), targets[i]) for i in (0, 1)]))
    return min(by_size)


def naive_strokes(image, weights):
    grey = np.tensordot([0.299, 0.587, 0.114], image.numpy(), 1)
    order = np.argsort(grey.astype(np.float32), axis=None, kind="stable")
    levels = np.empty(grey.size, np.float32)
    levels[order] = np.linspace(0.05, 0.95, grey.size)
    equalised = Image.fromarray(levels.reshape(grey.shape))
    covariances = []
    for scale in (1, 2, 4):
        sides = [round(side / scale) for side in equalised.size]
        shown = np.array(equalised.resize(sides, Image.Resampling.BILINEAR))
        features = naive_features(torch.from_numpy(shown).expand(3, -1, -1), weights)
        covariances += [np.cov(f.reshape(len(f), -1), bias=True) for f in features[:2]]
    return covariances


@pytest.fixture(scope="module")
def naive(folder):
    """Figures of photos 0 and 2 in each style, by naive loops."""
    weights = load_file(folder / "vgg.safetensors")
    stylizer = Stylizer(folder / "model.safetensors")
    files = {"wave": ["wave.jpg"], "two_views": ["two_views/a.png", "two_views/b.png"],
             "dawn": ["dawn.jpg"]}  # fmt: skip
    pictures = {name: [folder / "styles" / f for f in names] for name, names in files.items()}
    strokes = {
        name: [naive_strokes(v, weights) for px in VIEW_SIZES_PX for v in naive_views(paths, px)]
        for name, paths in pictures.items()
    }

    def of_picture(image, name, prefix=""):
        own, features = naive_strokes(image, weights), naive_features(image, weights)
        distances = {
            other: min(np.mean([relative(a, b) for a, b in zip(own, view, strict=True)])
                       for view in views)
            for other, views in strokes.items()
        }  # fmt: skip
        nearest = min(distances, key=distances.get)
        return {
            f"{prefix}brushwork": distances[name],
            f"{prefix}found": float(nearest == name),
            f"{prefix}nearest": nearest,
            f"{prefix}style": naive_style_distance(features, pictures[name], weights),
        }

    figures = {}
    for name in STYLES:
        figures[name] = []
        for photo in ("p0.png", "p2.png"):
            x = images.load(folder / "photos" / photo, SIZE_PX)
            y = stylizer.stylize(x, name)
            f_y, f_x = (naive_features(image, weights)[2] for image in (y, x))
            row = {"content": ((f_y - f_x) ** 2).sum() / (f_x**2).sum()}
            row |= of_picture(y, name) | of_picture(x, name, "unstylised_")
            figures[name].append(row)
    return figures


def test_figures_equal_a_naive_loop(folder, tmp_path, naive):
    result = figures(folder, tmp_path, "--every", 2)
    assert result["photos"] == 2
    for name, rows in naive.items():
        for key in rows[0]:
            if not key.endswith("nearest"):
                expected = pytest.approx(np.mean([row[key] for row in rows]), rel=5e-3)
                assert result["styles"][name][key] == expected, key


def test_a_picture_nearest_to_another_of_its_hand_is_found(folder, tmp_path, naive):
    """Whatever is nearest to the paintings in a style is declared to be that style's own."""
    words = {f"{name}={row['nearest']}" for name, rows in naive.items() for row in rows}
    words -= {f"{name}={name}" for name in STYLES}
    hands = [word for pair in sorted(words) for word in ("--same-hand", pair)]
    result = figures(folder, tmp_path, "--every", 2, *hands)
    assert [row["found"] for row in result["styles"].values()] == [1.0, 1.0]
    assert result["protocol"]["other_styles"] == ["dawn"]
    assert sum(map(len, result["protocol"]["same_hand"].values())) == len(words)


def test_json_and_table_hold_the_figures_and_how_they_were_made(folder, tmp_path, capsys):
    result = figures(folder, tmp_path)
    assert (result["model"], result["photos"]) == ("model.safetensors", 3)
    assert result["protocol"]["size_px"] == SIZE_PX
    assert result["protocol"]["loss_weights"] == "vgg.safetensors"
    assert {"fst", "torch"} <= set(result["versions"])
    assert str(folder) not in json.dumps(result)
    lines = capsys.readouterr().out.splitlines()
    wave, mean = result["styles"]["wave"], result["mean"]["content"]
    shown = [key for key in COLUMNS if result["mean"][key] is not None]
    cells = ("-" if wave[key] is None else f"{wave[key]:.4f}" for key in shown)
    assert lines[2] == f"| wave | {' | '.join(cells)} |"
    assert {"brushwork", "found", "style", "content", "ssim", "unstylised_found"} <= set(shown)
    assert lines[-1].startswith("| **mean** |")
    contents = [row["content"] for row in result["styles"].values()]
    assert mean == pytest.approx(sum(contents) / 2)


def test_saved_pictures_give_the_figures_of_the_model(folder, tmp_path):
    stylizer = Stylizer(folder / "model.safetensors")
    for photo in (folder / "photos").iterdir():
        for style in STYLES:
            painting = stylizer.stylize(images.load(photo, SIZE_PX), style)
            images.save(painting, tmp_path / "painted" / f"{photo.stem}_{style}.png")
    saved = figures(folder, tmp_path, "--pictures", tmp_path / "painted", model=False)
    direct = figures(folder, tmp_path)
    assert saved["styles"].keys() == direct["styles"].keys()
    for name, row in direct["styles"].items():
        flat = {"flat": 0}  # None on both sides: these photos have no flat ground
        assert {**saved["styles"][name], **flat} == pytest.approx({**row, **flat}, rel=0.01)


def test_pictures_may_lie_in_a_folder_for_each_style(folder, tmp_path):
    for i in range(3):
        photo = images.load(folder / "photos" / f"p{i}.png", SIZE_PX)
        images.save(photo, tmp_path / "painted" / "wave" / f"p{i}.png")
    result = figures(folder, tmp_path, "--pictures", tmp_path / "painted", model=False)
    assert list(result["styles"]) == ["wave"]
    row = result["styles"]["wave"]
    assert (row["content"], row["ssim"]) == (0, pytest.approx(1))
    assert row["brushwork"] == pytest.approx(row["unstylised_brushwork"])


def test_pictures_of_another_size_are_refused(folder, tmp_path, capsys):
    for photo in ("p0", "p1", "p2"):
        smooth_picture(tmp_path / "painted" / f"{photo}_wave.png", 30, 20, 0)
    assert run(folder, "--pictures", tmp_path / "painted", model=False) == 2
    assert "30x20 px, expected 60x40" in capsys.readouterr().err
    (tmp_path / "painted" / "p1_wave.png").unlink()
    assert run(folder, "--pictures", tmp_path / "painted", model=False) == 2
    assert "lacks p1_wave" in capsys.readouterr().err


def test_missing_style_picture_is_named_on_one_line(folder, tmp_path, capsys):
    assert run(folder, "--styles-dir", tmp_path) == 2
    captured = capsys.readouterr().err
    assert "'wave'" in captured and "'two_views'" in captured and captured.count("\n") == 1


def test_a_style_picture_can_be_given_by_hand_and_one_style_alone_be_measured(folder, tmp_path):
    wave = folder / "styles" / "wave.jpg"
    options = ("--only", "wave", "--style", f"wave={wave}", "--styles-dir", tmp_path)
    alone = figures(folder, tmp_path, *options)
    assert list(alone["styles"]) == ["wave"]
    expected = figures(folder, tmp_path)["styles"]["wave"]
    assert alone["styles"]["wave"]["found"] is None  # there is no other to choose
    for key in ("brushwork", "style", "content", "unstylised_style"):
        assert alone["styles"]["wave"][key] == pytest.approx(expected[key])


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (("--pictures", "painted"), "either a MODEL or --pictures"),
        (("--only", "wive"), "did you mean wave"),
        (("--style", "blue=blue.jpg"), "style 'blue': no such file or folder: blue.jpg"),
        (("--same-hand", "wave=blue"), "same_hand: no style is named blue"),
        (("--grid", "grid.txt"), "its suffix must be"),
        (("--device", "cuda:99"), "cuda:99"),
    ],
)
def test_mistakes_end_with_code_2_and_one_line(folder, capsys, extra, message):
    assert run(folder, *extra) == 2
    captured = capsys.readouterr().err
    assert message in captured and captured.count("\n") == 1


def test_grid_has_a_header_row_and_a_row_per_photo(folder, tmp_path):
    assert run(folder, "--grid", tmp_path / "grid.png", "--grid-photos", 2) == 0
    grid = images.load(tmp_path / "grid.png")
    cell = SIZE_PX + 4
    assert tuple(grid.shape) == (3, 3 * cell + 4, 3 * cell + 4)
    assert (grid[:, 4:SIZE_PX, 4:SIZE_PX] == 1).all()  # the empty corner
    photo = images.load(folder / "photos" / "p0.png")[:, :, 10:50]  # its centre square
    shown = grid[:, cell + 4 : cell + 4 + SIZE_PX, 4 : 4 + SIZE_PX]
    assert torch.equal(shown, photo)


# ---- evaluate_controls.py ----------------------------------------------------------------------


@pytest.fixture
def line_argv(folder, tmp_path):
    """Arguments for a model whose two styles are of one picture."""
    network, _ = load_style_model(folder / "model.safetensors")
    styles = [{"name": name, "images": [], "fingerprint": "f"} for name in STYLES]
    save_style_model(tmp_path / "line.safetensors", network, describe(network, styles, {}))
    words = [tmp_path / "line.safetensors", "--loss-weights", folder / "vgg.safetensors"]
    words += ["--photos", folder / "photos", "--size", SIZE_PX]
    words += ["--style", f"two_views={folder / 'styles' / 'wave.jpg'}"]
    return lambda *extra: [str(word) for word in [*words, *extra]]


def test_the_ends_of_a_texture_line_measure_as_its_styles_do(
    folder, tmp_path, load_script, line_argv, capsys
):
    wave = folder / "styles" / "wave.jpg"
    both = [word for name in STYLES for word in ("--style", f"{name}={wave}")]
    expected = figures(folder, tmp_path, *both)["styles"]
    capsys.readouterr()
    argv = line_argv(
        "--texture", "0", "0.5", "1", "--grid", tmp_path / "grid.png", "--grid-photos", "2"
    )
    assert load_script("evaluate_controls").main(argv) == 0
    printed = capsys.readouterr().out
    rows = dict(re.findall(r"texture (\S+) \| \S+ \| (\S+)", printed))
    assert list(rows) == ["0", "0.5", "1"]
    ends = [f"{expected[name]['style']:.4f}" for name in STYLES]
    assert [rows["0"], rows["1"]] == ends
    falls = float(rows["0"]) > float(rows["0.5"]) > float(rows["1"])
    assert ("does NOT fall" in printed) == (not falls)
    assert images.load(tmp_path / "grid.png").shape[2] == 4 * (SIZE_PX + 4) + 4


def test_a_texture_beyond_the_line_is_refused_before_work(load_script, line_argv, capsys):
    assert load_script("evaluate_controls").main(line_argv("--texture", "0", "1.5")) == 2
    assert "from 0 to 1" in capsys.readouterr().err


@pytest.mark.parametrize("control", ["strength", "share"])
def test_strength_runs_from_the_photo_to_the_painting(
    folder, tmp_path, load_script, line_argv, control, capsys
):
    style = f"two_views={folder / 'styles' / 'wave.jpg'}"
    row = figures(folder, tmp_path, "--style", style)["styles"]["two_views"]
    capsys.readouterr()
    assert load_script("evaluate_controls").main(line_argv(f"--{control}", "0", "1")) == 0
    printed = capsys.readouterr().out
    found = re.findall(rf"{control} \S+ \| \S+ \| (\S+)", printed)
    assert found == [f"{row[key]:.4f}" for key in ("unstylised_style", "style")]
    assert "Parts of its way: 0.00 1.00" in printed
