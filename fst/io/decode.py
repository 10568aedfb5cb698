"""What a picture file is and whether it is read: its format, its size, which way up, and what is
wrong with it.

Called through `fst.io.images`. The pixels are read by `fst.io.vips`.
"""

import io
import logging
import os
import re
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

from PIL import Image

from fst.errors import FstError
from fst.io.paths import printable

# 300 megapixels are 0.9 GB as bytes and 3.6 GB as float32: above any camera, below most bombs.
MAX_PIXELS = 300_000_000
MAX_WEBP_PIXELS = 178_000_000  # its decoder, which reads all, has two more canvases of animations
MAX_SIDE_PX = 100_000  # a row is held whole, several times over
HEAD_BYTES = 30  # tell the format, and the size of a WebP picture
# From so many on, a picture of more pixels a byte is none: deflate packs flat grey 1032 to a byte,
# photographs have below 20. A WebP animation of 1 KB may call for a canvas of a gigabyte.
DENSE_FROM_PIXELS, PIXELS_PER_BYTE = 20_000_000, 2000

# An MPO file (two JPEGs in one) is read as its first JPEG.
_SIGNATURES = {
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"BM": "BMP",
    **dict.fromkeys((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"), "TIFF"),
}
# By the brand of their container (ISO/IEC 14496-12, section 4.3); phones write HEIC.
_BRANDS = {"HEIC": "heic heix heim heis hevc hevx", "HEIF": "mif1 msf1", "AVIF": "avif avis"}
_CONTAINED = {f"ftyp{b}".encode(): name for name, brands in _BRANDS.items() for b in brands.split()}

EXIF_ORIENTATION = 0x0112
_XMP_ORIENTATION = re.compile(rb"tiff:Orientation\s*(?:=\s*[\"']|>)\s*([1-8])")

logging.getLogger("PIL").setLevel(logging.CRITICAL)  # what matters is raised as well


class ImageError(FstError):
    """A file that cannot be read as a picture; `reason` is the message without the file name."""

    # A second argument with a default: DataLoader rebuilds a worker's exception from one string.
    def __init__(self, message: str, reason: str = "") -> None:
        super().__init__(message)
        self.reason = reason or message


class Unsupported(ImageError):
    """A sound file of a kind that is not read, and what to save in its place."""

    def __init__(self, what: str, instead: str = "") -> None:
        super().__init__(f"{what} not supported" if instead else what)
        self.instead = instead


class KeptFile(str):
    """The path of a file whose contents are kept from its first reading on.

    Whatever becomes of the file then, `fst.io.images` decodes what it held. Copies and pickles take
    the contents along.
    """

    kept: bytes | None = None

    def contents(self) -> bytes:
        """All bytes of the file.

        Raises:
            OSError: It cannot be read.
        """
        if self.kept is None:
            with open(self, "rb") as file:
                self.kept = file.read()
        return self.kept

    def open(self) -> BinaryIO:
        """A file without a name that holds the same, at its beginning."""
        if hasattr(os, "memfd_create"):
            file = os.fdopen(os.memfd_create("kept"), "w+b", buffering=0)
        else:
            file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115
        file.write(self.contents())
        file.seek(0)
        file.name = str(self)  # for messages
        return io.BufferedReader(file)  # to be read alone: closed, it need not know its place


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
        if isinstance(error, Unsupported):
            out = f"save it as PNG, or with {error.instead}"
        raise ImageError(f"cannot read {printable(path)}: {reason}; {out}", reason) from error


@lru_cache(maxsize=1000)
def say(line: str) -> None:
    """Say once what of a file is left out; Python prints it to stderr where nobody listens."""
    logging.getLogger("fst").warning(line)


def kind_of(file: BinaryIO) -> str:
    """The format by the file's first bytes, a key of `fst.io.paths.FORMATS`' values.

    Raises:
        ImageError: it is no picture, or a WebP of too many pixels, which are made room for at once.
    """
    head = file.read(HEAD_BYTES)
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        check_density(*_webp_size(head), file, MAX_WEBP_PIXELS)
        return "WEBP"
    for signature, kind in _SIGNATURES.items():
        if head.startswith(signature):
            return kind
    if not head:
        raise ImageError("the file is empty")
    if head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        raise ImageError("it is a web page or other markup, not a picture")
    other = "GIF" if head.startswith(b"GIF8") else _CONTAINED.get(head[4:12])
    if other:
        raise ImageError(f"{other} is not a format that pictures are read from")
    raise ImageError("it is not a picture of a known format")


def check_density(width: int, height: int, file: BinaryIO, most: int | None = None) -> None:
    """Refuse a picture of no pixels, of too many, or of more than its bytes can hold.

    Raises:
        ImageError: says how many there are.
    """
    file_bytes, most = os.fstat(file.fileno()).st_size, most or MAX_PIXELS
    size = f"{width}x{height} pixels"
    if width < 1 or height < 1:
        raise ImageError("it has no pixels")
    if max(width, height) > MAX_SIDE_PX:
        raise ImageError(f"{size}: a side is longer than {MAX_SIDE_PX}")
    if width * height > most:
        raise ImageError(f"{size} are more than the limit of {most / 1e6:g} megapixels")
    if width * height > max(DENSE_FROM_PIXELS, PIXELS_PER_BYTE * file_bytes):
        raise ImageError(f"{size} in {file_bytes} bytes: it is empty, or made to fill memory")


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
    text = getattr(error, "detail", None) or str(error)  # of pyvips.Error all that it knows
    text = printable("; ".join(dict.fromkeys(filter(None, map(str.strip, text.splitlines())))))
    text = text or type(error).__name__
    cut = ("truncated", "premature", "read error", "end of file", "bad seek", "seek error")
    return "truncated" if any(word in text.lower() for word in cut) else f"damaged ({text})"


def orientation_of(image: Any, exif_behind: bytes = b"") -> int:
    """1 to 8, as EXIF says; where it does not, as XMP says. Other numbers are 1, upright.

    Args:
        image: Of libvips.
        exif_behind: EXIF that libvips has not seen.
    """
    fields = {name[-21:]: name for name in image.get_fields()}  # png-comment-0-Raw profile type...
    try:
        exif, data = Image.Exif(), exif_behind
        if "exif-data" in fields:
            data = bytes(image.get("exif-data"))
        elif name := fields.get("Raw profile type exif"):  # hexadecimal, by older ImageMagick
            data = bytes.fromhex("".join(image.get(name).split("\n")[3:]))
        if data:
            exif.load(data)
        if EXIF_ORIENTATION in exif:
            return known_orientation(exif[EXIF_ORIENTATION])
        told = known_orientation(image.get("orientation") if "orientation" in fields else 1)
        if told == 1 and "xmp-data" in fields:
            found = _XMP_ORIENTATION.search(bytes(image.get("xmp-data")))
            return int(found[1]) if found else 1
        return told
    except Exception:  # broken EXIF around good pixels
        return 1


def known_orientation(number: int) -> int:
    """An orientation as it is, 1 to 8; 1 for any other number, which says nothing."""
    return int(number) if 1 <= int(number) <= 8 else 1


def check_shorter_side(shorter_side_px: int | None) -> None:
    if shorter_side_px is not None and shorter_side_px < 1:
        raise FstError(f"shorter_side_px was {shorter_side_px}; expected 1 pixel or more")


def size_with_shorter_side(size: tuple[int, int], shorter_side_px: int) -> tuple[int, int]:
    scale = shorter_side_px / min(size)
    return round(size[0] * scale), round(size[1] * scale)


def shrunk_size(size: tuple[int, int], shorter_side_px: int | None) -> tuple[int, int]:
    """A size of which the shorter side is at most so long; as it is, where None."""
    if not shorter_side_px or shorter_side_px >= min(size):
        return size
    return size_with_shorter_side(size, shorter_side_px)


def resize(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    """A picture in memory at another size; files are shrunk by `fst.io.vips`."""
    # Lanczos is antialiased in PIL; box-shrinking first to three times the size changes no
    # visible pixel and makes large steps several times faster. Bicubic rings less enlarging.
    shrinks = min(size) < min(picture.size)
    resampling = Image.Resampling.LANCZOS if shrinks else Image.Resampling.BICUBIC
    return picture.resize(size, resampling, reducing_gap=3.0)
