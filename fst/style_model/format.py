"""The style model file: transformer weights in safetensors with JSON metadata.

Layout: tensors under the names of `TransformerNet.state_dict()`, and one metadata entry "fst":

    {"format": 3, "fst_version": "...",
     "architecture": {"num_styles": 2, "width": 0.5, "num_blocks": 8,
                      "margin": 4},      0, 4 or 8; 0 if not there; and a "shape" if not "fst"
     "styles": [{"name": "wave", "images": ["wave.jpg"],            in order of id
                 "fingerprint": "..."}, ...],                       of the pictures' contents
     "training": {...}}                                              settings and final figures

A Lightning checkpoint holds the same under "style_model" and is read too, weights only.
"""

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fst.errors import FstError
from fst.io.atomic import write_atomically
from fst.io.torch_files import plain, read_torch_file
from fst.networks.sizes import MARGINS
from fst.networks.transformer import SHAPES, TransformerNet
from fst.style_model.names import MODEL_NAME

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
            **({"margin": network.margin} if network.margin else {}),
            **({} if network.shape == "fst" else {"shape": network.shape}),
        },
        "styles": list(styles),
        "training": training,
    }


def save_style_model(path: str | Path, network: TransformerNet, metadata: dict[str, Any]) -> Path:
    """Write a .safetensors file; an interrupted write leaves the previous file whole.

    Args:
        path: Where to.
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
        inside = path / MODEL_NAME
        if os.path.isfile(inside):
            raise FstError(f"{path} is a folder: did you mean {inside}?")
        raise FstError(f"{path}: no such model; give a .safetensors style model or a .ckpt")
    with told_of(path, "style model"):
        if path.suffix.lower() == ".ckpt":
            tensors, metadata = _read_checkpoint(path)
        else:
            tensors, metadata = read_safetensors(path, "fst")
            if metadata is None:
                raise FstError("a safetensors file, but not a style model of fst")
        network = build(metadata)
        network.load_state_dict(tensors, assign=True)
    if not all(tensor.isfinite().all() for tensor in network.state_dict().values()):
        raise FstError(f"{path}: holds NaN or infinite weights; take an earlier file")
    return network.eval().requires_grad_(False), metadata


@contextmanager
def told_of(path: str | Path, what: str) -> Iterator[None]:
    """Whatever goes wrong while a file is read becomes one line that names it."""
    try:
        yield
    except FstError as error:
        raise FstError(f"{path}: {str(error)[:300]}") from None  # it may quote the file
    except Exception as error:  # broken bytes fail in as many ways as there are readers
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        raise FstError(f"{path}: not a readable {what} ({reason})") from None


def read_safetensors(path: Path, entry: str) -> tuple[dict[str, Tensor], Any]:
    """The tensors of a file, fp32, and what is in an entry of its metadata, JSON; or None."""
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        text = (file.metadata() or {}).get(entry)
        if text is None:
            return {}, None
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    if any(tensor.is_complex() for tensor in tensors.values()):
        raise FstError("holds complex numbers")
    return {name: tensor.float() for name, tensor in tensors.items()}, json.loads(text)


def _read_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    checkpoint = read_torch_file(path, archive=True)
    if not isinstance(checkpoint, dict) or "style_model" not in checkpoint:
        raise FstError("a checkpoint, but not one of fst-train")
    named = [(key.partition("network."), value) for key, value in checkpoint["state_dict"].items()]
    tensors = {name: x.float() for (before, network, name), x in named if network and not before}
    return tensors, plain(checkpoint["style_model"], "the metadata")


def build(metadata: dict[str, Any]) -> TransformerNet:
    """The network that metadata describe, its weights without memory (on the "meta" device).

    Raises:
        FstError: They ask for a newer format, or for sizes out of bounds; other errors where they
            are of another shape.
    """
    found, way = metadata.get("format"), "upgrade fst"
    if found != FORMAT:
        if type(found) is int and found < FORMAT:
            version = metadata.get("fst_version", "0.1.0")
            way = f"its network has another shape; paint with fst {version}, which wrote it, "
            way += "or train it anew"
        raise FstError(f"style model format {found!r}, this version reads {FORMAT}: {way}")
    architecture = metadata["architecture"]
    num_styles, num_blocks, width = (
        architecture[key] for key in ("num_styles", "num_blocks", "width")
    )
    if not (type(num_styles) is type(num_blocks) is int and type(width) in (int, float)):
        raise FstError(f"an architecture of other than numbers: {architecture}")
    if not (0 < num_styles <= MAX_STYLES and 0 <= num_blocks <= MAX_BLOCKS):
        raise FstError(f"an architecture out of bounds: {architecture}")
    if not 0 < width <= MAX_WIDTH:
        raise FstError(f"a width out of bounds: {width}")
    shape = architecture.get("shape", "fst")
    if shape not in SHAPES:
        raise FstError(f"a network of the shape {shape!r}, unknown to this version: upgrade fst")
    margin = architecture.get("margin", 0)
    if margin not in MARGINS or type(margin) is not int:
        raise FstError(f"a margin of {margin!r} px: expected {', '.join(map(str, MARGINS))}")
    names = [style["name"] for style in metadata["styles"]]
    if len(names) != num_styles or not all(isinstance(name, str) for name in names):
        raise FstError(f"{num_styles} styles but {len(names)} names")
    # Sizes are held against the file's tensors before any is taken for them.
    with torch.device("meta"):
        return TransformerNet(num_styles, width, num_blocks, shape, margin)
