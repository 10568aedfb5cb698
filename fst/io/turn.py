"""Which way up a picture is, and how it is turned."""

import re
import tempfile
from collections.abc import Iterator
from typing import Any

import numpy as np
from PIL import Image

PART_PX = 128  # of a row, when a picture is turned in parts
EXIF_ORIENTATION = 0x0112
_XMP_ORIENTATION = re.compile(rb"tiff:Orientation(?:=[\"']|>)([1-8])")
UPRIGHT = {  # EXIF 2.3, tag 0x0112: the turn of (H, W, C) that undoes each orientation
    2: lambda stored: stored[:, ::-1],
    3: lambda stored: stored[::-1, ::-1],
    4: lambda stored: stored[::-1],
    5: lambda stored: stored.transpose(1, 0, 2),
    6: lambda stored: stored.transpose(1, 0, 2)[:, ::-1],
    7: lambda stored: stored[::-1, ::-1].transpose(1, 0, 2),
    8: lambda stored: stored.transpose(1, 0, 2)[::-1],
}


def orientation_of(image: Any) -> int:
    """1 to 8, as EXIF or the tag of a TIFF says; where neither does, as XMP says."""
    fields = {name[-21:]: name for name in image.get_fields()}  # png-comment-0-Raw profile type...
    try:
        if "exif-data" in fields or "Raw profile type exif" in fields:
            exif = Image.Exif()
            exif.load(_exif(image, fields))
            if EXIF_ORIENTATION in exif:
                return int(exif[EXIF_ORIENTATION])
        told = image.get("orientation") if "orientation" in fields else 1
        if told == 1 and "xmp-data" in fields:
            found = _XMP_ORIENTATION.search(bytes(image.get("xmp-data")))
            return int(found[1]) if found else 1
        return told
    except Exception:  # broken EXIF around good pixels
        return 1


def _exif(image: Any, fields: dict[str, str]) -> bytes:
    if "exif-data" in fields:
        return bytes(image.get("exif-data"))
    text = image.get(fields["Raw profile type exif"])  # of a PNG by older ImageMagick: hexadecimal
    return bytes.fromhex("".join(text.split("\n")[3:]))


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
