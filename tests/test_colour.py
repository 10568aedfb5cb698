"""The term for contrast and colours: a painting as strong as its style's pictures."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.distributions import MultivariateNormal, kl_divergence

from fst.losses.colour import (
    LEAST_DEVIATION,
    colour_distance,
    colour_statistics,
    colours_of_styles,
    deviations,
)

SIDES = st.integers(2, 12)
LEAST = LEAST_DEVIATION**2 * torch.eye(3)


def images_of(count, height=9, width=7, seed=0):
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(seed))


@given(SIDES, SIDES, st.integers(0, 99))
def test_statistics_are_those_of_numpy(height, width, seed):
    (picture,) = images_of(1, height, width, seed)
    found, pixels = colour_statistics([picture]), picture.flatten(1).double().numpy()
    covariance = np.cov(pixels, bias=True)
    np.testing.assert_allclose(found[0].numpy(), pixels.mean(1), rtol=1e-5)
    np.testing.assert_allclose(found[1:].numpy(), covariance, rtol=1e-4, atol=1e-6)
    wanted = np.maximum(pixels.std(1), LEAST_DEVIATION)
    np.testing.assert_allclose(deviations(found).numpy(), wanted, rtol=1e-4, atol=1e-5)


@given(SIDES, SIDES, st.integers(1, 4), st.integers(0, 99))
def test_the_distance_is_the_divergence_of_normal_distributions(height, width, count, seed):
    images, pictures = images_of(count, height, width, seed), images_of(count, 5, 6, seed + 100)
    targets = colours_of_styles([[picture] for picture in pictures])

    def normal(statistics):
        return MultivariateNormal(statistics[:, 0].double(), (statistics[:, 1:] + LEAST).double())

    own = colours_of_styles([[image] for image in images])
    expected = kl_divergence(normal(own), normal(targets)).mean().item() / 3
    assert colour_distance(images, targets).item() == pytest.approx(expected, rel=1e-2, abs=1e-4)


def test_statistics_are_averaged_over_pictures_of_any_size():
    pictures = [images_of(1)[0], 0.5 * images_of(1, 20, 30)[0]]
    each = torch.stack([colour_statistics([picture]) for picture in pictures])
    torch.testing.assert_close(colour_statistics(pictures), each.mean(0))


@pytest.mark.parametrize("strength", [0.5, 0.8, 1.25])
def test_paler_and_stronger_copies_are_penalised_and_a_mirrored_one_is_not(strength):
    picture = images_of(1)
    targets = colours_of_styles([[picture[0]]])
    mean = picture.mean((2, 3), keepdim=True)
    changed = colour_distance(mean + strength * (picture - mean), targets).item()
    assert changed == pytest.approx((strength**2 - 1) / 2 - np.log(strength), rel=0.05)
    assert colour_distance(picture.flip(3), targets).item() == pytest.approx(0, abs=1e-5)


def test_grey_is_penalised_as_much_in_light_colours_as_in_strong_ones():
    """Chroma counts in parts of the style's own."""
    light = images_of(1)[:, :1].expand(-1, 3, -1, -1)
    chroma = images_of(1, seed=1) - 0.5
    chroma = chroma - chroma.mean(1, keepdim=True)
    lost = []
    for strength in (0.3, 0.6):
        targets = colours_of_styles([[(light + strength * chroma)[0]]])
        lost.append(colour_distance(light + 0.5 * strength * chroma, targets).item())
    assert lost[0] > 0.05 and lost[0] == pytest.approx(lost[1], rel=0.25)


def test_images_and_styles_of_one_colour_have_finite_gradients():
    targets = colours_of_styles([[torch.full((3, 8, 8), 0.5)]])
    image = torch.full((1, 3, 8, 8), 0.2, requires_grad=True)
    colour_distance(image, targets).backward()
    assert image.grad.isfinite().all() and image.grad.abs().max() > 0


def test_mixed_precision_changes_nothing():
    images, targets = images_of(2), colours_of_styles([[images_of(1, seed=3)[0]]] * 2)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = colour_distance(images, targets)
    assert torch.equal(mixed, colour_distance(images, targets))
