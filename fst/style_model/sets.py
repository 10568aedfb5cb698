"""Styles one by one: taken out of a model, kept in files of their own, put into another model.

A style is a row in each table of gamma and beta; all else is the trunk, which the styles of a model
share. Rows mean nothing on another trunk, so each style carries the fingerprint of its own.

Layout of a style file: safetensors with one vector (C,) for each table, under the table's name in
`TransformerNet.state_dict()`, and one metadata entry "fst_style":

    {"format": 1, "fst_version": "...", "trunk": "0123456789abcdef", "style": {"name": "wave", ...}}
"""

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fst.errors import FstError
from fst.io.atomic import write_atomically
from fst.networks.transformer import TransformerNet
from fst.style_model.format import describe, load_style_model, read_safetensors, told_of
from fst.style_model.names import check_name

FORMAT = 1
STYLE_SUFFIX = ".style.safetensors"
_TABLES = (".gamma", ".beta")


@dataclass(frozen=True, eq=False)  # tensors have no single truth
class StyleRows:
    """One style of a trained network.

    Attributes:
        style: What its model says of it: "name", "images" and how it was trained.
        rows: Name of each table to the style's row in it, (C,), fp32.
        trunk: `trunk_fingerprint` of the network that they belong to.
    """

    style: dict[str, Any]
    rows: dict[str, Tensor]
    trunk: str

    @property
    def name(self) -> str:
        """What users call it."""
        return self.style["name"]


def trunk_fingerprint(network: TransformerNet) -> str:
    """Tells trunks apart: 16 hex digits from all weights that no style has to itself, in fp32."""
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        if not name.endswith(_TABLES):
            digest.update(f"{name} {tuple(tensor.shape)}".encode())
            digest.update(tensor.detach().cpu().float().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def styles_of(network: TransformerNet, metadata: dict[str, Any]) -> list[StyleRows]:
    """Every style of a model, in order of id."""
    trunk = trunk_fingerprint(network)
    tables = {k: v for k, v in network.state_dict().items() if k.endswith(_TABLES)}
    return [
        StyleRows(dict(style), {name: table[i].clone() for name, table in tables.items()}, trunk)
        for i, style in enumerate(metadata["styles"])
    ]


def with_styles(
    network: TransformerNet, metadata: dict[str, Any], styles: Sequence[StyleRows]
) -> tuple[TransformerNet, dict[str, Any]]:
    """A model with the trunk of `network` and these styles, their ids in this order.

    Raises:
        FstError: There is none, two have one name, or one belongs to another trunk.
    """
    if not styles:
        raise FstError("a model needs at least one style")
    trunk, names = trunk_fingerprint(network), [style.name for style in styles]
    tensors = dict(network.state_dict())
    shapes = {k: v.shape[1:] for k, v in tensors.items() if k.endswith(_TABLES)}
    for style in styles:
        if style.trunk != trunk:
            raise FstError(
                f"style {style.name!r} belongs to another network (trunk {style.trunk}, not "
                f"{trunk}): styles can be merged only into the model they were trained on; train "
                "it there with fst-train --add-to"
            )
        if {name: row.shape for name, row in style.rows.items()} != shapes:
            raise FstError(f"style {style.name!r} has not the rows of this network: damaged")
    for style in styles:
        if names.count(style.name) > 1:
            raise FstError(
                f"two different styles are named {style.name!r}: rename one with fst-styles rename"
            )
    size = network.width, network.num_blocks, network.shape, network.margin
    merged = TransformerNet(len(styles), *size)
    for name in shapes:
        tensors[name] = torch.stack([style.rows[name] for style in styles])
    merged.load_state_dict(tensors)
    described = describe(merged, [style.style for style in styles], metadata.get("training", {}))
    return merged.eval().requires_grad_(False), described


def merged(styles: Sequence[StyleRows], more: Sequence[StyleRows]) -> list[StyleRows]:
    """Both, one after the other, without those of `more` that are there to the bit."""

    def is_there(style: StyleRows) -> bool:
        return any(
            (other.name, other.trunk) == (style.name, style.trunk)
            and all(torch.equal(other.rows[k], row) for k, row in style.rows.items())
            for other in styles
            if other.rows.keys() == style.rows.keys()
        )

    return [*styles, *(style for style in more if not is_there(style))]


def renamed(style: StyleRows, name: str) -> StyleRows:
    """The style under another name.

    Raises:
        FstError: The name is empty, begins with a dash, or holds "=" or control characters.
    """
    return replace(style, style={**style.style, "name": check_name(name)})


# ---- files -------------------------------------------------------------------------------------


def save_style(path: str | Path, style: StyleRows) -> Path:
    """Write a style file.

    Raises:
        FstError: The folder cannot be written, or the style has no name.
    """
    from safetensors.torch import save

    from fst import __version__

    if not style.name.strip():  # it could not be read again
        raise FstError(f"{path}: not written, the style has no name; give it one with fst-styles")
    about = {"format": FORMAT, "fst_version": __version__, "trunk": style.trunk}
    text = json.dumps({**about, "style": style.style})
    rows = {name: row.contiguous() for name, row in style.rows.items()}
    write_atomically(path, save(rows, metadata={"fst_style": text}))
    return Path(path)


def read_styles_of(path: str | Path) -> list[StyleRows]:
    """The style of a style file, or all of a style model or checkpoint.

    Raises:
        FstError: The file is missing, broken or neither.
    """
    if Path(path).suffix.lower() != ".ckpt" and os.path.isfile(path):
        with told_of(path, "style file"):
            style = _read_style(Path(path))
        if style is not None:
            return [style]
    return styles_of(*load_style_model(path))


def _read_style(path: Path) -> StyleRows | None:
    """None where the file is no style file."""
    rows, about = read_safetensors(path, "fst_style")
    if about is None:
        return None
    if about.get("format") != FORMAT:
        raise FstError(f"style format {about.get('format')!r}, this version reads {FORMAT}")
    style, trunk = about["style"], about["trunk"]
    if not (isinstance(style["name"], str) and style["name"].strip() and isinstance(trunk, str)):
        raise FstError("a style file without a name or trunk")
    if not all(row.dim() == 1 and row.isfinite().all() for row in rows.values()):
        raise FstError("holds rows that are no vectors, or not finite")
    return StyleRows(style, rows, trunk)
