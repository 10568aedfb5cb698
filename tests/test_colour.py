"""The term for contrast and colours: a painting as strong as its style's pictures."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fst.losses.colour import (
    LEAST_DEVIATION,
    by_last_norm,
    colour_distance,
    colour_statistics,
)

SIDES = st.integers(2, 12)


def images_of(count, height=9, width=7, seed=0):
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(seed))


@given(SIDES, SIDES, st.integers(1, 4), st.integers(0, 99))
def test_the_distance_is_that_of_numpy(height, width, count, seed):
    images, pictures = images_of(count, height, width, seed), images_of(count, 5, 6, seed + 100)
    targets = torch.stack([colour_statistics([picture]) for picture in pictures])
    y, s = images.double().numpy(), pictures.double().numpy()
    parts = (y.mean((2, 3)) - s.mean((2, 3))) ** 2 + (y.std((2, 3)) - s.std((2, 3))) ** 2
    expected = (parts / np.maximum(s.std((2, 3)), LEAST_DEVIATION) ** 2).mean()
    assert colour_distance(images, targets).item() == pytest.approx(expected, rel=1e-3, abs=1e-5)


def test_statistics_are_averaged_over_pictures_of_any_size():
    pictures = [images_of(1)[0], 0.5 * images_of(1, 20, 30)[0]]
    each = torch.stack([colour_statistics([picture]) for picture in pictures])
    torch.testing.assert_close(colour_statistics(pictures), each.mean(0))


@pytest.mark.parametrize("strength", [0.5, 0.8, 1.25])
def test_only_the_strength_of_the_style_is_not_penalised(strength):
    picture = images_of(1)
    targets = colour_statistics(list(picture))[None]
    mean = picture.mean((2, 3), keepdim=True)
    weaker = colour_distance(mean + strength * (picture - mean), targets).item()
    assert weaker == pytest.approx((1 - strength) ** 2, rel=1e-3)
    assert colour_distance(picture.flip(3), targets).item() == pytest.approx(0, abs=1e-9)


def test_images_and_styles_of_one_colour_have_finite_gradients():
    targets = colour_statistics([torch.full((3, 8, 8), 0.5)])[None]
    image = torch.full((1, 3, 8, 8), 0.2, requires_grad=True)
    colour_distance(image, targets).backward()
    assert image.grad.isfinite().all() and image.grad.abs().max() > 0


def test_images_by_the_last_norm_have_the_gradient_of_its_formula():
    features = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0)).double()
    gamma = torch.tensor([[0.5, 2.0, -1.0], [1.5, 0.1, 3.0]]).double().requires_grad_()
    beta = torch.tensor([[0.0, -1.0, 2.0], [0.3, 0.0, 1.0]]).double().requires_grad_()
    painted = (gamma[:, :, None, None] * features + beta[:, :, None, None]).sigmoid()
    again = by_last_norm(painted, gamma, beta)
    torch.testing.assert_close(again.float(), painted.float())
    wanted = torch.autograd.grad(painted.square().sum(), (gamma, beta), retain_graph=True)
    found = torch.autograd.grad(again.square().sum(), (gamma, beta))
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one.float(), other.float(), rtol=1e-4, atol=1e-4)


def test_images_at_their_limits_have_finite_gradients():
    gamma, beta = torch.ones(1, 3, requires_grad=True), torch.zeros(1, 3, requires_grad=True)
    by_last_norm(torch.tensor([0.0, 1.0]).expand(1, 3, 4, 2), gamma, beta).sum().backward()
    assert gamma.grad.isfinite().all() and beta.grad.isfinite().all()
