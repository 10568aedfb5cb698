"""Drawn scenes: the same ones in any order, varied, like photographs, and in place of photos."""

import pickle
import subprocess
import sys
import threading
from functools import cache
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from fst.data.photos import PhotoFolder
from fst.data.scene_drawing import draw_scene
from fst.data.scenes import Scenes
from fst.errors import FstError


@cache
def scene(index, seed=3):
    return draw_scene(seed, index, (288, 360))


def spectrum_slope(image):
    """Slope of log power against log frequency, between 1/64 and 1/4 cycles a pixel."""
    grey = image.mean(-1)
    window = np.outer(np.hanning(grey.shape[0]), np.hanning(grey.shape[1]))
    power = np.abs(np.fft.fft2((grey - grey.mean()) * window)) ** 2
    fy, fx = np.fft.fftfreq(grey.shape[0])[:, None], np.fft.fftfreq(grey.shape[1])[None]
    f = np.hypot(fy, fx)
    edges = np.geomspace(1 / 64, 1 / 4, 9)
    mean = [power[(f >= a) & (f < b)].mean() for a, b in pairwise(edges)]
    return np.polyfit(np.log(np.sqrt(edges[:-1] * edges[1:])), np.log(mean), 1)[0]


def test_same_seed_gives_the_same_pixels_in_any_order():
    forwards, backwards = Scenes(4, 40, seed=5), Scenes(4, 40, seed=5)
    drawn = [forwards[index] for index in range(4)]
    again = [backwards[index] for index in (3, 2, 1, 0)][::-1]
    backwards.preload(max_workers=3)
    for index in range(4):
        assert torch.equal(drawn[index], again[index])
        assert torch.equal(drawn[index], backwards[index])


def test_other_index_or_seed_gives_another_picture():
    pictures = [scene(0), scene(1), scene(0, seed=4), scene(1, seed=4)]
    for k, one in enumerate(pictures):
        for other in pictures[:k]:
            assert np.abs(one.astype(int) - other).mean() > 10


@pytest.mark.parametrize("side", [1, 2, 17, 54, 288])
def test_shorter_side_is_exact_and_the_longer_a_quarter_more(side):
    picture = Scenes(1, side)[0]
    assert picture.dtype == torch.uint8 and picture.is_contiguous()
    assert picture.shape == (3, side, round(1.25 * side))


def test_scenes_use_most_of_the_range_of_values():
    for index in range(6):
        low, high = np.percentile(scene(index), (2, 98))
        assert high - low > 90


def test_spectra_fall_like_those_of_photographs():
    # Power of natural pictures falls as f**-2 to f**-2.3 (Field 1987; van der Schaaf 1996).
    slopes = [spectrum_slope(scene(index)) for index in range(12)]
    assert -2.5 < np.mean(slopes) < -1.9
    assert all(-3.2 < slope < -1.4 for slope in slopes)


def test_every_public_name_the_training_uses_is_there_as_in_a_photo_folder():
    scenes = Scenes(3, 24)
    assert len(scenes) == 3 and not scenes.all_cached and scenes.bad_files == {}
    seen = []
    scenes.preload(progress=lambda done, count: seen.append((done, count)))
    assert seen == [(1, 3), (2, 3), (3, 3)]
    assert scenes.all_cached and scenes[1].data_ptr() == scenes[1].data_ptr()
    assert "3 scenes" in scenes.report() and "\n" not in scenes.report()
    for name in (n for n in vars(PhotoFolder) if not n.startswith("_")):
        assert hasattr(scenes, name)


def test_scenes_are_drawn_in_the_order_asked_for_while_others_go_on(monkeypatch):
    scenes, drawn, go_on = Scenes(5, 24), [], threading.Event()
    genuine = Scenes._draw

    def draw(self, index):
        drawn.append(index)
        if len(drawn) == 3:
            go_on.wait(60)
        return genuine(self, index)

    monkeypatch.setattr(Scenes, "_draw", draw)
    scenes.begin([4, 2, 0, 1, 3], max_workers=1)
    for index in (4, 2):  # there, with three still to come
        assert torch.equal(scenes[index], genuine(scenes, index))
    go_on.set()
    scenes.preload()
    assert drawn == [4, 2, 0, 1, 3] and torch.equal(scenes[3], genuine(scenes, 3))


def test_a_program_that_ends_does_not_draw_what_is_left():
    """Nor does it abort, as the interpreter does where it ends a thread that is in torch."""
    program = "from fst.data.scenes import Scenes; Scenes(5000, 288, 0).begin(max_workers=4)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_thread_that_outlives_the_main_one_gets_its_scenes():
    program = (
        "from threading import Thread; from fst.data.scenes import Scenes\n"
        "Thread(target=lambda: (Scenes(40, 64, 0).preload(), print('drawn'))).start()"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, b"drawn\n")


def test_a_scene_that_cannot_be_drawn_is_told_to_who_asks(monkeypatch):
    def fail(self, index):
        raise MemoryError("none left")

    monkeypatch.setattr(Scenes, "_draw", fail)
    scenes = Scenes(2, 24)
    scenes.begin()
    with pytest.raises(MemoryError, match="none left"):
        scenes[1]


def test_index_counts_from_the_end_and_ends_an_iteration():
    scenes = Scenes(2, 16)
    assert torch.equal(scenes[-1], scenes[1])
    assert len(list(scenes)) == 2
    with pytest.raises(IndexError, match="out of range for 2 scenes"):
        scenes[-3]


def test_pickled_scenes_are_small_and_draw_the_same():
    scenes = Scenes(20, 32)
    scenes.preload()
    data = pickle.dumps(scenes)
    assert len(data) < 1000
    assert torch.equal(pickle.loads(data)[7], scenes[7])


def test_loader_with_workers_gives_the_same_scenes():
    scenes = Scenes(4, 24)
    [batch] = DataLoader(scenes, batch_size=4, num_workers=2)
    assert torch.equal(batch, torch.stack(list(scenes)))


def test_numbers_out_of_range_are_named_all_at_once():
    with pytest.raises(FstError) as caught:
        Scenes(0, 0, seed=-1)
    for part in ("count was 0", "shorter_side_px was 0", "seed was -1"):
        assert part in str(caught.value)
