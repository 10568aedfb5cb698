"""The term against pale paintings: one-sided, in lightness and two opponent colours."""

import colorsys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fst.losses.colour import colour_deviations, colours_of_styles, paleness, strength

SIDES = st.integers(2, 12)


def images_of(count, height=9, width=7, seed=0):
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(seed))


def deviations_of(image):
    """Those of numpy, of an image (3, H, W)."""
    red, green, blue = image.double().numpy()
    axes = (red + green + blue) / 3, red - green, blue - (red + green) / 2
    return np.array([axis.std() for axis in axes])


@given(SIDES, SIDES, st.integers(0, 99))
def test_deviations_are_those_of_numpy(height, width, seed):
    images = images_of(2, height, width, seed)
    expected = np.stack([deviations_of(image) for image in images])
    np.testing.assert_allclose(colour_deviations(images).numpy(), expected, rtol=1e-3, atol=2e-4)


@given(SIDES, SIDES, st.integers(0, 99))
def test_paleness_is_the_shortfall_from_the_style(height, width, seed):
    images, pictures = images_of(2, height, width, seed), images_of(2, 5, 6, seed + 100)
    of_styles = colours_of_styles([[picture] for picture in pictures])
    shares = [
        deviations_of(image) / deviations_of(picture)
        for image, picture in zip(images, pictures, strict=True)
    ]
    expected = (np.maximum(0, 1 - np.stack(shares)) ** 2).mean()
    assert paleness(images, of_styles).item() == pytest.approx(expected, rel=1e-2, abs=1e-4)


def test_a_style_has_the_mean_deviations_of_its_pictures_of_any_size():
    pictures = [images_of(1)[0], 0.5 * images_of(1, 20, 30)[0]]
    each = [colours_of_styles([[picture]])[0] for picture in pictures]
    torch.testing.assert_close(colours_of_styles([pictures])[0], torch.stack(each).mean(0))


@pytest.mark.parametrize("share", [0.5, 0.8, 1.0, 1.5])
def test_weaker_copies_are_penalised_and_stronger_or_mirrored_ones_are_not(share):
    picture = images_of(1)
    of_styles = colours_of_styles([[picture[0]]])
    changed = 0.5 + share * (picture - 0.5)
    assert strength(changed, of_styles).mean().item() == pytest.approx(min(1, share), rel=1e-3)
    expected = max(0, 1 - share) ** 2
    assert paleness(changed, of_styles).item() == pytest.approx(expected, abs=1e-4)
    assert paleness(changed.flip(3), of_styles).item() == pytest.approx(expected, abs=1e-4)


def test_lost_colour_is_penalised_at_equal_contrast():
    """As RGB deviations alone would not: channels that agree can have them all."""
    hues = torch.linspace(0, 1, 48).tolist()
    picture = torch.tensor([colorsys.hsv_to_rgb(h, 1, 0.9) for h in hues]).T[:, :, None]
    grey = (picture[:1] - picture[:1].mean()) * torch.ones(3, 1, 1) + 0.5
    of_styles = colours_of_styles([[picture]])
    assert (grey.std((1, 2)) / picture.std((1, 2))).min() > 0.9
    assert paleness(grey[None], of_styles).item() == pytest.approx(2 / 3, abs=0.01)


def test_a_grey_style_asks_for_no_colour():
    grey = images_of(1)[:, :1].expand(-1, 3, -1, -1)
    of_styles = colours_of_styles([[grey[0]]])
    assert paleness(grey, of_styles).item() == pytest.approx(0, abs=1e-6)
    faint = grey + torch.tensor([0.01, 0, -0.01])[:, None, None] * images_of(1, seed=1)
    assert paleness(grey, colours_of_styles([[faint[0]]])).item() < 0.05  # nor for a faint tint
    assert strength(faint, of_styles).mean().item() == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("style", [images_of(1)[0], torch.full((3, 8, 8), 0.5)])
def test_images_and_styles_of_one_colour_have_finite_gradients(style):
    image = torch.full((1, 3, 8, 8), 0.2, requires_grad=True)
    paleness(image, colours_of_styles([[style]])).backward()
    assert image.grad.isfinite().all()


def test_one_pixel_of_another_colour_has_a_gradient():
    image = torch.full((1, 3, 8, 8), 0.2)
    image[0, 0, 0, 0] = 0.21
    image.requires_grad_()
    paleness(image, colours_of_styles([[images_of(1)[0]]])).backward()
    assert image.grad.isfinite().all() and image.grad.abs().max() > 0


def test_half_precision_is_measured_in_fp32():
    images, of_styles = images_of(2).bfloat16(), colours_of_styles([[images_of(1, seed=3)[0]]] * 2)
    assert torch.equal(paleness(images, of_styles), paleness(images.float(), of_styles))
