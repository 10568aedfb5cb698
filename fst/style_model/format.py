"""The style model file: transformer weights in safetensors with JSON metadata.

Layout: tensors under the names of `TransformerNet.state_dict()`, and one metadata entry "fst":

    {"format": 2, "fst_version": "...",
     "architecture": {"num_styles": 2, "width": 0.5, "num_blocks": 5},
     "styles": [{"name": "wave", "images": ["wave.jpg"],            in order of id
                 "fingerprint": "..."}, ...],                       of the pictures' contents
     "training": {...}}                                              settings and final figures

A Lightning checkpoint holds the same under "style_model" and is read too, weights only.
"""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fst.errors import FstError
from fst.io.atomic import write_atomically
from fst.io.torch_files import check_tensor, plain, read_torch_file
from fst.networks.transformer import TransformerNet

FORMAT = 3
# Bounds on what a file may ask for before memory is taken for it.
MAX_STYLES, MAX_WIDTH, MAX_BLOCKS = 100_000, 16.0, 64


def describe(
    network: TransformerNet, styles: Sequence[dict[str, Any]], training: dict[str, Any]
) -> dict[str, Any]:
    """The metadata of a style model, as plain values."""
    from fst import __version__

    return {
        "format": FORMAT,
        "fst_version": __version__,
        "architecture": {
            "num_styles": network.num_styles,
            "width": network.width,
            "num_blocks": network.num_blocks,
        },
        "styles": list(styles),
        "training": training,
    }


def save_style_model(path: str | Path, network: TransformerNet, metadata: dict[str, Any]) -> Path:
    """Write a style model; an interrupted write leaves the previous file whole.

    Args:
        path: Where to, ending in .safetensors.
        network: Its weights are stored as they are.
        metadata: From `describe`.

    Raises:
        FstError: The folder cannot be written, or a weight is not finite.
    """
    from safetensors.torch import save

    tensors = {k: v.detach().cpu().contiguous() for k, v in network.state_dict().items()}
    bad = [name for name, tensor in tensors.items() if not tensor.isfinite().all()]
    if bad:
        raise FstError(f"{path}: not written, {bad[0]} holds NaN or infinite weights")
    write_atomically(path, save(tensors, metadata={"fst": json.dumps(metadata)}))
    return Path(path)


def load_style_model(path: str | Path) -> tuple[TransformerNet, dict[str, Any]]:
    """Read a style model or the style model inside a training checkpoint.

    Returns:
        The network in eval mode on the CPU, and the metadata (see the module's text).

    Raises:
        FstError: The file is missing, broken, of a newer format, or no style model.
    """
    path = Path(path)
    if not os.path.isfile(path):  # unlike Path.is_file, also of names that no file can have
        raise FstError(f"{path}: no such model; give a .safetensors style model or a .ckpt")
    try:
        if path.suffix.lower() == ".ckpt":
            tensors, metadata = _read_checkpoint(path)
        else:
            tensors, metadata = _read_safetensors(path)
        network = build(metadata)
        network.load_state_dict(_as_float32(tensors), assign=True)
    except FstError as error:
        raise FstError(f"{path}: {str(error)[:300]}") from None  # it may quote the file
    except Exception as error:  # broken bytes fail in as many ways as there are readers
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        raise FstError(f"{path}: not a readable style model ({reason})") from None
    if not all(tensor.isfinite().all() for tensor in network.state_dict().values()):
        raise FstError(f"{path}: holds NaN or infinite weights; take an earlier file")
    return network.eval().requires_grad_(False), metadata


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        metadata = (file.metadata() or {}).get("fst")
        if metadata is None:
            raise FstError("a safetensors file, but not a style model of fst")
        names = list(file.keys())  # the file object itself cannot be iterated
        return {name: file.get_tensor(name) for name in names}, json.loads(metadata)


def _read_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    checkpoint = read_torch_file(path, archive=True)
    if not isinstance(checkpoint, dict) or "style_model" not in checkpoint:
        raise FstError("a checkpoint, but not one of fst-train")
    prefix = "network."
    tensors = {
        key[len(prefix) :]: value
        for key, value in checkpoint["state_dict"].items()
        if key.startswith(prefix)
    }
    return tensors, plain(checkpoint["style_model"], "the metadata")


def _as_float32(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    for tensor in tensors.values():
        check_tensor(tensor)
    return {name: tensor.float() for name, tensor in tensors.items()}


def build(metadata: dict[str, Any]) -> TransformerNet:
    """The network that metadata describe, its weights without memory (on the "meta" device).

    Raises:
        FstError: They ask for a newer format, or for sizes out of bounds; other errors where they
            are of another shape.
    """
    found = metadata.get("format")
    if found != FORMAT:
        older = type(found) is int and found < FORMAT
        way = (
            f"its network has another shape; paint with fst {metadata.get('fst_version', '0.1.0')}"
            ", which wrote it, or train it anew"
            if older
            else "upgrade fst"
        )
        raise FstError(f"style model format {found!r}, this version reads {FORMAT}: {way}")
    architecture = metadata["architecture"]
    num_styles, num_blocks = architecture["num_styles"], architecture["num_blocks"]
    width = architecture["width"]
    kinds = [type(value) for value in (num_styles, num_blocks, width)]
    if kinds[:2] != [int, int] or kinds[2] not in (int, float):
        raise FstError(f"an architecture of other than numbers: {architecture}")
    if not (0 < num_styles <= MAX_STYLES and 0 <= num_blocks <= MAX_BLOCKS):
        raise FstError(f"an architecture out of bounds: {architecture}")
    if not 0 < width <= MAX_WIDTH:
        raise FstError(f"a width out of bounds: {width}")
    names = [style["name"] for style in metadata["styles"]]
    if len(names) != num_styles or not all(isinstance(name, str) for name in names):
        raise FstError(f"{num_styles} styles but {len(names)} names")
    # Sizes are held against the file's tensors before any is taken for them.
    with torch.device("meta"):
        return TransformerNet(num_styles, width, num_blocks)
