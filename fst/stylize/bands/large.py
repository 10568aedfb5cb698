"""Paint a file of any size into another, within a given memory.

Everything that `Stylizer.stylize` does, done by bands of rows: the result is the same to rounding.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from fst.errors import FstError
from fst.io import images
from fst.networks.transformer import MIN_SIZE_PX, STRIDE
from fst.runtime.allocator import release_freed_memory
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
from fst.stylize.controls.colors import ColorMatch, ColorMoments, check_keep_colors, keep_colors
from fst.stylize.controls.masks import layered, mask_rows
from fst.stylize.controls.strength import check_strength, exaggerated, mixed
from fst.stylize.controls.texture_size import (
    check_texture_size,
    cubic_weights,
    enlarges,
    resized,
    work_size,
)

if TYPE_CHECKING:
    from fst.stylize.stylizer import Stylizer


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
    numbered: bool = False,
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
        shorter_side_px: Shrink the photo to this first; never enlarges.
        bits: A channel of the output: 8, or 16 for PNG and TIFF.
        overwrite: Replace an existing file.
        max_memory_bytes: Resident memory of the process that it may come to; half of what is free
            by default.
        fast_statistics: Take means and variances from squares of the photo, a megapixel in all:
            one pass instead of many, near the exact result but not equal to it. Pictures of less
            than four times as many pixels are painted exactly all the same.
        band_px: Height of the bands instead of what the memory allows, a multiple of 4.
        numbered: Where `output` is taken when the painting is done, number a new name.
        progress: Told now and then which share of the work is done, 0 to 1.

    Returns:
        The path written.

    Raises:
        FstError: As `Stylizer.stylize` and `fst.io.images.save`; memory or temporary room is short.
        ValueError: `band_px` is no multiple of 4.
    """
    weights = stylizer.style_weights(style, texture)
    check_strength(strength)
    if texture_size is not None:
        check_texture_size(texture_size)
    if keep_colors is not None:
        check_keep_colors(keep_colors)
    if band_px is not None and (band_px < STRIDE or band_px % STRIDE):
        raise ValueError(f"band_px {band_px}: expected a multiple of {STRIDE}")
    stores: list[RowStore] = []
    try:
        strips = images.load_strips(photo, shorter_side_px)
        check_size(photo, strips.shape[:2])
        _check_texture_size(photo, strips.shape[:2], texture_size)
        images.check_target(output, bits, max(strips.shape[:2]))
        images.check_free(output, overwrite or numbered)
        plan = _plan(stylizer, photo, strips, bits, max_memory_bytes)
        plan.band_px = band_px or plan.band_px
        painter = _Painter(stylizer, strips, plan, stores)
        painter.choose(weights, masks or {}, where, strength)
        painter.paint(fast_statistics, progress)
        if texture_size is not None:
            painter.resize_texture(texture_size)
        painter.finish(strength, keep_colors, bits)
        release_freed_memory()  # bands are done; encoding maps the output
        return images.save_levels(painter.levels(), output, overwrite=overwrite, numbered=numbered)
    finally:
        for store in stores:
            store.close()


def _plan(
    stylizer: "Stylizer",
    photo: str | Path,
    strips: images.Strips,
    bits: int,
    max_memory_bytes: int | None,
) -> Plan:
    release_freed_memory()  # what earlier paintings have taken is not in use
    left = memory_left(max_memory_bytes, stylizer.device)
    itemsize = max(np.dtype(strips.dtype).itemsize, bits // 8)
    try:
        return make_plan(stylizer.network, strips.shape, itemsize, left)
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


def _check_texture_size(
    photo: str | Path, size: tuple[int, int], texture_size: float | None
) -> None:
    if texture_size is not None and enlarges(size, texture_size):
        raise images.ImageError(
            f"{images.printable(photo)}: texture size {texture_size:g} enlarges "
            f"{size[1]}x{size[0]} px, which is not done in bands: give a larger texture size, or "
            "more --max-memory"
        )


class _Painter:
    """One file on its way: photo, painting, output, each by rows."""

    def __init__(
        self, stylizer: "Stylizer", strips: images.Strips, plan: Plan, stores: list[RowStore]
    ) -> None:
        self.stylizer, self.plan, self.stores = stylizer, plan, stores
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
        self.detail: Tensor | None = None  # what texture size adds, (3, h, W)
        self.out: RowStore | None = None

    def choose(self, weights: Tensor, masks: Mapping, where: Any, strength: float) -> None:
        """Settle the styles and their places."""
        chosen = [weights, *(self.stylizer.style_weights(style) for style in masks)]
        size = (self.height, self.width)
        places = [mask_rows(mask, size) for mask in masks.values()]
        self.look = Look([exaggerated(w, strength) for w in chosen], places)
        self.where = None if where is None else mask_rows(where, size)

    @torch.inference_mode()
    def paint(self, fast: bool, progress: Callable[[float], None]) -> None:
        """Pass the layers; afterwards rows of the painting can be had."""
        network, done = self.stylizer.network, 0
        fast = fast and fast_pays_off(self.height, self.width)
        of_all = (forward_work if fast else planned_work)(network, self.height, self.width)

        def work(count: int) -> None:
            nonlocal done
            done += count
            progress(min(1.0, done / of_all))

        options = {"in_memory": self.plan.in_memory, "work": work, "stores": self.stores}
        options["bf16"] = self.stylizer.precision == "bf16"
        if fast:
            sample = self._sample(self.content)[None].to(self.stylizer.device)
            options["sample"] = sample.contiguous(memory_format=torch.channels_last)
            options["sample_weights"] = self._weights_by(self._sample)
        streamer = (SampleStreamer if fast else Streamer)(
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
        small = self._shrunk(self.content, work).clamp(0, 1)
        large_forms = self.stylizer._paint(
            small, self._weights_by(lambda rows: self._shrunk(rows, work))
        ).clamp(0, 1)
        detail = large_forms - self._shrunk(self.native, work)
        self.detail = resized(detail, (work[0], self.width))
        self.upward = cubic_weights(work[0], self.height)  # (H, h)

    @torch.inference_mode()
    def finish(self, strength: float, how: str | None, bits: int) -> None:
        """Colours, strength and alpha; the output's rows are stored."""
        size = (self.height, self.width)
        match = self._color_match() if how == "histogram" else None
        self.out = self._store((*size, self.channels), np.uint16 if bits == 16 else np.uint8)
        white = np.iinfo(self.out.dtype).max
        for low, high in bands(self.height, self.plan.band_px):
            photo, painting = self.content(low, high), self.painted(low, high)
            if match is not None:
                painting = match.apply(painting)
            elif how is not None:
                painting = keep_colors(painting, photo, how)
            share = None if self.where is None else self.where.rows(low, high)[0]
            rows = mixed(photo, painting, strength, share).clamp(0, 1)
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

    def _sample(self, rows: Callable[[int, int], Tensor]) -> Tensor:
        """Evenly spread squares of an image given by its rows, side by side, (C, h, w)."""
        side = min(SAMPLE_PX, self.height, self.width) // STRIDE * STRIDE
        count = max(1, self.plan.sample_pixels // side**2)
        down = max(1, round((count * self.height / self.width) ** 0.5))
        down = min(self.height // side, count, down)
        across = min(self.width // side, count // down)
        tops, lefts = (
            [round(i * (length - side) / max(1, number - 1)) for i in range(number)]
            for length, number in ((self.height, down), (self.width, across))
        )
        strips = (rows(top, top + side) for top in tops)
        return torch.cat(
            [torch.cat([x[:, :, n : n + side] for n in lefts], dim=2) for x in strips], dim=1
        )

    def _weights_by(self, shrink: Callable[[Callable[[int, int], Tensor]], Tensor]) -> Tensor:
        """Style weights by place, (1, S, h, w) of what `shrink` makes; (1, S) without masks."""
        layers = []
        for style, mask in zip(self.look.weights[1:], self.look.masks, strict=True):
            small = shrink(lambda low, high, m=mask: m.rows(low, high).expand(3, -1, -1))
            layers.append((style[None], small[0].clamp(0, 1)))
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
