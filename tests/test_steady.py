"""Steady painting, against painting frame by frame and against hand-computed averages."""

import math
from itertools import pairwise

import pytest
import torch
from infer_inputs import save_model
from test_motion import _texture

from fst import Stylizer
from fst.assets import GALLERY
from fst.errors import FstError
from fst.networks import inference
from fst.networks.conditional import ConditionalInstanceNorm2d
from fst.stylize.video.steady import SteadyNorm, SteadyStylizer

BORDER = 16


@pytest.fixture(scope="module")
def gallery():
    return Stylizer(GALLERY)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return Stylizer(save_model(tmp_path_factory.mktemp("model") / "model.safetensors"))


def _pan(count, step, noise=0.0, height=72, width=96):
    """A camera that moves by whole pixels to the right."""
    torch.manual_seed(0)
    picture = _texture(height, width + step * count)
    frames = [picture[:, :, step * n : step * n + width] for n in range(count)]
    return [(frame + noise * torch.randn_like(frame)).clamp(0, 1) for frame in frames]


def _flicker(paintings, step):
    """The mean change of a place of the picture from frame to frame; the motion is whole pixels."""
    changes = []
    for before, now in pairwise(paintings):
        width = now.shape[2] - step
        change = (now[:, :, :width] - before[:, :, step:]).abs()
        changes.append(change[:, BORDER:-BORDER, BORDER:-BORDER].mean())
    return torch.stack(changes[2:]).mean().item()


@pytest.mark.parametrize("style, step", [("wave", 1), ("starry_night", 3), ("udnie", 0)])
def test_steady_paintings_flicker_less_than_half_as_much(gallery, style, step):
    frames = _pan(7, step, noise=0.012)
    steady = SteadyStylizer(gallery)
    plain = _flicker([gallery.stylize(frame, style) for frame in frames], step)
    assert _flicker([steady.stylize(frame, style) for frame in frames], step) < plain / 2


def test_the_grid_follows_a_pan(gallery):
    frames = _pan(6, 1)
    steady = SteadyStylizer(gallery, 1.0, parts=["grid"])
    paintings = [steady.stylize(frame, "starry_night") for frame in frames]
    plain = [gallery.stylize(frame, "starry_night") for frame in frames]
    # The gallery alone flickers less with each run of its recipe (0.093, 0.068, now 0.056).
    assert _flicker(paintings, 1) < _flicker(plain, 1) / 2
    assert steady.grid.followed.tolist() == [5, 0]


def test_the_grid_takes_masks_along(gallery):
    mask = torch.zeros(72, 96)
    mask[:, 48:] = 1
    plain = SteadyStylizer(gallery, 1.0, parts=[])
    shifted = SteadyStylizer(gallery, 1.0, parts=[])
    frame = _pan(1, 0)[0]
    shifted.grid.followed = torch.tensor([3.0, 2.0])
    shifted.grid.width = 96
    left, right = (
        (painter.stylize(frame, "wave", masks={"udnie": mask}))
        for painter in (plain, shifted)
    )  # fmt: skip
    # Another place of the grid, but the same styles in the same places: nearer than one style is.
    whole = gallery.stylize(frame, "wave")
    assert (left - right).abs()[:, :, 60:].mean() < (left - whole).abs()[:, :, 60:].mean() / 2


def test_steadiness_0_is_frame_by_frame(gallery):
    frames = _pan(3, 2, noise=0.02)
    steady = SteadyStylizer(gallery, 0.0)
    for frame in frames:
        assert torch.equal(steady.stylize(frame, "wave"), gallery.stylize(frame, "wave"))


def test_the_first_frame_and_that_after_a_cut_are_painted_as_pictures(gallery):
    first, second = _texture(64, 96, seed=1), 1 - _texture(64, 96, seed=2)
    steady = SteadyStylizer(gallery)
    for frame in (first, first + 0.001, second):
        painting = steady.stylize(frame.clamp(0, 1), "wave")
    assert steady.cuts == 1
    assert torch.allclose(painting, gallery.stylize(second, "wave"), atol=1e-5)


def test_another_style_begins_anew(gallery):
    frame = _texture(64, 96)
    steady = SteadyStylizer(gallery)
    steady.stylize(frame, "wave")
    assert torch.equal(steady.stylize(frame, "udnie"), gallery.stylize(frame, "udnie"))


def test_a_repeated_frame_is_painted_once(small, monkeypatch):
    steady = SteadyStylizer(small)
    calls = []
    steady.network.register_forward_hook(lambda *_: calls.append(1))
    frame = _texture(32, 48)
    first = steady.stylize(frame)
    assert torch.equal(steady.stylize(frame.clone()), first)
    assert len(calls) == 1


def test_an_object_leaves_no_trace(gallery):
    """Where a square was some frames ago, the painting is as far from that of the frame alone as on
    the rest of the ground."""
    ground = _texture(80, 128)
    frames = []
    for number in range(8):
        frame = ground.clone()
        frame[:, 24:56, 4 + 8 * number : 36 + 8 * number] = torch.tensor([0.9, 0.2, 0.1])[
            :, None, None
        ]
        frames.append((frame + 0.008 * torch.randn_like(frame)).clamp(0, 1))
    steady = SteadyStylizer(gallery)
    painting = [steady.stylize(frame, "wave") for frame in frames][-1]
    alone = gallery.stylize(frames[-1], "wave")
    difference = (painting - alone).abs().mean(0)
    trace = difference[26:54, 40:58].mean()  # left 3 to 5 frames ago
    rest = difference[:, 108:].mean()
    assert trace < 1.5 * rest + 0.01
    # The square itself is where it is, not behind.
    assert (painting - alone)[:, 28:52, 66:88].abs().mean() < 0.1


def test_statistics_are_averaged_over_frames():
    norm = ConditionalInstanceNorm2d(1, 3)
    steady = SteadyNorm(norm, kept=0.75)
    maps = [torch.randn(1, 3, 9, 11) * (n + 1) + n for n in range(4)]
    mean = variance = None
    for x in maps:
        m, v = x.mean((2, 3)), x.var((2, 3), correction=0)
        mean = m if mean is None else 0.75 * mean + 0.25 * m
        variance = v if variance is None else 0.75 * variance + 0.25 * v
        expected = (x - mean[..., None, None]) / (variance[..., None, None] + norm.eps).sqrt()
        with torch.inference_mode():
            assert torch.allclose(steady(x, torch.ones(1, 1)), expected, atol=1e-4)


def test_a_clip_is_painted_by_averages_either_way(gallery, monkeypatch):
    """Layer by layer, and as one picture is painted on a CPU."""
    frames = [_texture(48, 64) * share for share in (1.0, 0.96, 0.92)]
    painted = []
    for way in (True, False):
        if not way:
            monkeypatch.setattr(inference, "is_made_for", lambda *_: False)
        steady = SteadyStylizer(gallery, parts=["statistics"])
        painted.append([steady.stylize(frame, "wave") for frame in frames])
    torch.testing.assert_close(*painted, rtol=0, atol=1e-4)
    alone = gallery.stylize(frames[-1], "wave")
    assert (painted[0][-1] - alone).abs().mean() > 0.01


def test_spatial_weights_have_the_same_averages():
    norm = ConditionalInstanceNorm2d(2, 3)
    one, two = SteadyNorm(norm, kept=0.5), SteadyNorm(norm, kept=0.5)
    for n in range(3):
        x = torch.randn(1, 3, 8, 8) + n
        with torch.inference_mode():
            whole = one(x, torch.tensor([[1.0, 0.0]]))
            by_place = two(x, torch.tensor([1.0, 0.0])[None, :, None, None].expand(1, 2, 8, 8))
        assert torch.allclose(whole, by_place, atol=1e-5)


def test_the_stylizer_itself_stays_as_it_is(gallery):
    frame = _texture(48, 64)
    before = gallery.stylize(frame, "wave")
    steady = SteadyStylizer(gallery)
    for n in range(3):
        steady.stylize((frame + 0.1 * n).clamp(0, 1), "wave")
    assert torch.equal(gallery.stylize(frame, "wave"), before)


@pytest.mark.parametrize("controls", [{"texture_size": 2.0}, {"keep_colors": "histogram"},
                                      {"strength": 0.5}, {"strength": 1.4}])  # fmt: skip
def test_controls_go_along(gallery, controls):
    frames = _pan(3, 1, noise=0.01)
    steady = SteadyStylizer(gallery)
    for frame in frames:
        painting = steady.stylize(frame, "wave", **controls)
        alone = gallery.stylize(frame, "wave", **controls)
        assert painting.shape == frame.shape
        assert (painting - alone).abs().mean() < 0.15


def test_alpha_and_sizes_may_change_on_the_way(small):
    steady = SteadyStylizer(small)
    steady.stylize(torch.rand(3, 32, 48))
    assert steady.stylize(torch.rand(4, 32, 48)).shape == (4, 32, 48)
    assert steady.stylize(torch.rand(3, 20, 24)).shape == (3, 20, 24)


@pytest.mark.parametrize("steadiness", [-0.1, 1.1, math.nan])
def test_a_steadiness_out_of_range_is_refused(small, steadiness):
    with pytest.raises(FstError, match="steadiness"):
        SteadyStylizer(small, steadiness)
