"""Tests of scripts/draw_samples.py, drawn small so that they stay quick."""

import subprocess
import sys
from functools import cache
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

SCRIPTS = Path(__file__).parents[1] / "scripts"
sys.path.insert(0, str(SCRIPTS))

import draw_samples  # noqa: E402 - found by the line above, as when run as a script
import sample_styles  # noqa: E402

# A third of the strokes: their number, not the picture's size, is what takes the time.
sample_styles.STROKE_LAYERS = [(n // 3, *rest) for n, *rest in sample_styles.STROKE_LAYERS]
NAMES = [*draw_samples.STYLES, *draw_samples.CONTENTS]


@cache
def small(name, seed=7):
    return draw_samples.draw_picture(name, seed, scale=0.2 if name in draw_samples.STYLES else 0.07)


@pytest.mark.parametrize("name", NAMES)
def test_picture_has_its_size_and_a_wide_range_of_values(name):
    image = small(name)
    full = draw_samples.STYLE_SHAPE if name in draw_samples.STYLES else draw_samples.CONTENT_SHAPE
    scale = 0.2 if name in draw_samples.STYLES else 0.07
    assert image.dtype == np.uint8
    assert image.shape == (round(full[0] * scale), round(full[1] * scale), 3)
    low, high = np.percentile(image, (2, 98))
    assert high - low > 90


@pytest.mark.parametrize("name", NAMES)
def test_same_seed_same_bytes_and_other_seed_other_bytes(name):
    again = small.__wrapped__(name)
    assert again.tobytes() == small(name).tobytes()
    assert small(name, 8).tobytes() != again.tobytes()


def test_styles_differ_in_colour_or_in_gradient_energy():
    # Colour mean and spread, and edge strength, in grey levels out of 255.
    features = {}
    for name in draw_samples.STYLES:
        image = small(name).astype(float)
        edges = np.abs(np.diff(image.mean(-1), axis=0)).mean()
        spread = image.std((0, 1))
        features[name] = np.array([*image.mean((0, 1)), *spread, 3 * edges])
    for a, b in combinations(features, 2):
        assert np.linalg.norm(features[a] - features[b]) > 35, (a, b)


def test_command_line_writes_the_pictures_asked_for(tmp_path, monkeypatch):
    monkeypatch.setattr(draw_samples, "STYLE_SHAPE", (48, 60))
    draw_samples.main(["-o", str(tmp_path), "--only", "woodblock_waves", "--scenes", "2"])
    written = sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*.jpg"))
    assert written == [
        "scenes/scene_00000.jpg",
        "scenes/scene_00001.jpg",
        "styles/woodblock_waves.jpg",
    ]


def test_script_runs_from_any_folder(tmp_path):
    command = [sys.executable, SCRIPTS / "draw_samples.py", "--help"]
    shown = subprocess.run(command, check=True, cwd=tmp_path, capture_output=True, text=True)
    assert "--scenes" in shown.stdout
