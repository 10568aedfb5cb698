"""The Wasserstein distance of normal distributions, against numpy and closed forms."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fst.losses import wasserstein
from fst.losses.parse import read_statistic
from fst.losses.wasserstein import (
    Pair,
    blurred_root,
    distances_together,
    gaussian_wasserstein,
    roots_by_eigenvalues,
    roots_by_products,
)

ROOTS = (roots_by_eigenvalues, roots_by_products)


def test_wasserstein_of_independent_channels_is_the_closed_form():
    mean, other = torch.tensor([[1.0, 2.0]]), torch.tensor([[0.0, 4.0]])
    covariance = torch.diag(torch.tensor([4.0, 9.0]))[None]
    root = torch.diag(torch.tensor([1.0, 5.0]))[None]
    # (1 - 0)^2 + (2 - 4)^2 + (2 - 1)^2 + (3 - 5)^2
    found = gaussian_wasserstein(Pair(mean, covariance, other, root, torch.zeros(1)))
    assert found[0].item() == pytest.approx(10.0)


def test_the_blur_is_added_to_both_distributions():
    variances = torch.diag(torch.tensor([1.0, 0.0, 9.0]))
    root, blur = blurred_root(torch.zeros(3), variances)
    assert blur.item() == pytest.approx(9e-3)
    expected = np.diag(np.sqrt([1.009, 0.009, 9.009]))
    np.testing.assert_allclose(root.numpy(), expected, rtol=1e-6, atol=1e-9)
    mean = torch.zeros(1, 3)
    found = gaussian_wasserstein(Pair(mean, variances[None], mean, root[None], blur[None]))
    assert found[0].item() == pytest.approx(0, abs=1e-5)


@settings(max_examples=30, deadline=None)
@given(
    channels=st.integers(1, 24), decades=st.floats(0, 5), scale=st.floats(1e-6, 1e6),
    seed=st.integers(0, 999), way=st.sampled_from(ROOTS),
)  # fmt: skip
def test_roots_are_those_of_numpys_eigenvalues(channels, decades, scale, seed, way):
    random = np.random.default_rng(seed)
    turned = np.linalg.qr(random.normal(size=(channels, channels)))[0]
    values = scale * np.logspace(0, -decades, channels)
    matrix = torch.from_numpy((turned * values) @ turned.T)[None]
    for dtype, tolerance in ((torch.float64, 1e-6), (torch.float32, 2e-2)):
        root, inverse = way(matrix.to(dtype))
        assert root.dtype == dtype
        expected = (turned * values**0.5) @ turned.T, (turned * values**-0.5) @ turned.T
        for found, right in zip((root, inverse), expected, strict=True):
            difference = np.linalg.norm(found[0].double().numpy() - right)
            assert difference <= tolerance * np.linalg.norm(right)


@pytest.mark.parametrize("way", ROOTS)
def test_a_matrix_of_nan_has_roots_of_nan_and_raises_nothing(way):
    matrix = torch.eye(3).repeat(2, 1, 1)
    matrix[0, 0, 0] = torch.nan
    assert way(matrix)[0][0].isnan().all()


def distances_and_gradients(measure, pairs):
    distances = measure(pairs)
    total = sum((n + 1) * distance.sum() for n, distance in enumerate(distances))
    return *distances, *torch.autograd.grad(total, [part for pair in pairs for part in pair])


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-6), (torch.float32, 1e-3)], ids=str
)
def test_layers_together_by_products_are_each_alone(monkeypatch, dtype, tolerance):
    """Small ones are taken as one size; 300 channels are more than that."""
    pairs = []
    for size in (3, 300, 40, 256):
        mean, other_mean = torch.rand(2, 2, size, dtype=dtype)
        features = torch.randn(2, 2, size, 2 * size, dtype=dtype)
        covariance, other_root = features @ features.mT / size
        pairs.append([t.requires_grad_() for t in (mean, covariance, other_mean, other_root)])

    def alone(pairs):
        blur = torch.zeros(2, dtype=dtype)
        return [gaussian_wasserstein(Pair(*pair, blur))[0] for pair in pairs]

    expected = distances_and_gradients(alone, pairs)
    monkeypatch.setattr(wasserstein, "roots_by_eigenvalues", roots_by_products)
    found = distances_and_gradients(distances_together, pairs)
    for one, other in zip(found, expected, strict=True):
        assert (one - other).norm() <= tolerance * other.norm()


@pytest.mark.parametrize(("decades", "tolerance"), [(2, 2e-4), (6, 2e-2)])
def test_the_trace_and_the_inverse_by_products_in_fp32(decades, tolerance):
    """What the distance and its gradient are made of; the trace is the exacter by far."""
    random = np.random.default_rng(decades)
    turned = np.linalg.qr(random.normal(size=(64, 64)))[0]
    values = np.logspace(0, -decades, 64)
    floor = np.finfo(np.float32).eps * values.sum()
    values += floor  # or rounding to fp32 could make one negative
    matrix = torch.from_numpy((turned * values) @ turned.T)[None].float()
    values += floor  # as the function does
    root, inverse = roots_by_products(matrix)
    assert wasserstein.traces(root).item() == pytest.approx(np.sqrt(values).sum(), rel=2e-5)
    expected = (turned / np.sqrt(values)) @ turned.T
    difference = np.linalg.norm(inverse[0].double().numpy() - expected)
    assert difference < tolerance * np.linalg.norm(expected)


def test_a_statistic_takes_several_layers_as_each_alone():
    loss = read_statistic("wasserstein").loss
    styles = [torch.rand(1, channels, 5, 7) for channels in (2, 6, 3)]
    targets = [[part[None] for part in loss.target([style])] for style in styles]
    images = [torch.rand_like(style, requires_grad=True) for style in styles]
    together = loss.distances(images, targets)
    gradients = torch.autograd.grad(sum(n * d for n, d in enumerate(together, 1)), images)
    for n, (image, target) in enumerate(zip(images, targets, strict=True)):
        alone = loss.distance(image, *target)
        torch.testing.assert_close(together[n], alone)
        torch.testing.assert_close(gradients[n], torch.autograd.grad((n + 1) * alone, image)[0])
