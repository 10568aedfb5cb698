"""Pictures that Pillow cannot hold, 16 bits a channel, or that memory cannot: by libvips.

Called through `fst.io.images`. libvips is loaded only where such a picture is met, and of its many
readers only those named here are ever asked.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fst.io.decode import check_pixels

LEVELS = 65535
DEEP_FORMATS = ("PNG", "TIFF")
STRIP_PX, STRIP_BYTES = 128, 4_000_000  # at most, unless a row has more


@dataclass
class Strips:
    """A picture that comes in strips, from the top down."""

    shape: tuple[int, int, int]  # (H, W, 3), or with alpha (H, W, 4)
    dtype: type  # np.uint8 or np.uint16
    strips: Iterator[np.ndarray]  # each (h, W, C)


def read_strips(path: str | Path, kind: str, deep: bool, shorter_side_px: int | None) -> Strips:
    """A picture as upright sRGB in strips, never whole in memory but for what turns it.

    Args:
        path: A regular file of a size that has been checked.
        kind: "JPEG", "PNG", "TIFF" or "WEBP".
        deep: Whether it has 16 bits a channel.
        shorter_side_px: Shrink so that the shorter side has this length; never enlarges.

    Raises:
        pyvips.Error: The file is broken; also while strips are read.
    """
    picture = _opened(path, kind, deep, shorter_side_px, access="sequential")
    dtype = np.uint16 if deep else np.uint8

    def strips() -> Iterator[np.ndarray]:
        region = _vips().Region.new(picture)
        row = picture.width * picture.bands * np.dtype(dtype).itemsize
        strip_px = max(1, min(STRIP_PX, STRIP_BYTES // row))  # of every step from file to sRGB
        for top in range(0, picture.height, strip_px):
            height = min(strip_px, picture.height - top)
            pixels = region.fetch(0, top, picture.width, height)
            yield np.frombuffer(pixels, dtype).reshape(height, picture.width, picture.bands)

    return Strips((picture.height, picture.width, picture.bands), dtype, strips())


def read_deep(path: str | Path, kind: str, shorter_side_px: int | None = None) -> Tensor:
    """A 16-bit file as (3, H, W), or with its alpha (4, H, W), float32 in [0, 1], upright sRGB.

    Args:
        path: A regular file of a size that has been checked.
        kind: "PNG" or "TIFF".
        shorter_side_px: Shrink so that the shorter side has this length; never enlarges.

    Raises:
        pyvips.Error: The file is broken.
    """
    picture = _opened(path, kind, True, shorter_side_px)
    shape = picture.height, picture.width, picture.bands
    levels = np.ndarray(shape, np.uint16, picture.write_to_memory())
    planes = np.ascontiguousarray(levels.transpose(2, 0, 1)).astype(np.float32)  # (C, H, W)
    return torch.from_numpy(planes).div_(LEVELS)


def _vips() -> Any:
    import pyvips

    logging.getLogger("pyvips").setLevel(logging.ERROR)  # what matters is raised as well
    pyvips.cache_set_max(0)  # it would answer with what a file of that name held before
    return pyvips


def _opened(
    path: str | Path, kind: str, deep: bool, shorter_side_px: int | None, access: str = "random"
) -> Any:
    load = getattr(_vips().Image, {"WEBP": "webpload"}.get(kind, f"{kind.lower()}load"))
    picture = load(str(path), fail_on="error", access=access)
    check_pixels(picture.width, picture.height)  # of a tag given twice each library takes its own
    if picture.get_typeof("orientation") and picture.get("orientation") > 1:
        picture = load(str(path), fail_on="error").autorot()  # turning needs all of it
    if "icc-profile-data" in picture.get_fields():
        depth = 16 if deep else 8
        picture = picture.icc_transform("srgb", depth=depth, embedded=True, intent="relative")
    picture = picture.colourspace("rgb16" if deep else "srgb")
    picture = picture[: 4 if picture.hasalpha() else 3]
    shorter = min(picture.width, picture.height)
    if shorter_side_px and shorter_side_px < shorter:
        picture = _shrunk(picture, shorter_side_px / shorter, LEVELS if deep else 255)
    return picture.cast("ushort" if deep else "uchar")


def _shrunk(picture: Any, scale: float, white: int) -> Any:
    """Lanczos; colours weigh as much as they are opaque."""
    width, height = round(picture.width * scale), round(picture.height * scale)
    across, down = width / picture.width, height / picture.height
    if not picture.hasalpha():
        return picture.resize(across, vscale=down)
    premultiplied = picture.premultiply(max_alpha=white)
    return premultiplied.resize(across, vscale=down).unpremultiply(max_alpha=white)


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
    pyvips = _vips()
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
