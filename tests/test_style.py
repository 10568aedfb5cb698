"""The style losses: targets of one or more pictures and distances from them."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fst.losses.gram import gram_matrix
from fst.losses.style import classic_distance, gram, gram_distance, gram_target
from fst.losses.style_loss import StyleLoss


def random_features(batch=2, channels=3, height=5, width=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, channels, height, width, generator=generator, dtype=torch.float64)


def naive_gram(image):
    """Gram matrix of one (C, H, W) image, divided by H W."""
    channels, height, width = image.shape
    flat = image.numpy().reshape(channels, -1)
    return np.einsum("in,jn->ij", flat, flat) / (height * width)


def test_one_picture_gives_its_own_gram_matrix():
    picture = random_features(batch=1)
    np.testing.assert_allclose(
        gram_target([picture])[0].numpy(), naive_gram(picture[0]), rtol=1e-12
    )


def test_several_pictures_give_the_mean_of_their_gram_matrices():
    sizes = [(5, 4), (9, 2), (3, 3)]
    pictures = [random_features(1, 3, *size, seed=i) for i, size in enumerate(sizes)]
    expected = sum(naive_gram(picture[0]) for picture in pictures) / 3
    target, _ = gram_target(pictures)
    assert target.shape == (3, 3)
    np.testing.assert_allclose(target.numpy(), expected, rtol=1e-12)


def test_gram_distance_by_hand():
    # G = diag(1, 0) and A = diag(3, 4): (2^2 + 4^2) / (3^2 + 4^2).
    features = torch.tensor([[[[1.0]], [[0.0]]]])
    distance = gram_distance(
        features, torch.diag(torch.tensor([3.0, 4.0]))[None], torch.tensor([25.0])
    )
    assert distance.item() == pytest.approx(0.8)


def test_classic_distance_by_hand():
    # As above, over C = 2, squared, mean of four entries: (2^2 + 4^2) / 2^2 / 4.
    features = torch.tensor([[[[1.0]], [[0.0]]]])
    target = torch.diag(torch.tensor([3.0, 4.0]))[None]
    assert classic_distance(features, target, None).item() == 1.25


def squared(targets):
    return targets.square().sum((1, 2))


@settings(max_examples=20, deadline=None)
@given(channels=st.integers(1, 5), seed=st.integers(0, 10**6))
def test_distances_equal_numpy_image_by_image(channels, seed):
    features = random_features(3, channels, seed=seed)
    targets = gram_matrix(random_features(3, channels, seed=seed + 1))
    relative = gram_distance(features, targets, squared(targets))
    classic = classic_distance(features, targets, None)
    for i in range(3):
        gram, target = naive_gram(features[i]), targets[i].numpy()
        ratio = np.linalg.norm(gram - target) ** 2 / np.linalg.norm(target) ** 2
        mse = np.mean((gram / channels - target / channels) ** 2)
        np.testing.assert_allclose(relative[i].item(), ratio, rtol=1e-9)
        np.testing.assert_allclose(classic[i].item(), mse, rtol=1e-9)


@pytest.mark.parametrize("loss", [gram(), StyleLoss(gram_target, classic_distance)])
def test_the_style_picture_itself_has_distance_zero(loss):
    picture = random_features(batch=1)
    targets = (target[None] for target in loss.target([picture]))
    assert loss.distance(picture, *targets).item() == 0


def test_a_black_image_has_distance_one():
    targets = (target[None] for target in gram_target([random_features(1)]))
    torch.testing.assert_close(
        gram_distance(torch.zeros(1, 3, 4, 4, dtype=torch.float64), *targets).item(), 1.0
    )


def test_a_common_factor_leaves_the_relative_distance_alone():
    features, style = random_features(1), random_features(1, seed=1)
    target, larger = gram_matrix(style), gram_matrix(100 * style)
    plain = gram_distance(features, target, squared(target))
    scaled = gram_distance(100 * features, larger, squared(larger))
    torch.testing.assert_close(scaled, plain)


def test_a_common_factor_raises_the_classic_distance_to_its_fourth_power():
    features, style = random_features(1), random_features(1, seed=1)
    plain = classic_distance(features, gram_matrix(style), None)
    scaled = classic_distance(3 * features, gram_matrix(3 * style), None)
    torch.testing.assert_close(scaled, 81 * plain)


def test_an_all_zero_target_gives_a_finite_distance():
    distance = gram_distance(torch.ones(1, 2, 3, 3), torch.zeros(1, 2, 2), torch.zeros(1))
    assert torch.isfinite(distance).all()


@pytest.mark.parametrize("distance", [gram_distance, classic_distance])
def test_distance_is_fp32_for_bf16_features(distance):
    features = random_features().to(torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        targets = torch.eye(3).expand(2, 3, 3)
        assert distance(features, targets, squared(targets)).dtype == torch.float32


@pytest.mark.parametrize("distance", [gram_distance, classic_distance])
def test_gradients(distance):
    targets = gram_matrix(random_features(seed=1))
    features = random_features().requires_grad_()
    assert torch.autograd.gradcheck(lambda f: distance(f, targets, squared(targets)), features)
