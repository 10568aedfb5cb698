"""What may be given to be painted: tensors, arrays, Pillow's images and files."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from fst.errors import FstError
from fst.io import images
from fst.networks.sizes import MIN_SIZE_PX

FORMS = f"(3 or 4, H, W), or an array (H, W, 3 or 4), of at least {MIN_SIZE_PX} px a side"


def read_image(image: Tensor | np.ndarray | Image.Image | str | Path) -> Tensor:
    """An image as (3, H, W) or, with alpha, (4, H, W): fp32 in [0, 1], on the CPU.

    Args:
        image: A tensor (3 or 4, H, W), an array (H, W, 3 or 4), each in [0, 1] or of uint8 or
            uint16; a Pillow image, turned as its EXIF tag says; or a file.

    Raises:
        FstError: It is of another kind or shape, out of range, below 16 px a side, or the file
            cannot be read.
    """
    if isinstance(image, str | Path):
        return _from_file(image)
    if isinstance(image, Image.Image):
        image = _levels(ImageOps.exif_transpose(image))
    if isinstance(image, np.ndarray):
        image = _from_array(image)
    if not isinstance(image, Tensor):
        raise FstError(
            f"an image of type {type(image).__name__}: expected a tensor {FORMS}; a Pillow image; "
            "or a file"
        )
    if image.dim() != 3 or image.shape[0] not in (3, 4) or min(image.shape[1:]) < MIN_SIZE_PX:
        raise FstError(f"an image of shape {tuple(image.shape)}: expected {FORMS}")
    return _in_unit_range(image.cpu())


def _from_file(path: str | Path) -> Tensor:
    image = images.load_full(path)
    height, width = image.shape[1:]
    if min(height, width) < MIN_SIZE_PX:
        raise FstError(
            f"{images.printable(path)}: {width}x{height} px are below {MIN_SIZE_PX} px a side; "
            "give a larger picture"
        )
    return image


def _levels(picture: Image.Image) -> np.ndarray:
    """(H, W, 3 or 4), uint8, or of a 16-bit picture uint16."""
    if picture.mode == "F":
        raise FstError("a Pillow image of mode F has no range of its own: give an array in [0, 1]")
    if picture.mode.startswith("I"):  # to RGB Pillow would cut them off at 255
        grey = np.asarray(picture).clip(0, 65535).astype(np.uint16)
        return np.repeat(grey[:, :, None], 3, axis=2)
    return np.array(picture.convert("RGBA" if picture.has_transparency_data else "RGB"))


def _from_array(array: np.ndarray) -> Tensor:
    """(H, W, C) as (C, H, W)."""
    if array.ndim != 3 or array.shape[2] not in (3, 4):
        raise FstError(f"an array of shape {array.shape}: expected {FORMS}")
    native = array.astype(array.dtype.newbyteorder("="), copy=False)
    return torch.from_numpy(np.ascontiguousarray(native.transpose(2, 0, 1)))


def _in_unit_range(image: Tensor) -> Tensor:
    levels: dict[Any, int] = {torch.uint8: 255, torch.uint16: 65535}
    if image.dtype in levels:
        return image.float() / levels[image.dtype]
    if not image.is_floating_point():
        raise FstError(f"an image of {image.dtype}: expected uint8, uint16, or float in [0, 1]")
    image = image.float()
    low, high = (value.item() for value in image.aminmax())
    if not -0.5 <= low <= high <= 2:  # a little beyond is overshoot of resizing, and harmless
        raise FstError(
            f"a float image of values from {low:g} to {high:g}: expected [0, 1]"
            + ("; divide it by 255" if high > 2 else "")
        )
    return image
