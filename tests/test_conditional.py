"""Conditional instance norm is instance norm with a scale and shift read from a table of styles."""

from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from fst.networks.conditional import ConditionalInstanceNorm2d, Moments, normed

CHANNELS = 5
FORMATS = [torch.contiguous_format, torch.channels_last]


def random_norm(num_styles, num_channels=CHANNELS, seed=0):
    """A norm whose rows all differ."""
    torch.manual_seed(seed)
    norm = ConditionalInstanceNorm2d(num_styles, num_channels)
    nn.init.normal_(norm.gamma)
    nn.init.normal_(norm.beta)
    return norm


def torch_norm(gamma, beta):
    """PyTorch's own instance norm with a given scale and shift."""
    norm = nn.InstanceNorm2d(len(gamma), affine=True)
    norm.weight = nn.Parameter(gamma.detach().clone())
    norm.bias = nn.Parameter(beta.detach().clone())
    return norm


def features(batch=2, height=7, width=9, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return 3 * torch.randn(batch, CHANNELS, height, width, generator=generator) + 2


def test_a_new_norm_only_normalises():
    x = features()
    expected = nn.InstanceNorm2d(CHANNELS)(x)
    got = ConditionalInstanceNorm2d(4, CHANNELS)(x, torch.eye(4)[:2])
    torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize("as_map", [False, True])
@settings(max_examples=15, deadline=None)
@given(
    batch=st.integers(1, 3),
    height=st.integers(2, 12),
    width=st.integers(2, 12),
    seed=st.integers(0, 10**6),
)
def test_one_style_equals_affine_instance_norm(memory_format, as_map, batch, height, width, seed):
    norm = random_norm(1, seed=seed)
    x = features(batch, height, width, seed).to(memory_format=memory_format)
    weights = torch.ones(batch, 1, height, width) if as_map else torch.ones(batch, 1)
    expected = torch_norm(norm.gamma[0], norm.beta[0])(x)
    torch.testing.assert_close(norm(x, weights), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("memory_format", FORMATS)
def test_memory_format_is_kept(memory_format):
    x = features().to(memory_format=memory_format)
    y = random_norm(1)(x, torch.ones(2, 1))
    assert y.is_contiguous(memory_format=memory_format)


@pytest.mark.parametrize("as_map", [False, True])
def test_gradients_equal_those_of_affine_instance_norm(as_map):
    norm = random_norm(1)
    oracle = torch_norm(norm.gamma[0], norm.beta[0])
    x, downstream = features(), features(seed=2)
    x_ours, x_theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    weights = torch.ones(2, 1, *x.shape[2:]) if as_map else torch.ones(2, 1)
    (norm(x_ours, weights) * downstream).sum().backward()
    (oracle(x_theirs) * downstream).sum().backward()
    torch.testing.assert_close(x_ours.grad, x_theirs.grad, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(norm.gamma.grad[0], oracle.weight.grad, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(norm.beta.grad[0], oracle.bias.grad, rtol=1e-3, atol=1e-4)


def test_one_hot_weights_pick_the_row_of_each_image():
    norm, x, ids = random_norm(4), features(batch=3), [2, 0, 2]
    got = norm(x, torch.eye(4)[ids])
    for image, style, result in zip(x, ids, got, strict=True):
        expected = torch_norm(norm.gamma[style], norm.beta[style])(image[None])[0]
        torch.testing.assert_close(result, expected, rtol=1e-4, atol=1e-5)


def test_a_blend_uses_the_averaged_rows():
    norm, x = random_norm(3), features()
    weights = torch.tensor([[0.25, 0.0, 0.75], [0.5, 0.5, 0.0]])
    rows = [
        (0.25 * norm.gamma[0] + 0.75 * norm.gamma[2], 0.25 * norm.beta[0] + 0.75 * norm.beta[2]),
        ((norm.gamma[0] + norm.gamma[1]) / 2, (norm.beta[0] + norm.beta[1]) / 2),
    ]
    expected = torch.cat([torch_norm(*row)(x[i : i + 1]) for i, row in enumerate(rows)])
    torch.testing.assert_close(norm(x, weights), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("map_size", [(7, 9), (1, 1), (20, 31)])
def test_a_constant_map_equals_plain_weights(map_size):
    norm, x = random_norm(3), features()
    weights = torch.tensor([[0.2, 0.5, 0.3], [0.0, 1.0, 0.0]])
    maps = weights[:, :, None, None].expand(-1, -1, *map_size)
    torch.testing.assert_close(norm(x, maps), norm(x, weights), rtol=1e-4, atol=1e-5)


def test_a_map_in_two_halves_paints_each_half_in_its_style():
    norm, x = random_norm(2), features(height=6, width=8)
    maps = torch.zeros(2, 2, 6, 8)
    maps[:, 0, :, :4], maps[:, 1, :, 4:] = 1, 1
    got = norm(x, maps)
    # The statistics are still those of the whole image.
    left, right = (torch_norm(norm.gamma[s], norm.beta[s])(x) for s in (0, 1))
    torch.testing.assert_close(got[..., :4], left[..., :4], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(got[..., 4:], right[..., 4:], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize("as_map", [False, True])
def test_bf16_features_keep_their_type_and_lose_only_rounding(memory_format, as_map):
    norm, x = random_norm(1), features().to(torch.bfloat16).to(memory_format=memory_format)
    weights = torch.ones(2, 1, 7, 9) if as_map else torch.ones(2, 1)
    y = norm(x, weights)
    expected = torch_norm(norm.gamma[0], norm.beta[0])(x.float())
    assert y.dtype == torch.bfloat16
    # bf16 has 8 bits of precision: half a unit of 2^-8 relative to values up to 8.
    torch.testing.assert_close(y.float(), expected, rtol=2**-7, atol=2**-6)


def test_autocast_does_not_round_the_tables():
    norm, x = random_norm(3), features()
    weights = torch.eye(3)[[0, 2]]
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(norm(x, weights), norm(x, weights.bfloat16()))
        got = norm(x, weights)
    assert torch.equal(got, norm(x, weights))


def test_changing_one_row_leaves_other_styles_bit_identical():
    norm, x = random_norm(3), features()
    weights = torch.eye(3)[[0, 2]]
    before = norm(x, weights)
    with torch.no_grad():
        norm.gamma[1], norm.beta[1] = 1e6, -1e6
    assert torch.equal(norm(x, weights), before)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_moments_of_parts_are_those_of_the_whole(dtype):
    x = (3 * torch.randn(1, 5, 700, 300) + 20).to(dtype)
    x = x.contiguous(memory_format=torch.channels_last)
    moments = Moments()
    for part in x.split([1, 300, 399], dim=2):
        moments.add(part)
    variance, mean = torch.var_mean(x.double(), dim=(0, 2, 3), correction=0)
    assert torch.allclose(moments.mean, mean, rtol=1e-6)
    assert torch.allclose(moments.variance, variance, rtol=1e-5)


def test_a_large_image_is_normalised_as_precisely_as_a_small_one():
    # torch's fused kernel is wrong by 1e-3 here: it adds a megapixel up in fp32.
    x = (torch.randn(1, 4, 1024, 1024) * 2 + 3).contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        y = ConditionalInstanceNorm2d(1, 4)(x, torch.ones(1, 1))
    exact = F.instance_norm(x.double())
    assert (y - exact).abs().max() < 1e-5


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_any_floating_type_is_normalised_without_gradients_too(dtype):
    norm, x = ConditionalInstanceNorm2d(1, 4).to(dtype), torch.randn(2, 4, 9, 9).to(dtype)
    with torch.no_grad():
        y = norm(x, torch.ones(2, 1, dtype=dtype))
    assert y.dtype == dtype and (y.double() - F.instance_norm(x.double())).abs().max() < 0.03


@pytest.mark.parametrize("heights", [(40,), (7, 1, 32)])
def test_moments_merged_on_a_device_are_those_of_the_whole(heights):
    """A GPU is not waited for; the arithmetic is the same on a CPU."""
    x = 100 + torch.randn(1, 3, 40, 50, generator=torch.Generator().manual_seed(0))
    moments = Moments()
    for part in x.split(heights, dim=2):
        moments._add_there(part)
    wide = x.double()
    assert moments.count == 40 * 50 and moments.mean.dtype == torch.float64
    torch.testing.assert_close(moments.mean, wide.mean((0, 2, 3)), rtol=1e-6, atol=0)
    expected = wide.var((0, 2, 3), correction=0)
    torch.testing.assert_close(moments.variance, expected, rtol=1e-4, atol=0)


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_few_kernels_give_what_torch_gives_in_fp64(layout):
    x = torch.randn(3, 4, 5, 7, dtype=torch.float64).to(memory_format=layout)
    tables = torch.randn(2, 3, 4, 1, 1, dtype=torch.float64)
    weights = torch.randn_like(x)
    found = []
    for by in (lambda x, g, b: normed(x, g, b, 1e-5), lambda x, g, b: F.instance_norm(x) * g + b):
        given = [t.detach().clone().requires_grad_(True) for t in (x, *tables)]
        painted = by(*given)
        (painted * weights).sum().backward()
        found.append([painted.detach(), *(t.grad for t in given)])
    torch.testing.assert_close(*found)
    assert found[0][0].is_contiguous(memory_format=layout)
    assert found[0][1].is_contiguous(memory_format=layout)


def test_few_kernels_take_half_precision_and_sum_up_in_fp32():
    x = (torch.randn(2, 3, 64, 64) + 20).bfloat16()
    gamma, beta = torch.ones(2, 3, 1, 1), torch.zeros(2, 3, 1, 1)
    given = [t.clone().requires_grad_(True) for t in (x, gamma, beta)]
    painted = normed(*given, 1e-5)
    expected = F.instance_norm(x.double())
    assert painted.dtype == torch.bfloat16
    torch.testing.assert_close(painted.double(), expected, rtol=2**-8, atol=1e-3)
    painted.float().square().sum().backward()
    assert [t.grad.dtype for t in given] == [torch.bfloat16, torch.float32, torch.float32]
    torch.testing.assert_close(
        given[1].grad, torch.full((2, 3, 1, 1), 2 * 64.0**2), rtol=0.01, atol=0
    )


@settings(max_examples=40, deadline=None)
@given(
    channels=st.sampled_from([1, 3, 12, 48, 63, 64, 65, 130]),
    height=st.integers(1, 9),
    width=st.integers(1, 40),
    cuts=st.lists(st.integers(0, 8), max_size=2),
    memory_format=st.sampled_from(FORMATS),
    pooled=st.sampled_from([1, 3]),
)
def test_moments_are_those_of_all_pixels(channels, height, width, cuts, memory_format, pooled):
    """However many channels lie side by side, in any rows, neighbouring channels pooled or not."""
    channels *= pooled
    torch.manual_seed(0)
    x = 5 + torch.randn(1, channels, height, width) * torch.rand(channels, 1, 1)
    x = x.contiguous(memory_format=memory_format)
    moments, edges = Moments(), [0, *sorted(cut for cut in cuts if 0 < cut < height), height]
    for low, high in pairwise(edges):
        if low < high:
            moments.add(x[:, :, low:high])
    moments = moments.pooled(pooled)
    exact = x[0].double().reshape(channels // pooled, -1)
    assert moments.count == exact.shape[1]
    torch.testing.assert_close(moments.mean, exact.mean(1), rtol=1e-6, atol=1e-6)
    variance = exact.var(1, correction=0)
    torch.testing.assert_close(moments.variance, variance, rtol=1e-4, atol=1e-6)
