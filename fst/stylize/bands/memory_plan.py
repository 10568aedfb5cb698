"""How much memory a painting takes, how a picture is painted in less, and where its rows are."""

import errno
import math
import os
import shutil
import tempfile
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from fst.errors import FstError
from fst.networks.transformer import STRIDE, TransformerNet
from fst.runtime.memory import available_bytes, readable_bytes, taken_bytes

# What --fast-statistics takes its moments from: squares of this side, so many pixels at most.
# (Looked at beside it: a small copy of the whole, after which strokes came out pale and soft.)
SAMPLE_PX, SAMPLE_PIXELS = 128, 2**20
FAST_FROM = 4  # times as many pixels: below, a painting in bands is as cheap with its own moments
# Peak bytes for each fp32 number of the layer that has most of them, of a band and of a whole
# image; bounds, held against `scripts/benchmark.py streaming` and `memory`.
BAND_COPIES, WHOLE_COPIES = 10.5, 5
MAP_COPIES = 4  # of a map that says how much of every style is where
MIN_BAND_PX, MAX_BAND_PX = 16, 512
# Where the painting is enlarged, bytes of a pixel: of the small photo, of rows, of the whole.
SMALL_BYTES, ENLARGED_ROW_BYTES, ENLARGED_BYTES = 24, 160, 36
RESERVE = 130 * 2**20  # for decoding, encoding and weights


@dataclass
class Plan:
    """How a picture is painted within a budget."""

    band_px: int
    in_memory: bool
    sample_pixels: int = SAMPLE_PIXELS


def whole_bytes(
    network: TransformerNet,
    size: tuple[int, int],
    work: tuple[int, int] | None = None,
    *,
    masked: bool = False,
) -> int:
    """About what `Stylizer.stylize` takes for an image (H, W), painted at the size `work`, at its
    peak, with one that is read ahead and one that is being written; with other styles in places if
    `masked`."""
    pixels, work = math.prod(size), work or size
    painted = math.prod(side + 2 * network.margin for side in work)
    enlarged = 0 if work == size else ENLARGED_BYTES
    of_painted = 4 * _numbers_of_pixel(network) * WHOLE_COPIES + 40
    if masked:
        of_painted += 4 * network.num_styles * MAP_COPIES
    return int(pixels * (60 + enlarged) + painted * of_painted)


def _numbers_of_pixel(network: TransformerNet) -> float:
    """Features for each pixel of the image in the layer that has most of them."""
    return max(layer.conv.out_channels / step**2 for layer, step in network.convolutions())


def fast_pays_off(height: int, width: int) -> bool:
    """Whether an image is so large that moments of parts of it spare work."""
    return height * width >= FAST_FROM * SAMPLE_PIXELS


def make_plan(
    network: TransformerNet,
    shape: tuple[int, int, int],
    itemsize: int,
    memory_bytes: int,
    work: tuple[int, int] | None = None,
    taken: int = 0,
) -> Plan:
    """Band height and place of the features.

    Args:
        network: Its channels say what a row takes.
        shape: (H, W, C) of the photo.
        itemsize: Bytes of each of its numbers.
        memory_bytes: What may be taken beyond what the process has.
        work: (h, w) at which it is painted, where that is less than its size.
        taken: Bytes that the process has, of which a user's limit tells, too.

    Raises:
        FstError: Not even a narrow band fits, or the temporary files do not.
    """
    height, width, channels = shape
    last = max(layer.conv.out_channels for layer, step in network.convolutions() if step == STRIDE)
    high, wide = (side + 2 * network.margin for side in work or (height, width))
    maps = 3 if len(network.blocks) else 1  # of the trunk, and of the convolutions of one block
    stored = high * wide * (maps * 4 * last // STRIDE**2 + 3 * 4)
    stored += height * width * 2 * channels * itemsize
    bytes_of_pixel = 4 * _numbers_of_pixel(network)
    row = wide * bytes_of_pixel * BAND_COPIES
    fixed = RESERVE
    if work not in (None, (height, width)):
        row = max(row, width * ENLARGED_ROW_BYTES)
        fixed += high * wide * SMALL_BYTES
    in_memory = stored + 64 * row + fixed <= memory_bytes
    left = memory_bytes - fixed - (stored if in_memory else 0)
    band_px = min(MAX_BAND_PX, left // row // STRIDE * STRIDE)
    if band_px < MIN_BAND_PX:
        least = fixed + MIN_BAND_PX * row + taken
        before = f", of which {taken >> 20}M are taken already" if taken else ""
        raise FstError(
            f"a picture {width} px wide needs at least --max-memory "
            f"{math.ceil(least / 2**20)}M{before}: give more, or shrink it with --size"
        )
    if not in_memory:
        check_room(stored)
    sample_pixels = int(left // (bytes_of_pixel * WHOLE_COPIES + 40))
    return Plan(int(band_px), in_memory, min(SAMPLE_PIXELS, sample_pixels))


def memory_left(max_memory_bytes: int | None, device: torch.device) -> int:
    """What may still be taken: up to the limit, or of what is free half."""
    if max_memory_bytes is not None:
        left = max(0, max_memory_bytes - taken_bytes(device))
        return left if device.type == "cpu" else min(left, available_bytes(device))
    return min(available_bytes(torch.device("cpu")), available_bytes(device)) // 2


# ---- where rows are kept ------------------------------------------------------------------------


class RowStore:
    """Room for (H, W, C) numbers, written and read by bands of rows.

    A temporary file has no name once it is open (on POSIX), so that nothing is left of it however
    the process ends. It is read and written, not mapped: mapped pages would count as resident.
    """

    def __init__(
        self, shape: tuple[int, int, int], dtype: np.dtype | type, *, in_memory: bool
    ) -> None:
        """Take the room in memory, or in the folder for temporary files (TMPDIR); an FstError
        where that has too little."""
        self.shape, self.dtype = shape, np.dtype(dtype)
        self._row_bytes = shape[1] * shape[2] * self.dtype.itemsize
        self._array = np.empty(shape, dtype) if in_memory else None
        self._file = None if in_memory else _file_of(shape[0] * self._row_bytes)

    def read(self, low: int, high: int) -> np.ndarray:
        """A copy of the rows from `low` to `high` exclusive, (high - low, W, C)."""
        if self._array is not None:
            return self._array[low:high].copy()
        rows = np.empty((high - low, *self.shape[1:]), self.dtype)
        self._file.seek(low * self._row_bytes)
        left = memoryview(rows).cast("B")
        while len(left):  # one call of the system moves at most 2 GiB
            left = left[self._file.readinto(left) :]
        return rows

    def write(self, low: int, rows: np.ndarray) -> None:
        """Put rows (h, W, C) at `low`."""
        if self._array is not None:
            self._array[low : low + len(rows)] = rows
            return
        self._file.seek(low * self._row_bytes)
        left = memoryview(np.ascontiguousarray(rows, self.dtype)).cast("B")
        while len(left):
            left = left[self._file.write(left) :]

    def mapped(self) -> np.ndarray:
        """All of it, (H, W, C): the array itself, or the file mapped for reading."""
        if self._array is not None:
            return self._array
        return np.memmap(self._file, self.dtype, "r", shape=self.shape)

    def close(self) -> None:
        self._array = None
        if self._file is not None:
            self._file.close()


class RowStores(ExitStack):
    """Stores of one painting, closed together."""

    def __init__(self, in_memory: bool) -> None:
        super().__init__()
        self.in_memory = in_memory

    def new(self, shape: tuple[int, int, int], dtype: np.dtype | type) -> RowStore:
        """Room for (H, W, C) numbers, see `RowStore`."""
        return self.enter_context(closing(RowStore(shape, dtype, in_memory=self.in_memory)))


def check_room(size: int) -> None:
    """Refuse, with an FstError, what needs more bytes of temporary files than there is room."""
    try:
        folder = tempfile.gettempdir()
        free = shutil.disk_usage(folder).free
    except OSError as error:
        raise _unusable(error) from None
    if size > free:
        raise _no_room(folder, size)


def _file_of(size: int) -> Any:
    try:
        file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115
    except OSError as error:
        raise _unusable(error) from None
    try:
        if hasattr(os, "posix_fallocate"):  # now, rather than failing on the way
            os.posix_fallocate(file.fileno(), 0, size)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            file.close()
            raise _no_room(tempfile.gettempdir(), size) from None
    return file


def _unusable(error: OSError) -> FstError:
    return FstError(
        f"temporary files cannot be made ({error.strerror or error}): set TMPDIR to a folder that "
        "can be written, or give more --max-memory"
    )


def _no_room(folder: str, size: int) -> FstError:
    return FstError(
        f"{folder}: no room for {readable_bytes(size)} of temporary files: set TMPDIR to a folder "
        "on a larger disk, or give more --max-memory"
    )
