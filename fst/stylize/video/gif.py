"""Animated GIFs, read and written a frame at a time."""

import struct
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageSequence
from PIL.GifImagePlugin import GifImageFile

from fst.errors import FstError
from fst.io import images
from fst.io.decode import check_density, reading, resize, shrunk_size
from fst.stylize.video.clips import Clip, Frame

COLORS = 255  # and one for what is transparent
FRESH_PALETTE = 1.3  # times the first error of a palette, at which a frame gets one of its own
TICK = Fraction(1, 100)  # seconds, of the times in a GIF
MIN_TICKS, MAX_TICKS = 2, 2**16 - 1  # browsers take one for ten; a file has 16 bits
MAX_BYTES = 2**30  # Pillow keeps the frames of a GIF, a byte a pixel, until all are written


def open_gif(path: str | Path, shorter_side_px: int | None = None) -> Clip:
    """Open an animated GIF; raises an ImageError where it cannot be read."""
    path = Path(path)
    with reading(path) as file:
        picture = GifImageFile(file)
        check_density(*picture.size, file)
        size, count = shrunk_size(picture.size, shorter_side_px), picture.n_frames
        loop = picture.info.get("loop")
        length_ms = sum(map(_shown_ms, ImageSequence.Iterator(picture)))
    rate = Fraction(1000 * count, length_ms) if length_ms else Fraction(10)
    clip = Clip(path, (size[1], size[0]), iter(()), count, rate, Fraction(1, 1000), loop=loop)
    clip.items = _frames(path, size, clip.problems)
    return clip


def _shown_ms(picture: GifImageFile) -> int:
    return int(picture.info.get("duration", 0)) or 100  # as all browsers take 0


def _frames(path: Path, size: tuple[int, int], problems: list[str]) -> Iterator[Frame]:
    start = Fraction(0)
    with open(path, "rb") as file:
        picture = GifImageFile(file)
        for number in range(picture.n_frames):
            try:
                picture.seek(number)
                shown = picture.convert("RGBA" if picture.has_transparency_data else "RGB")
            except (OSError, EOFError, ValueError, SyntaxError) as error:
                problems.append(
                    f"{images.printable(path)}: frame {number + 1} is damaged "
                    f"({images.printable(error)}); those before it are painted"
                )
                return
            duration = Fraction(_shown_ms(picture), 1000)
            shown = resize(shown, size) if shown.size != size else shown
            levels = torch.from_numpy(np.array(shown)).permute(2, 0, 1).contiguous()
            yield Frame(levels.float().div_(255), start, duration)
            start += duration


def write_gif(path: Path, clip: Clip, items: Iterable) -> None:
    """Write frames as a GIF that repeats as the clip does; sound is left out.

    A GIF has 50 frames a second at most: of a faster clip some are left out.

    Raises:
        FstError: It cannot be written, or is too long for memory.
        KeyboardInterrupt: By the items; what was there before it is written.
    """
    # Before the work, as far as the file says how long it is.
    _check_length((clip.count or 0) * min(1, 1 / (MIN_TICKS * TICK * clip.rate)), clip, path)
    palettes, interrupts = _Palettes(), []

    def pictures() -> Iterator[Image.Image]:
        frames = _with_durations(_until_interrupted(items, interrupts), clip.rate)
        for count, frame in enumerate(frames, start=1):
            _check_length(count, clip, path)
            picture = palettes.reduced(frame.image)
            picture.info["duration"] = 10 * min(round(frame.duration / TICK), MAX_TICKS)  # ms
            yield picture

    _save(pictures(), path, clip.loop)
    if interrupts:
        raise interrupts[0]


def _check_length(frames: int | Fraction, clip: Clip, path: Path) -> None:
    if frames * clip.size[0] * clip.size[1] > MAX_BYTES:
        raise FstError(
            f"cannot write {images.printable(path)}: more than a gigabyte of frames; "
            "name a .mp4, or add --size 320"
        )


def _save(pictures: Iterator[Image.Image], path: Path, loop: int | None) -> None:
    first = next(pictures, None)
    if first is None:
        return
    options = {} if loop is None else {"loop": loop}
    name = images.printable(path)
    try:
        first.save(path, "GIF", save_all=True, append_images=pictures, **options)
    except OSError as error:
        raise FstError(f"cannot write {name}: {error.strerror}") from None
    except struct.error:  # Pillow makes one of frames that are alike
        most = f"{float(MAX_TICKS * TICK):.0f} s"
        raise FstError(
            f"cannot write {name}: in a GIF no picture stands for more than {most}; name a .mp4"
        ) from None


def _until_interrupted(items: Iterable, interrupts: list[KeyboardInterrupt]) -> Iterator:
    """The items up to an interrupt, kept for later: Pillow writes all frames at the end."""
    try:
        yield from items
    except KeyboardInterrupt as error:
        interrupts.append(error)


def _with_durations(items: Iterable, rate: Fraction) -> Iterator[Frame]:
    """Frames that know how long they are shown: until the next one, in ticks that keep pace."""
    waiting: Frame | None = None
    begun = 0  # the waiting one, in ticks
    for frame in items:
        if not isinstance(frame, Frame):
            continue  # sound
        begins = round(frame.start / TICK)
        if waiting is not None:
            if waiting.duration is None:
                if begins - begun < MIN_TICKS:
                    continue  # left out; the one before stays for longer
                waiting.duration = (begins - begun) * TICK
            yield waiting
        waiting, begun = frame, begins
    if waiting is not None:
        waiting.duration = waiting.duration or max(1 / rate, MIN_TICKS * TICK)
        yield waiting


class _Palettes:
    """Reduces frames to 256 colours: the same ones as long as they will do.

    A palette and a dither of its own for each frame would flicker more than the painting.
    """

    def __init__(self) -> None:
        self.palette: Image.Image | None = None
        self.error = 0.0

    def reduced(self, image: torch.Tensor) -> Image.Image:
        """(3, H, W), or (4, H, W) whose alpha becomes all or nothing."""
        rgb = images.to_picture(image[:3])
        if self.palette is not None:
            picture = rgb.quantize(palette=self.palette, dither=Image.Dither.NONE)
            if _error(picture, rgb) > FRESH_PALETTE * self.error + 0.5:
                self.palette = None
        if self.palette is None:
            self.palette = rgb.quantize(COLORS, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
            picture = rgb.quantize(palette=self.palette, dither=Image.Dither.NONE)
            self.error = _error(picture, rgb)
        if len(image) == 4:
            indices = np.where(image[3].numpy() < 0.5, COLORS, np.array(picture)).astype(np.uint8)
            transparent = Image.fromarray(indices, "L")
            transparent.putpalette(picture.getpalette() or [])
            transparent.info = {"transparency": COLORS, "disposal": 2}
            picture = transparent
        return picture


def _error(picture: Image.Image, rgb: Image.Image) -> float:
    """Mean difference of levels."""
    levels = [np.asarray(p.convert("RGB"), np.int16) for p in (picture, rgb)]
    return float(np.abs(levels[0] - levels[1]).mean())
