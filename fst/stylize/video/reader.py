"""Videos to upright sRGB frames, one at a time, with PyAV; sound and subtitles as they are."""

import os
import stat
from collections.abc import Iterator
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fst.errors import FstError
from fst.io import images
from fst.io.decode import MAX_SIDE_PX, shrunk_size
from fst.stylize.video import hdr
from fst.stylize.video.clips import DEFAULT_RATE, MAX_RATE, Clip, Frame

# Only these containers: others, such as playlists, name files and addresses to be read instead.
_FORMATS = "mov,mp4,matroska,webm,avi,mpeg,mpegts,asf,flv,ogg,gif,h264,hevc,m4v"
MAX_FRAME_PIXELS = 2**26  # 8K is half of it; the decoder refuses more before it takes memory
# Containers whose head says how long they are; of others FFmpeg guesses by what is there.
_WITH_LENGTH = {"mov", "matroska", "avi"}
MISSING_FROM_S, MISSING_FROM = 1, 0.05  # of the length; less is rounding, or a stream left out
MAX_BROKEN = 100  # packets one after the other; then the rest is taken for broken too
_ITU601, _ITU709, _BT2020 = 5, 1, 9  # swscale's numbers of matrices
_UNKNOWN = 2  # ITU-T H.273: unspecified
HD_ROWS = 720  # from so many on, a video that does not say is taken as BT.709, below as BT.601


def av_module() -> Any:
    """PyAV.

    Raises:
        FstError: It is not installed.
    """
    try:
        import av
    except ImportError as error:
        raise FstError(f"videos need PyAV ({error}): pip install 'fst[video]'") from None
    av.logging.set_level(av.logging.PANIC)  # what matters is raised as well
    return av


def open_video(path: str | Path, shorter_side_px: int | None = None) -> Clip:
    """Open a video and decode its first frame.

    Args:
        path: Of a file with a video stream; of several the one that players choose.
        shorter_side_px: Shrink frames so that the shorter side has this length; never enlarges.

    Raises:
        FstError: It cannot be read, has no picture, or frames of a size that none has.
    """
    av, path = av_module(), Path(path)
    container = _opened(av, path)
    try:
        return _Reading(av, container, path, shorter_side_px).clip
    except BaseException:
        container.close()
        raise


def _opened(av: Any, path: Path) -> Any:
    try:
        # Opening a named pipe would wait for a writer for ever.
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise _unreadable(path, "is not a regular file")
        if not os.path.getsize(path):
            raise _unreadable(path, "the file is empty")
        return av.open(
            f"file:{path.absolute()}",
            options={"format_whitelist": _FORMATS, "protocol_whitelist": "file"},
            metadata_errors="replace",
        )
    except (av.error.FFmpegError, OSError, ValueError, RuntimeError) as error:
        raise _unreadable(path, _reason(av, error)) from None


def _unreadable(path: Path, reason: str) -> FstError:
    return FstError(f"cannot read {images.printable(path)}: {reason}; give a whole video")


def _reason(av: Any, error: Exception) -> str:
    if isinstance(error, av.error.InvalidDataError):
        return "it is damaged, cut off, or no video of a known format"
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return images.printable(" ".join(text.split()).lower())


class _Reading:
    """A file that is being read."""

    def __init__(self, av: Any, container: Any, path: Path, shorter_side_px: int | None) -> None:
        self.av, self.container, self.path = av, container, path
        self.shorter_side_px = shorter_side_px
        self.scaled: tuple[int, int] | None = None  # (W, H) of frames as they are stored, shrunk
        self.stream = self._picture_stream()
        self.stream.thread_type = "AUTO"
        self.stream.codec_context.options = {"max_pixels": str(MAX_FRAME_PIXELS)}
        kinds = ("audio", "subtitle")
        streams = [s for s in container.streams if s.type in kinds and s.codec_context]
        self.copied = {stream.index for stream in streams}
        self.rate = _rate(self.stream)
        self.end, self.decoded = Fraction(0), 0
        self.read_to = Fraction(0)  # seconds, of any stream
        items, head, first = self._items(), [], None
        for item in items:  # up to the first frame, which tells size and turn
            head.append(item)
            if isinstance(item, Frame):
                first = item
                break
        if first is None:
            raise _unreadable(path, "no frame of it can be decoded")
        self.clip = Clip(
            path,
            tuple(first.image.shape[1:]),
            chain(head, items),
            self._count(),
            self.rate,
            Fraction(self.stream.time_base),
            self._pixel_aspect(),
            streams,
            problems=self.problems,
            close=container.close,
        )

    def _picture_stream(self) -> Any:
        streams = [s for s in self.container.streams.video if not _is_cover(s)]
        best = self.container.streams.best("video") if streams else None
        stream = best if best in streams else next(iter(streams), None)
        self.problems: list[str] = []
        if stream is None or stream.codec_context is None:
            raise _unreadable(self.path, "there are no moving pictures in it")
        width, height = stream.codec_context.width, stream.codec_context.height
        if width * height > MAX_FRAME_PIXELS or max(width, height) > MAX_SIDE_PX:
            raise _unreadable(self.path, f"frames of {width}x{height} px are too large")
        return stream

    def _count(self) -> int | None:
        if self.stream.frames > 0:
            return self.stream.frames
        if self.stream.duration:
            return round(self.stream.duration * self.stream.time_base * self.rate) or None
        if self.container.duration:
            return round(Fraction(self.container.duration, 10**6) * self.rate) or None
        return None

    def _pixel_aspect(self) -> Fraction:
        aspect = self.stream.codec_context.sample_aspect_ratio
        aspect = Fraction(aspect) if aspect and aspect > 0 else Fraction(1)
        return 1 / aspect if self.transposed else aspect

    def _items(self) -> Iterator[Any]:
        """Frames, and packets to copy, in the order of the file."""
        broken = 0
        wanted = [s for s in self.container.streams if s is self.stream or s.index in self.copied]
        packets = self.container.demux(*wanted)
        while broken <= MAX_BROKEN:
            try:
                packet = next(packets)
                if packet.pts is not None:
                    ends = (packet.pts + (packet.duration or 0)) * Fraction(packet.time_base)
                    self.read_to = max(self.read_to, ends)
                if packet.stream is not self.stream:
                    if packet.size and packet.pts is not None:  # else it marks the end
                        packet.dts = packet.pts if packet.dts is None else packet.dts
                        yield packet
                    continue
                frames = packet.decode()
            except StopIteration:
                self._note_what_is_missing()
                break
            except (self.av.error.FFmpegError, ValueError, RuntimeError) as error:
                broken += 1
                self._note(_reason(self.av, error))
                if isinstance(error, self.av.error.EOFError):
                    break
                continue
            for frame in frames:
                broken = 0
                yield self._frame(frame)

    def _note_what_is_missing(self) -> None:
        """Tell of a file that was cut off, which FFmpeg takes for one that ends there."""
        if not self.container.duration or not _WITH_LENGTH & set(
            self.container.format.name.split(",")
        ):
            return
        length = Fraction(self.container.duration, 10**6)
        if length - self.read_to > max(MISSING_FROM_S, MISSING_FROM * length):
            self._note(f"cut off: it should be {float(length):.2f} s long")

    def _note(self, reason: str) -> None:
        if not self.problems:
            self.problems.append(
                f"{images.printable(self.path)}: damaged at {float(self.end):.2f} s ({reason}); "
                "the rest is painted as far as it can be read"
            )

    def _frame(self, frame: Any) -> Frame:
        start = self.end
        if frame.pts is not None and frame.time_base:
            start = frame.pts * Fraction(frame.time_base)
        if self.decoded and start < self.end:
            start = self.end  # two frames cannot be shown at once
        self.decoded += 1
        self.end = start + Fraction(self.stream.time_base)
        return Frame(self._image(frame), start)

    def _image(self, frame: Any) -> torch.Tensor:
        if self.scaled is None:
            # Of the first frame alone: asked for its side data a frame refers to itself, and stays
            # in memory until Python looks for such.
            self.turn = _turn(frame)
            self.scaled = shrunk_size((frame.width, frame.height), self.shorter_side_px)
            self.transposed = self.turn is not None and self.turn[0]
            told = {name.lower(): text for name, text in self.stream.metadata.items()}
            in_planes = any(part.is_alpha for part in frame.format.components)
            if in_planes or told.get("alpha_mode") == "1":  # of VP8 and VP9
                images.say(f"{images.printable(self.path)}: its transparency is left out")
        levels = self._levels(frame, *self.scaled)
        image = torch.from_numpy(levels).permute(2, 0, 1)  # (3, H, W)
        if self.turn is not None:
            transposed, across, down = self.turn
            image = image.transpose(1, 2) if transposed else image
            image = image.flip([axis for axis, flip in ((2, across), (1, down)) if flip])
        return image.contiguous().to(torch.float32).div_(255)

    def _levels(self, frame: Any, width: int, height: int) -> np.ndarray:
        """(H, W, 3) uint8; a frame of another size, as broken files have, is scaled."""
        transfer = int(frame.color_trc or 0)
        deep = transfer in (hdr.PQ, hdr.HLG)
        matrix = int(frame.colorspace if frame.colorspace is not None else _UNKNOWN)
        if matrix == _UNKNOWN:
            matrix = _BT2020 if deep else _ITU709 if frame.height >= HD_ROWS else _ITU601
        as_it_is = (width, height) == (frame.width, frame.height)
        picture = frame.reformat(
            width,
            height,
            "rgb48le" if deep else "rgb24",
            src_colorspace={10: _BT2020, 6: _ITU601}.get(matrix, matrix),
            interpolation="BICUBIC" if as_it_is else "LANCZOS",  # of the colours, or of all
        )
        levels = picture.to_ndarray()
        return hdr.to_sdr(levels, transfer) if deep else levels


def _is_cover(stream: Any) -> bool:
    """Whether it is a still picture, such as the cover of a record."""
    return "attached_pic" in str(getattr(stream, "disposition", ""))


def _rate(stream: Any) -> Fraction:
    for rate in (stream.average_rate, stream.guessed_rate, stream.base_rate):
        if rate and 0 < rate <= MAX_RATE:
            return Fraction(rate)
    return DEFAULT_RATE


def _turn(frame: Any) -> tuple[bool, bool, bool] | None:
    """How the stored picture becomes upright: rows become columns, then flips across and down.

    The matrix [a b; c d] of a file sends the place (x, y) to (ax + cy, bx + dy) (ISO/IEC 14496-12,
    section 6.2.2).
    """
    data = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return None
    a, b, _, c, d = np.frombuffer(bytes(data), np.int32)[:5].tolist()
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return (False, a < 0, d < 0) if a < 0 or d < 0 else None
    return True, c < 0, b < 0
