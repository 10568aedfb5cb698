"""The images of a Gatys run at each of its sizes."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from fst.networks.sizes import MIN_VGG_PX

Shape = tuple[int, int]  # height and width


def first_image(content: Tensor | None, start: str | Tensor, shape: Shape, seed: int) -> Tensor:
    """The first image, (1, 3, H, W)."""
    if isinstance(start, Tensor):
        return start[None]
    if start == "content" and content is not None:
        return content[None]
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(1, 3, *shape, generator=generator)


def shape_of(size_px: int, aspect: float) -> Shape:
    """Height and width of an image of a shorter side, `aspect` times as wide as high."""
    if aspect >= 1:
        return size_px, round(size_px * aspect)
    return round(size_px / aspect), size_px


def aspect_of(image: Tensor) -> float:
    """Width over height of (..., H, W)."""
    return image.shape[-1] / image.shape[-2]


def styles_at(style: Sequence[Tensor], style_size_px: int, scale: float) -> list[Tensor]:
    """Style pictures shrunk to a shorter side of `style_size_px` at most, then scaled."""
    scaled = []
    for picture in style:
        side = round(min(*picture.shape[1:], style_size_px) * scale)
        shape = shape_of(max(MIN_VGG_PX, side), aspect_of(picture))
        scaled.append(resized(picture[None], shape)[0])
    return scaled


def resized(image: Tensor, shape: Shape) -> Tensor:
    """(B, 3, h, w) scaled to (B, 3, H, W); pixels beyond [0, 1], as in photos, are not made."""
    if image.shape[2:] == shape:
        return image
    options = {"mode": "bicubic", "align_corners": False, "antialias": True}
    return F.interpolate(image, shape, **options).clamp(0, 1)


def finished(image: Tensor) -> Tensor:
    """(1, 3, H, W) as an image to keep: (3, H, W) in [0, 1] on the CPU."""
    return image[0].detach().float().clamp(0, 1).cpu().contiguous()
