"""Networks that pytorch/examples' fast_neural_style has trained, as style models.

https://github.com/pytorch/examples/tree/main/fast_neural_style: one style a file, pictures from 0
to 255 in and out. What they paint is the same to rounding where both sides are multiples of 4;
their network enlarges other pictures, ours reflects them to a multiple and cuts that off again.
"""

import os
import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fst.errors import FstError
from fst.io.torch_files import read_torch_file
from fst.networks.transformer import SHAPES, TransformerNet
from fst.style_model.format import MAX_BLOCKS, MAX_WIDTH, describe

KIND, SHAPE = "pytorch/examples fast_neural_style", "johnson"
WHITE = 255
# Their convolution, the norm after it, and the layer here.
_LAYERS = [
    ("conv1", "in1", "conv_in"),
    ("conv2", "in2", "halved"),
    ("conv3", "in3", "down"),
    ("deconv1", "in4", "up_half"),
    ("deconv2", "in5", "up"),
]
_LEFT_OUT = re.compile(r"in\d\.(running_mean|running_var|num_batches_tracked)$")  # never used


def import_model(path: str | Path, name: str) -> tuple[TransformerNet, dict[str, Any]]:
    """Read a state dict that `torch.save` wrote; no code in it is run.

    Args:
        path: The file, usually .pth or .model.
        name: Of its style.

    Returns:
        The network and its metadata, as of `load_style_model`.

    Raises:
        FstError: The file is missing, broken, or another kind of network; says what is different.
    """
    if not os.path.isfile(path):
        raise FstError(f"{path}: no such file; give the .pth of a network of {KIND}")
    try:
        network = _network(_state_dict(read_torch_file(path)))
    except FstError as error:
        raise FstError(f"{path}: {error}; what can be imported is a state dict of {KIND}") from None
    styles = [{"name": name, "images": []}]
    return network, describe(network, styles, {"imported_from": KIND})


def _state_dict(content: Any) -> dict[str, Tensor]:
    if not isinstance(content, dict) or not all(isinstance(k, str) for k in content):
        raise FstError(f"holds a {type(content).__name__}, no tensors by name")
    found = {k.removeprefix("module."): v for k, v in content.items()}  # as DataParallel has them
    found = {k: v for k, v in found.items() if not _LEFT_OUT.search(k)}
    for name, tensor in found.items():
        if not isinstance(tensor, Tensor) or not tensor.is_floating_point():
            raise FstError(f"{name[:60]!r} is no tensor of weights")
        if not tensor.isfinite().all():
            raise FstError(f"{name[:60]!r} holds NaN or infinite weights")
    return {name: tensor.float() for name, tensor in found.items()}


def _network(theirs: dict[str, Tensor]) -> TransformerNet:
    """Takes all of `theirs`."""
    blocks = len({name.split(".")[0] for name in theirs if name.startswith("res")})
    first = theirs.get("conv1.conv2d.weight", torch.empty(0))
    width = first.shape[0] / SHAPES[SHAPE].down[0][1]
    if blocks > MAX_BLOCKS or not 0 < width <= MAX_WIDTH:
        raise FstError(f"another network: {blocks} blocks, conv1 {tuple(first.shape)}")
    with torch.device("meta"):
        network = TransformerNet(1, width, blocks, SHAPE)
    try:
        ours = _renamed(theirs, blocks)
    except KeyError as error:
        raise FstError(f"lacks {error}") from None
    for name, tensor in network.state_dict().items():
        if ours[name].shape != tensor.shape:
            raise FstError(f"{name} is {tuple(ours[name].shape)}, expected {tuple(tensor.shape)}")
    if theirs:
        raise FstError(f"has {min(theirs)[:60]!r} besides")
    network.load_state_dict(ours, assign=True)
    return network.eval().requires_grad_(False)


def _renamed(theirs: dict[str, Tensor], blocks: int) -> dict[str, Tensor]:
    pairs = [(i, j) for i in range(blocks) for j in (1, 2)]
    ours = {}
    for conv, norm, layer in [
        *_LAYERS,
        *((f"res{i + 1}.conv{j}", f"res{i + 1}.in{j}", f"blocks.{i}.conv{j}") for i, j in pairs),
    ]:
        ours[f"{layer}.conv.weight"] = theirs.pop(f"{conv}.conv2d.weight")
        theirs.pop(f"{conv}.conv2d.bias")  # the norm removes it
        ours[f"{layer}.norm.gamma"] = theirs.pop(f"{norm}.weight")[None]  # (1, C)
        ours[f"{layer}.norm.beta"] = theirs.pop(f"{norm}.bias")[None]
    ours["conv_in.conv.weight"] = ours["conv_in.conv.weight"] * WHITE
    ours["conv_out.conv.weight"] = theirs.pop("deconv3.conv2d.weight") / WHITE
    ours["conv_out.norm.beta"] = theirs.pop("deconv3.conv2d.bias")[None] / WHITE
    ours["conv_out.norm.gamma"] = torch.ones_like(ours["conv_out.norm.beta"])
    return ours
