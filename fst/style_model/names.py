"""Find a style by id or by name; the names alone, without torch."""

import json
import os
from collections.abc import Sequence
from pathlib import Path

from fst.assets import GALLERY
from fst.errors import FstError, near_matches

MODEL_NAME = "model.safetensors"  # of a run's style model
SHIPPED = "gallery"  # what the model is called that comes with the package
SHOWN = 10  # names in a message
MAX_HEADER_BYTES = 10_000_000  # of a style model: more is no answer within a keystroke


def find_style(names: Sequence[str], style: int | str) -> int:
    """The id of a style of a model, given by id or by name.

    Raises:
        FstError: There is no such style; names those that come near.

    Examples:
        >>> find_style(["wave", "udnie"], "udnie")
        1
        >>> find_style(["wave", "udnie"], "wafe")
        Traceback (most recent call last):
        fst.errors.FstError: the model has no style 'wafe': did you mean wave?
    """
    if isinstance(style, int):
        if 0 <= style < len(names):
            return style
        raise FstError(
            f"style id {style} is out of range: the model has {len(names)} styles, "
            f"0 ({names[0]}) to {len(names) - 1} ({names[-1]})"
        )
    if style in names:
        return list(names).index(style)
    more = f" and {len(names) - SHOWN} more" * (len(names) > SHOWN)
    hint = near_matches(style, names) or f"it has {', '.join(names[:SHOWN])}{more}"
    raise FstError(f"the model has no style {style!r}: {hint}")


def check_name(name: str) -> str:
    """A name for a style, as it is.

    Raises:
        FstError: It is empty, begins with a dash, or holds "=" or control characters.
    """
    if not name.strip() or name.startswith("-") or "=" in name or not name.isprintable():
        raise FstError(f"{name!r} is no name for a style: give letters, digits, ., _ and -")
    return name


def style_names_in(path: Path) -> list[str]:
    """Style names in a .safetensors file's header, read without torch.

    Raises:
        OSError, ValueError, KeyError, TypeError, RecursionError: It is no style model.
    """
    # https://github.com/huggingface/safetensors: 8 bytes of length, then that much JSON.
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > MAX_HEADER_BYTES:
            raise ValueError(f"{path}: a header of {length} bytes")
        header = json.loads(file.read(length))
    styles = json.loads(header["__metadata__"]["fst"])["styles"]
    return [str(style["name"]) for style in styles]


def model_path(model: str | Path) -> Path:
    """The file of a model: the path given, or the shipped one for "gallery"."""
    return GALLERY if str(model) == SHIPPED and not os.path.exists(model) else Path(model)
