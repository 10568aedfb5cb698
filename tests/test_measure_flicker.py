"""The flicker script: its clips move as they say, and what does not flicker measures 0."""

import re

import pytest
import torch
from test_motion import _texture


@pytest.fixture(scope="module")
def script(load_script):
    return load_script("measure_flicker")


@pytest.fixture(scope="module")
def picture():
    return _texture(128, 192)


def _clip(script, picture, kind, count=8, monkeypatch=None):
    return script.make_clip(picture, picture.flip(2), kind, count, 64)


@pytest.mark.parametrize("kind", ["pan", "zoom", "still"])
def test_what_moves_with_the_camera_does_not_flicker(script, picture, kind, monkeypatch):
    monkeypatch.setattr(script, "NOISE", 0.0)
    clip = _clip(script, picture, kind)
    left = script.flicker(clip.frames, clip)
    assert left < 1  # of interpolation and rounding to 256 levels
    if kind != "still":  # and without the motion there is more
        clip.views = clip.views[:1] * len(clip.views)
        assert script.flicker(clip.frames, clip) > 1.5 * left


def test_flicker_is_the_mean_change(script, picture):
    clip = _clip(script, picture, "still")
    paintings = [torch.full((3, 64, 96), 0.5 + 0.02 * (number % 2)) for number in range(8)]
    assert script.flicker(paintings, clip) == pytest.approx(255 * 0.02, rel=1e-3)
    assert script.off(paintings, paintings) == 0


def test_ghosts_are_told_from_what_changes_everywhere(script, picture):
    clip = _clip(script, picture, "disc", 12)
    plain = [torch.full((3, 64, 96), 0.5) for _ in range(12)]
    ghosts = [painting.clone() + 0.01 for painting in plain]
    even = script.behind(ghosts, plain, clip)
    for number in range(1, 12):
        ghosts[number][:, clip.discs[number - 1] > 0] += 0.1
    assert even == pytest.approx(1, rel=1e-3)
    assert script.behind(ghosts, plain, clip) > 2


def test_the_table_has_a_row_for_each_way(script, capsys):
    arguments = ["--styles", "udnie", "--count", "1", "--height", "48", "--frames", "6"]
    assert script.main([*arguments, "--steady", "0.5"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" | ")[1] for line in lines[2:]] == ["frame by frame", "steady 0.5"]
    pan, _, still, *_ = map(float, re.findall(r"\(([0-9.]+)x\)", lines[3]))
    assert pan > 1.2 and still > 1.5
