"""Pixels of files as upright sRGB, whole or in strips, and back; called through `images`.

Of libvips' many readers only those named here are ever asked. Pillow reads BMP, which libvips does
not; of TIFF the compressions that libvips' wheels lack (see `fst.io.heads`); and WebP: libvips has
its own threads decode it, which in a forked DataLoader worker are gone and waited for in vain. So
they do interlaced PNGs, which Pillow reads there, colours of 16 bits as 8. Of others the calling
thread fetches the pixels, for the same reason. What follows, from the profile to the filter that
shrinks, is one for all.
"""

import logging
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import Any, BinaryIO

import numpy as np
from PIL.BmpImagePlugin import BmpImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from fst.io import heads
from fst.io.decode import (
    EXIF_ORIENTATION,
    check_density,
    kind_of,
    known_orientation,
    orientation_of,
    say,
    shrunk_size,
)
from fst.io.paths import printable

LEVELS = 65535
STRIP_PX, STRIP_BYTES = 128, 1_000_000  # at most, unless a row has more
MOST_BY_PILLOW = 89_000_000  # pixels of a TIFF; it warns of more

_LOADERS = {"JPEG": "jpegload", "PNG": "pngload", "TIFF": "tiffload"}
_BY_PILLOW = {"BMP": BmpImageFile, "WEBP": WebPImageFile}
PART_PX = 128  # of a row, when a picture is turned in parts
UPRIGHT = {  # EXIF 2.3, tag 0x0112: the turn of (H, W, C) that undoes each orientation
    2: lambda stored: stored[:, ::-1],
    3: lambda stored: stored[::-1, ::-1],
    4: lambda stored: stored[::-1],
    5: lambda stored: stored.transpose(1, 0, 2),
    6: lambda stored: stored.transpose(1, 0, 2)[:, ::-1],
    7: lambda stored: stored[::-1, ::-1].transpose(1, 0, 2),
    8: lambda stored: stored.transpose(1, 0, 2)[::-1],
}
_DTYPES = {"uchar": np.uint8, "ushort": np.uint16, "short": np.int16, "uint": np.uint32,
           "int": np.int32, "float": np.float32}  # fmt: skip
_SPACES = {1: b"GRAY", 3: b"RGB ", 4: b"CMYK"}  # of ICC profiles, by samples


@dataclass
class Strips:
    """A picture that comes in strips, from the top down."""

    shape: tuple[int, int, int]  # (H, W, 3), or with alpha (H, W, 4)
    dtype: type  # np.uint8 or np.uint16
    strips: Iterator[np.ndarray]  # each (h, W, C)


@dataclass
class Opened:
    """A file whose head has been read, and its size checked."""

    kind: str
    open: Callable[..., Any]  # makes the image of libvips, anew each time
    size: tuple[int, int]  # (W, H) as it is stored
    colours: int  # samples a pixel that are colours
    alpha: int | None  # index of the sample that is transparency
    orientation: int
    png_colours: tuple | None = None  # see `fst.io.heads.png_colours`

    def shape(self, shorter_side_px: int | None) -> tuple[int, int]:
        """(H, W) upright, shrunk."""
        size = shrunk_size(self.size, shorter_side_px)
        return size if self.orientation > 4 else size[::-1]


def open_file(file: BinaryIO) -> Opened:
    """Read a file's head; decoders raise errors of many kinds, see `fst.io.decode.reading`."""
    kind = kind_of(file)
    chunks = heads.read_png_chunks(file) if kind == "PNG" else {}
    in_fork = vips().loaded_in != os.getpid()
    if kind in _BY_PILLOW or (in_fork and chunks.get(b"IHDR", b"")[12:] == b"\1"):
        return _by_pillow(_BY_PILLOW.get(kind, PngImageFile), file, chunks=chunks)
    head = heads.read_tiff_head(file) if kind == "TIFF" else None
    if head and head.by_pillow:
        return _by_pillow(TiffImageFile, file, MOST_BY_PILLOW)
    pyvips = vips()

    def load(**options: Any) -> Any:
        source = pyvips.Source.new_from_descriptor(file.fileno())
        reader = getattr(pyvips.Image, f"{_LOADERS[kind]}_source")
        fail_on = head.fail_on if head else "error"
        return reader(source, fail_on=fail_on, access="sequential", **options)

    image = load()
    check_density(image.width, image.height, file)
    if head is None:
        colours = 4 if image.interpretation == "cmyk" else 3 if image.bands > 2 else 1
        head = heads.TiffHead(colours, colours if image.bands > colours else None, False)
    if b"acTL" in chunks:
        _say_animated(file)
    size, exif = (image.width, image.height), b""
    if kind == "PNG" and "exif-data" not in image.get_fields():
        exif = heads.exif_behind_pixels(file)
    turn = head.orientation or orientation_of(image, exif)
    png_colours = heads.png_colours(chunks) if chunks else None
    return Opened(kind, load, size, head.colours, head.alpha, turn, png_colours)


def _by_pillow(
    reader: type, file: BinaryIO, most: int | None = None, chunks: dict[bytes, bytes] | None = None
) -> Opened:
    """A picture that Pillow reads, whole; of a TIFF it does the turn, too."""
    file.seek(0)
    picture = reader(file)
    check_density(*picture.size, file, most)
    if picture.format == "WEBP" and picture.is_animated:
        _say_animated(file)
    orientation = 1
    if picture.format == "TIFF":
        picture.load()  # by XMP it turns only now
    else:
        with suppress(Exception):  # broken EXIF around good pixels
            orientation = known_orientation(picture.getexif().get(EXIF_ORIENTATION, 1))
    alpha = picture.has_transparency_data
    deep = picture.mode.startswith("I;16")
    mode = picture.mode if deep else "RGBA" if alpha else "RGB"

    def load() -> Any:
        picture.load()
        levels = np.array(picture if picture.mode == mode else picture.convert(mode))
        if deep and alpha:  # one level of grey is transparent
            opaque = np.where(levels == picture.info["transparency"], 0, LEVELS)
            levels = np.dstack([levels, opaque.astype(levels.dtype)])
        image = vips().Image.new_from_array(levels)
        if profile := picture.info.get("icc_profile"):
            image = image.copy()
            image.set_type(vips().GValue.blob_type, "icc-profile-data", profile)
        return image

    colours = 1 if deep else 3
    png_colours = heads.png_colours(chunks) if chunks else None
    place = colours if alpha else None
    return Opened("", load, picture.size, colours, place, orientation, png_colours)


def _say_animated(file: BinaryIO) -> None:
    say(f"{printable(file.name)}: it is animated; its first picture is read")


def read_strips(opened: Opened, shorter_side_px: int | None) -> Strips:
    """A picture as upright sRGB in strips, never whole in memory; shrunk, but never enlarged."""
    image = _to_srgb(opened, shorter_side_px)
    strips, shape = _strips(image), (*opened.shape(shorter_side_px), image.bands)
    if opened.orientation in UPRIGHT:
        strips = turned(strips, opened.orientation)
    return Strips(shape, _DTYPES[image.format], strips)


def _strips(image: Any) -> Iterator[np.ndarray]:
    """The rows of an image of libvips, (h, W, C) a strip."""
    dtype = _DTYPES[image.format]
    region, row = vips().Region.new(image), image.width * image.bands * np.dtype(dtype).itemsize
    strip_px = max(1, min(STRIP_PX, STRIP_BYTES // row))  # of every step from file to sRGB
    for top in range(0, image.height, strip_px):
        height = min(strip_px, image.height - top)
        pixels = region.fetch(0, top, image.width, height)
        yield np.frombuffer(pixels, dtype).reshape(height, image.width, image.bands)


def read_whole(
    opened: Opened, shorter_side_px: int | None, each: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    """A picture as upright sRGB, (H, W, C), each strip of it passed through a function."""
    image, low, levels = _to_srgb(opened, shorter_side_px), 0, None
    for strip in map(each, _strips(image)):
        if levels is None:
            levels = np.empty((image.height, *strip.shape[1:]), strip.dtype)
        levels[low : low + len(strip)] = strip
        low += len(strip)
    turn = UPRIGHT.get(opened.orientation)
    return levels if turn is None else turn(levels).copy()  # a single row keeps a negative stride


@cache
def vips() -> Any:
    import pyvips

    logging.getLogger("pyvips").setLevel(logging.ERROR)  # what matters is raised as well
    pyvips.cache_set_max(0)  # it would answer with what a file of that name held before
    pyvips.loaded_in = os.getpid()
    return pyvips


def _to_srgb(opened: Opened, shorter_side_px: int | None) -> Any:
    """The image of libvips in sRGB, 3 bands or with alpha 4, of 8 or 16 bits, not turned."""
    image, wanted = opened.open(), shrunk_size(opened.size, shorter_side_px)
    if wanted != opened.size:
        # Made smaller while it is decoded a JPEG costs nothing; the last factor of two is left to
        # the better filter.
        free = [by for by in (8, 4, 2) if by <= min(opened.size) // (2 * shorter_side_px)]
        if opened.kind == "JPEG" and free:
            image = opened.open(shrink=free[0])
    if image.format not in ("uchar", "ushort"):
        image = _in_16_bits(opened, image)
    deep = image.format == "ushort"
    alpha = None if opened.alpha is None else image[opened.alpha]
    kinds = {1: "grey16" if deep else "b-w", 3: "rgb16" if deep else "srgb", 4: "cmyk"}
    colours = image.extract_band(0, n=opened.colours)
    colours = _rgb(opened, colours.copy(interpretation=kinds[opened.colours]), deep)
    image = colours if alpha is None else colours.bandjoin(alpha)
    if wanted != (image.width, image.height):
        image = _shrunk(image, wanted, LEVELS if deep else 255)
    return image.cast("ushort" if deep else "uchar")


def _in_16_bits(opened: Opened, image: Any) -> Any:
    """16-bit and 32-bit integers and floats as 16 bits.

    Integers count as 16-bit (65535 is white). Floats say nothing about their range: the smallest
    of 1, 255 and 65535 that holds them all is white. Larger values set white themselves.
    """
    is_float, largest = image.format == "float", 0.0
    for strip in _strips(image):
        largest = max(largest, strip.max(initial=0, where=np.isfinite(strip)))
    image = opened.open()
    whites = (1, 255, LEVELS) if is_float else (LEVELS,)
    white = next((level for level in whites if largest <= level), largest)
    if is_float:
        image = (image == image).ifthenelse(image, 0)  # NaN
    return (image * (LEVELS / float(white))).rint().cast("ushort")


def _rgb(opened: Opened, colours: Any, deep: bool) -> Any:
    """Colours of 1, 3 or 4 bands as sRGB."""
    white, bands = LEVELS if deep else 255, colours.bands
    if opened.png_colours is None and colours.get_typeof("icc-profile-data"):
        profile = bytes(colours.get("icc-profile-data"))
        if profile[36:40] == b"acsp" and profile[16:20] == _SPACES[bands]:
            try:
                return colours.icc_transform(
                    "srgb", depth=16 if deep else 8, embedded=True, intent="perceptual"
                )
            except vips().Error:  # it is broken: what it says is not known
                pass
    if bands == 4:  # ink lets through what it leaves, black ink of all three
        light = white - colours
        return (light[:3] * light[3] / white).rint()
    rgb = colours if bands == 3 else colours.bandjoin([colours, colours])
    rgb = rgb.copy(interpretation="rgb16" if deep else "srgb")
    return rgb if opened.png_colours is None else heads.png_to_srgb(rgb, *opened.png_colours)


def _shrunk(image: Any, size: tuple[int, int], white: int) -> Any:
    """Lanczos; colours weigh as much as they are opaque."""
    across, down = size[0] / image.width, size[1] / image.height
    if image.bands == 3:
        return image.resize(across, vscale=down).rint()
    premultiplied = image.premultiply(max_alpha=white)
    return premultiplied.resize(across, vscale=down).unpremultiply(max_alpha=white).rint()


def turned(strips: Iterator[np.ndarray], orientation: int) -> Iterator[np.ndarray]:
    """Strips of the upright picture, by way of a file without a name: turning needs all rows.

    It has each strip in parts, so that a strip of the upright picture is some of them.
    """
    parts: list[list[tuple[int, tuple[int, ...]]]] = []  # by stored strip: place, shape
    with tempfile.TemporaryFile() as file:
        for strip in strips:
            step = PART_PX if orientation > 4 else strip.shape[1]
            parts.append([])
            for low in range(0, strip.shape[1], step):
                part = np.ascontiguousarray(strip[:, low : low + step])
                parts[-1].append((file.tell(), part.shape))
                file.write(part)
        across = list(zip(*parts, strict=True)) if orientation > 4 else parts
        for row in reversed(across) if orientation in (3, 4, 7, 8) else across:
            stored = []
            for place, shape in row:
                file.seek(place)
                pixels = file.read(int(np.prod(shape)) * strip.dtype.itemsize)
                stored.append(np.frombuffer(pixels, strip.dtype).reshape(shape))
            yield np.ascontiguousarray(UPRIGHT[orientation](np.concatenate(stored)))


def write_levels(levels: np.ndarray, kind: str, file: Any) -> None:
    """Encode (H, W, 3 or 4) of 8 or 16 bits, maybe a memory map, into an open file, by strips."""
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
        "JPEG": {"Q": 95, "subsample_mode": "off"},
        "WEBP": {"Q": 95},
    }[kind]
    file.flush()
    target = pyvips.Target.new_to_descriptor(file.fileno())
    getattr(picture, f"{kind.lower()}save_target")(target, **options)
