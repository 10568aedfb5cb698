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

PQ, HLG = 16, 18  # as files number transfer functions (ITU-T H.273, table 3)
WHITE_NITS = 203  # of a white page (ITU-R BT.2408, section 2.2)
HLG_PEAK_NITS = 1000
KNEE = 0.7  # of white in linear light: below, brightness stays; above, it is rolled off towards 1
GAMMA = 2.2
# ITU-R BT.2087, section 4: linear BT.2020 to BT.709.
_TO_709 = np.array(
    [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]],
    dtype=np.float32,
)
_LUMINANCE_2020 = np.array([0.2627, 0.6780, 0.0593], dtype=np.float32)


def av_module() -> Any:
    """PyAV; an FstError where it is not installed."""
    try:
        import av
    except ImportError as error:
        raise FstError(f"videos need PyAV ({error}): pip install 'fst[video]'") from None
    av.logging.set_level(av.logging.PANIC)  # what matters is raised as well
    return av


def open_video(path: str | Path, shorter_side_px: int | None = None) -> Clip:
    """Open a video file and decode its first frame.

    Args:
        path: Of several video streams the one is read that players choose.
        shorter_side_px: Shrink frames so that the shorter side has this length; never enlarges.

    Raises:
        FstError: It cannot be read, has no picture, or frames of a size that none has.
    """
    av, path = av_module(), Path(path)
    try:
        # Opening a named pipe would wait for a writer for ever.
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise _unreadable(path, "is not a regular file")
        if not os.path.getsize(path):
            raise _unreadable(path, "the file is empty")
        container = av.open(
            f"file:{path.absolute()}",
            options={"format_whitelist": _FORMATS, "protocol_whitelist": "file"},
            metadata_errors="replace",
        )
    except (av.error.FFmpegError, OSError, ValueError, RuntimeError) as error:
        raise _unreadable(path, _reason(av, error)) from None
    try:
        return _Reading(av, container, path, shorter_side_px).clip
    except BaseException:
        container.close()
        raise


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
        self.problems: list[str] = []
        self.stream = self._picture_stream()
        self.stream.thread_type = "AUTO"
        self.stream.codec_context.options = {"max_pixels": str(MAX_FRAME_PIXELS)}
        kinds = ("audio", "subtitle")
        self.copied = [s for s in container.streams if s.type in kinds and s.codec_context]
        self.rate = _rate(self.stream)
        self.end, self.decoded = Fraction(0), 0
        self.read_to = Fraction(0)  # seconds, of any stream
        items, head = self._items(), []
        for item in items:
            head.append(item)
            if isinstance(item, Frame):  # the first one tells size and turn
                break
        else:
            raise _unreadable(path, "no frame of it can be decoded")
        self.clip = Clip(
            path,
            tuple(item.image.shape[1:]),
            chain(head, items),
            self._count(),
            self.rate,
            Fraction(self.stream.time_base),
            self._pixel_aspect(),
            self.copied,
            problems=self.problems,
            close=container.close,
        )

    def _picture_stream(self) -> Any:
        # A still picture, such as the cover of a record, is no video.
        videos = self.container.streams.video
        streams = [s for s in videos if "attached_pic" not in str(s.disposition)]
        best = self.container.streams.best("video") if streams else None
        stream = best if best in streams else next(iter(streams), None)
        if stream is None or stream.codec_context is None:
            raise _unreadable(self.path, "there are no moving pictures in it")
        width, height = stream.codec_context.width, stream.codec_context.height
        if width * height > MAX_FRAME_PIXELS or max(width, height) > MAX_SIDE_PX:
            raise _unreadable(self.path, f"frames of {width}x{height} px are too large")
        return stream

    def _count(self) -> int | None:
        if self.stream.frames > 0:
            return self.stream.frames
        seconds = (self.stream.duration or 0) * self.stream.time_base
        seconds = seconds or Fraction(self.container.duration or 0, 10**6)
        return round(seconds * self.rate) or None

    def _pixel_aspect(self) -> Fraction:
        aspect = self.stream.codec_context.sample_aspect_ratio
        aspect = Fraction(aspect) if aspect and aspect > 0 else Fraction(1)
        return 1 / aspect if self.turn[0] else aspect

    def _items(self) -> Iterator[Any]:
        """Frames, and packets to copy, in the order of the file."""
        broken = 0
        packets = self.container.demux(self.stream, *self.copied)
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
        if not _WITH_LENGTH & set(self.container.format.name.split(",")):
            return
        length = Fraction(self.container.duration or 0, 10**6)
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
            told = {name.lower(): text for name, text in self.stream.metadata.items()}
            in_planes = any(part.is_alpha for part in frame.format.components)
            if in_planes or told.get("alpha_mode") == "1":  # of VP8 and VP9
                images.say(f"{images.printable(self.path)}: its transparency is left out")
        levels = self._levels(frame, *self.scaled)
        image = torch.from_numpy(levels).permute(2, 0, 1)  # (3, H, W)
        transposed, across, down = self.turn
        image = image.transpose(1, 2) if transposed else image
        if across or down:
            image = image.flip([axis for axis, flip in ((2, across), (1, down)) if flip])
        return image.contiguous().to(torch.float32).div_(255)

    def _levels(self, frame: Any, width: int, height: int) -> np.ndarray:
        """(H, W, 3) uint8; a frame of another size, as broken files have, is scaled."""
        transfer = int(frame.color_trc or 0)
        deep = transfer in (PQ, HLG)
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
        return to_sdr(levels, transfer) if deep else levels


def _rate(stream: Any) -> Fraction:
    rates = (stream.average_rate, stream.guessed_rate, stream.base_rate)
    return next((Fraction(rate) for rate in rates if rate and 0 < rate <= MAX_RATE), DEFAULT_RATE)


def _turn(frame: Any) -> tuple[bool, bool, bool]:
    """How the stored picture becomes upright: rows become columns, then flips across and down.

    The matrix [a b; c d] of a file sends the place (x, y) to (ax + cy, bx + dy) (ISO/IEC 14496-12,
    section 6.2.2).
    """
    data = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return False, False, False
    a, b, _, c, d = np.frombuffer(bytes(data), np.int32)[:5].tolist()
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return False, a < 0, d < 0
    return True, c < 0, b < 0


# ---- high dynamic range -------------------------------------------------------------------------


def to_sdr(levels: np.ndarray, transfer: int) -> np.ndarray:
    """Tone-map a frame (H, W, 3), uint16 of BT.2020 with 65535 being full, to uint8.

    Linear light comes from the inverse of the transfer function, `PQ` (SMPTE ST 2084) or `HLG`
    (ARIB STD-B67), 203 nits being white; colours go to BT.709; what is brighter than 0.7 of white
    is rolled off exponentially, by the largest of the three channels, so that hues stay.
    """
    table = _linear_light(transfer)
    light = table[levels]  # (H, W, 3)
    if transfer == HLG:  # the display's own gamma, BT.2100 table 5
        light = light * (light @ _LUMINANCE_2020)[..., None] ** 0.2 * (HLG_PEAK_NITS / WHITE_NITS)
    light = np.maximum(light @ _TO_709.T, 0)
    brightest = light.max(axis=2, keepdims=True)
    rolled = 1 - (1 - KNEE) * np.exp(-np.maximum(brightest - KNEE, 0) / (1 - KNEE))
    light = light * np.where(brightest > KNEE, rolled / np.maximum(brightest, KNEE), 1)
    return np.rint(255 * light.clip(0, 1) ** (1 / GAMMA)).astype(np.uint8)


def _linear_light(transfer: int) -> np.ndarray:
    """Of each of 65536 levels: in units of white for PQ, of the scene's brightest for HLG."""
    signal = np.arange(65536, dtype=np.float64) / 65535
    if transfer == PQ:  # SMPTE ST 2084, equation 4.1
        root = signal ** (32 / 2523)
        nits = 10000 * (np.maximum(root - 0.8359375, 0) / (18.8515625 - 18.6875 * root)) ** (
            8192 / 1305
        )
        return (nits / WHITE_NITS).astype(np.float32)
    a, b, c = 0.17883277, 0.28466892, 0.55991073  # BT.2100, table 5
    light = np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - c) / a) + b) / 12)
    return light.astype(np.float32)
