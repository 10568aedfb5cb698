"""A folder of photos is read whole, bad files are replaced and named, and memory is bounded."""

import gc
import pickle
import warnings

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from fst.data import photos
from fst.data.photos import PhotoFolder, read_photo
from fst.errors import FstError

PHOTO_BYTES = 3 * 16 * 24  # of one photo made below, at shorter side 16


def write_folder(folder, count, bad=()):
    """`count` files of one colour each, their number; those in `bad` are empty."""
    folder.mkdir(exist_ok=True)
    for number in range(count):
        path = folder / f"{number:04}.png"
        path.write_bytes(b"") if number in bad else solid(number).save(path)
    return folder


def solid(level, size=(24, 16)):
    return Image.new("RGB", size, (level % 256,) * 3)


def levels(dataset):
    """The colour of each photo, which is the number of the file it came from."""
    return [int(dataset[index][0, 0, 0]) for index in range(len(dataset))]


@pytest.mark.parametrize(
    ("size", "shape"),
    [
        ((120, 80), (3, 16, 24)),
        ((80, 120), (3, 24, 16)),
        ((16, 16), (3, 16, 16)),
        ((6, 4), (3, 16, 24)),
        ((1600, 32), (3, 16, 64)),
        ((2, 3000), (3, 64, 16)),
        ((1, 1), (3, 16, 16)),
    ],
)
def test_every_photo_has_the_shorter_side_asked_for(tmp_path, size, shape):
    solid(7, size).save(tmp_path / "a.png")
    photo = read_photo(tmp_path / "a.png", 16)
    assert photo.shape == shape and photo.dtype == torch.uint8
    assert (photo == 7).all()


def test_long_photos_keep_their_middle(tmp_path):
    row = np.repeat(np.arange(100, dtype=np.uint8), 4)  # (400,)
    Image.fromarray(np.stack([np.stack([row] * 40)] * 3, -1)).save(tmp_path / "a.png")
    photo = read_photo(tmp_path / "a.png", 40)  # 400x40 is 10:1; 120..280 remain
    assert (photo[0, 0].numpy() == row[120:280]).all()


def test_photos_come_in_file_order(tmp_path):
    dataset = PhotoFolder(write_folder(tmp_path / "p", 5), 16)
    assert len(dataset) == 5
    assert levels(dataset) == [0, 1, 2, 3, 4]
    assert int(dataset[-1][0, 0, 0]) == 4
    with pytest.raises(IndexError):
        dataset[5]


def test_bad_file_is_replaced_by_the_next_good_one_and_counted_once(tmp_path):
    folder = write_folder(tmp_path / "p", 40, bad=(3, 39))
    dataset = PhotoFolder(folder, 16)
    expected = [*range(3), 4, *range(4, 39), 0]
    assert levels(dataset) == levels(dataset) == expected
    assert list(dataset.bad_files) == [folder / "0003.png", folder / "0039.png"]
    report = dataset.report()
    assert report.startswith("38 photos read, 2 skipped: 0003.png (the file is empty), 0039.png")
    assert "\n" not in report


@pytest.mark.parametrize("preload", [True, False])
@pytest.mark.parametrize(("count", "allowed"), [(2, 1), (10, 1), (39, 1), (40, 2), (100, 5)])
def test_one_bad_file_or_five_percent_are_skipped_and_more_refused(
    tmp_path, count, allowed, preload
):
    def read_all(bad):
        folder = write_folder(tmp_path / f"{bad}", count, bad=range(bad))
        dataset = PhotoFolder(folder, 16)
        return dataset.preload(2) if preload else levels(dataset)

    read_all(bad=allowed)
    with pytest.raises(FstError) as caught:
        read_all(bad=allowed + 1)
    message = str(caught.value)
    assert f"{allowed + 1} of {count} photos cannot be read" in message
    assert "0000.png (the file is empty)" in message and "\n" not in message


def test_refused_folder_stays_refused(tmp_path):
    dataset = PhotoFolder(write_folder(tmp_path / "p", 10, bad=(2, 3)), 16)
    for _ in range(2):
        with pytest.raises(FstError, match="2 of 10"):
            dataset[2]


@pytest.mark.parametrize("preload", [True, False])
def test_fifty_bad_files_in_a_row_are_refused_even_in_a_large_folder(
    tmp_path, monkeypatch, preload
):
    monkeypatch.setattr(photos, "MAX_BAD_SHARE", 1)  # stands in for a folder of 1000 and more
    dataset = PhotoFolder(write_folder(tmp_path / "p", 55, bad=range(2, 52)), 16)
    with pytest.raises(FstError, match="50 of 55"):
        dataset.preload(2) if preload else dataset[2]
    other = PhotoFolder(write_folder(tmp_path / "q", 55, bad=range(2, 51)), 16)
    other.preload(2) if preload else None
    assert int(other[2][0, 0, 0]) == 51


@pytest.mark.parametrize("count", [1, 60])
def test_folder_without_one_good_photo_is_refused(tmp_path, count):
    folder = write_folder(tmp_path / "p", count, bad=range(count))
    with pytest.raises(FstError, match="cannot be read"):
        PhotoFolder(folder, 16)[0]
    with pytest.raises(FstError, match="cannot be read"):
        PhotoFolder(folder, 16).preload(1)


def test_report_names_ten_files_at_most(tmp_path):
    dataset = PhotoFolder(write_folder(tmp_path / "p", 260, bad=range(0, 260, 20)), 16)
    dataset.preload(2)
    assert dataset.report().startswith("247 photos read, 13 skipped: 0000.png (")
    assert dataset.report().endswith("0180.png (the file is empty) and 3 more")


def test_missing_and_empty_folders_and_bad_numbers_are_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    folder = write_folder(tmp_path / "p", 1)
    for paths in (tmp_path / "missing", tmp_path / "empty", [], [folder, tmp_path / "missing"]):
        with pytest.raises(FstError):
            PhotoFolder(paths, 16)
    with pytest.raises(FstError, match="shorter_side_px was 0"):
        PhotoFolder(folder, 0)
    with pytest.raises(FstError, match="cache_bytes was -1"):
        PhotoFolder(folder, 16, -1)


# ---------------------------------------------------------------- cache


def test_preloaded_photos_need_no_file_any_more(tmp_path):
    folder = write_folder(tmp_path / "p", 12, bad=(5,))
    dataset = PhotoFolder(folder, 16)
    calls = []
    dataset.preload(3, progress=lambda done, total: calls.append((done, total)))
    assert dataset.all_cached and list(dataset.bad_files) == [folder / "0005.png"]
    assert calls == [(done, 12) for done in range(1, 13)]
    for path in folder.iterdir():
        path.unlink()
    assert levels(dataset) == [0, 1, 2, 3, 4, 6, *range(6, 12)]


@pytest.mark.parametrize("threads", [1, 4])
def test_preloading_stops_in_file_order_when_the_cache_is_full(tmp_path, threads):
    dataset = PhotoFolder(write_folder(tmp_path / "p", 12), 16, 3 * PHOTO_BYTES + 1)
    dataset.preload(threads)
    assert not dataset.all_cached
    assert sorted(dataset._cache) == [0, 1, 2]
    assert levels(dataset) == list(range(12))


def test_preloading_twice_and_reading_first_change_nothing(tmp_path):
    dataset = PhotoFolder(write_folder(tmp_path / "p", 6), 16)
    before = levels(dataset)
    assert dataset.all_cached
    dataset.preload(2)
    dataset.preload(2)
    assert levels(dataset) == before and dataset._cached_bytes == 6 * PHOTO_BYTES


def test_no_cache_is_a_choice(tmp_path):
    dataset = PhotoFolder(write_folder(tmp_path / "p", 3), 16, cache_bytes=0)
    dataset.preload(1)
    assert levels(dataset) == [0, 1, 2] and not dataset._cache


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, 2**20),
        ({"LOCAL_WORLD_SIZE": "4"}, 2**18),
        ({"WORLD_SIZE": "2"}, 2**19),
        ({"WORLD_SIZE": "many"}, 2**20),
    ],
)
def test_default_budget_is_a_quarter_of_what_is_free(monkeypatch, environment, expected):
    """What is free, in a container too, is in tests/test_memory.py."""
    monkeypatch.setattr(photos, "available_bytes", lambda device: 2**22)
    for name in ("LOCAL_WORLD_SIZE", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert photos.default_cache_bytes() == expected


# ---------------------------------------------------------------- workers


def test_pickled_copy_leaves_the_cache_behind_and_reads_the_same(tmp_path):
    dataset = PhotoFolder(write_folder(tmp_path / "p", 8, bad=(1,)), 16)
    dataset.preload(2)
    copy = pickle.loads(pickle.dumps(dataset))
    assert not copy._cache and not copy.all_cached and copy.bad_files == dataset.bad_files
    assert levels(copy) == levels(dataset)


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_workers_read_the_same_photos(tmp_path, start):
    if start not in torch.multiprocessing.get_all_start_methods():
        pytest.skip(f"no {start} here")
    dataset = PhotoFolder(write_folder(tmp_path / "p", 6, bad=(2,)), 16, 2 * PHOTO_BYTES)
    dataset.preload(1)
    workers = 2 if start == "fork" else 1  # spawning imports torch again: seconds
    loader = DataLoader(dataset, batch_size=3, num_workers=workers, multiprocessing_context=start)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        batches = torch.cat(list(loader))
    assert batches[:, 0, 0, 0].tolist() == [0, 1, 3, 3, 4, 5]


def test_worker_warns_of_a_bad_file_and_adds_nothing_to_the_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(photos, "get_worker_info", lambda: object())
    dataset = PhotoFolder(write_folder(tmp_path / "p", 3, bad=(1,)), 16)
    with pytest.warns(UserWarning, match=r"skipped .*0001.png: the file is empty"):
        assert levels(dataset) == [0, 2, 2]
    assert not dataset._cache


def test_too_many_bad_files_in_a_worker_stop_the_loader(tmp_path, monkeypatch):
    # Any exception in a worker makes torch wait this long (5 s) for it when the loader is freed.
    monkeypatch.setattr(torch.utils.data._utils, "MP_STATUS_CHECK_INTERVAL", 0.2)
    dataset = PhotoFolder(write_folder(tmp_path / "p", 6, bad=(1, 2, 3)), 16)
    with pytest.raises(FstError, match="of 6 photos cannot be read"):
        list(DataLoader(dataset, num_workers=1, multiprocessing_context="fork"))
    gc.collect()  # frees the loader before the patch ends
