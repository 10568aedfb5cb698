"""Painting on a CPU without gradients is calling one layer after the other."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from fst.networks import inference
from fst.networks.conditional import ConditionalInstanceNorm2d
from fst.networks.layers import ConditionedConv
from fst.networks.transformer import TransformerNet


def random_network(shape="fst", num_blocks=1, layout=torch.channels_last, width=0.25):
    """Three styles, whose rows all differ."""
    torch.manual_seed(0)
    network = TransformerNet(3, width=width, num_blocks=num_blocks, shape=shape)
    for name, parameter in network.named_parameters():
        if "norm" in name:
            nn.init.normal_(parameter, mean=float(name.endswith("gamma")), std=0.4)
    return network.requires_grad_(False).to(memory_format=layout)


def one_by_one(network, photos, weights):
    """The oracle: with gradients allowed, the layers are called."""
    assert torch.is_grad_enabled()
    assert not inference.is_made_for(network.layers, photos, weights)
    return network(photos, weights)


@pytest.fixture
def passed(monkeypatch):
    """How often the way that is tested was taken."""
    calls, passed = [], inference.passed
    monkeypatch.setattr(inference, "passed", lambda *args: calls.append(args) or passed(*args))
    return calls


@pytest.mark.parametrize("shape", ["fst", "johnson"])
@settings(max_examples=20, deadline=None)
@given(
    height=st.integers(16, 70),
    width=st.integers(16, 70),
    num_blocks=st.integers(0, 3),
    layouts=st.tuples(*[st.sampled_from([torch.channels_last, torch.contiguous_format])] * 2),
    chunk=st.sampled_from([1, 200, 2**13]),
)
def test_any_picture_is_painted_the_same(shape, height, width, num_blocks, layouts, chunk):
    network = random_network(shape, num_blocks, layouts[0])
    photos = torch.rand(1, 3, height, width).contiguous(memory_format=layouts[1])
    weights = torch.rand(1, 3).softmax(1)
    expected = one_by_one(network, photos, weights)
    given, version = photos.clone(), photos._version
    with torch.no_grad(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(inference, "PART_PIXELS", chunk)
        assert inference.is_made_for(network.layers, photos, weights)
        got = network(photos, weights)
    assert got.shape == photos.shape
    torch.testing.assert_close(got, expected, rtol=0, atol=2e-5)
    assert photos._version == version and photos.equal(given)


@pytest.mark.parametrize("width", [1.0, 1.5])
def test_a_wide_network_too(width):
    """By Winograd's convolutions, and with more channels than are taken side by side."""
    network, photo = random_network(width=width), torch.rand(1, 3, 68, 52)
    expected = one_by_one(network, photo, torch.eye(3)[:1])
    with torch.no_grad():
        got = network(photo, torch.eye(3)[:1])
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    "case",
    [
        "gradients",
        "map of styles",
        "bf16",
        "fp64",
        "hook",
        "another layer",
        "another norm",
        "batch",
    ],
)
def test_what_it_is_not_made_for_goes_layer_by_layer(case, passed):
    network, photos = random_network(), torch.rand(1, 3, 24, 32)
    weights, seen = torch.eye(3)[:1], []
    with torch.no_grad():
        expected = network(photos, weights)
    assert len(passed) == 1
    if case == "map of styles":
        weights = weights[:, :, None, None].expand(-1, -1, 6, 8)
    if case == "fp64":
        network, photos = network.double(), photos.double()
    if case == "hook":
        network.blocks[0].conv2.norm.register_forward_hook(lambda *args: seen.append(args))
    if case == "another layer":
        network.down.__class__ = type("Other", (ConditionedConv,), {})
    if case == "another norm":
        norm = network.down.norm
        norm.__class__ = type("Other", (ConditionalInstanceNorm2d,), {"forward": twice_as_much})
    if case == "batch":
        photos, weights = photos.expand(2, -1, -1, -1), weights.expand(2, -1)
    with (
        torch.set_grad_enabled(case == "gradients"),
        torch.autocast("cpu", torch.bfloat16, enabled=case == "bf16"),
    ):
        got = network(photos, weights)
    assert len(passed) == 1 and len(seen) == (case == "hook")
    if case == "another norm":
        assert (got - expected).abs().max() > 0.01
        return
    within = 0.1 if case == "bf16" else 2e-5
    torch.testing.assert_close(got.float(), expected.expand_as(got), rtol=0, atol=within)


def twice_as_much(norm, x, style_weights):
    return 2 * ConditionalInstanceNorm2d.forward(norm, x, style_weights)
