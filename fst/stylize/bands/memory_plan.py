"""How much memory a painting takes, and how a picture is painted in less."""

import math
from dataclasses import dataclass

import torch

from fst.errors import FstError
from fst.networks.transformer import STRIDE, TransformerNet
from fst.runtime.memory import available_bytes, taken_bytes
from fst.stylize.bands.row_store import check_room

# What --fast-statistics takes its moments from: squares of this side, so many pixels at most.
# (Looked at beside it: a small copy of the whole, after which strokes came out pale and soft.)
SAMPLE_PX, SAMPLE_PIXELS = 128, 2**20
FAST_FROM = 4  # times as many pixels: below, a painting in bands is as cheap with its own moments
# Peak bytes for each fp32 number of the layer that has most of them, of a band and of a whole
# image; bounds, held against `scripts/benchmark.py streaming` and `memory`.
BAND_COPIES, WHOLE_COPIES = 10.5, 5
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
    network: TransformerNet, size: tuple[int, int], work: tuple[int, int] | None = None
) -> int:
    """About what `Stylizer.stylize` takes for an image at its peak, with one that is read ahead and
    one that is being written.

    Args:
        network: Its channels say what a pixel takes.
        size: (H, W) of the image.
        work: (h, w) at which it is painted, where that is another.
    """
    pixels, painted = math.prod(size), math.prod(work or size)
    enlarged = 0 if painted == pixels else ENLARGED_BYTES
    return pixels * (60 + enlarged) + painted * _bytes_of_pixel(network)


def _bytes_of_pixel(network: TransformerNet) -> int:
    return 4 * _numbers_of_pixel(network) * WHOLE_COPIES + 40


def _numbers_of_pixel(network: TransformerNet) -> float:
    """Features for each pixel of the image in the layer that has most of them."""
    return max(network.conv_out.conv.out_channels, network.conv_in.conv.out_channels) / 4


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
        itemsize: Bytes of one of its numbers.
        memory_bytes: What may be taken beyond what the process has.
        work: (h, w) at which it is painted, where that is less than its size.
        taken: Bytes that the process has, of which a user's limit tells, too.

    Raises:
        FstError: Not even a narrow band fits, or the temporary files do not.
    """
    height, width, channels = shape
    last = network.down.conv.out_channels
    high, wide = work or (height, width)
    stored = high * wide * (3 * 4 * last // STRIDE**2 + 3 * 4) + height * width * (
        2 * channels * itemsize
    )
    row = wide * _numbers_of_pixel(network) * 4 * BAND_COPIES
    fixed = RESERVE
    if (high, wide) != (height, width):
        row = max(row, width * ENLARGED_ROW_BYTES)
        fixed += high * wide * SMALL_BYTES
    in_memory = stored + 64 * row + fixed <= memory_bytes
    left = memory_bytes - fixed - (stored if in_memory else 0)
    band_px = min(MAX_BAND_PX, left // row // STRIDE * STRIDE)
    if band_px < MIN_BAND_PX:
        least = fixed + MIN_BAND_PX * row + taken
        raise FstError(
            f"a picture {width} px wide needs at least --max-memory "
            f"{math.ceil(least / 2**20)}M: give more, or shrink it with --size"
        )
    if not in_memory:
        check_room(stored)
    sample_pixels = int(left // _bytes_of_pixel(network))
    return Plan(int(band_px), in_memory, min(SAMPLE_PIXELS, sample_pixels))


def memory_left(max_memory_bytes: int | None, device: torch.device) -> int:
    """What may still be taken: up to the limit, or of what is free half."""
    if max_memory_bytes is not None:
        left = max(0, max_memory_bytes - taken_bytes(device))
        return left if device.type == "cpu" else min(left, available_bytes(device))
    return min(available_bytes(torch.device("cpu")), available_bytes(device)) // 2
