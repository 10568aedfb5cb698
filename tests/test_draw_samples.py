"""Tests of scripts/draw_samples.py, drawn small so that they stay quick."""

import importlib.util
from functools import cache
from itertools import combinations, pairwise
from pathlib import Path

import numpy as np
import pytest

SCRIPT = Path(__file__).parents[1] / "scripts" / "draw_samples.py"
SPEC = importlib.util.spec_from_file_location("draw_samples", SCRIPT)
draw_samples = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(draw_samples)

# A third of the strokes: their number, not the picture's size, is what takes the time.
draw_samples.STROKE_LAYERS = [(n // 3, *rest) for n, *rest in draw_samples.STROKE_LAYERS]
NAMES = [*draw_samples.STYLES, *draw_samples.CONTENTS]


@cache
def small(name, seed=7):
    return draw_samples.draw_picture(name, seed, scale=0.2 if name in draw_samples.STYLES else 0.07)


def spectrum_slope(image):
    """Slope of log power against log frequency, between 1/64 and 1/4 cycles a pixel."""
    grey = image.mean(-1)
    window = np.outer(np.hanning(grey.shape[0]), np.hanning(grey.shape[1]))
    power = np.abs(np.fft.fft2((grey - grey.mean()) * window)) ** 2
    fy, fx = np.fft.fftfreq(grey.shape[0])[:, None], np.fft.fftfreq(grey.shape[1])[None]
    f = np.hypot(fy, fx)
    edges = np.geomspace(1 / 64, 1 / 4, 9)
    mean = [power[(f >= a) & (f < b)].mean() for a, b in pairwise(edges)]
    return np.polyfit(np.log(np.sqrt(edges[:-1] * edges[1:])), np.log(mean), 1)[0]


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


def test_scene_spectra_fall_like_photographs():
    slopes = [spectrum_slope(draw_samples.draw_scene(3, k)) for k in range(6)]
    assert -3.1 < np.mean(slopes) < -2.2  # measured: mean -2.75, each -3.0 to -2.3
    assert all(-3.5 < slope < -1.8 for slope in slopes)


def test_scenes_are_reproducible_and_varied():
    first = draw_samples.draw_scene(3, 0)
    assert first.shape == (*draw_samples.SCENE_SHAPE, 3)
    assert first.tobytes() == draw_samples.draw_scene(3, 0).tobytes()
    assert first.tobytes() != draw_samples.draw_scene(3, 1).tobytes()
    assert first.tobytes() != draw_samples.draw_scene(4, 0).tobytes()


def test_command_line_writes_the_pictures_asked_for(tmp_path, monkeypatch):
    monkeypatch.setattr(draw_samples, "STYLE_SHAPE", (48, 60))
    draw_samples.main(["-o", str(tmp_path), "--only", "woodblock_waves", "--scenes", "2"])
    written = sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*.jpg"))
    assert written == [
        "scenes/scene_00000.jpg",
        "scenes/scene_00001.jpg",
        "styles/woodblock_waves.jpg",
    ]
