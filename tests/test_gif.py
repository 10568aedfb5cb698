"""Painting animated GIFs: times, loops, transparency."""

import os

import numpy as np
import pytest
import torch
from infer_inputs import save_model
from PIL import Image

from fst import Stylizer
from fst.errors import FstError
from fst.io import images
from fst.stylize.options import PaintOptions
from fst.stylize.video.paint import VideoOptions, paint_video


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """An empty current folder."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def stylizer(tmp_path_factory):
    return Stylizer(save_model(tmp_path_factory.mktemp("model") / "model.safetensors"))


def _save(path="in.gif", count=4, durations=(40, 120, 40, 500), mode="RGB", **options):
    frames = []
    for number in range(count):
        levels = np.full((24, 32, len(mode)), 255, np.uint8)
        levels[4:16, 4 + 4 * number : 16 + 4 * number, :3] = (200, 40, 60)
        levels[..., 1] = np.arange(32) * 4
        if mode == "RGBA":
            levels[:6, :, 3] = 0
        frames.append(Image.fromarray(levels))
    frames[0].save(
        path, save_all=True, append_images=frames[1:], duration=list(durations)[:count], **options
    )


def _read(path):
    with Image.open(path) as picture:
        shown, loop = [], picture.info.get("loop")
        for number in range(picture.n_frames):
            picture.seek(number)
            shown.append((picture.info["duration"], np.array(picture.convert("RGBA"))))
    return shown, loop


@pytest.mark.parametrize("options", [{}, {"loop": 0}, {"loop": 3}])
def test_durations_and_loop_are_kept(stylizer, options):
    _save(**options)
    painted = paint_video(stylizer, "in.gif", "out.gif", "rain")
    shown, loop = _read("out.gif")
    assert [duration for duration, _ in shown] == [40, 120, 40, 500]
    assert loop == options.get("loop")
    assert painted.frames == 4
    assert os.listdir() == ["in.gif", "out.gif"] or sorted(os.listdir()) == ["in.gif", "out.gif"]


def test_transparency_is_kept(stylizer):
    _save(mode="RGBA", disposal=2)
    paint_video(stylizer, "in.gif", "out.gif", "rain")
    for (_, before), (_, after) in zip(_read("in.gif")[0], _read("out.gif")[0], strict=True):
        assert np.array_equal(before[..., 3], after[..., 3])


def test_strength_0_gives_the_frames(stylizer):
    _save()
    paint_video(stylizer, "in.gif", "out.gif", options=PaintOptions(strength=0.0))
    for (_, before), (_, after) in zip(_read("in.gif")[0], _read("out.gif")[0], strict=True):
        assert np.abs(before.astype(int) - after).mean() < 3


def test_a_still_place_keeps_its_colours_from_frame_to_frame(stylizer):
    _save(count=4)
    paint_video(stylizer, "in.gif", "out.gif", options=PaintOptions(strength=0.0))
    corners = [levels[18:, :4] for _, levels in _read("out.gif")[0]]
    assert all(np.array_equal(corners[0], corner) for corner in corners)


def test_a_gif_becomes_a_video_of_the_same_times(stylizer):
    pytest.importorskip("av")
    from clips import times_of

    _save()
    paint_video(stylizer, "in.gif", "out.mp4")
    assert [round(1000 * time) for time in times_of("out.mp4")] == [0, 40, 160, 200]


def test_a_cut_off_gif_is_painted_as_far_as_it_goes(stylizer):
    rng = np.random.default_rng(0)
    frames = [Image.fromarray(rng.integers(0, 255, (32, 32), np.uint8)) for _ in range(6)]
    frames[0].save("whole.gif", save_all=True, append_images=frames[1:], duration=50)
    with open("whole.gif", "rb") as file:
        data = file.read()
    with open("in.gif", "wb") as file:
        file.write(data[: len(data) * 2 // 3])
    painted = paint_video(stylizer, "in.gif", "out.gif")
    assert 2 <= painted.frames < 6
    assert len(_read("out.gif")[0]) == painted.frames


@pytest.mark.parametrize("content", [b"GIF89a", b"GIF89a" + b"\xff" * 300])
def test_a_broken_gif_is_refused_in_one_line(stylizer, content):
    with open("in.gif", "wb") as file:
        file.write(content)
    with pytest.raises(FstError, match=r"in\.gif") as caught:
        paint_video(stylizer, "in.gif", "out.gif")
    assert "\n" not in str(caught.value)
    assert os.listdir() == ["in.gif"]


def test_a_gif_made_to_fill_memory_is_refused(stylizer):
    screen = b"GIF89a" + (30000).to_bytes(2, "little") * 2 + b"\x80\0\0" + b"\0\0\0\xff\xff\xff"
    block = b"\x2c\0\0\0\0\1\0\1\0\0\x02\x02\x44\x01\0;"
    with open("in.gif", "wb") as file:
        file.write(screen + block)
    with pytest.raises(FstError, match=r"in\.gif"):
        paint_video(stylizer, "in.gif", "out.gif")


@pytest.mark.parametrize("rate, frames", [(25, 60), (30, 60), (60, 40), (100, 30)])
def test_a_gif_keeps_the_pace_of_frames_that_its_ticks_do_not_fit(stylizer, rate, frames):
    """Times are multiples of 10 ms, and browsers take 10 ms for 100."""
    for number in range(60):
        images.save(torch.rand(3, 16, 16), f"frames/{number}.png")
    painted = paint_video(
        stylizer, "frames", "out.gif", video=VideoOptions(frame_rate=rate, steadiness=0.0)
    )
    durations = [duration for duration, _ in _read("out.gif")[0]]
    assert painted.frames == 60 and len(durations) == frames
    assert min(durations) >= 20
    assert abs(sum(durations) - 60_000 / rate) <= 20


def test_a_frame_shown_for_longer_than_a_gif_can_say_is_shown_as_long_as_it_can(stylizer):
    for number in range(2):
        images.save(torch.rand(3, 16, 16), f"frames/{number}.png")
    paint_video(stylizer, "frames", "out.gif", video=VideoOptions(frame_rate=1 / 900))
    assert [duration for duration, _ in _read("out.gif")[0]] == [655_350] * 2


def test_a_clip_too_long_for_a_gif_is_refused_before_the_work(stylizer, monkeypatch):
    for number in range(3):
        images.save(torch.rand(3, 16, 16), f"frames/{number}.png")
    monkeypatch.setattr("fst.stylize.video.gif.MAX_BYTES", 2.5 * 16 * 16)
    seen = []
    with pytest.raises(FstError, match=r"more than a gigabyte of frames; name a \.mp4"):
        paint_video(stylizer, "frames", "out.gif", progress=lambda n, _: seen.append(n))
    assert seen == [] and os.listdir() == ["frames"]
    paint_video(
        stylizer, "frames", "out.gif", video=VideoOptions(frame_rate=100)
    )  # of which half are left out


def test_frames_alike_for_longer_than_a_gif_can_say_are_refused(stylizer):
    for number in range(3):
        images.save(torch.full((3, 16, 16), 0.5), f"frames/{number}.png")
    with pytest.raises(FstError, match=r"more than 655 s; name a \.mp4"):
        paint_video(stylizer, "frames", "out.gif", video=VideoOptions(frame_rate=1 / 300))
    assert os.listdir() == ["frames"]


def test_an_interrupted_gif_holds_what_was_painted(stylizer):
    _save()

    def progress(number, _):
        if number == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        paint_video(stylizer, "in.gif", "out.gif", progress=progress)
    assert len(_read("out.gif")[0]) == 3
    assert sorted(os.listdir()) == ["in.gif", "out.gif"]


@pytest.mark.parametrize("rate", [0, -5, 1 / 5000, float("nan"), 10**6])
def test_a_rate_that_is_none_is_refused(stylizer, rate):
    images.save(torch.rand(3, 16, 16), "frames/0.png")
    with pytest.raises(FstError, match="frames a second"):
        paint_video(stylizer, "frames", "out.mp4", video=VideoOptions(frame_rate=rate))
