"""Begin a run from what another network has learned."""

from pathlib import Path

import torch

from fst.errors import FstError
from fst.networks.conditional import ConditionalInstanceNorm2d
from fst.networks.transformer import TransformerNet
from fst.style_model.format import load_style_model


class OtherArchitectureError(FstError):
    """A model to begin from whose network has another size."""


def trunk_size(model: str | Path) -> tuple[float, int]:
    """Width and number of residual blocks of a style model.

    Raises:
        FstError: The file cannot be read.
    """
    network, _ = load_style_model(model)
    if network.shape != "fst":
        raise FstError(
            f"{model}: its network was imported and has the shape {network.shape!r}: fst-train "
            "trains networks of its own shape alone"
        )
    return network.width, network.num_blocks


@torch.no_grad()
def warm_start(network: TransformerNet, style_names: list[str], model: str | Path) -> list[str]:
    """Copy the convolutions of a trained network and give every style parameters to start from.

    A style that the model knows by name starts from its gamma and beta, the others from the mean of
    all the model's: a picture in no style in particular, nearer to any than noise is. (Dumoulin et
    al. 2017 add styles to a trained network by these parameters alone.)

    Args:
        network: Changed in place; its width and blocks must be those of the model.
        style_names: By style id of `network`.
        model: A .safetensors style model or a .ckpt.

    Returns:
        The names of the styles that started from parameters of their own.

    Raises:
        FstError: The model cannot be read or its architecture is another.
    """
    source, metadata = load_style_model(model)
    ours, theirs = ((n.width, n.num_blocks) for n in (network, source))
    if ours != theirs:
        raise OtherArchitectureError(
            f"{model}: it has width {theirs[0]} and {theirs[1]} blocks, this network {ours[0]} and "
            f"{ours[1]}: they must be the same"
        )
    known = {style["name"]: row for row, style in enumerate(metadata["styles"])}
    modules = dict(source.named_modules())
    for name, module in network.named_modules():
        if isinstance(module, ConditionalInstanceNorm2d):
            for table, old in zip(module.parameters(), modules[name].parameters(), strict=True):
                mean = old.mean(0)  # (C,)
                rows = [old[known[style]] if style in known else mean for style in style_names]
                table.copy_(torch.stack(rows))  # (S, C)
        elif isinstance(module, torch.nn.Conv2d):
            module.weight.copy_(modules[name].weight)
    return [name for name in style_names if name in known]
