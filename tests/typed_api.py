"""The public API as a type checker sees it: checked by `make types`, never run.

Each `assert_type` fails where a name has lost its type; each `type: ignore` where a mistake is no
longer seen (strict mode warns of those that are not needed).
"""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor
from typing_extensions import assert_type

import fst
from fst import (
    LossNetwork,
    PaintOptions,
    PerceptualLoss,
    StyleTransferModule,
    Stylizer,
    TransformerNet,
)
from fst.networks.loss_network import load_loss_network
from fst.style_model.format import load_style_model
from fst.stylize.bands.large import FileOptions, stylize_file


def paints(photo: Tensor, array: np.ndarray[Any, Any], picture: Image.Image) -> None:
    stylizer = Stylizer()
    assert_type(stylizer.style_names, list[str])
    for image in (photo, array, picture, Path("photo.jpg"), "photo.jpg"):
        assert_type(stylizer.stylize(image, {"wave": 0.7, 3: 0.3}), Tensor)
    assert_type(stylizer.style_weights("wave", texture=0.5), Tensor)
    options = PaintOptions(strength=0.5, texture_size="native")
    stylizer.stylize(photo, "wave", options)
    stylizer.stylize(photo, 1.5)  # type: ignore[arg-type]
    stylizer.stylize(3, "wave")  # type: ignore[arg-type]
    PaintOptions(strenght=0.5)  # type: ignore[call-arg]
    assert_type(stylize_file(stylizer, "a.jpg", "b.png", 0, options, FileOptions(bits=16)), Path)
    assert_type(Stylizer.save(photo, "b.png", overwrite=True), Path)


def trains() -> None:
    module = StyleTransferModule(["wave.jpg"], fst.Architecture(width=0.25), fst.Objective())
    assert_type(module.network, TransformerNet)
    Stylizer(module)
    fst.Architecture(width="wide")  # type: ignore[arg-type]
    fst.ContentDataModule("photos", batch_size=2)
    network, metadata = load_style_model("wave.safetensors")
    assert_type(network, TransformerNet)
    assert_type(metadata, dict[str, Any])
    assert_type(load_loss_network("vgg16-lite"), LossNetwork)
    PerceptualLoss(load_loss_network("vgg16-lite"))
    assert_type(fst.__version__, str)
    fst.Styliser  # type: ignore[attr-defined]  # noqa: B018
