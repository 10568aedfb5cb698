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

STYLES = ("stripes", "cloud")
LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
# Two styles and a corner, one held-out photo and the header, cells of 48 px, 4 px between.
GRID_SIZE = (3 * (48 + 4) + 4, 2 * (48 + 4) + 4)

EXPECTED_SCALARS = (
    {
        "train/total",
        "train/content",
        "train/style",
        "train/tv",
        "train/grid",
        "lr-Adam/styles",
        "lr-Adam/convolutions",
    }
    | {"held_out/style", "held_out/content", "throughput/images_per_s"}
    | {"held_out/brushwork", "held_out/found"}
    | {f"held_out_brushwork/{style}" for style in STYLES}
    | {f"train_layer/{layer}" for layer in LAYERS}
    | {f"train_style/{style}" for style in STYLES}
    | {f"held_out_style/{style}" for style in STYLES}
    | {f"held_out_content/{style}" for style in STYLES}
)


@pytest.fixture(scope="module")
def log(run):
    accumulator = EventAccumulator(str(run / "tensorboard"), size_guidance={"images": 0})
    return accumulator.Reload()


def test_every_curve_is_logged_and_finite(log):
    assert set(log.Tags()["scalars"]) >= EXPECTED_SCALARS
    for tag in EXPECTED_SCALARS:
        values = [event.value for event in log.Scalars(tag)]
        assert values and np.isfinite(values).all(), tag


def test_held_out_distances_stand_at_the_steps_of_the_reviews(log):
    assert {event.step for event in log.Scalars("held_out/style")} == {6, 12}
    assert {event.step for event in log.Scalars("held_out/brushwork")} == {12}


def test_throughput_is_positive(log):
    assert all(event.value > 0 for event in log.Scalars("throughput/images_per_s"))


def test_the_grid_has_a_header_row_and_a_row_for_each_held_out_photo(log):
    images = log.Images("review/styles")
    assert [image.step for image in images] == [6, 12]
    assert (images[0].width, images[0].height) == GRID_SIZE


def test_the_header_row_shows_the_style_pictures(log, style_files):
    grid = Image.open(io.BytesIO(log.Images("review/styles")[-1].encoded_image_string))
    left = 4 + 48 + 4
    cell = np.asarray(grid.crop((left, 4, left + 48, 4 + 48)), dtype=float)
    picture = Image.open(style_files[0]).convert("RGB").resize((48, 48), Image.Resampling.LANCZOS)
    assert np.abs(cell - np.asarray(picture, dtype=float)).mean() < 4


def test_the_settings_are_there_as_text(log):
    (event,) = log.Tensors("settings/text_summary")
    text = event.tensor_proto.string_val[0].decode()
    settings = json.loads(re.search(r"```json\n(.*)\n```", text, re.DOTALL)[1])
    assert settings["width"] == 0.125


@pytest.fixture(scope="module")
def server(run):
    """TensorBoard on a free port of the loopback address; yields its URL."""
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(run), "--port", "0"]
    command += ["--host", "127.0.0.1", "--samples_per_plugin", "images=999"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        for line in process.stderr:
            found = re.search(r"http://127\.0\.0\.1:\d+", line)
            if found:
                break
        else:
            pytest.fail("TensorBoard did not start")
        _wait_for(f"{found[0]}/data/plugin/scalars/tags", "train/total")
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


def test_tensorboard_serves_the_curves(server):
    tags = json.loads(_get(f"{server}/data/plugin/scalars/tags"))
    assert {tag for run_tags in tags.values() for tag in run_tags} >= EXPECTED_SCALARS


def test_tensorboard_serves_the_grid_as_a_picture(server):
    tags = json.loads(_get(f"{server}/data/plugin/images/tags"))
    (run_name,) = [name for name, run_tags in tags.items() if "review/styles" in run_tags]
    query = urllib.parse.urlencode({"run": run_name, "tag": "review/styles", "sample": 0})
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
    assert {"width", "learning_rate"} <= {info["name"] for info in experiment["hparamInfos"]}
    metrics = {info["name"]["tag"] for info in experiment["metricInfos"]}
    assert {"held_out/style", "held_out/content"} <= metrics


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
