"""Frames to a video file that can be played however far it came."""

import io
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch

from fst.errors import FstError
from fst.io import images
from fst.stylize.video.clips import Clip, Frame
from fst.stylize.video.reader import av_module

# Encoder and container of each suffix, with options of both.
_H264 = ("libx264", {"crf": "18", "preset": "medium", "rc-lookahead": "20"})
_VP9 = ("libvpx-vp9", {"crf": "24", "b:v": "0", "deadline": "good", "cpu-used": "4"})
_KINDS = {
    ".mp4": (*_H264, "mp4"),
    ".m4v": (*_H264, "mp4"),
    ".mov": (*_H264, "mov"),
    ".mkv": (*_H264, "matroska"),
    ".webm": (*_VP9, "webm"),
}
# Written in fragments of a second, so that a file whose writer was killed plays up to there; with
# the head delayed, times that begin below 0 stay what they are.
_FRAGMENTS = {
    "movflags": "frag_keyframe+delay_moov",
    "frag_duration": "1000000",
    "flush_packets": "1",
    "max_interleave_delta": "1000000",  # us; else pictures wait longer for sound that has ended
}
# From FFmpeg 8.1 on made a plain file at the end; those before wrote one that cannot be read.
_PLAIN_FROM, _PLAIN_AT_END = (62, 12), {"movflags": "hybrid_fragmented+delay_moov"}
_CLUSTERS = {"cluster_time_limit": "1000", "flush_packets": "1"}  # a second, too
_LIMITED, _BT709 = 1, 1  # range and colours, as files number them (ITU-T H.273)
MOST_TICKS = 2**31 - 1


def check_streams(clip: Clip, path: Path) -> None:
    """Refuse, with an FstError, a kind of file that cannot hold a clip's sound or subtitles."""
    wrong = unsupported(clip, path)
    if wrong:
        stuck = unsupported(clip, path.with_suffix(".mkv"))
        raise FstError(
            f"cannot write {images.printable(path)}: {path.suffix} holds no {' or '.join(wrong)}, "
            f"as {images.printable(clip.path)} has; "
            + ("convert that stream first, to AAC or text" if stuck else "name a .mkv")
        )


def unsupported(clip: Clip, path: Path) -> list[str]:
    """Codecs of a clip's sound and subtitles that a kind of file cannot hold."""
    container = _KINDS[path.suffix.lower()][2]
    return [
        stream.codec_context.codec.canonical_name
        for stream in clip.streams
        if not _is_held(stream, container)
    ]


def _is_held(stream: Any, container: str) -> bool:
    """Whether a container begins with such a stream; the lists of what it takes are not right."""
    av = av_module()
    options = {"movflags": "empty_moov"} if container in ("mp4", "mov") else {}  # or it comes later
    output = av.open(io.BytesIO(), "w", format=container, options=options)
    try:
        output.add_stream_from_template(stream)
        output.start_encoding()
    except (av.error.FFmpegError, ValueError):
        return False
    finally:
        output.close()
    return True


def write_video(path: Path, kind: str, clip: Clip, items: Iterable[Any]) -> None:
    """Encode the frames (3, H, W) of a clip, and copy the packets between them.

    Args:
        path: Of the file; written from the start, whatever is there.
        kind: Its suffix, which names container and encoder.
        clip: What the items are of.
        items: Frames and packets. Whatever it raises ends the file there, whole.

    Raises:
        FstError: It cannot be written.
    """
    av = av_module()
    codec, options, container = _KINDS[kind]
    options_of_file = _CLUSTERS
    if container in ("mp4", "mov"):
        is_new = av.library_versions["libavformat"][:2] >= _PLAIN_FROM
        options_of_file = _FRAGMENTS | (_PLAIN_AT_END if is_new else {})
    try:
        output = av.open(f"file:{path.absolute()}", "w", format=container, options=options_of_file)
        writing = _Writing(av, output, clip, codec, options)
        try:
            for item in items:
                writing.add(item)
        finally:
            writing.finish()
    except (av.error.FFmpegError, av.codec.codec.UnknownCodecError) as error:
        log = getattr(error, "log", None)  # the last line that FFmpeg has written
        reason = log[2] if log else getattr(error, "strerror", None) or error
        raise FstError(
            f"cannot write {images.printable(path)}: {images.printable(str(reason).strip())}"
        ) from None


class _Writing:
    def __init__(self, av: Any, output: Any, clip: Clip, codec: str, options: dict) -> None:
        self.av, self.output, self.count = av, output, 0
        # Ticks of which all times are multiples, as far as containers can hold them.
        is_held = clip.time_base.denominator <= MOST_TICKS
        self.base = clip.time_base if is_held else Fraction(1, 90_000)
        self.size = tuple(side - side % 2 for side in clip.size)  # 4:2:0 has pairs of pixels
        self.stream = output.add_stream(codec, rate=clip.rate.limit_denominator(100_000))
        self.stream.height, self.stream.width = self.size
        self.stream.pix_fmt, self.stream.options = "yuv420p", options
        coder = self.stream.codec_context
        coder.time_base = self.base
        coder.sample_aspect_ratio = clip.pixel_aspect
        coder.color_range, coder.colorspace = _LIMITED, _BT709
        coder.color_primaries = coder.color_trc = _BT709
        self.copies = {
            stream.index: output.add_stream_from_template(stream) for stream in clip.streams
        }

    def add(self, item: Any) -> None:
        if isinstance(item, Frame):
            self.count += 1
            self.output.mux(self.stream.encode(self._frame(item)))
            return
        item.stream = self.copies[item.stream.index]
        self.output.mux(item)

    def finish(self) -> None:
        try:
            if self.count:
                self.output.mux(self.stream.encode(None))
        finally:
            self.output.close()

    def _frame(self, frame: Frame) -> Any:
        image = images.on_white(frame.image)[:, : self.size[0], : self.size[1]]
        levels = image.clamp(0, 1).mul(255).round().to(torch.uint8)
        levels = levels.permute(1, 2, 0).contiguous().numpy()  # (H, W, 3)
        coded = self.av.VideoFrame.from_ndarray(levels, format="rgb24").reformat(
            format="yuv420p", dst_colorspace=_BT709, dst_color_range=_LIMITED
        )
        coded.pts, coded.time_base = round(frame.start / self.base), self.base
        coded.colorspace, coded.color_range = _BT709, _LIMITED
        return coded
