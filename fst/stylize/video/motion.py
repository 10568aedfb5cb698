"""Where each pixel of a frame was in the frame before: dense motion without a network.

Lucas and Kanade 1981, "An iterative image registration technique with an application to stereo
vision", from coarse to fine: at each level of a pyramid the shift is found that explains a window
around each pixel best, starting from that of the coarser level. Cheap enough to run on each frame
of a clip, and right to a fraction of a pixel where there is anything to see; where it is wrong, the
two frames differ, and `confidence` says so.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

FINEST_PX, COARSEST_PX = 224, 14  # shorter sides of the pyramid's levels
FIRST_STEPS, STEPS = 8, 3  # at the coarsest level, which finds the way, and at each other
WINDOW_PX = 9
LEAST_SLOPE = 4e-5  # added to the squared slopes: flat ground keeps the motion of its surroundings
NOISE = 0.012  # of brightness, below any camera's in dim light: always forgiven
NOISE_MOST = 0.04  # and this is no noise
FORGIVEN_PX, FORGIVEN_NOISE = 0.35, 1.5  # by which the motion may be wrong; of the usual difference
STILL = 0.15  # of the noise
REACH_PX = 8  # strokes are made of what is so far away (with most weight)


def motion_between(before: Tensor, now: Tensor) -> Tensor:
    """Where each pixel of a frame was in the frame before, both (3, H, W) in [0, 1].

    Returns:
        (2, H, W): how far to the right and how far below of its present place, in pixels.
    """
    levels = [_levels(frame) for frame in (before, now)]
    motion = torch.zeros(1, 2, *levels[0][-1].shape[2:])
    steps = FIRST_STEPS
    for old, new in reversed(list(zip(*levels, strict=True))):
        motion = _enlarged(motion, new.shape[2:])
        for _ in range(steps):
            motion = _box(motion + _step(old, new, motion), 3)
        steps = STEPS
    motion = _enlarged(motion, now.shape[1:])
    return (motion * _is_moving(before, now, motion))[0]


def _is_moving(before: Tensor, now: Tensor, motion: Tensor) -> Tensor:
    """1 where the motion explains more than stillness does, (1, 1, H, W).

    Noise alone gives motion too, a tenth of a pixel, and what is moved by that is blurred.
    """
    there = _sampled(before[None], motion, "bilinear")
    still, explained = (
        _box((old - now).abs().mean(1, keepdim=True), WINDOW_PX) for old in (before[None], there)
    )
    return (still > explained + STILL * NOISE).float()


def moved(image: Tensor, motion: Tensor) -> Tensor:
    """An image of the frame before, (C, H, W), as it lies in the present one.

    Bicubic: what is moved frame after frame would be blurred by bilinear interpolation.
    """
    return _sampled(image[None], motion[None], "bicubic")[0]


def confidence(before: Tensor, now: Tensor, motion: Tensor) -> Tensor:
    """How sure it is that places show what the frame before, moved, shows: (H, W) in [0, 1].

    Zero where the two, (3, H, W), differ by more than noise and a third of a pixel of motion
    explain, where something has come into view, and for some pixels around, as far as strokes
    reach.
    """
    difference = (before - now).abs().amax(0)[None, None]
    slope = _slope(now.mean(0)[None, None])
    noise = difference[..., ::4, ::4].median().clamp(NOISE, NOISE_MOST)
    # In windows: single pixels of noise say nothing.
    excess = _box((difference - FORGIVEN_PX * slope).clamp_min(0), 5) / noise
    unsure = (excess - FORGIVEN_NOISE).clamp(0, 1).maximum(_outside(motion)[None, None])
    return 1 - _spread(unsure)[0, 0]


def _levels(frame: Tensor) -> list[Tensor]:
    """Brightness (1, 1, h, w) from fine to coarse."""
    grey = frame.mean(0)[None, None]
    scale = min(1.0, FINEST_PX / min(grey.shape[2:]))
    if scale < 1:
        size = [max(1, round(side * scale)) for side in grey.shape[2:]]
        grey = F.interpolate(grey, size, mode="bilinear", antialias=True)
    levels = [F.avg_pool2d(F.pad(grey, (1, 1, 1, 1), mode="replicate"), 3, 1)]
    while min(levels[-1].shape[2:]) >= 2 * COARSEST_PX:
        levels.append(F.avg_pool2d(levels[-1], 2, ceil_mode=True))
    return levels


def _step(old: Tensor, new: Tensor, motion: Tensor) -> Tensor:
    """One step of Gauss and Newton: (1, 2, h, w)."""
    there = _sampled(old, motion, "bilinear")
    padded = F.pad(there, (1, 1, 1, 1), mode="replicate")
    across = (padded[:, :, 1:-1, 2:] - padded[:, :, 1:-1, :-2]) / 2
    down = (padded[:, :, 2:, 1:-1] - padded[:, :, :-2, 1:-1]) / 2
    wrong = new - there
    products = torch.cat(
        [across * across, across * down, down * down, across * wrong, down * wrong], 1
    )
    xx, xy, yy, xt, yt = _box(products, WINDOW_PX).unbind(1)
    xx, yy = xx + LEAST_SLOPE, yy + LEAST_SLOPE
    area = xx * yy - xy * xy
    step = torch.stack([yy * xt - xy * yt, xx * yt - xy * xt], 1) / area[:, None]
    return step.clamp(-1, 1)


def _box(maps: Tensor, side: int) -> Tensor:
    """Means over squares of 2^k + 1 pixels a side; several times as fast as pooling."""
    return _run(_run(maps, side, 2), side, 3)


def _run(maps: Tensor, side: int, dim: int) -> Tensor:
    """Means over runs of pixels: sums of two, of twos of them, ..., and one more."""
    reach = side // 2
    around = (reach, reach, 0, 0) if dim == 3 else (0, 0, reach, reach)
    padded = F.pad(maps, around, mode="replicate")
    sums, length = padded, 1
    while 2 * length <= side:
        rest = sums.shape[dim] - length
        sums = sums.narrow(dim, 0, rest) + sums.narrow(dim, length, rest)
        length *= 2
    count = maps.shape[dim]
    return (sums.narrow(dim, 0, count) + padded.narrow(dim, side - 1, count)).div_(side)


def _enlarged(motion: Tensor, size: tuple[int, int]) -> Tensor:
    """A motion field of another size; its offsets grow with it."""
    if motion.shape[2:] == size:
        return motion
    factors = motion.new_tensor([size[1] / motion.shape[3], size[0] / motion.shape[2]])
    return F.interpolate(motion, size, mode="bilinear") * factors[None, :, None, None]


def _sampled(image: Tensor, motion: Tensor, mode: str) -> Tensor:
    """(1, C, h, w) read at the offsets (1, 2, h, w) from each place."""
    height, width = image.shape[2:]
    across = (torch.arange(width) + 0.5 + motion[0, 0]) * (2 / width) - 1
    down = (torch.arange(height)[:, None] + 0.5 + motion[0, 1]) * (2 / height) - 1
    grid = torch.stack([across, down], -1)[None]  # (1, h, w, 2)
    return F.grid_sample(image, grid, mode, padding_mode="border", align_corners=False)


def _slope(grey: Tensor) -> Tensor:
    """How much the brightness changes from a pixel to the next, (1, 1, H, W)."""
    padded = F.pad(grey, (1, 1, 1, 1), mode="replicate")
    return (F.max_pool2d(padded, 3, 1) + F.max_pool2d(-padded, 3, 1)) / 2


def _outside(motion: Tensor) -> Tensor:
    """1 where a place was out of the frame, (H, W)."""
    height, width = motion.shape[1:]
    x = torch.arange(width) + motion[0]
    y = torch.arange(height)[:, None] + motion[1]
    return ((x < -0.5) | (x > width - 0.5) | (y < -0.5) | (y > height - 0.5)).float()


def _spread(unsure: Tensor) -> Tensor:
    """The largest value within reach of each place, with soft borders."""
    height, width = unsure.shape[2:]
    small = F.max_pool2d(unsure, 4, ceil_mode=True)
    reach = REACH_PX // 4
    small = F.max_pool2d(small, 2 * reach + 1, 1, reach)
    small = F.avg_pool2d(small, 3, 1, 1, count_include_pad=False)
    return F.interpolate(small, scale_factor=4, mode="bilinear")[:, :, :height, :width]
