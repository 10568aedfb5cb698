"""Levels to files: JPEG, PNG, TIFF and WebP by libvips in strips, 8-bit pictures by Pillow.

Called through `fst.io.images`.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fst.errors import FstError
from fst.io.paths import FORMATS, printable
from fst.io.vips import LEVELS, vips

ALPHA_FORMATS = ("PNG", "WEBP", "TIFF")
DEEP_FORMATS = ("PNG", "TIFF")
SIDE_LIMITS_PX = {"JPEG": 65_535, "WEBP": 16_383}


def check_target(path: str | Path, bits: int = 8, longer_side_px: int = 0) -> None:
    """Refuse a file name to write whose suffix says no format, or one without so many bits.

    Raises:
        FstError: says which suffixes there are; or the format ends below that side.
    """
    if Path(path).suffix.lower() not in FORMATS:
        known = " ".join(FORMATS)
        raise FstError(f"cannot write {printable(path)}: its suffix must be one of {known}")
    _check_bits(path, bits)
    most_px = SIDE_LIMITS_PX.get(FORMATS[Path(path).suffix.lower()], longer_side_px)
    if longer_side_px > most_px:
        raise FstError(
            f"cannot write {printable(path)}: {longer_side_px} px a side, the format ends at "
            f"{most_px}: name a .png or .tif"
        )


def _check_bits(path: str | Path, bits: int) -> None:
    """Refuse a depth that the format of a file to write has not.

    Raises:
        FstError: it is neither 8 nor 16, or 16 in another format than PNG and TIFF.
    """
    if bits not in (8, 16):
        raise FstError(f"cannot write {printable(path)}: {bits} bits; a picture has 8 or 16")
    if bits == 16 and FORMATS.get(Path(path).suffix.lower()) not in DEEP_FORMATS:
        raise FstError(f"cannot write {printable(path)}: 16 bits go into .png, .tif or .tiff only")


def deep_levels(image: Tensor) -> np.ndarray:
    """(C, H, W) in [0, 1], clamped, as (H, W, C) of 65,536 levels."""
    levels = (image.detach().double().clamp(0, 1) * LEVELS).round().to(torch.int32)
    return levels.permute(1, 2, 0).contiguous().cpu().numpy().astype(np.uint16)


def write_levels(levels: np.ndarray, kind: str, file: Any, quality: int = 95) -> None:
    """Encode (H, W, 3 or 4) of 8 or 16 bits into an open file, strip by strip.

    Args:
        levels: May be a memory map.
        kind: "PNG", "TIFF", which are without loss, or "JPEG" or "WEBP" of 8 bits.
        file: Opened for writing, of the operating system.
        quality: 1 to 100, for JPEG and WebP.

    Raises:
        pyvips.Error: It cannot be written, or the format has not so many pixels a side.
    """
    pyvips = vips()
    height, width, channels = levels.shape
    deep = levels.dtype == np.uint16
    picture = pyvips.Image.new_from_memory(
        levels.data, width, height, channels, "ushort" if deep else "uchar"
    ).copy(interpretation="rgb16" if deep else "srgb")
    if kind == "JPEG" and channels == 4:
        picture = picture.flatten(background=255)
    options = {
        "PNG": {},
        "TIFF": {"compression": "deflate", "predictor": "horizontal"},
        "JPEG": {"Q": quality, "subsample_mode": "off"},
        "WEBP": {"Q": quality},
    }[kind]
    file.flush()
    target = pyvips.Target.new_to_descriptor(file.fileno())
    getattr(picture, f"{kind.lower()}save_target")(target, **options)
