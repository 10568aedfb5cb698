"""Pictures of 16 bits a channel, which PIL cannot hold: read and written by libvips.

Called through `fst.images`. libvips is loaded only where such a picture is met, and of its many
readers only those of PNG and TIFF are ever asked.
"""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

LEVELS = 65535
DEEP_FORMATS = ("PNG", "TIFF")


def read_deep(path: str | Path, kind: str, shorter_side_px: int | None = None) -> Tensor:
    """A 16-bit file as (3, H, W), or with its alpha (4, H, W), float32 in [0, 1], upright sRGB.

    Args:
        path: A regular file of a size that has been checked.
        kind: "PNG" or "TIFF".
        shorter_side_px: Shrink so that the shorter side has this length; never enlarges.

    Raises:
        pyvips.Error: The file is broken.
    """
    import pyvips

    load = pyvips.Image.pngload if kind == "PNG" else pyvips.Image.tiffload
    picture = load(str(path), fail_on="error").autorot()
    if "icc-profile-data" in picture.get_fields():
        picture = picture.icc_transform("srgb", depth=16, embedded=True, intent="relative")
    picture = picture.colourspace("rgb16")
    bands = 4 if picture.hasalpha() else 3
    picture = picture[:bands]
    shorter = min(picture.width, picture.height)
    if shorter_side_px and shorter_side_px < shorter:
        picture = _shrunk(picture, shorter_side_px / shorter)
    levels = np.ndarray(
        (picture.height, picture.width, bands), np.uint16, picture.cast("ushort").write_to_memory()
    )
    return torch.from_numpy(levels.astype(np.float32) / LEVELS).permute(2, 0, 1).contiguous()


def _shrunk(picture, scale: float):
    """Lanczos; colours weigh as much as they are opaque."""
    width, height = round(picture.width * scale), round(picture.height * scale)
    across, down = width / picture.width, height / picture.height
    if not picture.hasalpha():
        return picture.resize(across, vscale=down)
    premultiplied = picture.premultiply(max_alpha=LEVELS)
    return premultiplied.resize(across, vscale=down).unpremultiply(max_alpha=LEVELS)


def encode_deep(image: Tensor, kind: str) -> bytes:
    """A 16-bit file of (3, H, W) or, with alpha, (4, H, W) in [0, 1], rounded to 65,536 levels.

    Args:
        image: Floating; clamped.
        kind: "PNG", or "TIFF", which is compressed without loss.
    """
    import pyvips

    levels = (image.detach().double().clamp(0, 1) * LEVELS).round().to(torch.int32)
    pixels = levels.permute(1, 2, 0).contiguous().cpu().numpy().astype(np.uint16)  # (H, W, C)
    picture = pyvips.Image.new_from_array(pixels, interpretation="rgb16")
    if kind == "PNG":
        return picture.pngsave_buffer()
    return picture.tiffsave_buffer(compression="deflate", predictor="horizontal")
