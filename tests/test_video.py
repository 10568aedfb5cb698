"""Painting videos: what is kept of them, what is refused, and what interrupted runs leave."""

import gc
import os
import re
import signal
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from clips import frames_of, make_video, pattern, sound_of, times_of, turned
from infer_inputs import save_model

from fst import Stylizer
from fst.cli import infer
from fst.errors import FstError
from fst.io import images
from fst.stylize.options import PaintOptions
from fst.stylize.video.clips import frame_files
from fst.stylize.video.paint import VideoOptions, open_clip, paint_video
from fst.stylize.video.steady import SteadyStylizer

av = pytest.importorskip("av")


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """An empty current folder."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(save_model(tmp_path_factory.mktemp("model") / "model.safetensors"))


@pytest.fixture(scope="module")
def stylizer(model):
    return Stylizer(model)


# What is kept


def test_sound_and_times_are_those_of_the_source_to_the_bit(stylizer):
    ticks = [0, 512, 1100, 1101, 1700, 2600, *range(4000, 16000, 512)]  # no fixed rate
    make_video("in.mp4", len(ticks), times=ticks, time_base=Fraction(1, 12800))
    painted = paint_video(stylizer, "in.mp4", "out.mp4", "rain")
    assert (painted.frames, painted.whole, painted.problems) == (len(ticks), True, [])
    assert times_of("out.mp4") == [Fraction(tick, 12800) for tick in ticks]
    assert sound_of("out.mp4") == sound_of("in.mp4") != []


def test_a_steady_rate_is_kept(stylizer):
    make_video("in.mp4", 10, rate=Fraction(30000, 1001), sound=None)
    paint_video(stylizer, "in.mp4", "out.mp4")
    with av.open("out.mp4") as container:
        assert container.streams.video[0].average_rate == Fraction(30000, 1001)
        assert not container.streams.audio


@pytest.mark.parametrize("suffix, sound", [(".mkv", "aac"), (".mov", "aac"), (".webm", "libopus")])
def test_other_containers_keep_times_and_sound(stylizer, suffix, sound):
    make_video("in.mkv", 8, (32, 48), sound=sound)
    paint_video(stylizer, "in.mkv", f"out{suffix}")
    assert times_of(f"out{suffix}") == times_of("in.mkv")
    assert [data for _, data in sound_of(f"out{suffix}")] == [d for _, d in sound_of("in.mkv")]


def test_strength_0_gives_the_frames_in_their_colours(stylizer):
    make_video("in.mp4", 6, sound=None)
    paint_video(stylizer, "in.mp4", "out.mp4", options=PaintOptions(strength=0.0))
    for number, frame in enumerate(frames_of("out.mp4")):
        # Compared in small: 4:2:0 blurs colours of borders, twice.
        wanted, given = (_small(levels) for levels in (pattern(number, 48, 64), frame))
        assert np.abs(wanted - given).mean() < 4
        assert np.abs(wanted.mean((0, 1)) - given.mean((0, 1))).max() < 4  # no cast


@pytest.mark.parametrize("colour", [(200, 200, 200), (20, 20, 20), (200, 60, 30), (30, 60, 200)])
@pytest.mark.parametrize("codec, pix_fmt", [("ffv1", "bgr0"), ("mjpeg", "yuvj420p")])
def test_flat_colours_stay_what_they_are(stylizer, colour, codec, pix_fmt):
    make_video(
        "in.mkv", 2, codec=codec, pix_fmt=pix_fmt, sound=None,
        levels=lambda _: np.full((48, 64, 3), colour, np.uint8),
    )  # fmt: skip
    paint_video(stylizer, "in.mkv", "out.mp4", options=PaintOptions(strength=0.0))
    most = 2 if codec == "ffv1" else 4  # a JPEG is not exact itself
    assert np.abs(frames_of("out.mp4")[0].mean((0, 1)) - colour).max() <= most


def _small(levels: np.ndarray) -> np.ndarray:
    return levels.astype(float).reshape(12, 4, 16, 4, 3).mean((1, 3))


@pytest.mark.parametrize(
    "matrix, turn",
    [
        ((0, 1, -1, 0), lambda levels: np.rot90(levels, -1)),  # a phone held upright
        ((-1, 0, 0, -1), lambda levels: np.rot90(levels, 2)),
        ((0, -1, 1, 0), np.rot90),
        ((-1, 0, 0, 1), np.fliplr),
    ],
)
def test_a_turned_video_is_shown_as_it_was(stylizer, matrix, turn):
    turned(make_video("in.mp4", 3, sound=None), matrix)
    paint_video(stylizer, "in.mp4", "out.mp4", options=PaintOptions(strength=0.0))
    with av.open("out.mp4") as container:
        frame = next(container.decode(video=0))
        assert frame.rotation == 0  # the pixels themselves are turned
    wanted, given = turn(pattern(0, 48, 64)).astype(float), frames_of("out.mp4")[0].astype(float)
    assert wanted.shape == given.shape
    assert np.abs(wanted - given).mean() < 6


def test_odd_sides_lose_a_pixel(stylizer):
    make_video("in.mkv", 3, (33, 51), sound=None, codec="ffv1", pix_fmt="bgr0")
    paint_video(stylizer, "in.mkv", "out.mp4")
    assert frames_of("out.mp4")[0].shape == (32, 50, 3)


def test_pixels_that_are_not_square_stay_so(stylizer):
    make_video("in.mp4", 3, coder={"sample_aspect_ratio": Fraction(4, 3)}, sound=None)
    paint_video(stylizer, "in.mp4", "out.mp4")
    with av.open("out.mp4") as container:
        assert container.streams.video[0].sample_aspect_ratio == Fraction(4, 3)


def test_size_shrinks_the_shorter_side(stylizer):
    make_video("in.mp4", 3, (64, 96), sound=None)
    paint_video(stylizer, "in.mp4", "out.mp4", video=VideoOptions(shorter_side_px=32))
    assert frames_of("out.mp4")[0].shape == (32, 48, 3)


def test_all_streams_of_sound_are_kept_and_a_cover_is_not_the_video(stylizer):
    make_video("one.mkv", 6)
    with av.open("one.mkv") as source, av.open("two.mkv", "w") as target:
        kinds = [source.streams.video[0], source.streams.audio[0], source.streams.audio[0]]
        streams = [target.add_stream_from_template(stream) for stream in kinds]
        for packet in source.demux():
            if not packet.size:
                continue
            sound = packet.stream.type == "audio"
            packet.stream = streams[1 if sound else 0]
            target.mux(packet)
    paint_video(stylizer, "two.mkv", "out.mkv")
    with av.open("out.mkv") as container:
        assert [stream.type for stream in container.streams] == ["video", "audio", "audio"]


def test_ten_bits_are_read(stylizer):
    make_video("in.mkv", 3, codec="ffv1", pix_fmt="yuv420p10le", sound=None)
    image = next(iter(open_clip("in.mkv").items)).image
    difference = (image * 255).permute(1, 2, 0).numpy() - pattern(0, 48, 64)
    assert np.abs(difference).mean() < 3


@pytest.mark.parametrize("transfer", [16, 18])
def test_high_dynamic_range_becomes_a_picture_with_dark_and_light(transfer):
    levels = lambda _: np.repeat(np.linspace(0, 255, 64)[None, :, None], 48, 0).repeat(3, 2)  # noqa: E731
    make_video(
        "in.mkv", 2, codec="ffv1", pix_fmt="yuv420p10le", sound=None,
        levels=lambda n: levels(n).astype(np.uint8),
        coder={"color_trc": transfer, "color_primaries": 9, "colorspace": 9},
    )  # fmt: skip
    image = next(iter(open_clip("in.mkv").items)).image
    row = image.mean(0)[24]
    assert row[0] < 0.02 and row[-1] > 0.97
    assert (row.diff() >= -1 / 255).all()
    # A white page, 203 nits, is 58 % of PQ's signal and 75 % of HLG's (BT.2408, table 1).
    page = row[round(0.58 * 63 if transfer == 16 else 0.75 * 63)]
    assert 0.85 < page < 0.97


# Refusals


@pytest.mark.parametrize(
    "content", [b"", b"hello, world\n" * 50, b"#EXTM3U\n#EXTINF:1,\nother.ts\n", b"\0" * 4096]
)
def test_what_is_no_video_is_refused_in_one_line(stylizer, content):
    Path("in.mp4").write_bytes(content)
    with pytest.raises(FstError, match=r"cannot read in\.mp4") as caught:
        paint_video(stylizer, "in.mp4", "out.mp4")
    assert "\n" not in str(caught.value)
    assert sorted(os.listdir()) == ["in.mp4"]


@pytest.mark.parametrize("suffix", [".mkv", ".ts", ".mp4"])
def test_damaged_heads_give_frames_or_one_line(suffix):
    whole = make_video(f"whole{suffix}", 2, (16, 32), sound=None).read_bytes()
    heads = [whole[:place] + b"\xff" + whole[place + 1 :] for place in range(0, 320, 5)]
    heads += [whole[:length] for length in range(1, 600, 19)]
    refused = []
    for head in heads:
        Path(f"in{suffix}").write_bytes(head)
        try:
            with open_clip(f"in{suffix}") as clip:
                list(clip.items)
        except FstError as error:
            refused.append(str(error))
    assert refused and all("\n" not in line for line in refused)


def test_a_playlist_cannot_have_another_file_read(stylizer):
    make_video("secret.ts", 4, sound=None)
    Path("in.mp4").write_text(f"ffconcat version 1.0\nfile {Path('secret.ts').absolute()}\n")
    with pytest.raises(FstError, match=r"cannot read in\.mp4"):
        paint_video(stylizer, "in.mp4", "out.mp4")


def test_a_pipe_is_refused_and_not_waited_for(stylizer):
    os.mkfifo("in.mp4")
    with pytest.raises(FstError):
        open_clip("in.mp4")


def test_a_video_without_pictures_is_refused(stylizer):
    with av.open("in.mp4", "w") as output:
        stream = output.add_stream("aac", rate=48000)
        frame = av.AudioFrame.from_ndarray(np.zeros((2, 2048), np.float32), "fltp", "stereo")
        frame.rate, frame.pts = 48000, 0
        output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    with pytest.raises(FstError, match="no moving pictures"):
        open_clip("in.mp4")


def test_frames_too_large_for_memory_are_refused_with_the_way_out(stylizer, monkeypatch):
    make_video("in.mp4", 2, sound=None)
    monkeypatch.setattr("fst.stylize.video.paint.memory_left", lambda *_: 10**5)
    with pytest.raises(FstError, match=r"in\.mp4: a frame of 64x48 px takes .* GB .*--size"):
        paint_video(stylizer, "in.mp4", "out.mp4")


def test_frames_that_no_camera_makes_are_refused(stylizer, monkeypatch):
    make_video("in.mp4", 2, sound=None)
    monkeypatch.setattr("fst.stylize.video.reader.MAX_FRAME_PIXELS", 3000)
    with pytest.raises(FstError, match=r"in\.mp4: frames of 64x48 px are too large"):
        open_clip("in.mp4")


def test_a_target_that_cannot_hold_the_sound_is_refused_before_the_work(stylizer):
    make_video("in.mkv", 4, sound="pcm_s16le")
    with pytest.raises(FstError, match=r"\.webm holds no pcm_s16le.*name a \.mkv"):
        paint_video(stylizer, "in.mkv", "out.webm")
    assert sorted(os.listdir()) == ["in.mkv"]


def test_nothing_is_overwritten_unasked(stylizer):
    make_video("in.mp4", 2, sound=None)
    Path("out.mp4").write_text("mine")
    with pytest.raises(FstError, match=r"out\.mp4 exists"):
        paint_video(stylizer, "in.mp4", "out.mp4")
    assert Path("out.mp4").read_text() == "mine"
    paint_video(stylizer, "in.mp4", "out.mp4", video=VideoOptions(overwrite=True))
    assert len(times_of("out.mp4")) == 2


@pytest.mark.parametrize("suffix", [".mkv", ".ts"])
def test_of_a_video_cut_off_the_rest_is_painted_and_told(stylizer, suffix):
    whole = make_video(f"in{suffix}", 60, (48, 64), sound=None).read_bytes()
    Path(f"in{suffix}").write_bytes(whole[: 2 * len(whole) // 3])
    painted = paint_video(stylizer, f"in{suffix}", "out.mp4")
    assert 10 < painted.frames < 60
    assert len(times_of("out.mp4")) == painted.frames
    if suffix == ".mkv":  # the other kind does not say how long it is
        (problem,) = painted.problems
        assert re.match(r"in\.mkv: damaged at (0.9|1.0)\d s \(cut off: .* 2\.40 s", problem)


# Memory


def test_few_frames_are_in_memory_at_once(stylizer, monkeypatch):
    make_video("in.mp4", 40, (40, 72), sound=None)
    counts = []

    def progress(done, _):
        if done % 19 == 0:
            objects = [(type(o), o) for o in gc.get_objects()]
            held = [o for kind, o in objects if kind is torch.Tensor and o.shape == (3, 40, 72)]
            counts.append((len(held), sum(kind is av.VideoFrame for kind, _ in objects)))

    paint_video(stylizer, "in.mp4", "out.mp4", progress=progress)
    assert len(counts) == 2
    assert max(held for held, _ in counts) <= 6
    assert max(decoded for _, decoded in counts) <= 16  # what the decoder has ready


# Interrupts


def test_a_stopped_clip_is_whole_up_to_there(stylizer):
    make_video("in.mp4", 30)
    seen = []
    painted = paint_video(
        stylizer, "in.mp4", "out.mp4", progress=lambda n, _: seen.append(n),
        stopped=lambda: len(seen) == 12,
    )  # fmt: skip
    assert (painted.frames, painted.whole) == (12, False)
    assert len(times_of("out.mp4")) == 12
    assert sorted(os.listdir()) == ["in.mp4", "out.mp4"]


def test_an_interrupted_clip_replaces_nothing(stylizer):
    make_video("in.mp4", 30)
    Path("out.mp4").write_text("whole")

    def progress(number, _):
        if number == 9:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        paint_video(
            stylizer, "in.mp4", "out.mp4", progress=progress, video=VideoOptions(overwrite=True)
        )
    assert Path("out.mp4").read_text() == "whole"
    assert len(times_of("out-1.mp4")) == 9


def _started(model, *arguments):
    code = "import sys; from fst.cli.infer import main; sys.exit(main(sys.argv[1:]))"
    return subprocess.Popen(
        [sys.executable, "-c", code, "--model", model, "--device", "cpu", *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def _wait_for_part(least_bytes: int) -> Path:
    for _ in range(600):
        parts = list(Path().glob("out.*.part.mp4"))
        if parts and parts[0].stat().st_size > least_bytes:
            return parts[0]
        time.sleep(0.1)
    raise AssertionError("nothing was written")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_a_file_that_plays(model, monkeypatch, capsys, number):
    make_video("in.mp4", 60)
    genuine, painted = SteadyStylizer.stylize, []

    def stylize(self, *arguments, **controls):
        painted.append(0)
        if len(painted) == 14:
            os.kill(os.getpid(), number)
        return genuine(self, *arguments, **controls)

    monkeypatch.setattr(SteadyStylizer, "stylize", stylize)
    before = signal.getsignal(number)
    code = infer.main(["in.mp4", "--model", model, "-o", "out.mp4", "--style-id", "1"])
    told = capsys.readouterr()
    assert (code, told.out) == (130, "out.mp4\n")
    assert "interrupted after 14 frames; out.mp4 holds them" in told.err
    assert len(times_of("out.mp4")) == 14
    assert sound_of("out.mp4")
    assert sorted(os.listdir()) == ["in.mp4", "out.mp4"]
    assert signal.getsignal(number) == before


def test_what_a_kill_leaves_plays_too(model):
    noise = np.random.default_rng(0).integers(0, 255, (4, 64, 96, 3), np.uint8)
    # Noise, for many bytes a second; nobody waits for its end.
    make_video("in.mp4", 400, (64, 96), levels=lambda number: noise[number % 4])
    process = _started(model, "in.mp4", "-o", "out.mp4", "--style-id", "1")
    part = _wait_for_part(60_000)
    process.kill()
    process.communicate()
    times = times_of(part)
    assert len(times) >= 10
    assert times == [Fraction(number, 25) for number in range(len(times))]
    assert not Path("out.mp4").exists()


# Sequences


def test_pictures_become_pictures_of_the_same_names(stylizer):
    for number in (1, 2, 10):
        images.save(torch.rand(3, 24, 32), f"frames/f{number}.png")
    painted = paint_video(stylizer, "frames", "out", "rain")
    assert (painted.path, painted.frames) == (Path("out"), 3)
    assert sorted(os.listdir("out")) == ["f1.png", "f10.png", "f2.png"]


def test_pictures_become_a_video_in_the_order_of_their_numbers(stylizer):
    for number in (1, 2, 10):
        images.save(torch.full((3, 24, 32), number / 12), f"frames/f{number}.png")
    paint_video(
        stylizer,
        "frames/*.png",
        "out.mp4",
        options=PaintOptions(strength=0.0),
        video=VideoOptions(frame_rate=10),
    )
    assert times_of("out.mp4") == [0, Fraction(1, 10), Fraction(2, 10)]
    greys = [frame.mean() / 255 for frame in frames_of("out.mp4")]
    assert np.allclose(greys, [1 / 12, 2 / 12, 10 / 12], atol=0.02)


def test_frames_of_two_sizes_do_not_make_a_video(stylizer):
    images.save(torch.rand(3, 24, 32), "frames/1.png")
    images.save(torch.rand(3, 32, 24), "frames/2.png")
    with pytest.raises(FstError, match=r"frame 2\.png has 24x32 px, the first one 32x24"):
        paint_video(stylizer, "frames", "out.mp4")
    assert os.listdir() == ["frames"]
    assert paint_video(stylizer, "frames", "out").frames == 2


def test_numbers_in_names_are_those_of_ascii(tmp_path):
    for name in ("f1\u00b22.png", "f1\u00b210.png"):  # a superscript is a digit that int() refuses
        images.save(torch.rand(3, 16, 16), f"frames/{name}")
    assert [file.name[3:] for file in frame_files("frames")] == ["2.png", "10.png"]


@pytest.mark.parametrize(
    ("name", "codec", "pixels"),
    [("a.mov", "prores_ks", "yuva444p10le"), ("a.webm", "libvpx-vp9", "yuva420p")],
)
def test_that_transparency_of_a_video_is_left_out_is_said_once(
    tmp_path, caplog, name, codec, pixels
):
    frame = av.VideoFrame.from_ndarray(np.full((64, 64, 4), 90, np.uint8), format="rgba")
    with av.open(str(tmp_path / name), "w") as output:
        stream = output.add_stream(codec, rate=10)
        stream.width = stream.height = 64
        stream.pix_fmt, stream.metadata["alpha_mode"] = pixels, "1"
        for packet in [*stream.encode(frame.reformat(format=pixels)), *stream.encode()]:
            output.mux(packet)
    assert open_clip(tmp_path / name).size == (64, 64)
    assert caplog.messages == [f"{tmp_path / name}: its transparency is left out"]
