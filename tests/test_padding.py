"""Padding by slices, as on a GPU, against torch's own on the CPU."""

import pytest
import torch
import torch.nn.functional as F

from fst.networks.padding import pad, padded_by_slices

SIDES = [(1, 1, 1, 1), (4, 4, 4, 4), (0, 3, 0, 1), (2, 0, 0, 0), (1, 1, 0, 0), (3, 2, 1, 4)]


@pytest.mark.parametrize("size", [(5, 6), (5, 64), (9, 5)])
@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize("mode", ["reflect", "replicate"])
@pytest.mark.parametrize("sides", SIDES)
def test_slices_pad_as_torch_does_and_keep_the_layout(sides, mode, layout, size):
    """Values to the bit, gradients to rounding: overlapping mirrors are added in another order."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 3, *size, generator=generator).to(memory_format=layout)
    ours, theirs = (x.clone().requires_grad_(True) for _ in range(2))
    got, expected = padded_by_slices(ours, sides, mode), F.pad(theirs, sides, mode=mode)
    assert torch.equal(got, expected)
    assert got.is_contiguous(memory_format=layout)
    weights = torch.randn(expected.shape, generator=generator).to(memory_format=layout)
    (got * weights).sum().backward()
    (expected * weights).sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-6, atol=1e-6)
    assert ours.grad.is_contiguous(memory_format=layout)


@pytest.mark.parametrize("mode", ["reflect", "replicate"])
@pytest.mark.parametrize("sides", SIDES)
def test_what_is_compiled_pads_as_torch_does(sides, mode):
    torch._dynamo.reset()
    compiled = torch.compile(pad, backend="aot_eager", fullgraph=True)
    ours = torch.rand(2, 3, 5, 6, requires_grad=True)
    theirs = ours.detach().clone().requires_grad_(True)
    got, expected = compiled(ours, sides, mode), F.pad(theirs, sides, mode=mode)
    assert torch.equal(got, expected)
    weights = torch.rand(expected.shape)
    (got * weights).sum().backward()
    (expected * weights).sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad)


@pytest.mark.parametrize("mode", ["reflect", "replicate"])
@pytest.mark.parametrize("side", [2, 3, 4, 5])
def test_smallest_maps(side, mode):
    """Where a mirrored row is that of both borders, or beside it."""
    ours = torch.rand(1, 1, side, side, dtype=torch.float64, requires_grad=True)
    theirs = ours.detach().clone().requires_grad_(True)
    for x, padded in ((ours, padded_by_slices), (theirs, lambda *a: F.pad(*a[:2], mode=a[2]))):
        got = padded(x, (1, 1, 1, 1), mode)
        (got * torch.arange(got.numel()).view_as(got)).sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad)


def test_the_gradient_handed_in_stays_as_it_is():
    """It may be that of another use of the map, too."""
    x = torch.rand(1, 2, 4, 4, requires_grad=True)
    gradient = torch.rand(1, 2, 6, 6)
    before = gradient.clone()
    padded_by_slices(x, (1, 1, 1, 1), "reflect").backward(gradient)
    assert torch.equal(gradient, before)


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_a_map_without_borders_is_not_copied(device):
    x = torch.empty(1, 2, 4, 4, device=device)
    assert pad(x, (0, 0, 0, 0), "reflect") is x
