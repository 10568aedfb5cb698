"""Images, and the layers of the network, as sources of rows.

A source gives rows `low` to `high` of its whole image as (1, C, high - low, W), fp32, and asks the
source before it for what it needs: a few rows more on either side, and at the image's edge those
that the network's padding repeats. What no `RowStore` holds is computed anew each time.
"""

from collections.abc import Callable
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from fst.networks.layers import ConditionedConv, Layer, ShuffledConv, UpsampleConv
from fst.networks.transformer import STRIDE
from fst.stylize.bands.memory_plan import RowStore
from fst.stylize.controls.masks import Enlarged

Work = Callable[[int], None]  # told the multiplications of each convolution


class Rows(Protocol):
    """An image, or features, of which rows can be had."""

    height: int
    width: int

    def rows(self, low: int, high: int) -> Tensor:
        """(1, C, high - low, W) for 0 <= low < high <= height; the caller may change it."""
        ...


class PhotoRows:
    """A stored photo (H, W, 3 or 4) in [0, 1]; where alpha is 0, the colours `hidden` (3, H, W)."""

    def __init__(
        self, store: RowStore, device: torch.device, hidden: Enlarged | None = None
    ) -> None:
        self.store, self.device, self.hidden = store, device, hidden
        self.height, self.width = store.shape[:2]

    def rows(self, low: int, high: int) -> Tensor:
        x = image_rows(self.store.read(low, high))
        if x.shape[1] == 4:
            x = torch.where(x[:, 3:] > 0, x[:, :3], self.hidden.rows(low, high))
        return x.to(self.device, memory_format=torch.channels_last)


def image_rows(levels: np.ndarray) -> Tensor:
    """Whole numbers (h, W, C) as (1, C, h, W) in [0, 1], channels last."""
    white = np.iinfo(levels.dtype).max
    values = torch.from_numpy(levels.astype(np.float32)).div_(white)
    return values.permute(2, 0, 1)[None]


class ImageRows:
    """An image (3, h, w) in memory."""

    def __init__(self, image: Tensor, device: torch.device) -> None:
        self.image, self.device = image[None], device
        self.height, self.width = image.shape[1:]

    def rows(self, low: int, high: int) -> Tensor:
        rows = self.image[:, :, low:high]
        return rows.to(self.device, memory_format=torch.channels_last, copy=True)


class PaddedRows:
    """An image as the network sees it, see `fst.networks.transformer.padded`."""

    def __init__(self, source: Rows, margin: int) -> None:
        self.source, self.margin = source, margin
        self.height, self.width = (
            side + -side % STRIDE + 2 * margin for side in (source.height, source.width)
        )

    def rows(self, low: int, high: int) -> Tensor:
        x = padded_rows(self.source, low - self.margin, high - self.margin, "reflect")
        right = self.width - self.source.width - self.margin
        return F.pad(x, (self.margin, right, 0, 0), mode="reflect")


class StoredRows:
    """What a store of fp32 numbers holds."""

    def __init__(self, store: RowStore, device: torch.device) -> None:
        self.store, self.device = store, device
        self.height, self.width = store.shape[:2]

    def rows(self, low: int, high: int) -> Tensor:
        values = torch.from_numpy(self.store.read(low, high))
        return values.permute(2, 0, 1)[None].to(self.device)

    def put(self, low: int, rows: Tensor) -> None:
        """Store (1, C, h, W) from row `low` on."""
        self.store.write(low, rows[0].permute(1, 2, 0).cpu().numpy())


class WindowRows:
    """Rows `first` and following of an image, computed once."""

    def __init__(self, source: Rows, first: int, last: int) -> None:
        self.height, self.width = source.height, source.width
        self.first = max(0, first)
        self.values = source.rows(self.first, min(last, source.height))

    def rows(self, low: int, high: int) -> Tensor:
        return self.values[:, :, low - self.first : high - self.first].clone()


def convolved(source: Rows, layer: Layer, work: Work) -> Rows:
    """What a layer's norm gets: the convolution of a source."""
    if isinstance(layer, UpsampleConv):
        return UpsampleRows(source, layer, work)
    x = ConvRows(source, layer, work)
    return ShuffleRows(x) if isinstance(layer, ShuffledConv) else x


def work_of_pixel(layer: Layer) -> int:
    """Multiplications for a pixel that the convolution gives, all channels together."""
    numbers = layer.conv.weight.numel()
    # Four kernels of 2x2 for each of 3x3, at a quarter of the pixels.
    return 4 * numbers // 9 if isinstance(layer, UpsampleConv) else numbers


class ConvRows:
    """A convolution over reflected borders, without the layer's norm."""

    def __init__(self, source: Rows, layer: ConditionedConv, work: Work) -> None:
        self.source, self.layer, self.work = source, layer, work
        self.stride = layer.conv.stride[0]
        self.height, self.width = source.height // self.stride, source.width // self.stride

    def rows(self, low: int, high: int) -> Tensor:
        reach = self.layer.conv.kernel_size[0] // 2
        first, last = low * self.stride - reach, (high - 1) * self.stride + reach + 1
        x = padded_rows(self.source, first, last, "reflect")
        x = F.pad(x, (reach, reach, 0, 0), mode="reflect")
        self.work((high - low) * self.width * work_of_pixel(self.layer))
        return self.layer.convolved(x).float()


class UpsampleRows:
    """An `UpsampleConv`, without its norm."""

    def __init__(self, source: Rows, layer: UpsampleConv, work: Work) -> None:
        self.source, self.layer, self.work = source, layer, work
        self.height, self.width = 2 * source.height, 2 * source.width

    def rows(self, low: int, high: int) -> Tensor:
        first, last = low // 2, (high + 1) // 2
        x = padded_rows(self.source, first - 1, last + 1, "replicate")
        x = F.pad(x, (1, 1, 0, 0), mode="replicate")
        self.work(2 * (last - first) * self.width * work_of_pixel(self.layer))
        return self.layer.convolved(x).float()[:, :, low - 2 * first : high - 2 * first]


class ShuffleRows:
    """Four maps of each channel as one of twice the size, see `ShuffledConv`."""

    def __init__(self, source: Rows) -> None:
        self.source, self.height, self.width = source, 2 * source.height, 2 * source.width

    def rows(self, low: int, high: int) -> Tensor:
        first, last = low // 2, (high + 1) // 2
        x = F.pixel_shuffle(self.source.rows(first, last).contiguous(), 2)
        return x[:, :, low - 2 * first : high - 2 * first]


class NormRows:
    """Features normalised with the moments of their whole image, in the styles of a `Look`;
    `affine` gives scale and shift for rows, (1, C, 1 or h, 1 or W)."""

    def __init__(
        self, source: Rows, affine: Callable[[int, int], tuple[Tensor, Tensor]], relu: bool
    ) -> None:
        self.source, self.affine, self.relu = source, affine, relu
        self.height, self.width = source.height, source.width

    def rows(self, low: int, high: int) -> Tensor:
        scale, shift = self.affine(low, high)
        x = self.source.rows(low, high).mul_(scale).add_(shift)
        return x.relu_() if self.relu else x


class SumRows:
    def __init__(self, one: Rows, other: Rows) -> None:
        self.one, self.other, self.height, self.width = one, other, one.height, one.width

    def rows(self, low: int, high: int) -> Tensor:
        return self.one.rows(low, high).add_(self.other.rows(low, high))


def padded_rows(source: Rows, low: int, high: int, mode: str) -> Tensor:
    """Rows of a source and, beyond its edges, those that padding of a mode of `F.pad` puts
    there."""
    last = source.height - 1
    if low >= 0 and high <= source.height:
        return source.rows(low, high)
    index = torch.arange(low, high)
    index = last - (last - index.abs()).abs() if mode == "reflect" else index.clamp(0, last)
    first = int(index.min())
    x = source.rows(first, int(index.max()) + 1)
    x = x[:, :, (index - first).to(x.device)]
    return x.contiguous(memory_format=torch.channels_last)
