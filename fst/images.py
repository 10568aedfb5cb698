"""Files to RGB tensors and back; the only place that decodes or encodes pictures.

Reading: `decode` gives upright 8-bit sRGB, `load` gives a tensor. Writing: `save`, atomically.
`find` and `unused_path` of `fst.picture_files` can be called from here too.
"""

import io
import os
import stat
import uuid
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from PIL import Image, ImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import IMAGELENGTH, IMAGEWIDTH, TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from fst.errors import FstError

# Most callers know these as images.find and so on.
from fst.picture_files import FORMATS, IMAGE_SUFFIXES, find, printable, unused_path  # noqa: F401

# 300 megapixels are 0.9 GB as bytes and 3.6 GB as float32: above any camera, below most bombs.
# WebP ends at PIL's own 178 megapixels, which its reader checks itself.
MAX_PIXELS = 300_000_000


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


def decode(path: str | Path, shorter_side_px: int | None = None) -> Image.Image:
    """Read a picture as upright 8-bit sRGB, transparency laid on white.

    EXIF orientation is applied and an embedded ICC profile is converted to sRGB. 16-bit grey is
    divided by 257; other deep grey is scaled as `_eight_bit` says.

    Args:
        path: a JPEG, PNG, WebP, BMP or TIFF file, told by its content and not by its suffix.
        shorter_side_px: shrink so that the shorter side has this length; never enlarges.

    Returns:
        A picture in mode RGB that holds no file open.

    Raises:
        ImageError: whatever is wrong with the file, in one line that names it.
    """
    _check_shorter_side(shorter_side_px)
    try:
        # Opening a named pipe would wait for a writer for ever.
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise ImageError("is a folder" if os.path.isdir(path) else "is not a regular file")
        with open(path, "rb") as file:
            return _decode(file, shorter_side_px)
    except Exception as error:  # decoders raise SyntaxError, struct.error, MemoryError and more
        reason = _reason(error)
        raise ImageError(
            f"cannot read {printable(path)}: {reason}; give a whole JPEG, PNG, WebP, BMP or TIFF",
            reason,
        ) from error


def _decode(file: BinaryIO, shorter_side_px: int | None) -> Image.Image:
    reader = _reader(file.read(16))
    file.seek(0)
    picture = reader(file)
    width, height = picture.size
    if width * height > MAX_PIXELS:
        limit = f"{MAX_PIXELS / 1e6:g} megapixels"
        raise ImageError(f"{width}x{height} pixels are more than the limit of {limit}")
    size = None
    if shorter_side_px and isinstance(picture, JpegImageFile):
        size = _size_with_shorter_side(picture.size, shorter_side_px)
        # The JPEG decoder can halve up to three times for free; the last factor of two is left
        # to the better filter below. A square box, so the orientation does not matter.
        picture.draft(None, (2 * shorter_side_px, 2 * shorter_side_px))
    picture.load()
    turn = _UPRIGHT.get(_orientation(picture))
    rgb = _to_srgb(picture)
    if shorter_side_px:
        size = size or _size_with_shorter_side(rgb.size, shorter_side_px)
        if min(size) < min(rgb.size):
            rgb = _resize(rgb, size)
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
    return "truncated" if "truncated" in text.lower() else f"damaged ({text})"


def _orientation(picture: Image.Image) -> int:
    try:
        return int(picture.getexif().get(_EXIF_ORIENTATION, 1))
    except Exception:  # broken EXIF around good pixels
        return 1


def _to_srgb(picture: Image.Image) -> Image.Image:
    """A picture of any mode as RGB in sRGB on white."""
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
    if alpha is None:
        return rgb
    on_white = Image.new("RGB", rgb.size, "white")
    on_white.paste(rgb, mask=alpha)
    return on_white


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


def _check_shorter_side(shorter_side_px: int | None) -> None:
    if shorter_side_px is not None and shorter_side_px < 1:
        raise FstError(f"shorter_side_px was {shorter_side_px}; expected 1 pixel or more")


def _size_with_shorter_side(size: tuple[int, int], shorter_side_px: int) -> tuple[int, int]:
    scale = shorter_side_px / min(size)
    return round(size[0] * scale), round(size[1] * scale)


def _resize(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    # Lanczos is antialiased in PIL; box-shrinking first to three times the size changes no
    # visible pixel and makes large steps several times faster. Bicubic rings less enlarging.
    shrinks = min(size) < min(picture.size)
    resampling = Image.Resampling.LANCZOS if shrinks else Image.Resampling.BICUBIC
    return picture.resize(size, resampling, reducing_gap=3.0)


def resize_shorter_side(
    picture: Image.Image, shorter_side_px: int, enlarge: bool = False
) -> Image.Image:
    """Scale a picture, keeping its shape, so that its shorter side has a given length.

    Args:
        picture: mode L or RGB.
        shorter_side_px: the length wanted, 1 or more.
        enlarge: enlarge smaller pictures too; otherwise they are returned as they are.

    Raises:
        FstError: if shorter_side_px is below 1.
    """
    _check_shorter_side(shorter_side_px)
    shorter = min(picture.size)
    if shorter == shorter_side_px or (shorter < shorter_side_px and not enlarge):
        return picture
    return _resize(picture, _size_with_shorter_side(picture.size, shorter_side_px))


def to_uint8_tensor(picture: Image.Image) -> torch.Tensor:
    """A picture as a (3,H,W) uint8 tensor in 0..255."""
    pixels = np.array(picture.convert("RGB"))  # (H,W,3); np.asarray would be read-only
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()  # (3,H,W)


def to_tensor(picture: Image.Image) -> torch.Tensor:
    """A picture as a (3,H,W) float32 tensor in [0,1]."""
    return to_uint8_tensor(picture).to(torch.float32).div_(255)


def to_picture(image: torch.Tensor) -> Image.Image:
    """A float tensor as an RGB picture, clamped to [0,1] and rounded to the nearest of 256 levels.

    Args:
        image: (3,H,W), floating, on any device; [0,1] is black to white.

    Raises:
        ValueError: if the tensor is not (3,H,W) or not floating.
    """
    if image.ndim != 3 or image.shape[0] != 3 or not image.is_floating_point():
        given = f"{image.dtype} of shape {tuple(image.shape)}"
        raise ValueError(f"image was {given}; expected one float image (3,H,W) in [0,1]")
    levels = image.detach().float().clamp(0, 1).mul(255).round().to(torch.uint8)
    return Image.fromarray(levels.permute(1, 2, 0).contiguous().cpu().numpy())  # (H,W,3)


def load(path: str | Path, shorter_side_px: int | None = None) -> torch.Tensor:
    """Read a picture as a (3,H,W) float32 tensor in [0,1]; arguments and errors as `decode`."""
    return to_tensor(decode(path, shorter_side_px))


def save(
    image: torch.Tensor, path: str | Path, *, overwrite: bool = False, quality: int = 95
) -> Path:
    """Write an image so that the path holds either the whole file or what it held before.

    Args:
        image: (3,H,W), floating, finite; clamped to [0,1].
        path: its suffix, one of IMAGE_SUFFIXES, names the format; missing folders are made.
        overwrite: replace an existing file; otherwise it is refused, also when it appears
            while this call writes.
        quality: 1 to 100, for JPEG (without chroma subsampling) and WebP.

    Returns:
        The path written.

    Raises:
        FstError: unknown suffix, NaN or infinite values, existing path, or a failed write.
        ValueError: if the tensor is not (3,H,W) or not floating.
    """
    path, name = Path(path), printable(path)
    if path.suffix.lower() not in FORMATS:
        raise FstError(f"cannot write {name}: its suffix must be one of {' '.join(FORMATS)}")
    if not 1 <= quality <= 100:
        raise FstError(f"cannot write {name}: quality was {quality}; expected 1 to 100")
    if not torch.isfinite(image).all():
        raise FstError(f"cannot write {name}: the image holds NaN or infinite values; try float32")
    picture = to_picture(image)
    try:
        if not overwrite and os.path.lexists(path):
            raise _exists(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(picture, path, overwrite, quality)
    except FstError:
        raise
    except Exception as error:  # encoders raise struct.error and SystemError as well as OSError
        reason = printable(getattr(error, "strerror", None) or error or type(error).__name__)
        raise FstError(f"cannot write {name}: {reason}; name another folder or format") from error
    return path


def _exists(path: Path) -> FstError:
    return FstError(f"{printable(path)} exists; name another file or ask to overwrite it")


def _write(picture: Image.Image, path: Path, overwrite: bool, quality: int) -> None:
    # Hidden, so `find` never sees a half-written file; "xb" rather than tempfile for umask rights.
    temporary = path.parent / f".{uuid.uuid4().hex}.tmp"
    try:
        with open(temporary, "xb") as file:
            options = {"subsampling": "4:4:4"} if FORMATS[path.suffix.lower()] == "JPEG" else {}
            picture.save(file, FORMATS[path.suffix.lower()], quality=quality, **options)
        if overwrite:
            os.replace(temporary, path)
        else:
            _publish_new(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _publish_new(temporary: Path, path: Path) -> None:
    """Give a finished file its name unless something has taken the name meanwhile."""
    try:
        os.link(temporary, path)  # unlike a rename, fails where the name is taken
    except FileExistsError:
        raise _exists(path) from None
    except (OSError, NotImplementedError):  # FAT and some network mounts have no hard links
        try:
            open(path, "xb").close()  # claims the name, or fails
        except FileExistsError:
            raise _exists(path) from None
        try:
            os.replace(temporary, path)
        except OSError:
            path.unlink()
            raise
