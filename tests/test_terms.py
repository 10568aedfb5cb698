"""The terms beside style: hand computed, and the grid pattern against a naive loop."""

import pytest
import torch

from fst.losses.terms import (
    GRIDS,
    content_distance,
    grid_pattern,
    pattern_energy,
    total_variation,
)


def pictures(batch=2, height=40, width=32, seed=1):
    return torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(seed))


def test_content_distance_by_hand():
    features = torch.tensor([1.0, 2.0, 3.0, 4.0]).view(1, 1, 2, 2)
    target = torch.tensor([1.0, 0.0, 3.0, 2.0]).view(1, 1, 2, 2)
    assert content_distance(features, target).tolist() == pytest.approx([8 / 14])


def test_a_common_factor_leaves_the_content_distance_alone():
    features, target = pictures(), pictures(seed=2)
    scaled = content_distance(7 * features, 7 * target)
    torch.testing.assert_close(scaled, content_distance(features, target))


def test_total_variation_by_hand():
    image = torch.tensor([[0.0, 1.0, 1.0], [0.5, 1.0, 0.0]]).expand(1, 3, 2, 3)
    rows = (0.25 + 0 + 1) / 3
    columns = (1 + 0 + 0.25 + 1) / 4
    assert total_variation(image).item() == pytest.approx(rows + columns)
    assert total_variation(torch.full((1, 3, 4, 4), 0.7)).item() == 0


def test_gradients_of_content_distance_and_total_variation():
    features = pictures(2, 3, 4).double().requires_grad_()
    target = pictures(2, 3, 4, seed=2).double()
    assert torch.autograd.gradcheck(lambda f: content_distance(f, target), features)
    assert torch.autograd.gradcheck(total_variation, features)


def test_a_pattern_in_step_with_the_grid_is_measured_and_strokes_are_not():
    wide = torch.zeros(1, 3, 70, 140)
    assert grid_pattern(wide) == 0
    wide[..., ::4, :] = 1  # a quarter of the rows: 1 0 0 0 at a period of 4 px, 1/2 0 at one of 2
    torch.testing.assert_close(grid_pattern(wide), torch.tensor(0.25 * 0.75 + 10 * 0.25 * 0.25))
    out_of_step = torch.zeros(1, 3, 64, 64)
    out_of_step[..., ::5, :] = 1
    for period, tile, _ in GRIDS:
        assert pattern_energy(out_of_step, period, tile) < 0.005
    assert grid_pattern(wide[..., :12]) == 0  # smaller than a tile


def test_a_patch_of_checkerboard_is_measured_and_a_larger_one_is_not():
    patch = torch.zeros(1, 3, 64, 64)
    patch[..., :16:2, :16:2] = patch[..., 1:16:2, 1:16:2] = 1
    torch.testing.assert_close(grid_pattern(patch), torch.tensor(10 * 0.25 / 16 + 0.25 / 16**2))
    large = torch.zeros(1, 3, 64, 64)
    large.unflatten(3, (8, 8)).unflatten(2, (8, 8))[:, :, ::2, :, ::2] = 1
    assert grid_pattern(large) < 1e-6


def test_the_grid_pattern_equals_a_naive_loop():
    image, expected = pictures(1, 128, 64), 0.0
    for period, size, weight in ((4, 64, 1), (2, 16, 10)):
        variances = []
        for top in range(0, 128, size):
            for left in range(0, 64, size):
                for channel in range(3):
                    tile = image[0, channel, top : top + size, left : left + size]
                    places = [(p, q) for p in range(period) for q in range(period)]
                    means = [tile[p::period, q::period].mean() for p, q in places]
                    variances.append(torch.stack(means).var(correction=0))
        expected = expected + weight * torch.stack(variances).mean()
    torch.testing.assert_close(grid_pattern(image), expected)
