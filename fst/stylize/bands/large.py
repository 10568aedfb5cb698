"""Paint a file of any size into another, within a given memory.

Everything that `Stylizer.stylize` does, done by bands of rows: the result is the same to rounding.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fst.errors import FstError
from fst.io import images
from fst.networks.transformer import STRIDE
from fst.runtime.memory import release_freed_memory, taken_bytes
from fst.stylize.bands.memory_plan import (
    SAMPLE_PX,
    Plan,
    RowStores,
    fast_pays_off,
    make_plan,
    memory_left,
)
from fst.stylize.bands.rows import ImageRows, PaddedRows, PhotoRows, Rows, image_rows
from fst.stylize.bands.streaming import (
    Look,
    SampleStreamer,
    Streamer,
    bands,
    forward_work,
    planned_work,
)
from fst.stylize.controls.colors import ColorMatch, ColorMoments, VisibleMeans, keep_colors
from fst.stylize.controls.masks import exaggerated, layered, mask_rows, mixed
from fst.stylize.controls.texture_size import Enlargement, Shrinking
from fst.stylize.options import PaintOptions, work_size
from fst.stylize.stylizer import StyleChoice, Stylizer, check_size


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
    stylizer: Stylizer,
    photo: str | Path,
    output: str | Path,
    style: StyleChoice = 0,
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
    strips = images.load_strips(photo, file.shorter_side_px)
    size = strips.shape[:2]
    check_size(photo, size)
    work, name = work_size(size, options.texture_size), images.printable(photo)
    if min(work) > min(size):
        raise images.ImageError(
            f"{name}: texture size {options.texture_size:g} enlarges {size[1]}x{size[0]} px, which "
            "is not done in bands: give a larger texture size, or more --max-memory"
        )
    images.check_target(output, file.bits, max(size))
    images.check_free(output, file.overwrite or file.numbered)
    release_freed_memory()  # what earlier paintings have taken is not in use
    left = memory_left(file.max_memory_bytes, stylizer.device)
    itemsize = max(np.dtype(strips.dtype).itemsize, file.bits // 8)
    try:
        taken = taken_bytes(stylizer.device)
        plan = make_plan(stylizer.network, strips.shape, itemsize, left, work, taken)
    except FstError as error:
        raise images.ImageError(f"{name}: {error}") from None
    plan.band_px = file.band_px or plan.band_px
    with RowStores(plan.in_memory) as stores:
        painter = _Painter(stylizer, strips, plan, stores, work, options)
        painter.paint(weights, file.fast_statistics, progress)
        levels = painter.levels(file.bits)
        release_freed_memory()  # bands are done; encoding maps the output
        return images.save_levels(levels, output, overwrite=file.overwrite, numbered=file.numbered)


class _Painter:
    """One file on its way: photo, painting, output, each by rows."""

    def __init__(
        self,
        stylizer: Stylizer,
        strips: images.Strips,
        plan: Plan,
        stores: RowStores,
        work: tuple[int, int],
        options: PaintOptions,
    ) -> None:
        self.stylizer, self.plan, self.stores, self.work = stylizer, plan, stores, work
        self.options, self.size, self.channels = options, strips.shape[:2], strips.shape[2]
        self.where = None if options.where is None else mask_rows(options.where, self.size)
        self.bands = list(bands(self.size[0], plan.band_px))
        self.photo = stores.new(strips.shape, strips.dtype)
        visible, low = VisibleMeans(self.size), 0
        for strip in strips.strips:
            self.photo.write(low, strip)
            if self.channels == 4:
                visible.add(image_rows(strip)[0])
            low += len(strip)
        hidden = visible.continued() if self.channels == 4 else None
        self.source = PhotoRows(self.photo, stylizer.device, hidden)

    @torch.inference_mode()
    def paint(self, weights: Tensor, fast: bool, progress: Callable[[float], None]) -> None:
        """Pass the layers; afterwards rows of the painting can be had."""
        stylizer, network, masks, done = self.stylizer, self.stylizer.network, self.options.masks, 0
        chosen = [weights, *(stylizer.style_weights(style) for style in masks)]
        places = [mask_rows(mask, self.work) for mask in masks.values()]
        look = Look([exaggerated(w, self.options.strength) for w in chosen], places, network.margin)
        fast = fast and fast_pays_off(*self.work)
        of_all = (forward_work if fast else planned_work)(network, *self.work)

        def work(count: int) -> None:
            nonlocal done
            done += count
            progress(min(1.0, done / of_all))

        seen: Rows = self.source
        if self.work != self.size:  # the photo at the size at which it is painted
            small = Shrinking(self.size, self.work)
            for band in self.bands:
                small.add(self.content(*band))
            seen = ImageRows(small.image.clamp_(0, 1), stylizer.device)
        options = {"work": work, "stores": self.stores, "bf16": stylizer.precision == "bf16"}
        if fast:
            sample = self._sample(lambda low, high: seen.rows(low, high)[0].cpu())[None]
            sample = sample.to(stylizer.device)
            options["sample"] = sample.contiguous(memory_format=torch.channels_last)
            shares = [self._sample(place.rows)[0] for place in places]
            styles = [style[None] for style in look.weights[1:]]
            layers = list(zip(styles, shares, strict=True))
            options["sample_weights"] = layered(look.weights[:1], layers)
        kind = SampleStreamer if fast else Streamer
        padded = PaddedRows(seen, network.margin)
        self.painting = kind(network, look, self.plan.band_px, **options).paint(padded)
        self.painted = self._network_rows  # (3, n, W)
        if self.work != self.size:
            self.painted = Enlargement(self._network_rows, self.work[0], self.size).rows

    @torch.inference_mode()
    def levels(self, bits: int) -> np.ndarray:
        """The output (H, W, C): with the photo's colours, of the strength, with alpha."""
        options, match = self.options, None
        if options.keep_colors == "histogram":
            painting, photo = ColorMoments(), ColorMoments()
            for band in self.bands:
                painting.add(self.painted(*band))
                photo.add(self.content(*band))
            match = ColorMatch(painting, photo)
        out = self.stores.new((*self.size, self.channels), np.uint16 if bits == 16 else np.uint8)
        white = np.iinfo(out.dtype).max
        for low, high in self.bands:
            photo, painting = self.content(low, high), self.painted(low, high)
            if match is not None:
                painting = match.apply(painting)
            elif options.keep_colors is not None:
                painting = keep_colors(painting, photo, options.keep_colors)
            share = None if self.where is None else self.where.rows(low, high)[0]
            rows = mixed(photo, painting, options.strength, share).clamp(0, 1)
            self.stylizer.check_finite(rows)
            levels = rows.mul(white).round_().permute(1, 2, 0).numpy().astype(out.dtype)
            if self.channels == 4:
                alpha = self.photo.read(low, high)[..., 3:].astype(np.float64)
                alpha = np.rint(alpha * (white / np.iinfo(self.photo.dtype).max))
                levels = np.concatenate([levels, alpha.astype(levels.dtype)], axis=2)
            out.write(low, levels)
        return out.mapped()

    def content(self, low: int, high: int) -> Tensor:
        """Rows of the photo, (3, h, W) on the CPU."""
        return self.source.rows(low, high)[0].cpu()

    def _network_rows(self, low: int, high: int) -> Tensor:
        """Rows of the network's painting, (3, n, w) of the size it is painted at."""
        network, bf16 = self.stylizer.network, self.stylizer.precision == "bf16"
        margin = network.margin
        with torch.autocast(self.stylizer.device.type, torch.bfloat16, enabled=bf16):
            rows = self.painting.rows(low + margin, high + -high % STRIDE + margin)
        rows = rows[0, :, : high - low, margin : margin + self.work[1]]
        return network.bounded(rows).cpu()

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
