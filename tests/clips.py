"""Clips made by PyAV itself, for the tests of videos."""

from fractions import Fraction
from pathlib import Path

import numpy as np

SOUND_RATE = 48_000


def pattern(number: int, height: int, width: int) -> np.ndarray:
    """A coloured gradient with a square that moves with the number, (H, W, 3) uint8."""
    rows, columns = np.mgrid[:height, :width]
    levels = np.stack([255 * columns // width, 255 * rows // height, 0 * rows + 128], 2)
    left = 4 + 2 * number % max(1, width - 16)
    levels[4:12, left : left + 8] = (250, 240, 30)
    return levels.astype(np.uint8)


def make_video(
    path: str | Path,
    frames: int = 12,
    size: tuple[int, int] = (48, 64),
    *,
    rate: Fraction | int = 25,
    times: list[int] | None = None,
    time_base: Fraction | None = None,
    sound: str | None = "aac",
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    levels=None,
    coder: dict | None = None,
) -> Path:
    """Write a test picture that moves, and a sine tone as long as it.

    Args:
        path: Its suffix names the container.
        frames: Number.
        size: (H, W).
        rate: Frames a second.
        times: Of the frames, in ticks of `time_base`; else by rate.
        time_base: Of the pictures.
        sound: Codec of the tone; None for none.
        codec: Of the pictures.
        pix_fmt: Of the pictures.
        levels: Gives (H, W, 3) of a frame's number; else `pattern`.
        coder: More attributes of the encoder.
    """
    import av

    base = time_base or 1 / Fraction(rate)
    with av.open(str(path), "w") as output:
        stream = output.add_stream(codec, rate=rate)
        stream.height, stream.width = size
        stream.pix_fmt = pix_fmt
        stream.codec_context.time_base = base
        for name, value in (coder or {}).items():
            setattr(stream.codec_context, name, value)
        tone = output.add_stream(sound, rate=SOUND_RATE) if sound else None
        end = (times[-1] * base if times else frames / Fraction(rate)) if frames else Fraction(1)
        if tone is not None:
            _mux_tone(av, output, tone, float(end))
        for number in range(frames):
            picture = levels(number) if levels else pattern(number, *size)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame = frame.reformat(format=pix_fmt, dst_colorspace=5)
            frame.pts, frame.time_base = times[number] if times else number, base
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return Path(path)


def _mux_tone(av, output, stream, seconds: float) -> None:
    wave = 0.3 * np.sin(2 * np.pi * 440 * np.arange(round(seconds * SOUND_RATE)) / SOUND_RATE)
    kind = stream.codec_context.format.name
    if kind.startswith("s16"):
        wave = wave * 32767
    dtype = {"fltp": "float32", "flt": "float32"}.get(kind, "int16")
    stereo = np.stack([wave, wave]).astype(dtype)
    if not kind.endswith("p"):
        stereo = stereo.T.reshape(1, -1)
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(stereo), format=kind, layout="stereo")
    frame.rate, frame.pts = SOUND_RATE, 0
    output.mux(stream.encode(frame))
    output.mux(stream.encode(None))


def sound_of(path: str | Path, index: int = 0) -> list[tuple[int, bytes]]:
    """Time and bytes of each packet of sound."""
    import av

    with av.open(str(path)) as container:
        stream = container.streams.audio[index]
        return [(p.pts * stream.time_base, bytes(p)) for p in container.demux(stream) if p.size]


def times_of(path: str | Path) -> list[Fraction]:
    """When each frame is shown, in seconds."""
    import av

    with av.open(str(path)) as container:
        return [frame.pts * frame.time_base for frame in container.decode(video=0)]


def frames_of(path: str | Path) -> list[np.ndarray]:
    """All frames, as they are stored, (H, W, 3) uint8."""
    import av

    with av.open(str(path)) as container:
        return [
            frame.to_ndarray(format="rgb24", src_colorspace=int(frame.colorspace))
            for frame in container.decode(video=0)
        ]


def turned(path: Path, matrix: tuple[int, int, int, int]) -> Path:
    """The MP4 file with the display matrix [a b; c d] of its pictures in place of the identity."""
    data = path.read_bytes()
    identity = np.array([1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30], ">i4").tobytes()
    a, b, c, d = (value << 16 for value in matrix)
    other = np.array([a, b, 0, c, d, 0, 0, 0, 1 << 30], ">i4").tobytes()
    header = data.index(b"tkhd")  # of the first track; the movie's own matrix is in mvhd
    place = data.index(identity, header)
    path.write_bytes(data[:place] + other + data[place + len(identity) :])
    return path
