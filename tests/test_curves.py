"""What TensorBoard shows of a run: read from the log, over its own HTTP endpoints, and seen."""

import io
import json
import re
import shutil
import subprocess
import sys
import time
import urllib.parse
import urllib.request

import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from fst.losses import objective

STYLES = ("stripes", "cloud")
LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
# Two styles and a corner, one held-out photo and the header, cells of 48 px, 6 px between, and
# 22 px for the names above the header.
GRID_SIZE = (3 * (48 + 6) + 6, 2 * (48 + 6) + 22)

EXPECTED_SCALARS = (
    {
        "train/loss",
        "train/grad_norm",
        "train/content",
        "train/style",
        "train/tv",
        "train/grid",
        "train/colour",
        "train/grain",
        "lr-Adam/styles",
        "lr-Adam/convolutions",
    }
    | {"val/style", "val/content", "throughput/images_per_s"}
    | {"val/brushwork", "val/found"}
    | {f"val/brushwork/{style}" for style in STYLES}
    | {f"train/layer/{layer}" for layer in LAYERS}
    | {f"train/style/{style}" for style in STYLES}
    | {f"val/style/{style}" for style in STYLES}
    | {f"val/content/{style}" for style in STYLES}
)


@pytest.fixture(scope="module")
def log(run):
    accumulator = EventAccumulator(str(run), size_guidance={"images": 0})
    return accumulator.Reload()


def test_every_curve_is_logged_and_finite(log):
    assert set(log.Tags()["scalars"]) >= EXPECTED_SCALARS
    for tag in EXPECTED_SCALARS:
        values = [event.value for event in log.Scalars(tag)]
        assert values and np.isfinite(values).all(), tag


def test_held_out_distances_stand_at_the_steps_of_the_validations(log):
    assert {event.step for event in log.Scalars("val/style")} == {6, 12}
    assert {event.step for event in log.Scalars("val/brushwork")} == {6, 12}


def test_throughput_is_positive(log):
    assert all(event.value > 0 for event in log.Scalars("throughput/images_per_s"))


def test_the_grid_has_a_header_row_and_a_row_for_each_held_out_photo(log):
    images = log.Images("val/paintings")
    assert [image.step for image in images] == [6, 12]
    assert (images[0].width, images[0].height) == GRID_SIZE


def test_the_header_row_shows_the_style_pictures(log, style_files):
    grid = Image.open(io.BytesIO(log.Images("val/paintings")[-1].encoded_image_string))
    left = 6 + 48 + 6
    cell = np.asarray(grid.crop((left, 22, left + 48, 22 + 48)), dtype=float)
    picture = Image.open(style_files[0]).convert("RGB").resize((48, 48), Image.Resampling.LANCZOS)
    assert np.abs(cell - np.asarray(picture, dtype=float)).mean() < 4
    above = np.asarray(grid.convert("L").crop((left, 0, left + 48, 22)))
    assert above.min() < 128  # its name


def test_the_settings_are_a_table_of_what_is_used(log):
    (event,) = log.Tensors("settings/text_summary")
    text = event.tensor_proto.string_val[0].decode()
    settings = dict(re.findall(r"^\| (\w+) \| (.*) \|$", text, re.MULTILINE))
    assert settings["width"] == "0.125" and settings["steps"] == "12"
    assert settings["styles"] == "stripes, cloud" and settings["style_loss"] == "wasserstein"
    assert (settings["batch_size"], settings["size_px"]) == ("2", "48")
    weights = [float(settings[f"{name}_weight"]) for name in ("content", "style", "tv", "grid")]
    assert weights == [*objective.WEIGHTS, objective.TRAINING_WEIGHTS["grid_weight"]]
    assert "slim_vgg19.safetensors" in text and "/slim_vgg19" not in text


def test_there_is_no_curve_of_the_epoch_and_one_of_the_gradient(log):
    assert "epoch" not in log.Tags()["scalars"]
    assert all(event.value > 0 for event in log.Scalars("train/grad_norm"))


@pytest.fixture(scope="module")
def server(run):
    """TensorBoard on a free port of the loopback address; yields its URL."""
    logdir = str(run.parent)
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", logdir, "--port", "0"]
    command += ["--host", "127.0.0.1", "--samples_per_plugin", "images=999"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        for line in process.stderr:
            found = re.search(r"http://127\.0\.0\.1:\d+", line)
            if found:
                break
        else:
            pytest.fail("TensorBoard did not start")
        _wait_for(f"{found[0]}/data/plugin/scalars/tags", "train/loss")
        yield found[0]
    finally:
        process.terminate()
        process.wait()
        process.stderr.close()


def _get(url):
    with urllib.request.urlopen(url, timeout=30) as reply:
        return reply.read()


def _wait_for(url, text, seconds=60):
    for _ in range(seconds * 4):
        if text.encode() in _get(url):
            return
        time.sleep(0.25)
    pytest.fail(f"{url} never held {text}")


def test_tensorboard_serves_the_curves(server, run):
    tags = json.loads(_get(f"{server}/data/plugin/scalars/tags"))
    assert set(tags) == {run.name}  # runs are called by their folders
    assert set(tags[run.name]) >= EXPECTED_SCALARS


def test_tensorboard_serves_the_grid_as_a_picture(server):
    tags = json.loads(_get(f"{server}/data/plugin/images/tags"))
    (run_name,) = [name for name, run_tags in tags.items() if "val/paintings" in run_tags]
    query = urllib.parse.urlencode({"run": run_name, "tag": "val/paintings", "sample": 0})
    entries = json.loads(_get(f"{server}/data/plugin/images/images?{query}"))
    assert [entry["step"] for entry in entries] == [6, 12]
    data = _get(f"{server}/data/plugin/images/individualImage?{entries[-1]['query']}")
    assert Image.open(io.BytesIO(data)).size == GRID_SIZE


def test_tensorboard_serves_settings_and_hyperparameters(server):
    assert b"settings" in _get(f"{server}/data/plugin/text/tags")
    request = urllib.request.Request(
        f"{server}/data/plugin/hparams/experiment",
        data=json.dumps({"experimentName": ""}).encode(),
        headers={"Content-Type": "application/json"},
    )
    experiment = json.loads(_get(request))
    settings = {info["name"] for info in experiment["hparamInfos"]}
    assert {"steps", "batch_size", "size_px", "style_loss", "style_weight"} <= settings
    metrics = {info["name"]["tag"] for info in experiment["metricInfos"]}
    assert {"val/brushwork", "val/style", "val/content"} <= metrics


@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")
def test_tensorboard_shows_the_run_in_a_browser(server, tmp_path):
    shot = tmp_path / "tensorboard.png"
    command = [CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
    command += [f"--user-data-dir={tmp_path / 'profile'}", "--window-size=1600,1000"]
    command += [
        "--virtual-time-budget=60000",
        "--timeout=25000",
        f"--screenshot={shot}",
        f"{server}/#images",
    ]
    subprocess.run(command, check=True, timeout=180, capture_output=True)
    picture = Image.open(shot).convert("RGB")
    assert picture.size == (1600, 1000)
    # An empty page has a handful of colours; curves and a picture grid have thousands.
    assert len(picture.getcolors(1 << 22)) > 2000
