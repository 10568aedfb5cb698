"""What may be given to be painted: tensors, arrays, Pillow's images and files."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from fst import images
from fst.errors import FstError
from fst.networks.transformer import MIN_SIZE_PX

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
        upright = ImageOps.exif_transpose(image)
        image = np.array(upright.convert("RGBA" if upright.has_transparency_data else "RGB"))
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


def _from_array(array: np.ndarray) -> Tensor:
    """(H, W, C) as (C, H, W)."""
    if array.ndim != 3 or array.shape[2] not in (3, 4):
        raise FstError(f"an array of shape {array.shape}: expected {FORMS}")
    return torch.from_numpy(np.ascontiguousarray(array.transpose(2, 0, 1)))


def _in_unit_range(image: Tensor) -> Tensor:
    levels: dict[Any, int] = {torch.uint8: 255, torch.uint16: 65535}
    if image.dtype in levels:
        return image.float() / levels[image.dtype]
    if not image.is_floating_point():
        raise FstError(f"an image of {image.dtype}: expected uint8, uint16, or float in [0, 1]")
    image = image.float()
    if image.max() > 2:  # a little beyond 1 is overshoot of resizing, and harmless
        raise FstError(f"a float image of values up to {float(image.max()):g}: divide it by 255")
    return image
