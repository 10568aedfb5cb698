"""The transformer network keeps sizes, conditions every convolution and keeps styles apart."""

import copy
import re

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from fst.networks.conditional import ConditionalInstanceNorm2d
from fst.networks.layers import ShuffledConv, UpsampleConv
from fst.networks.transformer import TransformerNet

STYLES = 3


def small_network(num_blocks=1, width=0.125):
    """A small network whose styles all differ."""
    torch.manual_seed(0)
    network = TransformerNet(STYLES, width=width, num_blocks=num_blocks)
    for norm in norms(network):
        nn.init.normal_(norm.gamma, mean=1, std=0.5)
        nn.init.normal_(norm.beta, std=0.5)
    return network.eval()


def norms(network):
    return [m for m in network.modules() if isinstance(m, ConditionalInstanceNorm2d)]


def photos(batch=2, height=24, width=20, seed=1):
    return torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(seed))


NETWORK = small_network()


@settings(max_examples=25, deadline=None)
@given(
    height=st.integers(16, 70),
    width=st.integers(16, 70),
    style=st.integers(0, STYLES - 1),
    as_map=st.booleans(),
)
def test_any_size_from_16_px_comes_back_in_range(height, width, style, as_map):
    weights = torch.eye(STYLES)[[style]]
    if as_map:
        weights = weights[:, :, None, None].expand(-1, -1, 5, 3)
    with torch.no_grad():
        painted = NETWORK(photos(1, height, width), weights)
    assert painted.shape == (1, 3, height, width)
    assert painted.dtype == torch.float32
    assert painted.min() >= 0 and painted.max() <= 1  # also false for NaN


@pytest.mark.parametrize(("height", "width"), [(15, 16), (16, 15), (1, 200)])
def test_images_below_16_px_are_refused(height, width):
    with pytest.raises(ValueError, match=f"{width}x{height} px.*at least 16 px"):
        NETWORK(photos(1, height, width), torch.eye(STYLES)[:1])


@pytest.mark.parametrize(
    "shape",
    [
        (STYLES,),
        (2, STYLES + 1),
        (2, STYLES - 1),
        (1, STYLES),
        (3, STYLES),
        (2, STYLES, 24),
        (2, STYLES + 1, 24, 20),
        (1, STYLES, 24, 20),
        (2, STYLES, 1, 24, 20),
    ],
)
def test_style_weights_that_do_not_fit_are_refused(shape):
    with pytest.raises(ValueError, match=r"style_weights must be \(2, 3\)"):
        NETWORK(photos(2), torch.ones(shape))


@pytest.mark.parametrize("shape", [(3, 24, 20), (1, 1, 24, 20), (1, 4, 24, 20)])
def test_content_that_is_no_rgb_batch_is_refused(shape):
    with pytest.raises(ValueError, match=r"content must be \(B, 3, H, W\)"):
        NETWORK(torch.rand(shape), torch.eye(STYLES)[:1])


def test_one_hot_is_the_unit_row_of_the_style():
    got = NETWORK.one_hot(torch.tensor([2, 0]))
    assert got.tolist() == [[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]


def test_styles_paint_different_pictures():
    photo = photos(1).expand(STYLES, -1, -1, -1)
    painted = NETWORK(photo, torch.eye(STYLES))
    for first, second in ((0, 1), (0, 2), (1, 2)):
        assert (painted[first] - painted[second]).abs().mean() > 0.01


def test_a_mixed_batch_equals_single_calls():
    photo, ids = photos(3), torch.tensor([1, 2, 1])
    together = NETWORK(photo, NETWORK.one_hot(ids))
    alone = [NETWORK(photo[i : i + 1], NETWORK.one_hot(ids[i : i + 1])) for i in range(3)]
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("height", "width"), [(24, 20), (17, 30)])
@pytest.mark.parametrize("map_size", [None, (1, 1), (50, 7)])
def test_a_constant_one_hot_map_equals_plain_weights(height, width, map_size):
    photo, weights = photos(2, height, width), torch.eye(STYLES)[[2, 0]]
    maps = weights[:, :, None, None].expand(-1, -1, *(map_size or (height, width)))
    torch.testing.assert_close(NETWORK(photo, maps), NETWORK(photo, weights), rtol=0, atol=1e-5)


def test_a_map_in_halves_paints_the_far_sides_differently():
    photo = photos(1, 32, 64)
    maps = torch.zeros(1, STYLES, 32, 64)
    maps[:, 0, :, :32], maps[:, 1, :, 32:] = 1, 1
    swapped = maps[:, [1, 0, 2]]
    difference = (NETWORK(photo, maps) - NETWORK(photo, swapped)).abs().mean((0, 1, 2))
    assert difference[:16].mean() > 0.01 and difference[-16:].mean() > 0.01


@pytest.mark.parametrize("batched", [False, True])
def test_changing_one_style_leaves_the_others_bit_identical(batched):
    network = small_network(num_blocks=2)
    ids = torch.tensor([0, 2]) if batched else torch.tensor([2])
    photo = photos(len(ids))
    before = network(photo, network.one_hot(ids))
    changed = network(photo, network.one_hot(torch.ones_like(ids)))
    with torch.no_grad():
        for norm in norms(network):
            norm.gamma[1].uniform_(-9, 9)
            norm.beta[1].uniform_(-9, 9)
    assert torch.equal(network(photo, network.one_hot(ids)), before)
    assert not torch.equal(network(photo, network.one_hot(torch.ones_like(ids))), changed)


@pytest.mark.parametrize("as_map", [False, True])
def test_gradients_of_an_absent_style_are_exact_zeros(as_map):
    network = small_network()
    weights = network.one_hot(torch.tensor([0, 2]))
    if as_map:
        weights = weights[:, :, None, None].expand(-1, -1, 24, 20)
    network(photos(2), weights).square().sum().backward()
    for norm in norms(network):
        for table in (norm.gamma, norm.beta):
            assert table.grad[1].count_nonzero() == 0
            assert table.grad[0].count_nonzero() and table.grad[2].count_nonzero()


def test_every_convolution_is_followed_by_a_conditional_norm():
    network = TransformerNet(2)
    order = []
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, ConditionalInstanceNorm2d)):
            module.register_forward_hook(lambda m, *_: order.append(m))
        # It reads the kernel of its convolution without calling it.
        if isinstance(module, UpsampleConv):
            module.register_forward_pre_hook(lambda m, _: order.append(m.conv))
    with torch.no_grad():
        network(photos(1, 16, 16), torch.eye(2)[:1])
    assert len(order) == 2 * (2 + 2 * 8 + 2)
    for conv, norm in zip(order[::2], order[1::2], strict=True):
        assert isinstance(conv, nn.Conv2d) and isinstance(norm, ConditionalInstanceNorm2d)
        maps = 4 if conv is network.conv_out.conv else 1  # for each channel
        assert norm.gamma.shape == norm.beta.shape == (2, conv.out_channels // maps)
    other = [m for m in network.modules() if "Norm" in type(m).__name__ and m not in order]
    assert not other


NORM_NAMES = [
    name
    for name, module in small_network(num_blocks=2).named_modules()
    if isinstance(module, ConditionalInstanceNorm2d)
]


def change_by_perturbing(norm_name, table, style):
    """The largest change of a picture in style 1 when one row of one table is perturbed."""
    network = small_network(num_blocks=2)
    photo, weights = photos(1), torch.eye(STYLES)[[1]]
    with torch.no_grad():
        before = network(photo, weights)
        row = getattr(network.get_submodule(norm_name), table)[style]
        row += torch.linspace(0.5, 1.5, len(row))  # a common factor could cancel in a later norm
        return (network(photo, weights) - before).abs().max().item()


@pytest.mark.parametrize("norm_name", NORM_NAMES)
def test_each_norm_is_conditioned_on_the_style(norm_name):
    assert change_by_perturbing(norm_name, "gamma", style=1) > 1e-4
    assert change_by_perturbing(norm_name, "gamma", style=0) == 0
    assert change_by_perturbing(norm_name, "beta", style=0) == 0
    # A shift at the end of a residual block is a constant that only convolutions followed by a
    # norm ever see, and a norm removes constants: these shifts alone can have no effect.
    if not re.fullmatch(r"blocks\.\d+\.conv2\.norm", norm_name):
        assert change_by_perturbing(norm_name, "beta", style=1) > 1e-4


def test_a_style_costs_3526_numbers_at_width_1():
    counts = [sum(p.numel() for p in TransformerNet(s).parameters()) for s in (1, 2)]
    # A gamma and a beta for each output channel of the 20 convolutions, counted by hand.
    channels = 64 + 96 + 8 * (96 + 96) + 64 + 3
    assert counts[1] - counts[0] == 2 * channels == 3526


def test_width_scales_the_channels_and_never_to_none():
    assert TransformerNet(1, width=0.25).down.conv.out_channels == 24
    assert TransformerNet(1, width=0.001, num_blocks=0).conv_in.conv.out_channels == 1


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@settings(max_examples=15, deadline=None)
@given(
    height=st.integers(2, 9),
    width=st.integers(2, 9),
    channels=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    seed=st.integers(0, 10**6),
)
def test_upsampling_equals_nearest_reflect_and_a_3x3_convolution(
    memory_format, height, width, channels, seed
):
    torch.manual_seed(seed)
    layer = UpsampleConv(1, *channels)
    nn.init.normal_(layer.norm.gamma)
    oracle = nn.InstanceNorm2d(channels[1], affine=True)
    oracle.weight, oracle.bias = (
        nn.Parameter(t[0].detach().clone()) for t in (layer.norm.gamma, layer.norm.beta)
    )
    kernel = layer.conv.weight.detach().clone().requires_grad_()
    x = torch.randn(2, channels[0], height, width).to(memory_format=memory_format)
    x_ours, x_naive = x.clone().requires_grad_(), x.clone().requires_grad_()

    large = F.interpolate(x_naive, scale_factor=2, mode="nearest")
    expected = oracle(F.conv2d(F.pad(large, (1, 1, 1, 1), mode="reflect"), kernel))
    got = layer(x_ours, torch.ones(2, 1))
    assert got.shape == (2, channels[1], 2 * height, 2 * width)
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-4)

    downstream = torch.randn_like(expected)
    (got * downstream).sum().backward()
    (expected * downstream).sum().backward()
    torch.testing.assert_close(x_ours.grad, x_naive.grad, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(layer.conv.weight.grad, kernel.grad, rtol=1e-3, atol=1e-3)


def test_four_pixels_a_place_are_shuffled():
    torch.manual_seed(0)
    layer = ShuffledConv(1, 4, 2, 3)
    nn.init.normal_(layer.norm.gamma)
    x, one = torch.randn(2, 4, 6, 5), torch.ones(2, 1)
    painted = layer(x, one)
    assert painted.shape == (2, 2, 12, 10)
    assert torch.equal(
        painted[:, :, ::2, ::2].repeat_interleave(2, 2).repeat_interleave(2, 3), painted
    )
    weight = nn.init.normal_(layer.conv.weight).detach().numpy().reshape(2, 4, 4, 9)
    sums = weight.sum(3, keepdims=True)
    even = weight + (sums.mean(1, keepdims=True) - sums) / 9  # the four of a colour sum up alike
    kernel = torch.from_numpy(even.reshape(8, 4, 3, 3))
    maps = F.conv2d(F.pad(x, (1, 1, 1, 1), mode="reflect"), kernel)
    expected = torch.zeros(2, 2, 12, 10)
    for channel in range(2):
        for place in range(4):
            rows, columns = slice(place // 2, None, 2), slice(place % 2, None, 2)
            expected[:, channel, rows, columns] = maps[:, 4 * channel + place]
    expected = F.instance_norm(expected, weight=layer.norm.gamma[0])
    torch.testing.assert_close(layer(x, one), expected, rtol=1e-4, atol=1e-5)


def test_flat_features_give_flat_paint():
    layer = ShuffledConv(1, 4, 3, 5)
    nn.init.normal_(layer.conv.weight)
    with torch.no_grad():
        painted = F.pixel_shuffle(layer.conv(torch.randn(1, 4, 1, 1).expand(1, 4, 9, 8)), 2)
    assert painted.std((2, 3)).max() < 1e-4 < painted.std()


def test_upsampling_and_its_gradients_equal_the_naive_form_to_1e_5():
    torch.manual_seed(0)
    layer = UpsampleConv(1, 6, 5).double()
    x = torch.randn(2, 6, 7, 5, dtype=torch.float64)
    x_ours, x_naive = x.clone().requires_grad_(), x.clone().requires_grad_()
    kernel = layer.conv.weight.detach().clone().requires_grad_()
    large = F.pad(F.interpolate(x_naive, scale_factor=2), (1, 1, 1, 1), mode="reflect")
    expected = F.instance_norm(F.conv2d(large, kernel))
    got = layer(x_ours, torch.ones(2, 1))
    downstream = torch.randn_like(expected)
    (got * downstream).sum().backward()
    (expected * downstream).sum().backward()
    exact = {"rtol": 0, "atol": 1e-5}
    torch.testing.assert_close(got, expected, **exact)
    torch.testing.assert_close(x_ours.grad, x_naive.grad, **exact)
    torch.testing.assert_close(layer.conv.weight.grad, kernel.grad, **exact)


def test_upsampling_has_second_derivatives_and_a_result_that_may_be_changed():
    torch.manual_seed(0)
    layer = UpsampleConv(1, 2, 2).double()
    x = torch.randn(1, 2, 4, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: F.softplus(layer.convolved(x)), x)
    assert torch.autograd.gradgradcheck(lambda x: F.softplus(layer.convolved(x)), x)
    wanted = torch.autograd.grad(F.relu(layer.convolved(x)).sum(), x)
    got = torch.autograd.grad(F.relu_(layer.convolved(x)).sum(), x)
    torch.testing.assert_close(got, wanted)


def test_channels_last_paints_the_same_picture():
    network = copy.deepcopy(NETWORK).to(memory_format=torch.channels_last)
    photo, weights = photos(2, 33, 22), torch.eye(STYLES)[[0, 1]]
    got = network(photo.to(memory_format=torch.channels_last), weights)
    torch.testing.assert_close(got, NETWORK(photo, weights), rtol=0, atol=1e-5)


def test_bf16_autocast_paints_nearly_the_same_picture():
    photo, weights = photos(2), torch.eye(STYLES)[[0, 1]]
    with torch.no_grad():
        expected = NETWORK(photo, weights)
        with torch.autocast("cpu", torch.bfloat16):
            got = NETWORK(photo, weights)
    assert got.dtype == torch.float32
    assert (got - expected).abs().mean() < 0.02


@pytest.mark.parametrize("margin", [4, 8])
@pytest.mark.parametrize("as_map", [False, True])
def test_the_margin_is_painted_with_the_image_and_cut_off(margin, as_map):
    """But not in training; a map of styles goes on in it as at the border."""
    network, photo = copy.deepcopy(NETWORK).eval(), photos(1, 22, 35)
    weights = torch.rand(1, STYLES, 22, 35).softmax(1) if as_map else torch.eye(STYLES)[1:2]
    sides = margin, margin + 1, margin, margin + 2  # to 24 x 36
    larger = F.pad(photo, sides, mode="reflect")
    around = F.pad(weights, sides, mode="replicate") if as_map else weights
    with torch.no_grad():
        plain, expected = network(photo, weights), network(larger, around)
        network.margin = margin
        got = network(photo, weights)
        in_training = network.train()(photo, weights)
    expected = expected[:, :, margin:, margin:][:, :, :22, :35]
    torch.testing.assert_close(got, expected, rtol=0, atol=2e-5)
    assert (got - plain).abs().max() > 1e-3
    torch.testing.assert_close(in_training, plain, rtol=0, atol=0)


def test_a_norm_of_a_users_own_is_given_the_style_weights():
    class Doubled(ConditionalInstanceNorm2d):
        def forward(self, x, style_weights):
            return super().forward(x, 2 * style_weights)

    network = TransformerNet(2, 0.125, 1)
    photos, weights = torch.rand(2, 3, 32, 32), torch.eye(2)
    with torch.no_grad():
        network.down.norm.gamma.mul_(2)
        network.down.norm.beta.add_(0.1).mul_(2)
        expected = network(photos, weights)
        network.down.norm.gamma.div_(2)
        network.down.norm.beta.div_(2)
        network.down.norm.__class__ = Doubled
        torch.testing.assert_close(network(photos, weights), expected)
