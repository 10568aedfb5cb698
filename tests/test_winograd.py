"""Convolutions by Winograd's way against torch's in fp64."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from fst.networks import winograd
from fst.networks.winograd import Conv3x3, pays_off

FEWEST_TILES = winograd.FEWEST_TILES
WITHIN = 2e-5  # of the norm; direct fp32 convolutions reach 1e-6


@pytest.fixture(autouse=True, scope="module")
def small_maps_too():
    """What is tested here is the way, not when it is taken."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(winograd, "FEWEST_TILES", 1)
        yield


def error(got: Tensor, expected: Tensor) -> float:
    """Relative error in the Frobenius norm."""
    return ((got - expected).norm() / expected.norm()).item()


def in_fp64(conv: Conv3x3) -> nn.Conv2d:
    """torch's own layer of the same parameters."""
    same = nn.Conv2d(
        *(conv.in_channels, conv.out_channels, 3, 1, conv.padding),
        bias=conv.bias is not None,
        padding_mode=conv.padding_mode,
    )
    same.load_state_dict(conv.state_dict())
    return same.double()


@settings(max_examples=30, deadline=None)
@given(
    batch=st.integers(1, 3),
    height=st.integers(3, 23),
    width=st.integers(3, 23),
    channels=st.sampled_from([(32, 33), (64, 128), (130, 65), (128, 128)]),
    padding=st.sampled_from([(0, "zeros"), (1, "zeros"), (1, "reflect")]),
    bias=st.booleans(),
    channels_last=st.booleans(),
    chunk=st.sampled_from([1, 2**10, 2**15]),
)
def test_result_and_gradients_are_those_of_torch(
    batch, height, width, channels, padding, bias, channels_last, chunk
):
    """Any size, however it is cut into parts, with each kind of border."""
    torch.manual_seed(0)
    conv = Conv3x3(*channels, padding=padding[0], bias=bias, padding_mode=padding[1])
    x = torch.randn(batch, channels[0], height, width)
    if channels_last:
        x = x.contiguous(memory_format=torch.channels_last)
    x.requires_grad_()
    assert pays_off(x, conv.weight)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(winograd, "CHUNK_NUMBERS", chunk)
        y = conv(x)
        pull = torch.randn_like(y)
        gradients = torch.autograd.grad(y, (x, *conv.parameters()), pull)
    exact, x = in_fp64(conv), x.detach().double().requires_grad_()
    expected = exact(x)
    assert y.shape == expected.shape
    assert error(y, expected) < WITHIN
    expected = torch.autograd.grad(expected, (x, *exact.parameters()), pull.double())
    for got, wanted in zip(gradients, expected, strict=True):
        assert error(got, wanted) < WITHIN


@pytest.mark.parametrize("channels", [(64, 128), (32, 64)])
@pytest.mark.parametrize("bias", [True, False])
def test_second_derivatives_are_those_of_torch(channels, bias):
    conv, x = Conv3x3(*channels, padding=1, bias=bias), torch.randn(2, channels[0], 7, 6)
    gradients = []
    for layer, image in (conv, x), (in_fp64(conv), x.double()):
        inputs = image.requires_grad_(), *layer.parameters()
        first = torch.autograd.grad(layer(image).square().sum(), inputs, create_graph=True)
        gradients.append(torch.autograd.grad(sum(g.square().sum() for g in first), inputs))
    for got, wanted in zip(*gradients, strict=True):
        assert error(got, wanted) < WITHIN


def test_a_gradient_for_the_image_keeps_its_layout():
    """Also where it is torch's own, of narrow layers and kernels of 2x2."""
    x = torch.rand(2, 64, 9, 9).contiguous(memory_format=torch.channels_last).requires_grad_()
    for shape in (128, 64, 3, 3), (32, 64, 3, 3), (128, 64, 2, 2):
        y = winograd.conv2d(x, torch.rand(shape, requires_grad=True))
        (gradient,) = torch.autograd.grad(y, x, torch.rand_like(y))
        assert gradient.stride(1) == 1  # channels last; rows may be parts of longer ones


@pytest.mark.parametrize("channels", [(64, 128), (32, 64)])
def test_it_can_be_used_as_torchs_own(channels):
    """A result changed in place, a backward pass within autocast, an image without a batch."""
    conv, x = Conv3x3(*channels, padding=1), torch.rand(2, channels[0], 9, 9)
    exact = in_fp64(conv)
    y, expected = F.relu_(conv(x)), F.relu_(exact(x.double()))
    assert error(y, expected) < WITHIN
    expected.sum().backward()
    with torch.autocast("cpu", torch.bfloat16):
        y.sum().backward()
    assert error(conv.weight.grad, exact.weight.grad) < WITHIN
    assert error(conv(x[0]), exact(x[0].double())) < WITHIN


def test_only_what_is_asked_for_has_a_gradient():
    """A frozen convolution hands its gradient through and keeps none."""
    conv, x = Conv3x3(64, 128).requires_grad_(False), torch.rand(1, 64, 8, 8, requires_grad=True)
    conv(x).sum().backward()
    assert x.grad is not None and conv.weight.grad is None and conv.bias.grad is None


@settings(max_examples=15, deadline=None)
@given(
    batch=st.integers(1, 3),
    height=st.integers(2, 14),
    width=st.integers(2, 14),
    channels=st.sampled_from([(64, 64), (32, 33), (3, 5)]),
    padding=st.integers(0, 1),
)
def test_kernels_of_2x2_too(batch, height, width, channels, padding):
    """Those of upsampling: of them the gradient for the kernel is by Winograd's way."""
    torch.manual_seed(0)
    x = torch.randn(batch, channels[0], height, width, requires_grad=True)
    weight = torch.randn(channels[1], channels[0], 2, 2, requires_grad=True)
    bias = torch.randn(channels[1], requires_grad=True)
    inputs = x, weight, bias
    exact = [t.detach().double().requires_grad_() for t in inputs]
    y, expected = winograd.conv2d(*inputs, padding), F.conv2d(*exact, padding=padding)
    assert error(y, expected) < WITHIN
    pull = torch.randn_like(y)
    gradients = torch.autograd.grad(y, inputs, pull)
    wanted = torch.autograd.grad(expected, exact, pull.double())
    for got, right in zip(gradients, wanted, strict=True):
        assert error(got, right) < WITHIN


@pytest.mark.parametrize("taps", [2, 3])
def test_the_transforms_make_a_convolution(taps):
    """Equation 8 on one tile, in both directions; the product `one` shifts the whole tile."""
    torch.manual_seed(0)
    way = winograd.transforms(taps)
    tile, kernel = torch.randn(way.reach, way.reach), torch.randn(taps, taps)
    kernel_there = (way.kernel @ kernel.flatten()).view(way.reach, -1)
    products = kernel_there * (way.input @ tile @ way.input.T)
    expected = F.conv2d(tile[None, None], kernel[None, None])[0, 0]
    torch.testing.assert_close(way.output @ products @ way.output.T, expected, rtol=0, atol=1e-4)
    products.view(-1)[way.one] += 7
    shifted = way.output @ products @ way.output.T
    torch.testing.assert_close(shifted, expected + 7, rtol=0, atol=1e-4)


def test_the_transforms_for_3x3_are_those_of_the_paper():
    """Lavin & Gray 2016, equation 10, in its own order of the points."""
    way = winograd.transforms(3)
    assert way.input[1].tolist() == [0, -4, -4, 1, 1, 0]
    assert way.input[5].tolist() == [0, 4, 0, -5, 0, 1]
    assert way.output[3].tolist() == [0, 1, -1, 8, -8, 1]
    assert way.kernel[0, 0].item() == 1 / 16  # G's first row is (1/4, 0, 0)


def test_it_is_taken_where_it_is_faster_only():
    """On a CPU in fp32, between layers of many channels."""
    x, weight = torch.rand(1, 128, 8, 8), torch.rand(128, 128, 3, 3)
    assert pays_off(x, weight)
    assert pays_off(x[:, :64], weight[:, :64])
    assert not pays_off(x[:, :64], weight[:64, :64])
    assert not pays_off(x.double(), weight.double())
    assert not pays_off(x.bfloat16(), weight.bfloat16())
    assert not pays_off(x.to("meta"), weight)
    with torch.autocast("cpu", torch.bfloat16):
        assert not pays_off(x, weight)
        assert Conv3x3(128, 128)(x).dtype == torch.bfloat16


def test_a_kernel_is_transformed_for_many_tiles_only(monkeypatch):
    """Those of all images of a batch count."""
    monkeypatch.setattr(winograd, "FEWEST_TILES", FEWEST_TILES)
    weight = torch.rand(128, 128, 3, 3)
    assert pays_off(torch.rand(1, 128, 32, 32), weight)
    assert not pays_off(torch.rand(1, 128, 16, 16), weight)
    assert pays_off(torch.rand(4, 128, 16, 16), weight)


def test_wrong_channels_are_told_as_torch_tells_them():
    with pytest.raises(RuntimeError, match="to have 128 channels, but got 96"):
        Conv3x3(128, 128)(torch.rand(1, 96, 32, 32))


def test_gradients_for_a_kernel_pay_off_earlier():
    """Those of narrower layers, and of kernels of 2x2."""
    x = torch.rand(1, 128, 8, 8)
    narrow, small = torch.rand(32, 32, 3, 3), torch.rand(64, 128, 2, 2)
    assert not pays_off(x[:, :32], narrow) and not pays_off(x, small)
    narrow.requires_grad_(), small.requires_grad_()
    assert pays_off(x[:, :32], narrow) and pays_off(x, small)
    assert not pays_off(x[:, :16], narrow[:, :16])
    with torch.no_grad():
        assert not pays_off(x[:, :32], narrow) and not pays_off(x, small)


def test_otherwise_it_is_torchs_convolution():
    """Bit for bit."""
    conv, x = Conv3x3(8, 8, padding=1), torch.rand(1, 8, 9, 9)
    assert torch.equal(conv(x), F.conv2d(x, conv.weight, conv.bias, padding=1))
