"""3x3 convolutions by Winograd's way against torch's in fp64."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from fst.networks import winograd
from fst.networks.winograd import Conv3x3, pays_off

WITHIN = 2e-5  # of the norm; direct fp32 convolutions reach 1e-6


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
    channels=st.sampled_from([(64, 128), (130, 65), (128, 128)]),
    padding=st.sampled_from([(0, "zeros"), (1, "zeros"), (1, "reflect")]),
    bias=st.booleans(),
    channels_last=st.booleans(),
    chunk=st.sampled_from([1, 2**10, 2**17]),
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


def test_only_what_is_asked_for_has_a_gradient():
    """A frozen convolution hands its gradient through and keeps none."""
    conv, x = Conv3x3(64, 128).requires_grad_(False), torch.rand(1, 64, 8, 8, requires_grad=True)
    conv(x).sum().backward()
    assert x.grad is not None and conv.weight.grad is None and conv.bias.grad is None


def test_it_is_taken_where_it_is_faster_only():
    """On a CPU in fp32, between layers of many channels."""
    x, weight = torch.rand(1, 128, 8, 8), torch.rand(128, 128, 3, 3)
    assert pays_off(x, weight)
    assert not pays_off(x[:, :32], weight[:32, :32])
    assert pays_off(x[:, :64], weight[:64, :64])
    with torch.no_grad():  # one convolution, not three
        assert not pays_off(x[:, :64], weight[:64, :64]) and pays_off(x, weight)
    assert not pays_off(x.double(), weight.double())
    assert not pays_off(x.bfloat16(), weight.bfloat16())
    assert not pays_off(x.to("meta"), weight)
    with torch.autocast("cpu", torch.bfloat16):
        assert not pays_off(x, weight)
        assert Conv3x3(128, 128)(x).dtype == torch.bfloat16


def test_otherwise_it_is_torchs_convolution():
    """Bit for bit."""
    conv, x = Conv3x3(8, 8, padding=1), torch.rand(1, 8, 9, 9)
    assert torch.equal(conv(x), F.conv2d(x, conv.weight, conv.bias, padding=1))
