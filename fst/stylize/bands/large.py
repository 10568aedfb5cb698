"""Paint a file of any size into another, within a given memory.

Everything that `Stylizer.stylize` does, done by bands of rows: the result is the same to rounding.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from fst.errors import FstError
from fst.io import images
from fst.networks.sizes import MIN_SIZE_PX
from fst.networks.transformer import STRIDE
from fst.runtime.allocator import release_freed_memory
from fst.runtime.memory import taken_bytes
from fst.stylize.bands.memory_plan import SAMPLE_PX, Plan, fast_pays_off, make_plan, memory_left
from fst.stylize.bands.row_layers import PhotoRows, Rows, image_rows
from fst.stylize.bands.row_store import RowStore
from fst.stylize.bands.streaming import (
    Look,
    SampleStreamer,
    Streamer,
    bands,
    forward_work,
    planned_work,
)
from fst.stylize.controls.alpha import VisibleMeans
from fst.stylize.controls.colors import ColorMatch, ColorMoments, keep_colors
from fst.stylize.controls.masks import layered, mask_rows
from fst.stylize.controls.strength import exaggerated, mixed
from fst.stylize.controls.texture_size import Enlargement, Shrinking, work_size
from fst.stylize.options import PaintOptions

if TYPE_CHECKING:
    from fst.stylize.options import StyleChoice
    from fst.stylize.stylizer import Stylizer


@dataclass(frozen=True)
class FileOptions:
    """How a file is read, painted within memory, and written.

    Args:
        shorter_side_px: Shrink the photo to this first; never enlarges.
        bits: A channel of the output: 8, or 16 for PNG and TIFF.
        overwrite: Replace an existing file.
        numbered: Where the output is taken when the painting is done, number a new name.
        max_memory_bytes: Resident memory of the process that it may come to, on a GPU what its
            tensors may take there; half of what is free by default.
        fast_statistics: Take means and variances from squares of the photo, a megapixel in all:
            one pass instead of many, near the exact result but not equal to it. Pictures of less
            than four times as many pixels are painted exactly all the same.
        band_px: Height of the bands instead of what the memory allows, a multiple of 4.

    Raises:
        ValueError: `band_px` is no multiple of 4.
    """

    shorter_side_px: int | None = None
    bits: int = 8
    overwrite: bool = False
    numbered: bool = False
    max_memory_bytes: int | None = None
    fast_statistics: bool = False
    band_px: int | None = None

    def __post_init__(self) -> None:
        if self.band_px is not None and (self.band_px < STRIDE or self.band_px % STRIDE):
            raise ValueError(f"band_px {self.band_px}: expected a multiple of {STRIDE}")


def stylize_file(
    stylizer: "Stylizer",
    photo: str | Path,
    output: str | Path,
    style: "StyleChoice" = 0,
    options: PaintOptions | None = None,
    file: FileOptions | None = None,
    progress: Callable[[float], None] = lambda share: None,
) -> Path:
    """Paint a file of any size into another.

    Args:
        stylizer: What paints.
        photo: A picture file.
        output: Where to; its suffix names the format.
        style: See `Stylizer.stylize`.
        options: How it is painted.
        file: How it is read and written, and within which memory.
        progress: Told now and then which share of the work is done, 0 to 1.

    Returns:
        The path written.

    Raises:
        FstError: As `Stylizer.stylize` and `fst.io.images.save`; memory or temporary room is short.
    """
    options, file = options or PaintOptions(), file or FileOptions()
    weights = stylizer.style_weights(style, options.texture)
    stores: list[RowStore] = []
    try:
        strips = images.load_strips(photo, file.shorter_side_px)
        size = strips.shape[:2]
        check_size(photo, size)
        work = _work_size(photo, size, options.texture_size)
        images.check_target(output, file.bits, max(size))
        images.check_free(output, file.overwrite or file.numbered)
        plan = _plan(stylizer, photo, strips, file, work)
        plan.band_px = file.band_px or plan.band_px
        painter = _Painter(stylizer, strips, plan, stores, work)
        painter.choose(weights, options)
        painter.paint(file.fast_statistics, progress)
        painter.finish(options, file.bits)
        release_freed_memory()  # bands are done; encoding maps the output
        return images.save_levels(
            painter.levels(), output, overwrite=file.overwrite, numbered=file.numbered
        )
    finally:
        for store in stores:
            store.close()


def _plan(
    stylizer: "Stylizer",
    photo: str | Path,
    strips: images.Strips,
    file: FileOptions,
    work: tuple[int, int],
) -> Plan:
    release_freed_memory()  # what earlier paintings have taken is not in use
    left = memory_left(file.max_memory_bytes, stylizer.device)
    itemsize = max(np.dtype(strips.dtype).itemsize, file.bits // 8)
    try:
        return make_plan(
            stylizer.network, strips.shape, itemsize, left, work, taken_bytes(stylizer.device)
        )
    except FstError as error:
        raise images.ImageError(f"{images.printable(photo)}: {error}") from None


def check_size(photo: str | Path, size: tuple[int, int]) -> None:
    """Refuse a picture, (H, W), that the network cannot paint.

    Raises:
        ImageError: Names it.
    """
    if min(size) < MIN_SIZE_PX:
        reason = f"{size[1]}x{size[0]} px is below {MIN_SIZE_PX} px a side"
        name = images.printable(photo)
        raise images.ImageError(f"cannot read {name}: {reason}; give a larger picture", reason)


def _work_size(
    photo: str | Path, size: tuple[int, int], texture_size: float | str
) -> tuple[int, int]:
    """The size (h, w) to paint at, which is not above that of the picture.

    Raises:
        ImageError: It is.
    """
    work = work_size(size, texture_size)
    if min(work) > min(size):
        raise images.ImageError(
            f"{images.printable(photo)}: texture size {texture_size:g} enlarges "
            f"{size[1]}x{size[0]} px, which is not done in bands: give a larger texture size, or "
            "more --max-memory"
        )
    return work


class _ImageRows:
    """An image (3, h, w) in memory, its sides reflected up to multiples of `STRIDE`."""

    def __init__(self, image: Tensor, device: torch.device) -> None:
        height, width = image.shape[1:]
        sides = (0, -width % STRIDE, 0, -height % STRIDE)
        self.image, self.device = F.pad(image[None], sides, mode="reflect"), device
        self.height, self.width = self.image.shape[2:]

    def rows(self, low: int, high: int) -> Tensor:
        rows = self.image[:, :, low:high]
        return rows.to(self.device, memory_format=torch.channels_last, copy=True)


class _Painter:
    """One file on its way: photo, painting, output, each by rows."""

    def __init__(
        self,
        stylizer: "Stylizer",
        strips: images.Strips,
        plan: Plan,
        stores: list[RowStore],
        work: tuple[int, int],
    ) -> None:
        self.stylizer, self.plan, self.stores, self.work = stylizer, plan, stores, work
        self.height, self.width, self.channels = strips.shape
        self.photo = self._store(strips.shape, strips.dtype)
        visible, low = VisibleMeans((self.height, self.width)), 0
        for strip in strips.strips:
            self.photo.write(low, strip)
            if self.channels == 4:
                visible.add(image_rows(strip)[0])
            low += len(strip)
        hidden = visible.continued() if self.channels == 4 else None
        self.source = PhotoRows(self.photo, stylizer.device, hidden)
        self.painting: Rows | None = None
        self.large: Enlargement | None = None  # where the painting is of another size
        self.out: RowStore | None = None

    def choose(self, weights: Tensor, options: PaintOptions) -> None:
        """Settle the styles and their places."""
        masks, size = options.masks, (self.height, self.width)
        chosen = [weights, *(self.stylizer.style_weights(style) for style in masks)]
        places = [mask_rows(mask, self.work) for mask in masks.values()]
        self.look = Look([exaggerated(w, options.strength) for w in chosen], places)
        self.where = None if options.where is None else mask_rows(options.where, size)

    @torch.inference_mode()
    def paint(self, fast: bool, progress: Callable[[float], None]) -> None:
        """Pass the layers; afterwards rows of the painting can be had."""
        network, done = self.stylizer.network, 0
        fast = fast and fast_pays_off(*self.work)
        of_all = (forward_work if fast else planned_work)(network, *self.work)

        def work(count: int) -> None:
            nonlocal done
            done += count
            progress(min(1.0, done / of_all))

        seen = self._seen()
        options = {"in_memory": self.plan.in_memory, "work": work, "stores": self.stores}
        options["bf16"] = self.stylizer.precision == "bf16"
        if fast:
            sample = self._sample(lambda low, high: seen.rows(low, high)[0].cpu())[None]
            sample = sample.to(self.stylizer.device)
            options["sample"] = sample.contiguous(memory_format=torch.channels_last)
            options["sample_weights"] = self._sampled_weights()
        streamer = (SampleStreamer if fast else Streamer)(
            network, self.look, self.plan.band_px, **options
        )
        self.painting = streamer.paint(seen)
        if self.work != (self.height, self.width):
            size = (self.height, self.width)
            self.large = Enlargement(self.network_rows, self.work[0], size)

    def _seen(self) -> Rows:
        """The photo at the size at which it is painted."""
        if self.work == (self.height, self.width):
            return self.source
        small = Shrinking((self.height, self.width), self.work)
        for low, high in self._bands(self.height):
            small.add(self.content(low, high))
        return _ImageRows(small.image.clamp_(0, 1), self.stylizer.device)

    def _bands(self, height: int) -> Iterator[tuple[int, int]]:
        return bands(height, self.plan.band_px)

    @torch.inference_mode()
    def finish(self, options: PaintOptions, bits: int) -> None:
        """Colours, strength and alpha; the output's rows are stored."""
        size, how = (self.height, self.width), options.keep_colors
        match = self._color_match() if how == "histogram" else None
        self.out = self._store((*size, self.channels), np.uint16 if bits == 16 else np.uint8)
        white = np.iinfo(self.out.dtype).max
        for low, high in self._bands(self.height):
            photo, painting = self.content(low, high), self.painted(low, high)
            if match is not None:
                painting = match.apply(painting)
            elif how is not None:
                painting = keep_colors(painting, photo, how)
            share = None if self.where is None else self.where.rows(low, high)[0]
            rows = mixed(photo, painting, options.strength, share).clamp(0, 1)
            self.stylizer.check_finite(rows)
            levels = rows.mul(white).round_().permute(1, 2, 0).numpy().astype(self.out.dtype)
            if self.channels == 4:
                alpha = self.photo.read(low, high)[..., 3:].astype(np.float64)
                alpha = np.rint(alpha * (white / np.iinfo(self.photo.dtype).max))
                levels = np.concatenate([levels, alpha.astype(levels.dtype)], axis=2)
            self.out.write(low, levels)

    def levels(self) -> np.ndarray:
        """The output (H, W, C)."""
        return self.out.mapped()

    def content(self, low: int, high: int) -> Tensor:
        """Rows of the photo, (3, h, W) on the CPU."""
        return self.source.rows(low, high)[0, :, :, : self.width].cpu()

    def network_rows(self, low: int, high: int) -> Tensor:
        """Rows of the network's painting, (3, n, w) of the size it is painted at."""
        bf16 = self.stylizer.precision == "bf16"
        with torch.autocast(self.stylizer.device.type, torch.bfloat16, enabled=bf16):
            rows = self.painting.rows(low, high + -high % STRIDE)
        return self.stylizer.network.bounded(rows[0, :, : high - low, : self.work[1]]).cpu()

    def painted(self, low: int, high: int) -> Tensor:
        """Rows of the painting, (3, n, W)."""
        return (self.network_rows if self.large is None else self.large.rows)(low, high)

    def _sample(self, rows: Callable[[int, int], Tensor]) -> Tensor:
        """Evenly spread squares of an image given by its rows, side by side, (C, h, w)."""
        height, width = self.work
        side = min(SAMPLE_PX, height, width) // STRIDE * STRIDE
        count = max(1, self.plan.sample_pixels // side**2)
        down = max(1, round((count * height / width) ** 0.5))
        down = min(height // side, count, down)
        across = min(width // side, count // down)
        tops, lefts = (
            [round(i * (length - side) / max(1, number - 1)) for i in range(number)]
            for length, number in ((height, down), (width, across))
        )
        strips = (rows(top, top + side) for top in tops)
        return torch.cat(
            [torch.cat([x[:, :, n : n + side] for n in lefts], dim=2) for x in strips], dim=1
        )

    def _sampled_weights(self) -> Tensor:
        """Style weights by place, (1, S, h, w) of the sample; (1, S) without masks."""
        places = [self._sample(mask.rows)[0] for mask in self.look.masks]
        styles = [style[None] for style in self.look.weights[1:]]
        return layered(self.look.weights[:1], list(zip(styles, places, strict=True)))

    def _color_match(self) -> ColorMatch:
        painting, photo = ColorMoments(), ColorMoments()
        for low, high in self._bands(self.height):
            painting.add(self.painted(low, high))
            photo.add(self.content(low, high))
        return ColorMatch(painting, photo)

    def _store(self, shape: tuple[int, int, int], dtype: type) -> RowStore:
        self.stores.append(RowStore(shape, dtype, in_memory=self.plan.in_memory))
        return self.stores[-1]
