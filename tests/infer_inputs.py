"""A small style model and photos of noise, for the tests of fst-infer."""

from pathlib import Path

import torch

from fst.io import images
from fst.networks.transformer import TransformerNet
from fst.style_model.format import describe, save_style_model

NAMES = ["wave", "rain", "starry night"]


def save_model(path: Path, names=NAMES, seed: int = 0) -> Path:
    """A random network."""
    torch.manual_seed(seed)
    network = TransformerNet(len(names), width=0.125, num_blocks=1)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    styles = [{"name": name, "images": ["a.jpg"] * (i + 1)} for i, name in enumerate(names)]
    return save_style_model(path, network, describe(network, styles, {}))


def save_photo(path: str | Path, height: int = 20, width: int = 24, seed: int = 0) -> Path:
    """Noise."""
    generator = torch.Generator().manual_seed(seed)
    return images.save(torch.rand(3, height, width, generator=generator), path)
