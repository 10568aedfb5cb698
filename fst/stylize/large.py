"""Paint a file of any size into another, within a given memory.

Everything that `Stylizer.stylize` does, done by bands of rows: the result is the same to rounding,
but that under transparency the network is shown the mean visible colour.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from fst import images
from fst.allocator import release_freed_memory
from fst.errors import FstError
from fst.memory import available_bytes, resident_bytes
from fst.networks.transformer import MIN_SIZE_PX, STRIDE, TransformerNet
from fst.stylize.colors import ColorMatch, ColorMoments, check_keep_colors, keep_colors
from fst.stylize.masks import layered, place
from fst.stylize.row_layers import PhotoRows, Rows
from fst.stylize.row_store import RowStore
from fst.stylize.streaming import (
    Look,
    Streamer,
    ThumbnailStreamer,
    bands,
    forward_work,
    mask_rows,
    planned_work,
)
from fst.stylize.strength import exaggerated, mixed
from fst.stylize.texture_size import cubic_weights, resized, work_size

if TYPE_CHECKING:
    from fst.stylize.stylizer import Stylizer

THUMBNAIL_PX = 1024  # shorter side of what --fast-statistics takes its moments from
# Peak bytes for each fp32 number of the widest full-resolution layer, by `scripts/benchmark.py
# streaming`: of a band, and of a whole image in `Stylizer.stylize`.
BAND_COPIES, WHOLE_COPIES = 10.5, 5
MIN_BAND_PX, MAX_BAND_PX = 16, 512
RESERVE = 130 * 2**20  # for decoding, encoding and weights


@dataclass
class Plan:
    """How a picture is painted within a budget."""

    band_px: int
    in_memory: bool


def whole_bytes(network: TransformerNet, height: int, width: int) -> int:
    """About what `Stylizer.stylize` takes for an image at its peak."""
    channels = network.conv_in.conv.out_channels
    return height * width * (4 * channels * WHOLE_COPIES + 40)


def make_plan(
    network: TransformerNet, shape: tuple[int, int, int], itemsize: int, memory_bytes: int
) -> Plan:
    """Band height and place of the features.

    Args:
        network: Its channels say what a row takes.
        shape: (H, W, C) of the photo.
        itemsize: Bytes of one of its numbers.
        memory_bytes: What may be taken beyond what the process has.

    Raises:
        FstError: Not even a narrow band fits.
    """
    height, width, channels = shape
    last = network.down2.conv.out_channels
    stored = height * width * (3 * 4 * last // STRIDE**2 + 3 * 4 + 2 * channels * itemsize)
    row = width * network.conv_in.conv.out_channels * 4 * BAND_COPIES
    in_memory = stored + 64 * row + RESERVE <= memory_bytes
    left = memory_bytes - RESERVE - (stored if in_memory else 0)
    band_px = min(MAX_BAND_PX, left // row // STRIDE * STRIDE)
    if band_px < MIN_BAND_PX:
        least = RESERVE + MIN_BAND_PX * row + resident_bytes()
        raise FstError(
            f"a picture {width} px wide needs at least --max-memory "
            f"{math.ceil(least / 2**20)}M: give more, or shrink it with --size"
        )
    return Plan(int(band_px), in_memory)


def stylize_file(
    stylizer: "Stylizer",
    photo: str | Path,
    output: str | Path,
    style: int | str | Mapping[int | str, float] = 0,
    *,
    texture: float | None = None,
    texture_size: float | None = None,
    strength: float = 1.0,
    masks: Mapping[int | str, Tensor | str | Path] | None = None,
    where: Tensor | str | Path | None = None,
    keep_colors: str | None = None,
    shorter_side_px: int | None = None,
    bits: int = 8,
    overwrite: bool = False,
    max_memory_bytes: int | None = None,
    fast_statistics: bool = False,
    band_px: int | None = None,
    progress: Callable[[float], None] = lambda share: None,
) -> Path:
    """Paint a file of any size into another.

    Args:
        stylizer: What paints.
        photo: A picture file.
        output: Where to; its suffix names the format.
        style: As the arguments that follow, see `Stylizer.stylize`.
        texture: See there.
        texture_size: See there.
        strength: See there.
        masks: See there.
        where: See there.
        keep_colors: See there.
        shorter_side_px: Shrink the photo to this first, with another filter than `images.load`
            has; never enlarges.
        bits: A channel of the output: 8, or 16 for PNG and TIFF.
        overwrite: Replace an existing file.
        max_memory_bytes: Resident memory of the process that it may come to; half of what is free
            by default.
        fast_statistics: Take means and variances from a copy of 1024 px a side: one pass instead
            of many, near the exact result but not equal to it.
        band_px: Height of the bands instead of what the memory allows.
        progress: Told now and then which share of the work is done, 0 to 1.

    Returns:
        The path written.

    Raises:
        FstError: As `Stylizer.stylize` and `fst.images.save`; memory or temporary room is short.
    """
    images.check_target(output, bits)
    if keep_colors is not None:
        check_keep_colors(keep_colors)
    weights = stylizer.style_weights(style, texture)
    stores: list[RowStore] = []
    try:
        strips = images.load_strips(photo, shorter_side_px)
        _check_size(photo, strips.shape)
        itemsize = max(np.dtype(strips.dtype).itemsize, bits // 8)
        left = memory_left(max_memory_bytes, stylizer.device)
        plan = make_plan(stylizer.network, strips.shape, itemsize, left)
        plan.band_px = band_px or plan.band_px
        painter = _Painter(stylizer, strips, plan, stores)
        painter.choose(weights, masks or {}, strength)
        painter.paint(fast_statistics, progress)
        if texture_size is not None:
            painter.resize_texture(texture_size)
        painter.finish(strength, where, keep_colors, bits)
        release_freed_memory()  # bands are done; encoding maps the output
        return images.save_levels(painter.levels(), output, overwrite=overwrite)
    finally:
        for store in stores:
            store.close()


def _check_size(photo: str | Path, shape: tuple[int, int, int]) -> None:
    if min(shape[:2]) < MIN_SIZE_PX:
        reason = f"{shape[1]}x{shape[0]} px is below {MIN_SIZE_PX} px a side"
        name = images.printable(photo)
        raise images.ImageError(f"cannot read {name}: {reason}; give a larger picture", reason)


def memory_left(max_memory_bytes: int | None, device: torch.device) -> int:
    """What may still be taken: up to the limit, or of what is free half."""
    if max_memory_bytes is not None:
        return max(0, max_memory_bytes - resident_bytes())
    return min(available_bytes(torch.device("cpu")), available_bytes(device)) // 2


class _Painter:
    """One file on its way: photo, painting, output, each by rows."""

    def __init__(
        self, stylizer: "Stylizer", strips: images.Strips, plan: Plan, stores: list[RowStore]
    ) -> None:
        self.stylizer, self.plan, self.stores = stylizer, plan, stores
        self.height, self.width, self.channels = strips.shape
        self.photo = self._store(strips.shape, strips.dtype)
        fill = _MeanColor()
        low = 0
        for strip in strips.strips:
            self.photo.write(low, strip)
            fill.add(strip)
            low += len(strip)
        self.source = PhotoRows(self.photo, stylizer.device, fill.color())
        self.painting: Rows | None = None
        self.detail: Tensor | None = None  # what texture size adds, (3, h, W)
        self.out: RowStore | None = None

    def choose(self, weights: Tensor, masks: Mapping, strength: float) -> None:
        """Settle the styles."""
        chosen = [weights, *(self.stylizer.style_weights(style) for style in masks)]
        size = (self.height, self.width)
        places = [_compact(place(mask, size)) for mask in masks.values()]
        self.look = Look([exaggerated(w, strength) for w in chosen], places)

    @torch.inference_mode()
    def paint(self, fast: bool, progress: Callable[[float], None]) -> None:
        """Pass the layers; afterwards rows of the painting can be had."""
        network, done = self.stylizer.network, 0
        of_all = (forward_work if fast else planned_work)(network, self.height, self.width)

        def work(count: int) -> None:
            nonlocal done
            done += count
            progress(min(1.0, done / of_all))

        options = {"in_memory": self.plan.in_memory, "work": work, "stores": self.stores}
        options["bf16"] = self.stylizer.precision == "bf16"
        if fast:
            options["thumbnail"] = self._thumbnail()
            options["thumbnail_weights"] = self._small_weights(options["thumbnail"].shape[2:])
        streamer = (ThumbnailStreamer if fast else Streamer)(
            network, self.look, self.plan.band_px, **options
        )
        self.painting = streamer.paint(self.source)

    @torch.inference_mode()
    def resize_texture(self, texture_size: float) -> None:
        """Have the strokes of another size, as `painted_at_size`."""
        size = (self.height, self.width)
        work = work_size(size, texture_size)
        if work == size:
            return
        if min(work) > min(size):
            raise FstError(
                f"texture size {texture_size:g} enlarges a picture of {self.width}x{self.height} "
                "px: that is not done in bands; give more --max-memory"
            )
        small = self._shrunk(self.content, work).clamp(0, 1)
        large_forms = self.stylizer._paint(small, self._small_weights(work)).clamp(0, 1)
        detail = large_forms - self._shrunk(self.native, work)
        self.detail = resized(detail, (work[0], self.width))
        self.upward = cubic_weights(work[0], self.height)  # (H, h)

    @torch.inference_mode()
    def finish(
        self, strength: float, where: Tensor | str | Path | None, how: str | None, bits: int
    ) -> None:
        """Colours, strength and alpha; the output's rows are stored."""
        size = (self.height, self.width)
        mask = None if where is None else _compact(place(where, size))
        match = self._color_match() if how == "histogram" else None
        self.out = self._store((*size, self.channels), np.uint16 if bits == 16 else np.uint8)
        white = np.iinfo(self.out.dtype).max
        for low, high in bands(self.height, self.plan.band_px):
            photo, painting = self.content(low, high), self.painted(low, high)
            if match is not None:
                painting = match.apply(painting)
            elif how is not None:
                painting = keep_colors(painting, photo, how)
            share = None if mask is None else mask_rows(mask, low, high)
            rows = mixed(photo, painting, strength, share).clamp(0, 1)
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

    def native(self, low: int, high: int) -> Tensor:
        """Rows of the network's painting, (3, h, W)."""
        bf16 = self.stylizer.precision == "bf16"
        with torch.autocast(self.stylizer.device.type, torch.bfloat16, enabled=bf16):
            rows = self.painting.rows(low, high + -high % STRIDE)
        return torch.sigmoid(rows[0, :, : high - low, : self.width]).cpu()

    def painted(self, low: int, high: int) -> Tensor:
        """Rows of the painting with strokes of the size asked for, (3, h, W)."""
        rows = self.native(low, high)
        if self.detail is None:
            return rows
        return (rows + torch.einsum("oi,ciw->cow", self.upward[low:high], self.detail)).clamp(0, 1)

    def _shrunk(self, rows: Callable[[int, int], Tensor], size: tuple[int, int]) -> Tensor:
        """An image given by its rows as (3, *size), as `resized` shrinks it."""
        weights = cubic_weights(self.height, size[0])  # (h, H)
        small = torch.zeros(3, *size)
        for low, high in bands(self.height, self.plan.band_px):
            narrow = resized(rows(low, high), (high - low, size[1]))
            small += torch.einsum("oi,ciw->cow", weights[:, low:high], narrow)
        return small

    def _thumbnail(self) -> Tensor:
        scale = min(1.0, THUMBNAIL_PX / min(self.height, self.width))
        size = tuple(max(MIN_SIZE_PX, round(scale * s)) for s in (self.height, self.width))
        small = self._shrunk(self.content, size).clamp(0, 1)[None].to(self.stylizer.device)
        return small.contiguous(memory_format=torch.channels_last)

    def _small_weights(self, size: tuple[int, int]) -> Tensor:
        """Style weights by place, (1, S, *size), or (1, S) without masks."""
        layers = []
        for style, mask in zip(self.look.weights[1:], self.look.masks, strict=True):
            whole = mask_rows(mask, 0, self.height)[None, None]
            small = F.interpolate(whole, size, mode="bilinear", antialias=True)
            layers.append((style[None], small[0, 0]))
        return layered(self.look.weights[:1], layers)

    def _color_match(self) -> ColorMatch:
        painting, photo = ColorMoments(), ColorMoments()
        for low, high in bands(self.height, self.plan.band_px):
            painting.add(self.painted(low, high))
            photo.add(self.content(low, high))
        return ColorMatch(painting, photo)

    def _store(self, shape: tuple[int, int, int], dtype: type) -> RowStore:
        self.stores.append(RowStore(shape, dtype, in_memory=self.plan.in_memory))
        return self.stores[-1]


class _MeanColor:
    """The mean colour of what is visible."""

    def __init__(self) -> None:
        self.total, self.weight, self.white, self.has_alpha = np.zeros(3), 0.0, 255, False

    def add(self, strip: np.ndarray) -> None:
        self.white, self.has_alpha = np.iinfo(strip.dtype).max, strip.shape[2] == 4
        if self.has_alpha:
            alpha = strip[..., 3].astype(np.float64)
            self.total += np.einsum("hwc,hw->c", strip[..., :3], alpha)
            self.weight += alpha.sum()

    def color(self) -> Tensor | None:
        """(3,) in [0, 1]; white where nothing is visible, None of an opaque picture."""
        if not self.has_alpha:
            return None
        visible = self.total / self.weight / self.white if self.weight else np.ones(3)
        return torch.tensor(visible, dtype=torch.float32)


def _compact(mask: Tensor) -> np.ndarray:
    """A mask of `place` without loss in a byte a pixel, or less."""
    if mask.min() == mask.max():  # not softened: any value, but the same everywhere
        return np.broadcast_to(mask[:1, :1].numpy(), tuple(mask.shape))
    return (mask * 255).round().to(torch.uint8).numpy()
