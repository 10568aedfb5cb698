"""The Gram matrix against a loop over its definition."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fst.losses.gram import gram_matrix


def naive_gram(features):
    """G[b, i, j] = sum over pixels of F[b, i] F[b, j] / (H W), entry by entry in fp64."""
    f = features.double().numpy()
    batch, channels, height, width = f.shape
    gram = np.zeros((batch, channels, channels))
    for b in range(batch):
        for i in range(channels):
            for j in range(channels):
                gram[b, i, j] = (f[b, i] * f[b, j]).sum() / (height * width)
    return torch.from_numpy(gram)


def random_features(shape, seed=0, dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def test_hand_computed_two_channels():
    features = torch.tensor([[[[1.0, 2.0]], [[3.0, -1.0]]]])  # two channels, two pixels
    assert gram_matrix(features).tolist() == [[[2.5, 0.5], [0.5, 5.0]]]


@settings(max_examples=25, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 3), st.integers(1, 5), st.integers(1, 6), st.integers(1, 6)),
    seed=st.integers(0, 10**6),
    channels_last=st.booleans(),
)
def test_equals_a_naive_loop(shape, seed, channels_last):
    features = random_features(shape, seed)
    if channels_last:
        features = features.to(memory_format=torch.channels_last)
    gram = gram_matrix(features)
    assert gram.dtype == torch.float64
    torch.testing.assert_close(gram, naive_gram(features), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_narrow_features_give_fp32(dtype):
    features = random_features((2, 4, 9, 5), dtype=dtype)
    gram = gram_matrix(features)
    assert gram.dtype == torch.float32
    torch.testing.assert_close(gram.double(), naive_gram(features), rtol=1e-5, atol=1e-5)


def test_large_half_precision_features_do_not_overflow():
    gram = gram_matrix(torch.full((1, 2, 64, 64), 1000.0, dtype=torch.float16))
    assert gram.tolist() == [[[1e6, 1e6], [1e6, 1e6]]]


def test_autocast_does_not_narrow_it():
    features = random_features((1, 3, 8, 8), dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        gram = gram_matrix(features)
    assert gram.dtype == torch.float32
    torch.testing.assert_close(gram.double(), naive_gram(features), rtol=1e-5, atol=1e-6)


def test_scaled_features_scale_it_by_the_square():
    features = random_features((1, 4, 6, 6))
    torch.testing.assert_close(gram_matrix(3 * features), 9 * gram_matrix(features))


def test_order_and_repetition_of_pixels_do_not_matter():
    features = random_features((1, 4, 6, 6))
    shuffled = features.flatten(2)[:, :, torch.randperm(36)].view_as(features)
    tiled = features.repeat(1, 1, 2, 3)
    torch.testing.assert_close(gram_matrix(shuffled), gram_matrix(features))
    torch.testing.assert_close(gram_matrix(tiled), gram_matrix(features))


def test_it_is_symmetric_and_positive_semidefinite():
    gram = gram_matrix(random_features((2, 6, 2, 2)))  # more channels than pixels: rank 4
    torch.testing.assert_close(gram, gram.transpose(1, 2))
    eigenvalues = torch.linalg.eigvalsh(gram)
    assert eigenvalues.min() > -1e-12
    assert (eigenvalues[:, :2].abs() < 1e-12).all() and (eigenvalues[:, 2:] > 1e-6).all()


def test_gradients():
    features = random_features((2, 3, 4, 2)).requires_grad_()
    assert torch.autograd.gradcheck(gram_matrix, features)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_gradient_is_that_of_the_product(memory_format):
    """Taken at once, not factor by factor, in the layout of the features."""
    torch.manual_seed(0)
    features = torch.randn(2, 3, 4, 5, dtype=torch.float64).to(memory_format=memory_format)
    features.requires_grad_()
    assert torch.autograd.gradcheck(gram_matrix, features)
    assert torch.autograd.gradgradcheck(gram_matrix, features)
    pull = torch.randn(2, 3, 3, dtype=torch.float64)  # not symmetric
    (gradient,) = torch.autograd.grad(gram_matrix(features), features, pull)
    assert gradient.is_contiguous(memory_format=memory_format)
