"""Motion between frames, against motions that are known."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from fst.stylize.video import motion


def _texture(height, width, seed=0):
    """Clouds with details of 4 px and more, (3, H, W)."""
    generator = torch.Generator().manual_seed(seed)
    layers = [
        F.interpolate(
            torch.rand(1, 3, height // step, width // step, generator=generator),
            (height, width), mode="bicubic",
        )[0]
        for step in (4, 8, 16)
    ]  # fmt: skip
    return (sum(layers) / 3).clamp(0, 1)


def _shifted(picture, x, y, height=80, width=112):
    """A window of the picture that has moved by whole pixels."""
    return picture[:, 20 + y : 20 + y + height, 20 + x : 20 + x + width]


PICTURE = _texture(128, 160)


@settings(max_examples=15, deadline=None)
@given(st.integers(-8, 8), st.integers(-8, 8))
def test_a_shift_is_found(x, y):
    found = motion.motion_between(_shifted(PICTURE, 0, 0), _shifted(PICTURE, x, y))
    # What is at (0, 0) now was at (x, y) before.
    error = (found - torch.tensor([x, y])[:, None, None]).norm(dim=0)[12:-12, 12:-12]
    assert error.median() < 0.3


def test_a_shift_by_parts_of_a_pixel_is_found():
    larger = F.interpolate(PICTURE[None], scale_factor=4, mode="bicubic")[0]
    frames = [
        F.interpolate(window[None], scale_factor=0.25, mode="area")[0]
        for window in (larger[:, 40:360, 40:488], larger[:, 42:362, 46:494])
    ]
    found = motion.motion_between(*frames)
    assert torch.allclose(found.flatten(1).median(1).values, torch.tensor([1.5, 0.5]), atol=0.15)


def test_noise_alone_moves_nothing():
    frame = _shifted(PICTURE, 0, 0)
    noisy = [frame + 0.012 * torch.randn_like(frame) for _ in range(2)]
    found = motion.motion_between(*noisy)
    assert (found == 0).float().mean() > 0.9
    assert motion.confidence(noisy[0], noisy[1], found).mean() > 0.9


def test_moved_by_whole_pixels_is_the_same_pixels():
    field = torch.zeros(2, 80, 112)
    field[0], field[1] = 3, -2
    before, now = _shifted(PICTURE, 0, 0), _shifted(PICTURE, 3, -2)
    given = motion.moved(before, field)
    assert torch.allclose(given[:, 4:-4, 4:-4], now[:, 4:-4, 4:-4], atol=1e-4)


def test_what_comes_into_view_is_unsure_and_the_rest_is_sure():
    ground, other = _shifted(PICTURE, 0, 0), _texture(80, 112, seed=5)
    frames = []
    for left in (30, 38):
        frame = ground.clone()
        frame[:, 20:60, left : left + 40] = 1 - other[:, 20:60, :40]
        frames.append(frame)
    field = motion.motion_between(*frames)
    sure = motion.confidence(motion.moved(frames[0], field), frames[1], field)
    assert sure[24:56, 31:36].mean() < 0.2  # uncovered
    assert sure[:, 95:].min() > 0.9 and sure[:8].mean() > 0.85


def test_another_picture_is_unsure_everywhere():
    before, now = _shifted(PICTURE, 0, 0), _texture(80, 112, seed=9)
    field = motion.motion_between(before, now)
    assert motion.confidence(motion.moved(before, field), now, field).mean() < 0.15


@pytest.mark.parametrize("size", [(16, 16), (17, 90), (300, 20)])
def test_all_sizes_that_can_be_painted_have_motion(size):
    before, now = torch.rand(3, *size), torch.rand(3, *size)
    field = motion.motion_between(before, now)
    assert field.shape == (2, *size) and field.isfinite().all()
    assert motion.confidence(before, now, field).shape == size
