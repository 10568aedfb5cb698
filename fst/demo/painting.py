"""Photos of visitors to paintings: what may come in, the preview, the file at full size."""

import base64
import binascii
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image
from torch import Tensor

from fst.demo.controls import Controls, Mask
from fst.errors import FstError
from fst.io import images
from fst.networks.sizes import MIN_SIZE_PX
from fst.runtime.memory import readable_bytes
from fst.stylize.bands.large import FileOptions, stylize_file
from fst.stylize.bands.memory_plan import whole_bytes
from fst.stylize.folder.naming import BLEND_ID, blend_name, make_plan
from fst.stylize.options import work_size
from fst.stylize.stylizer import check_size

if TYPE_CHECKING:
    from fst.stylize.stylizer import Stylizer

MASK_PIXELS, MASK_BYTES = 1_000_000, 300_000  # strokes of one colour take some KB
_PNG_URL = "data:image/png;base64,"
PREVIEW_STRETCH = 3  # a preview has at most so many times the pixels of a square one
PROCESS_BYTES = 600 * 2**20  # what the page's process has before it paints, about
_MEGA = 1_000_000


@dataclass(frozen=True)
class Limits:
    """What the page takes."""

    upload_bytes: int = 50 * 2**20
    pixels: int = 50 * _MEGA
    preview_px: int = 768  # shorter side: what "auto" paints large photos at
    memory_bytes: int = 2 * 2**30  # of the process while it paints at full size

    def __str__(self) -> str:
        return f"{self.upload_bytes / 2**20:.3g} MiB and {self.pixels / _MEGA:g} megapixels"


@dataclass(frozen=True)
class Photo:
    """A visitor's photo: its file, and what previews are painted from."""

    path: Path
    name: str | None  # as the visitor has it; None for the sample
    size: tuple[int, int]  # (H, W)
    small: Tensor  # (3 or 4, h, w) in [0, 1]
    small_px: int  # the shorter side that `small` was shrunk to

    @property
    def title(self) -> str:
        """What messages call it."""
        return self.name or self.path.name

    @property
    def picture(self) -> Image.Image:
        """What the page shows of it."""
        return images.to_picture(images.on_white(self.small))


def open_photo(path: str | Path, name: str | None, limits: Limits) -> Photo:
    """Read a photo that somebody has sent.

    Args:
        path: Where it lies.
        name: What its owner calls it, which messages say instead; None for the sample.
        limits: How large it may be.

    Raises:
        FstError: It is too large, too small, or no whole picture.
    """
    path = Path(path)
    with called(path, name or path.name):
        if path.is_file() and path.stat().st_size > limits.upload_bytes:
            size = readable_bytes(path.stat().st_size)
            raise FstError(f"{path}: {size} are more than this page takes ({limits}): send a "
                           "smaller file")  # fmt: skip
        height, width = size = images.shape_of(path)
        if height * width > limits.pixels:
            size = f"{width}x{height} px, {height * width / _MEGA:.1f} megapixels,"
            raise FstError(f"{path}: {size} are more than this page takes ({limits}): shrink it")
        check_size(path, size)
        small_px = preview_px(size, limits.preview_px)
        small = images.load_full(path, small_px)
        check_size(path, tuple(small.shape[1:]))
    return Photo(path, name, size, small, small_px)


def preview_px(size: tuple[int, int], most_px: int) -> int:
    """The shorter side of a preview: less of long strips."""
    stretch = max(size) / min(size)
    return max(MIN_SIZE_PX, min(most_px, int(most_px * (PREVIEW_STRETCH / stretch) ** 0.5)))


@contextmanager
def called(path: Path, name: str):
    """Says the visitor's name of a file in errors: the path is ours, and of no use to them."""
    try:
        yield
    except FstError as problem:
        text = str(problem).replace(images.printable(path), images.printable(name))
        raise FstError(text) from None


def mask_bytes(url: object) -> bytes | None:
    """The PNG file in what the brush hands over; None where nothing is brushed.

    Raises:
        FstError: It comes from elsewhere: it is no such text, or a long one.
    """
    if url in ("", None):
        return None
    if not isinstance(url, str) or not url.startswith(_PNG_URL):
        raise FstError("the mask is no PNG picture: draw it with the brush")
    if len(url) > MASK_BYTES * 4 // 3:
        raise FstError(f"the mask is larger than {MASK_BYTES // 1000} KB: draw it with the brush")
    try:
        return base64.b64decode(url[len(_PNG_URL) :], validate=True)
    except binascii.Error:
        raise FstError("the mask is damaged: draw it again") from None


def read_mask(data: bytes, path: Path) -> Mask | None:
    """A mask (PNG) that the page's brush has drawn, written as the grey picture that fst-infer
    reads; None where it is black.

    Raises:
        FstError: It is none, or too large.
    """
    from fst.stylize.controls import masks

    with called(path, "the mask"):
        images.publish(path, lambda file: file.write(data), False)
        height, width = images.shape_of(path)
        if height * width > MASK_PIXELS:
            raise FstError(f"{path}: {width}x{height} pixels; expected at most {MASK_PIXELS}")
        grey = images.decode(path).convert("L")
        if not grey.getbbox():
            path.unlink()
            return None
        images.publish(path, lambda file: grey.save(file, "PNG"), True)
    return Mask(path, masks.read_mask(path))


def in_bands(stylizer: "Stylizer", photo: Photo, controls: Controls, limits: Limits) -> bool:
    """Whether the whole painting would take more memory than there is for it."""
    work = work_size(photo.size, controls.plain.texture_size)
    needed = whole_bytes(stylizer.network, photo.size, work, masked=controls.other is not None)
    return needed > limits.memory_bytes - PROCESS_BYTES


def paint_file(
    stylizer: "Stylizer",
    photo: Photo,
    controls: Controls,
    folder: Path,
    limits: Limits,
    progress: Callable[[float], None] = lambda share: None,
) -> Path:
    """Paint at full size, into a file named as fst-infer would name it.

    `progress` is told which share of the work is done; what it raises ends the work.

    Raises:
        FstError: The photo is gone, cannot be painted in this memory, or the disk is full.
    """
    path = folder / output_name(stylizer, photo, controls)
    with called(photo.path, photo.title):
        if in_bands(stylizer, photo, controls, limits):
            file = FileOptions(max_memory_bytes=limits.memory_bytes)
            return stylize_file(stylizer, photo.path, path, controls.style, controls.options,
                                file, progress)  # fmt: skip
        progress(0)
        painting = stylizer.stylize(photo.path, controls.style, controls.options)
        return images.save(painting, path)


def output_name(stylizer: "Stylizer", photo: Photo, controls: Controls) -> str:
    """What fst-infer calls the painting."""
    if len(controls.styles) == 1:
        name = next(iter(controls.styles))
        styles = {stylizer.style_id(name): name}
    else:
        styles = {BLEND_ID: blend_name(controls.styles)}
    (_, [(_, path)]) = make_plan({Path(photo.title): Path()}, styles, None, bits=8)[0]
    return path.name
