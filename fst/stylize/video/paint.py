"""Paint clips: videos, animated GIFs and folders of numbered pictures.

Frames are read, painted and written one at a time. At any moment memory holds one frame that is
read and at most four images of its size that `fst.stylize.video.steady` keeps or makes, beside the
frames that the codecs keep: a decoder's references (16 at most in H.264) and some thirty that wait
in the encoder, both of 1.5 bytes a pixel.
"""

import os
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from fst.errors import FstError
from fst.io import images
from fst.io.decode import ImageError
from fst.io.paths import GIF_SUFFIX
from fst.stylize.bands.memory_plan import memory_left, whole_bytes
from fst.stylize.options import PaintOptions, work_size
from fst.stylize.stylizer import StyleChoice, Stylizer, check_size
from fst.stylize.video.clips import (
    DEFAULT_RATE,
    MAX_RATE,
    MIN_RATE,
    Clip,
    Frame,
    check_target,
    frame_files,
    is_folder_name,
)
from fst.stylize.video.gif import open_gif, write_gif
from fst.stylize.video.reader import open_video
from fst.stylize.video.steady import DEFAULT, SteadyStylizer
from fst.stylize.video.writer import check_streams, unsupported, write_video

FRAME_BYTES = 150  # a pixel: images kept, codecs, and what motion takes


@dataclass
class PaintedClip:
    """What has become of a clip."""

    path: Path  # the file, or the folder of pictures
    frames: int  # painted
    cuts: int  # scenes found, less one
    whole: bool  # False where it was stopped
    problems: list[str]  # what was damaged, a line each


@dataclass(frozen=True)
class VideoOptions:
    """How a clip is read, held steady and written.

    Args:
        steadiness: From 0, each frame for itself, to 1; see `fst.stylize.video.steady`.
        shorter_side_px: Shrink frames so that the shorter side has this length.
        frame_rate: Frames a second of pictures that become a video.
        overwrite: Replace what is there; otherwise that is refused.
        numbered: Otherwise write clip-1.mp4 and so on, and .mkv where the kind of file cannot hold
            the sound.
    """

    steadiness: float = DEFAULT
    shorter_side_px: int | None = None
    frame_rate: Fraction | float = DEFAULT_RATE
    overwrite: bool = False
    numbered: bool = False


def paint_video(
    stylizer: Stylizer,
    source: str | Path | list[str],
    target: str | Path,
    style: StyleChoice = 0,
    options: PaintOptions | None = None,
    video: VideoOptions | None = None,
    *,
    progress: Callable[[int, int | None], None] | None = None,
    stopped: Callable[[], bool] = lambda: False,
) -> PaintedClip:
    """Paint a clip into another.

    Sound and subtitles are copied; times of frames stay as they are, a rotation is applied to the
    pixels. The target appears when it is whole, or with what there is when painting is `stopped`
    or interrupted (KeyboardInterrupt, which is raised again); a `.part` file beside it, which plays
    too, is all that is left of a process that was killed.

    Args:
        stylizer: The model; its own state is not touched.
        source: A video, a GIF, or pictures that are the frames: a folder, a pattern, or a list.
        target: A .mp4, .mov, .m4v, .mkv, .webm or .gif; for pictures a name with none of
            these suffixes is a folder, which gets files of their names. Odd sides of videos lose a
            pixel.
        style: Id, name or shares, as for `Stylizer.stylize`.
        options: How each frame is painted.
        video: How frames are read, held steady and written.
        progress: Called with the frames painted, and how many there are as far as that is known.
        stopped: Asked before each frame whether to end.

    Raises:
        FstError: The source cannot be read, a frame is too large for memory, or the target cannot
            be written.

    Example:
        >>> import tempfile
        >>> from fst.assets import GALLERY
        >>> folder = Path(tempfile.mkdtemp())
        >>> for number in range(3):
        ...     _ = images.save(images.load("datasets/samples/content/portrait.jpg", 48),
        ...                     folder / f"{number}.png")
        >>> clip = paint_video(Stylizer(GALLERY), str(folder), folder / "clip.gif", style="wave")
        >>> clip.path.name, clip.frames, clip.whole
        ('clip.gif', 3, True)
    """
    options, video, target = options or PaintOptions(), video or VideoOptions(), Path(target)
    is_folder = not _is_file(source) and is_folder_name(target)
    if not is_folder:
        check_target(target)
    images.check_free(target, video.overwrite or video.numbered or is_folder)
    steady = SteadyStylizer(stylizer, video.steadiness)
    with open_clip(source, video.shorter_side_px, video.frame_rate) as clip:
        _check_size(clip, stylizer, options.texture_size)
        painting = _Painting(steady, clip, style, options, progress, stopped, not is_folder)
        if video.numbered:
            if clip.streams and target.suffix.lower() != GIF_SUFFIX:
                target = target.with_suffix(".mkv") if unsupported(clip, target) else target
            target = images.unused_path(target)
        if is_folder:
            for frame in painting:
                images.save(frame.image, target / frame.name, overwrite=video.overwrite)
        else:
            target = _write(target, clip, painting, video.overwrite)
        return PaintedClip(target, painting.count, steady.cuts, painting.whole, clip.problems)


def _is_file(source: str | Path | list[str]) -> bool:
    return isinstance(source, (str, Path)) and os.path.isfile(source)


def open_clip(
    source: str | Path | list[str],
    shorter_side_px: int | None = None,
    frame_rate: Fraction | float = DEFAULT_RATE,
) -> Clip:
    """Open a video, a GIF, or pictures as frames.

    Raises:
        FstError: It cannot be read.
    """
    if not _is_file(source):
        return _open_pictures(source, shorter_side_px, frame_rate)
    with images.reading(source) as file:
        is_gif = file.read(4) == b"GIF8"
    return (open_gif if is_gif else open_video)(source, shorter_side_px)


def _open_pictures(
    source: str | Path | list[str], shorter_side_px: int | None, frame_rate: Fraction | float
) -> Clip:
    if not MIN_RATE <= frame_rate <= MAX_RATE:
        raise FstError(f"{frame_rate} frames a second: expected a number such as 25, to {MAX_RATE}")
    files = frame_files(source if isinstance(source, list) else str(source))
    rate = Fraction(frame_rate).limit_denominator(1001)
    first = images.load_full(files[0], shorter_side_px)

    def frames() -> Iterator[Frame]:
        for number, file in enumerate(files):
            image = images.load_full(file, shorter_side_px)
            yield Frame(image, number / rate, name=file.name)

    base = Fraction(rate.denominator, rate.numerator)
    return Clip(files[0], tuple(first.shape[1:]), frames(), len(files), rate, base, loop=0)


def _check_size(clip: Clip, stylizer: Stylizer, texture_size: float | str) -> None:
    height, width = clip.size
    name = images.printable(clip.path)
    check_size(clip.path, clip.size)
    painted = work_size(clip.size, texture_size)
    needed = whole_bytes(stylizer.network, clip.size, painted) + FRAME_BYTES * height * width
    if needed > memory_left(None, stylizer.device):
        raise ImageError(
            f"{name}: a frame of {width}x{height} px takes {needed / 2**30:.1f} GB to paint, more "
            "than half of what is free; add --size 720"
        )


@dataclass
class _Painting:
    """The clip's items with the frames painted; counts them."""

    steady: SteadyStylizer
    clip: Clip
    style: StyleChoice
    options: PaintOptions
    progress: Callable[[int, int | None], None] | None
    stopped: Callable[[], bool]
    in_one_file: bool  # whose frames have one size
    count: int = 0
    whole: bool = True

    def __iter__(self) -> Iterator[Any]:
        for item in self.clip.items:
            if not isinstance(item, Frame):
                yield item
                continue
            size, first = tuple(item.image.shape[1:]), self.clip.size
            if self.in_one_file and size != first:
                raise ImageError(
                    f"frame {images.printable(item.name)} has {size[1]}x{size[0]} px, the first "
                    f"one {first[1]}x{first[0]}: the frames of one file have one size"
                )
            if self.stopped():
                self.whole = False
                return
            painting = self.steady.stylize(item.image, self.style, self.options)
            self.count += 1
            yield replace(item, image=painting)
            if self.progress is not None:
                self.progress(self.count, self.clip.count)


def _write(target: Path, clip: Clip, painting: _Painting, overwrite: bool) -> Path:
    """Write all there is; returns the path."""
    kind = target.suffix.lower()
    part = target.with_name(f"{target.stem}.{uuid.uuid4().hex[:8]}.part{target.suffix}")
    try:
        if kind == GIF_SUFFIX:
            write_gif(part, clip, painting)
        else:
            check_streams(clip, target)
            write_video(part, kind, clip, painting)
    except KeyboardInterrupt:
        painting.whole = False
        _publish(part, target, painting, overwrite)
        raise
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    return _publish(part, target, painting, overwrite)


def _publish(part: Path, target: Path, painting: _Painting, overwrite: bool) -> Path:
    """Give a file its name; half a clip replaces nothing."""
    if not part.is_file() or not painting.count or not part.stat().st_size:
        part.unlink(missing_ok=True)
        return target
    if overwrite and painting.whole:
        os.replace(part, target)
        return target
    # Another may have taken the name meanwhile.
    free = images.give_name(part, target, numbered=True)
    part.unlink(missing_ok=True)
    return free
