"""Files to pictures: the readers, upright and in sRGB; called through `fst.io.images`."""

import io
import logging
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import IMAGELENGTH, IMAGEWIDTH, TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from fst.errors import FstError
from fst.io.kept import KeptFile
from fst.io.paths import printable

# 300 megapixels are 0.9 GB as bytes and 3.6 GB as float32: above any camera, below most bombs.
MAX_PIXELS = 300_000_000
MAX_WEBP_PIXELS = 178_000_000  # the decoder of animations, which reads all, has two more canvases
MAX_SIDE_PX = 100_000  # a row is held whole, several times over
HEAD_BYTES = 30  # tell the format, and the size of a WebP picture
# From so many on, a picture of more pixels a byte is none: deflate packs flat grey 1032 to a byte,
# photographs have below 20. A WebP animation of 1 KB may call for a canvas of a gigabyte.
DENSE_FROM_PIXELS, PIXELS_PER_BYTE = 20_000_000, 2000


class _TiffReader(TiffImageFile):
    def load_prepare(self) -> None:
        # As the parent's without its bomb check, see below. Stored size: `size` is the upright one.
        self.im = Image.core.new(self.mode, (self.tag_v2[IMAGEWIDTH], self.tag_v2[IMAGELENGTH]))
        ImageFile.ImageFile.load_prepare(self)


# The readers are called by file signature instead of through Image.open, whose bomb check warns
# at 89 megapixels and refuses 178 by a process-wide setting that threads cannot change safely.
# An MPO file (two JPEGs in one) is read as its first JPEG.
_READERS: dict[bytes, type[ImageFile.ImageFile]] = {
    b"\xff\xd8\xff": JpegImageFile,
    b"\x89PNG\r\n\x1a\n": PngImageFile,
    b"BM": BmpImageFile,
    **dict.fromkeys((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"), _TiffReader),
}

logging.getLogger("PIL").setLevel(logging.CRITICAL)  # what matters is raised as well

_EXIF_ORIENTATION = 0x0112
_UPRIGHT = {  # EXIF 2.3, tag 0x0112: the turn that undoes each orientation
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class ImageError(FstError):
    """A file that cannot be read as a picture; `reason` is the message without the file name."""

    # A second argument with a default: DataLoader rebuilds a worker's exception from one string.
    def __init__(self, message: str, reason: str = "") -> None:
        super().__init__(message)
        self.reason = reason or message


def decode(
    path: str | Path, shorter_side_px: int | None = None, *, keep_alpha: bool = False
) -> Image.Image:
    """Read a picture as upright 8-bit sRGB, transparency laid on white.

    EXIF orientation is applied and an embedded ICC profile is converted to sRGB. 16-bit grey is
    divided by 257; other deep grey is scaled as `_eight_bit` says.

    Args:
        path: a JPEG, PNG, WebP, BMP or TIFF file, told by its content and not by its suffix.
        shorter_side_px: shrink so that the shorter side has this length; never enlarges.
        keep_alpha: give a picture that has transparency as RGBA instead, alpha not multiplied in.

    Returns:
        A picture in mode RGB, or RGBA, that holds no file open.

    Raises:
        ImageError: whatever is wrong with the file, in one line that names it.
    """
    check_shorter_side(shorter_side_px)
    with reading(path) as file:
        return _decode(file, shorter_side_px, keep_alpha)


@contextmanager
def reading(path: str | Path) -> Iterator[BinaryIO]:
    """The file opened; whatever goes wrong within becomes an ImageError that names it."""
    try:
        is_kept = isinstance(path, KeptFile)
        # Opening a named pipe would wait for a writer for ever.
        if not (is_kept and path.kept) and not stat.S_ISREG(os.stat(path).st_mode):
            raise ImageError("is a folder" if os.path.isdir(path) else "is not a regular file")
        with path.open() if is_kept else open(path, "rb") as file:
            yield file
    except Exception as error:  # decoders raise SyntaxError, struct.error, MemoryError and more
        reason = _reason(error)
        out = "give a whole JPEG, PNG, WebP, BMP or TIFF"
        if isinstance(error, MemoryError):
            out = "free some, or give a smaller one"
        raise ImageError(f"cannot read {printable(path)}: {reason}; {out}", reason) from error


def open_picture(file: BinaryIO) -> ImageFile.ImageFile:
    """The picture of a file, its size checked, its pixels not yet decoded.

    Raises:
        ImageError: It is no picture, or one of too many pixels; decoders raise other errors.
    """
    head = file.read(HEAD_BYTES)
    reader = _reader(head)
    file_bytes = file.seek(0, os.SEEK_END)
    file.seek(0)
    if reader is WebPImageFile:  # makes room for all pixels at once
        _check_density(*_webp_size(head), file_bytes, MAX_WEBP_PIXELS)
    picture = reader(file)
    _check_density(*picture.size, file_bytes, MAX_PIXELS)
    return picture


def _check_density(width: int, height: int, file_bytes: int, most: int) -> None:
    check_pixels(width, height, most)
    if width * height > max(DENSE_FROM_PIXELS, PIXELS_PER_BYTE * file_bytes):
        raise ImageError(
            f"{width}x{height} pixels in {file_bytes} bytes: it is empty, or made to fill memory"
        )


def _webp_size(head: bytes) -> tuple[int, int]:
    """Width and height by a WebP file's first bytes (RFC 9649, sections 2.5 to 2.7)."""
    kind, numbers = head[12:16], head[20:HEAD_BYTES]
    if len(head) < HEAD_BYTES:
        raise ImageError("truncated")
    if kind == b"VP8X":
        return tuple(1 + int.from_bytes(numbers[i : i + 3], "little") for i in (4, 7))
    if kind == b"VP8L":
        both = int.from_bytes(numbers[1:5], "little")
        return 1 + (both & 0x3FFF), 1 + (both >> 14 & 0x3FFF)
    return tuple(int.from_bytes(numbers[i : i + 2], "little") & 0x3FFF for i in (6, 8))


def check_pixels(width: int, height: int, most: int = MAX_PIXELS) -> None:
    """Refuse a picture of no pixels or of too many.

    Raises:
        ImageError: Says how many there are.
    """
    if width < 1 or height < 1:
        raise ImageError("it has no pixels")
    if max(width, height) > MAX_SIDE_PX:
        raise ImageError(f"{width}x{height} pixels: a side is longer than {MAX_SIDE_PX}")
    if width * height > most:
        limit = f"{most / 1e6:g} megapixels"
        raise ImageError(f"{width}x{height} pixels are more than the limit of {limit}")


def is_deep(picture: ImageFile.ImageFile) -> bool:
    """Whether a PNG or TIFF file has 16 bits a channel, which PIL cuts to 8 but for grey."""
    if not isinstance(picture, (PngImageFile, TiffImageFile)) or not picture.tile:
        return False
    return ";16" in str(picture.tile[0].args) and is_plain(picture)


def is_plain(picture: ImageFile.ImageFile) -> bool:
    """Whether it is grey or RGB, with alpha or not: what libvips reads as PIL does."""
    return picture.mode in ("1", "L", "LA", "P", "RGB", "RGBA") or picture.mode.startswith("I;16")


def _decode(file: BinaryIO, shorter_side_px: int | None, keep_alpha: bool) -> Image.Image:
    picture = open_picture(file)
    size = None
    if shorter_side_px and isinstance(picture, JpegImageFile):
        size = size_with_shorter_side(picture.size, shorter_side_px)
        # The JPEG decoder can halve up to three times for free; the last factor of two is left
        # to the better filter below. A square box, so the orientation does not matter.
        picture.draft(None, (2 * shorter_side_px, 2 * shorter_side_px))
    picture.load()
    turn = _UPRIGHT.get(_orientation(picture))
    rgb, alpha = _to_srgb(picture)
    if alpha is not None:
        rgb = _with_alpha(rgb, alpha) if keep_alpha else _on_white(rgb, alpha)
    if shorter_side_px:
        size = size or size_with_shorter_side(rgb.size, shorter_side_px)
        if min(size) < min(rgb.size):
            rgb = resize(rgb, size)
    rgb = rgb if turn is None else rgb.transpose(turn)
    rgb.info = {}  # else a later save would embed the profile and orientation applied above
    return rgb


def _reader(head: bytes) -> type[ImageFile.ImageFile]:
    """The reader for a file's first bytes."""
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return WebPImageFile
    for signature, reader in _READERS.items():
        if head.startswith(signature):
            return reader
    if not head:
        raise ImageError("the file is empty")
    if head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        raise ImageError("it is a web page or other markup, not a picture")
    raise ImageError("it is not a picture of a known format")


def _reason(error: Exception) -> str:
    """What went wrong, in a few words on one line."""
    if isinstance(error, ImageError):
        return error.reason
    if isinstance(error, Image.DecompressionBombError):
        return "more pixels than PIL reads of this format"
    if isinstance(error, MemoryError):
        return "not enough memory to decode it"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    text = printable(" ".join(str(error).split())) or type(error).__name__
    is_cut = any(word in text.lower() for word in ("truncated", "premature", "read error"))
    return "truncated" if is_cut else f"damaged ({text})"


def _orientation(picture: Image.Image) -> int:
    try:
        return int(picture.getexif().get(_EXIF_ORIENTATION, 1))
    except Exception:  # broken EXIF around good pixels
        return 1


def _to_srgb(picture: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """A picture of any mode as RGB in sRGB, and its alpha where it has transparency."""
    profile = picture.info.get("icc_profile")
    if picture.mode.startswith(("I", "F")):
        picture = _eight_bit(picture)
    is_grey = picture.mode in ("1", "L", "LA", "La")
    alpha = None
    if picture.has_transparency_data:
        rgba = picture.convert("RGBA")
        alpha = rgba.getchannel("A")
        picture = rgba.getchannel("R") if is_grey else rgba
    colours = picture if picture.mode == "CMYK" else picture.convert("L" if is_grey else "RGB")
    rgb = (_convert_profile(colours, profile) if profile else None) or colours.convert("RGB")
    return rgb, alpha


def _on_white(rgb: Image.Image, alpha: Image.Image) -> Image.Image:
    on_white = Image.new("RGB", rgb.size, "white")
    on_white.paste(rgb, mask=alpha)
    return on_white


def _with_alpha(rgb: Image.Image, alpha: Image.Image) -> Image.Image:
    rgba = rgb.copy()
    rgba.putalpha(alpha)
    return rgba


def _convert_profile(picture: Image.Image, icc: bytes) -> Image.Image | None:
    """An L, RGB or CMYK picture in sRGB, or None where the profile is broken or does not fit."""
    from PIL import ImageCms  # loads a shared library that few runs need

    try:
        source, target = ImageCms.ImageCmsProfile(io.BytesIO(icc)), ImageCms.createProfile("sRGB")
        return ImageCms.profileToProfile(picture, source, target, outputMode="RGB")
    except Exception:  # littlecms and PIL raise many kinds
        return None


def _eight_bit(picture: Image.Image) -> Image.Image:
    """16-bit, 32-bit and float grey as 8-bit grey.

    Integers count as 16-bit (65535 is white). Floats say nothing about their range: the smallest
    of 1, 255 and 65535 that holds them all is white. Larger values set white themselves.
    """
    values = np.nan_to_num(np.asarray(picture).astype(np.float64))
    largest = values.max(initial=0)
    whites = (1, 255, 65535) if picture.mode == "F" else (65535,)
    white = next((level for level in whites if largest <= level), largest)
    return Image.fromarray(np.rint(values.clip(0) * (255 / white)).astype(np.uint8))


def check_shorter_side(shorter_side_px: int | None) -> None:
    if shorter_side_px is not None and shorter_side_px < 1:
        raise FstError(f"shorter_side_px was {shorter_side_px}; expected 1 pixel or more")


def size_with_shorter_side(size: tuple[int, int], shorter_side_px: int) -> tuple[int, int]:
    scale = shorter_side_px / min(size)
    return round(size[0] * scale), round(size[1] * scale)


def resize(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    # Lanczos is antialiased in PIL; box-shrinking first to three times the size changes no
    # visible pixel and makes large steps several times faster. Bicubic rings less enlarging.
    shrinks = min(size) < min(picture.size)
    resampling = Image.Resampling.LANCZOS if shrinks else Image.Resampling.BICUBIC
    return picture.resize(size, resampling, reducing_gap=3.0)
