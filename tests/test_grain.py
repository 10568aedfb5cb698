"""The term against more fine texture than the style has."""

from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fst.losses.colour import opponents
from fst.losses.grain import LEAST_GRAIN, excess_grain, grain, grain_of_styles

SIDES = st.integers(8, 30)
SEEDS = st.integers(0, 99)
FINE = [*product(range(4, 8), range(8)), *product(range(4), range(4, 8))]


def images_of(count, height=24, width=32, seed=0):
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(seed))


def stripes(period, height=64, width=64, strength=0.1):
    """Grey, of a cosine down the columns."""
    wave = strength * torch.cos(2 * torch.pi * torch.arange(height) / period)
    return (0.5 + wave)[None, None, :, None].expand(1, 3, height, width)


def cosine_transform(values, axis):
    """Of 8 values, orthonormal: the Fourier transform of them and of their mirror image."""
    both = np.concatenate([values, np.flip(values, axis)], axis)
    half = np.moveaxis(np.fft.fft(both, axis=axis), axis, -1)[..., :8]
    turned = (half * np.exp(-1j * np.pi * np.arange(8) / 16)).real
    return np.moveaxis(turned * np.where(np.arange(8), 0.25, 0.125**0.5 / 2), -1, axis)


@given(SIDES, SIDES, SEEDS)
def test_grain_is_that_of_cosine_transforms_of_blocks(height, width, seed):
    images = images_of(2, height, width, seed)
    rows, columns = height // 8, width // 8
    axes = opponents(images).double().numpy()[:, :, : 8 * rows, : 8 * columns]
    blocks = axes.reshape(2, 3, rows, 8, columns, 8)
    transformed = cosine_transform(cosine_transform(blocks, 3), 5)
    np.testing.assert_allclose((transformed**2).sum(), (blocks**2).sum())  # Parseval
    power = (transformed**2).mean((2, 4))  # (2, 3, 8, 8)
    expected = np.sqrt([[[axis[k] for k in FINE] for axis in image] for image in power])
    np.testing.assert_allclose(grain(images).numpy(), expected, rtol=1e-3, atol=2e-5)


@pytest.mark.parametrize(("period", "is_grain"), [(2, True), (3, True), (16, False), (32, False)])
def test_fine_stripes_are_grain_and_strokes_are_not(period, is_grain):
    strength = grain(stripes(period))[0, 0].max().item()
    assert strength > 0.1 if is_grain else strength < 0.03


def test_a_coloured_grid_of_even_lightness_is_seen():
    checks = (torch.arange(64)[:, None] + torch.arange(64)) % 2 * 0.1
    grid = torch.stack([0.5 + checks, 0.5 - checks, torch.full((64, 64), 0.5)])
    of_style = grain_of_styles([[torch.full((3, 64, 64), 0.5)]])
    found = grain(grid[None])
    assert found[0, 0].max().item() < 1e-4  # not in lightness
    expected = (255 * found - 1).clamp_min(0).square().mean().item()  # a plain style has the least
    assert expected > 1
    assert excess_grain(grid[None], of_style).item() == pytest.approx(expected, rel=1e-4)


@given(SEEDS)
def test_excess_is_what_is_beyond_the_style(seed):
    images, pictures = images_of(2, seed=seed), images_of(2, 16, 40, seed + 100)
    of_styles = grain_of_styles([[picture] for picture in pictures])
    beyond = grain(images).numpy() / np.maximum(of_styles.numpy(), LEAST_GRAIN) - 1
    expected = (np.maximum(beyond, 0) ** 2).mean()
    assert excess_grain(images, of_styles).item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(("share", "expected"), [(0.0, 0), (0.7, 0), (1.0, 0), (3.0, 4)])
def test_less_grain_is_free(share, expected):
    picture = images_of(1, 64, 64)
    of_style = grain_of_styles([[picture[0]]])
    changed = 0.5 + share * (picture - 0.5)
    assert excess_grain(changed, of_style).item() == pytest.approx(expected, abs=1e-4)


def test_a_style_has_the_mean_grain_of_its_pictures_of_any_size():
    pictures = [images_of(1)[0], 0.5 * images_of(1, 16, 64)[0]]
    each = [grain_of_styles([[picture]])[0] for picture in pictures]
    torch.testing.assert_close(grain_of_styles([pictures])[0], torch.stack(each).mean(0))


@pytest.mark.parametrize("style", [torch.zeros(3, 16, 16), images_of(1)[0]])
def test_images_and_styles_of_one_colour_have_finite_gradients(style):
    image = torch.full((1, 3, 24, 24), 0.4, requires_grad=True)
    excess_grain(image, grain_of_styles([[style]])).backward()
    assert image.grad.isfinite().all()


def test_what_was_measured_in_inference_mode_leaves_no_trace():
    with torch.inference_mode():
        grain(images_of(1))
    image = images_of(1).requires_grad_()
    grain(image).sum().backward()
    assert image.grad.abs().sum() > 0


def test_autocast_leaves_it_in_fp32():
    images = images_of(2)
    expected = grain(images)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(grain(images), expected, rtol=0, atol=0)
