"""Files to RGB tensors and back: the only place to ask for decoding and encoding of pictures.

Reading: `decode` gives upright 8-bit sRGB, `load` gives a tensor, `load_full` one with alpha and
16 bits, `load_strips` the same in strips. All see the same pixels, turn and alpha of a file.
Writing: `save`, atomically. `find` and `unused_path` can be called from here too.
"""

import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from fst.errors import FstError
from fst.io.atomic import give_name, publish, taken  # noqa: F401

# Most callers know these as images.decode and so on.
from fst.io.decode import (  # noqa: F401
    MAX_PIXELS,
    ImageError,
    check_shorter_side,
    reading,
    resize,
    say,
    size_with_shorter_side,
)
from fst.io.paths import (  # noqa: F401
    FORMATS,
    IMAGE_SUFFIXES,
    check_place,
    find,
    printable,
    unused_path,
)
from fst.io.vips import Strips, open_file, read_strips, read_whole, write_levels

ALPHA_FORMATS = ("PNG", "WEBP", "TIFF")
DEEP_FORMATS = ("PNG", "TIFF")
SIDE_LIMITS_PX = {"JPEG": 65_535, "WEBP": 16_383}


def resize_shorter_side(
    picture: Image.Image, shorter_side_px: int, enlarge: bool = False
) -> Image.Image:
    """Scale a picture (mode L or RGB) so that its shorter side has a given length; a smaller one is
    returned as it is, unless `enlarge`."""
    check_shorter_side(shorter_side_px)
    shorter = min(picture.size)
    if shorter == shorter_side_px or (shorter < shorter_side_px and not enlarge):
        return picture
    return resize(picture, size_with_shorter_side(picture.size, shorter_side_px))


def to_uint8_tensor(picture: Image.Image) -> torch.Tensor:
    """A picture as a (3,H,W) uint8 tensor in 0..255."""
    pixels = np.array(picture.convert("RGB"))  # (H,W,3); np.asarray would be read-only
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()  # (3,H,W)


def to_tensor(picture: Image.Image) -> torch.Tensor:
    """A picture as a (3,H,W) float32 tensor in [0,1]."""
    return to_uint8_tensor(picture).to(torch.float32).div_(255)


def to_picture(image: torch.Tensor) -> Image.Image:
    """A float tensor (3,H,W) or (4,H,W) as a picture, clamped to [0,1] and rounded to 256 levels.

    Raises:
        ValueError: if the tensor is not (3,H,W) or (4,H,W), or not floating.
    """
    if image.ndim != 3 or image.shape[0] not in (3, 4) or not image.is_floating_point():
        given = f"{image.dtype} of shape {tuple(image.shape)}"
        raise ValueError(f"image was {given}; expected one float image (3,H,W) in [0,1]")
    levels = image.detach().float().clamp(0, 1).mul(255).round().to(torch.uint8)
    return Image.fromarray(levels.permute(1, 2, 0).contiguous().cpu().numpy())  # (H,W,C)


def on_white(image: torch.Tensor) -> torch.Tensor:
    """(4,H,W) with alpha laid on white as (3,H,W); (3,H,W) as it is."""
    return image if len(image) == 3 else torch.lerp(torch.ones(()), image[:3], image[3])


def decode(
    path: str | Path, shorter_side_px: int | None = None, *, keep_alpha: bool = False
) -> Image.Image:
    """Read a picture as upright 8-bit sRGB, transparency laid on white.

    The orientation that EXIF tells, or XMP where EXIF does not, is applied; an embedded ICC
    profile, and the cICP, gAMA and cHRM of a PNG, are converted to sRGB. 16 bits are divided by
    257; other deep samples are scaled as `fst.io.vips` says.

    Args:
        path: a JPEG, PNG, WebP, BMP or TIFF file, told by its content and not by its suffix.
        shorter_side_px: shrink so that the shorter side has this length; never enlarges.
        keep_alpha: give a picture that has transparency as RGBA instead, alpha not multiplied in.

    Returns:
        A picture in mode RGB, or RGBA, that holds no file open.

    Raises:
        ImageError: whatever is wrong with the file, in one line that names it.
    """
    return Image.fromarray(_levels(path, shorter_side_px, partial(_eight_bits, keep_alpha)))


def load(path: str | Path, shorter_side_px: int | None = None) -> torch.Tensor:
    """Read a picture as a (3,H,W) float32 tensor in [0,1]; arguments and errors as `decode`."""
    return to_tensor(decode(path, shorter_side_px))


def load_full(
    path: str | Path,
    shorter_side_px: int | None = None,
    fits: Callable[[tuple[int, int]], bool] = lambda size: True,
) -> torch.Tensor | None:
    """Read all that a picture holds: `load` with alpha, and to 16 bits where the file has them.

    Args:
        path: as `decode`.
        shorter_side_px: as `decode`.
        fits: asked with the size (H,W) before pixels are read; where it says no, None is returned.

    Returns:
        (3,H,W) float32 in [0,1], or (4,H,W) of a picture with transparency, its alpha last and
        not multiplied into the colours.

    Raises:
        ImageError: as `decode`.
    """
    levels = _levels(path, shorter_side_px, lambda strip: strip, fits)
    if levels is None:
        return None
    # Put in order as levels: as floats it would take the memory of two images.
    planes = np.ascontiguousarray(levels.transpose(2, 0, 1))  # (C,H,W)
    return torch.from_numpy(planes).to(torch.float32).div_(np.iinfo(levels.dtype).max)


def _levels(
    path: str | Path,
    shorter_side_px: int | None,
    each: Callable[[np.ndarray], np.ndarray],
    fits: Callable[[tuple[int, int]], bool] = lambda size: True,
) -> np.ndarray | None:
    """(H,W,C) of 8 or 16 bits, what `each` makes of every strip."""
    check_shorter_side(shorter_side_px)
    with reading(path) as file:
        opened = open_file(file)
        is_read = fits(opened.shape(shorter_side_px))
        return read_whole(opened, shorter_side_px, each) if is_read else None


def _eight_bits(keep_alpha: bool, strip: np.ndarray) -> np.ndarray:
    """(h,W,C) of 8 or 16 bits as (h,W,3 or 4) of 8, transparency laid on white or kept."""
    white = np.iinfo(strip.dtype).max
    if strip.shape[2] == 4 and not keep_alpha:
        alpha = strip[..., 3:].astype(np.uint32)
        on_white = strip[..., :3] * alpha + white * (white - alpha)  # at most white^2 < 2^32
        strip = ((on_white + white // 2) // white).astype(strip.dtype)
    if white == 255:
        return strip
    return ((strip.astype(np.uint32) + 128) // 257).astype(np.uint8)


def shape_of(path: str | Path, shorter_side_px: int | None = None) -> tuple[int, int]:
    """(H,W) that `load` would give, from the file's head alone.

    Raises:
        ImageError: as `decode`.
    """
    with reading(path) as file:
        return open_file(file).shape(shorter_side_px)


def load_strips(path: str | Path, shorter_side_px: int | None = None) -> Strips:
    """`load_full` for pictures of any size: whole numbers in strips, from the top down.

    Raises:
        ImageError: as `decode`; what is broken further down is found while strips are read.
    """
    check_shorter_side(shorter_side_px)
    with reading(path) as file:
        found = read_strips(open_file(file), shorter_side_px)

    def named() -> Iterator[np.ndarray]:
        with reading(path):
            yield from found.strips

    return Strips(found.shape, found.dtype, named())


def save(
    image: torch.Tensor,
    path: str | Path,
    *,
    overwrite: bool = False,
    quality: int = 95,
    bits: int = 8,
    numbered: bool = False,
) -> Path:
    """Write an image so that the path holds either the whole file or what it held before.

    Args:
        image: (3,H,W), or with alpha (4,H,W), floating, finite; clamped to [0,1]. A format
            without alpha gets it laid on white.
        path: its suffix, one of IMAGE_SUFFIXES, names the format; missing folders are made.
        overwrite: replace an existing file; otherwise it is refused, also when it appears
            while this call writes.
        quality: 1 to 100, for JPEG (without chroma subsampling) and WebP.
        bits: a channel; 8, or for PNG and TIFF 16.
        numbered: take name-1.png, name-2.png, ... where the name is taken.

    Returns:
        The path written.

    Raises:
        FstError: unknown suffix, NaN or infinite values, existing path, 16 bits in a format
            that has not so many, or a failed write.
        ValueError: if the tensor is not (3,H,W) or (4,H,W), or not floating.
    """
    path = Path(path)
    check_target(path, bits)
    if not 1 <= quality <= 100:
        raise FstError(f"cannot write {printable(path)}: quality was {quality}; expected 1 to 100")
    if not torch.isfinite(image).all():
        raise FstError(
            f"cannot write {printable(path)}: the image holds NaN or infinite values; try float32"
        )
    kind = FORMATS[path.suffix.lower()]
    if bits == 16:
        levels = (image.detach().double().clamp(0, 1) * 65535).round().to(torch.int32)
        levels = levels.permute(1, 2, 0).contiguous().cpu().numpy().astype(np.uint16)  # (H,W,C)
        encode = partial(write_levels, levels, kind)
    else:
        keeps_all = kind in ALPHA_FORMATS or len(image) == 3
        picture = to_picture(image if keeps_all else on_white(image))
        options = {"subsampling": "4:4:4"} if kind == "JPEG" else {}
        encode = partial(picture.save, format=kind, quality=quality, **options)
    return publish(path, encode, overwrite, numbered)


def save_levels(
    levels: np.ndarray, path: str | Path, *, overwrite: bool = False, numbered: bool = False
) -> Path:
    """Write whole numbers (H,W,3 or 4) of 8 or 16 bits, which may be a memory map, in strips.

    Arguments, result and errors as of `save`; BMP is not written in strips.
    """
    path = Path(path)
    check_target(path, 8 * levels.dtype.itemsize)
    kind = FORMATS[path.suffix.lower()]
    encode = partial(write_levels, levels, kind)
    if kind == "BMP":
        picture = to_picture(on_white(torch.from_numpy(levels).permute(2, 0, 1) / 255))
        encode = partial(picture.save, format=kind)
    return publish(path, encode, overwrite, numbered)


def check_target(path: str | Path, bits: int = 8, longer_side_px: int = 0) -> None:
    """Refuse a name whose suffix says no format, or one without so many bits or so long a side."""
    name, kind = printable(path), FORMATS.get(Path(path).suffix.lower())
    if kind is None:
        known = " ".join(FORMATS)
        raise FstError(f"cannot write {name}: its suffix must be one of {known}")
    if bits not in (8, 16):
        raise FstError(f"cannot write {name}: {bits} bits; a picture has 8 or 16")
    if bits == 16 and kind not in DEEP_FORMATS:
        raise FstError(f"cannot write {name}: 16 bits go into .png, .tif or .tiff only")
    most_px = SIDE_LIMITS_PX.get(kind, longer_side_px)
    if longer_side_px > most_px:
        raise FstError(
            f"cannot write {name}: {longer_side_px} px a side, the format ends at {most_px}: name "
            "a .png or .tif"
        )


def check_free(path: str | Path, taken_is_fine: bool) -> None:
    """Refuse a file name that cannot be written, before the work; makes missing folders."""
    path = Path(path)
    if not taken_is_fine and os.path.lexists(path):
        raise taken(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        writable = os.access(path.parent, os.W_OK)
    except OSError as error:
        raise FstError(
            f"cannot write {printable(path)}: {error.strerror}; name another folder"
        ) from error
    if not writable:
        raise FstError(f"cannot write {printable(path)}: its folder is read-only; name another")
