"""Training batches are a function of seed and position, so runs resume and spread exactly."""

import math
from itertools import chain
from types import SimpleNamespace

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from fst.data.datamodule import CentreCrops, ContentDataModule, StepSampler, TrainingImages
from fst.data.photos import PhotoFolder
from fst.errors import FstError

SIZE_PX = 16
READ_PX = 18  # 16 * 1.125: pictures of this shorter side are read without resizing
WIDTH_PX = 27


def map_picture(number):
    """A picture whose red is the column, green the row and blue the number of the file."""
    pixels = np.zeros((READ_PX, WIDTH_PX, 3), np.uint8)
    pixels[..., 0] = np.arange(WIDTH_PX)
    pixels[..., 1] = np.arange(READ_PX)[:, None]
    pixels[..., 2] = number
    return pixels


def write_folder(folder, count, first=0):
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(first, first + count):
        Image.fromarray(map_picture(number)).save(folder / f"{number:03}.png")
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("photos"), 12)


@pytest.fixture(scope="module")
def photos(folder):
    return PhotoFolder(folder, READ_PX)


def same(first, second):
    return torch.equal(first[0], second[0]) and first[1] == second[1]


def prepared(content, max_steps=5, rank=0, world_size=1, done=0, **options):
    """A data module as a trainer would hold it."""
    module = ContentDataModule(content, size_px=SIZE_PX, **options)
    module.trainer = SimpleNamespace(
        max_steps=max_steps,
        max_epochs=-1,
        accumulate_grad_batches=1,
        global_rank=rank,
        world_size=world_size,
        is_global_zero=rank == 0,
        strategy=SimpleNamespace(root_device=torch.device("cpu")),
    )
    module.setup("fit")
    module.load_state_dict({"batches_done": done})
    return module


# Positions


@given(
    start=st.integers(0, 5),
    steps=st.integers(0, 6),
    batch=st.integers(1, 4),
    world=st.integers(1, 4),
)
def test_several_processes_together_see_what_one_with_the_whole_batch_sees(
    start, steps, batch, world
):
    whole = list(StepSampler(start, start + steps, batch * world))
    parts = [list(StepSampler(start, start + steps, batch, r, world)) for r in range(world)]
    assert whole == [list(chain(*batches)) for batches in zip(*parts, strict=True)]
    first, last = start * batch * world, (start + steps) * batch * world
    assert list(chain(*whole)) == list(range(first, last))


@given(stop=st.integers(1, 12), done=st.integers(0, 12), rank=st.integers(0, 2))
def test_a_resumed_sampler_gives_the_tail(stop, done, rank):
    full = list(StepSampler(0, stop, 3, rank, 3))
    assert list(StepSampler(done, stop, 3, rank, 3)) == full[done:]


def test_its_length_counts_the_steps_before_a_resume_too():
    assert len(StepSampler(4, 10, 2)) == 10


@given(start=st.integers(0, 9), batches=st.integers(1, 4), epoch=st.integers(0, 3))
def test_epochs_go_on_where_the_one_before_ended(start, batches, epoch):
    whole = list(StepSampler(0, 100, 3))
    sampler = StepSampler(start, batches, 3, by_epochs=True)
    # A resumed run's first epoch, before Lightning has said which it is.
    assert list(sampler) == whole[start : (start // batches + 1) * batches]
    sampler.set_epoch(epoch)
    first = max(start, epoch * batches)
    assert list(sampler) == whole[first : (epoch + 1) * batches]


def test_only_a_run_by_epochs_tells_lightning_where_to_set_them():
    assert not hasattr(StepSampler(0, 4, 2), "sampler")  # so its first batches come again
    assert StepSampler(0, 4, 2, by_epochs=True).sampler.set_epoch


def test_an_epoch_of_a_run_by_epochs_is_every_photo_once(photo_folder):
    data = ContentDataModule([photo_folder], size_px=32, batch_size=4, held_out=[photo_folder])
    data.setup()
    data.trainer = pl.Trainer(max_epochs=2, accelerator="cpu", logger=False)
    loader = data.train_dataloader()
    count = len(data.photos)
    assert len(loader) == math.ceil(count / 4)
    names = [name for batch in range(len(loader)) for name in data.photo_names(batch)]
    assert len(set(names[:count])) == count


# Training images


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 1000),
    num_styles=st.integers(1, 5),
    order=st.permutations(range(30)),
)
def test_an_item_depends_on_seed_and_position_only(photos, seed, num_styles, order):
    forward = TrainingImages(photos, SIZE_PX, num_styles, seed)
    expected = [forward[position] for position in range(30)]
    again = TrainingImages(photos, SIZE_PX, num_styles, seed)
    for position in order:
        assert same(again[position], expected[position])


def test_another_seed_gives_other_items(photos):
    first, second = (TrainingImages(photos, SIZE_PX, 3, seed) for seed in (0, 1))
    assert not all(same(first[position], second[position]) for position in range(12))


@settings(max_examples=30, deadline=None)
@given(num_styles=st.integers(1, 9), block=st.integers(0, 10**6), seed=st.integers(0, 99))
def test_each_run_of_s_positions_holds_every_style_once(photos, num_styles, block, seed):
    items = TrainingImages(photos, SIZE_PX, num_styles, seed)
    ids = [items[block * num_styles + place][1] for place in range(num_styles)]
    assert sorted(ids) == list(range(num_styles))


def test_each_epoch_shows_every_photo_once_in_another_order(photos):
    items = TrainingImages(photos, SIZE_PX, 1, seed=3)
    epochs = [[int(items[12 * e + p][0][2, 0, 0]) for p in range(12)] for e in range(3)]
    assert all(sorted(epoch) == list(range(12)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]


def test_crops_are_windows_of_the_photos_some_mirrored_and_everywhere(photos):
    items = TrainingImages(photos, SIZE_PX, 1, seed=0)
    lefts, tops, mirrored = set(), set(), 0
    for position in range(240):
        crop, _ = items[position]
        assert crop.dtype == torch.uint8 and crop.shape == (3, SIZE_PX, SIZE_PX)
        flipped = bool(crop[0, 0, 0] > crop[0, 0, 1])
        mirrored += flipped
        pixels = (crop.flip(2) if flipped else crop).permute(1, 2, 0).numpy()
        left, top, number = pixels[0, 0, 0], pixels[0, 0, 1], pixels[0, 0, 2]
        window = map_picture(number)[top : top + SIZE_PX, left : left + SIZE_PX]
        np.testing.assert_array_equal(pixels, window)
        lefts.add(int(left))
        tops.add(int(top))
    assert lefts == set(range(WIDTH_PX - SIZE_PX + 1)) and tops == {0, 1, 2}
    assert 80 < mirrored < 160


def test_writing_into_an_item_leaves_the_photo_alone(photos):
    items = TrainingImages(photos, SIZE_PX, 1, seed=0)
    before = items[0][0].clone()
    items[0][0].zero_()
    assert torch.equal(items[0][0], before)


def test_centre_crops_are_the_centres(photos):
    crops = CentreCrops(photos, SIZE_PX)
    assert len(crops) == 12
    np.testing.assert_array_equal(
        crops[7].permute(1, 2, 0).numpy(), map_picture(7)[1 : 1 + SIZE_PX, 5 : 5 + SIZE_PX]
    )


# The data module


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 1000), count=st.integers(1, 120))
def test_held_out_photos_are_never_trained_on(tmp_path_factory, seed, count):
    folder = tmp_path_factory.mktemp("many")
    for number in range(count):
        (folder / f"{number:03}.png").touch()  # nothing is decoded before setup
    module = ContentDataModule([folder], size_px=SIZE_PX, seed=seed)
    trained, held_out = set(module.photos.files), set(module.held_out.files)
    assert held_out and trained | held_out == set(folder.iterdir())
    if count >= 10:
        assert not trained & held_out
        assert len(held_out) == min(8, count // 10)
    else:  # none can be spared
        assert len(trained) == count and len(held_out) == min(4, count)


def test_photos_named_as_held_out_are_never_trained_on(tmp_path):
    folder = write_folder(tmp_path / "photos", 5)
    link = tmp_path / "link.png"
    link.symlink_to(folder / "003.png")
    module = ContentDataModule([folder], size_px=SIZE_PX, held_out=[folder / "001.png", link])
    assert [path.name for path in module.photos.files] == ["000.png", "002.png", "004.png"]
    assert [path.name for path in module.held_out.files] == ["001.png", "link.png"]


def test_the_split_is_that_of_the_seed(tmp_path):
    folder = write_folder(tmp_path / "photos", 40)
    splits = [ContentDataModule([folder], SIZE_PX, seed=s).held_out.files for s in (1, 1, 2)]
    assert splits[0] == splits[1] != splits[2]


@pytest.mark.parametrize("count", [1, 2, 9])
def test_a_small_folder_fills_any_number_of_batches(tmp_path, count):
    module = prepared([write_folder(tmp_path / "few", count)], batch_size=4, num_styles=3)
    batches = list(module.train_dataloader())
    assert len(batches) == 5
    for crops, ids in batches:
        assert crops.shape == (4, 3, SIZE_PX, SIZE_PX) and crops.dtype == torch.uint8
        assert ids.shape == (4,) and ids.dtype == torch.int64
    review = list(module.val_dataloader())
    assert len(review) == min(4, count) and review[0].shape == (1, 3, SIZE_PX, SIZE_PX)


def test_photos_smaller_than_the_crop_are_enlarged(tmp_path):
    Image.new("RGB", (5, 3), "red").save(tmp_path / "tiny.png")
    (crops, _), *_ = prepared([tmp_path], batch_size=2).train_dataloader()
    assert crops.shape == (2, 3, SIZE_PX, SIZE_PX)
    assert crops[:, 0].min() == 255 and crops[:, 1:].max() == 0


def test_a_resumed_run_sees_the_tail_of_the_whole_run(folder):
    options = {"batch_size": 3, "num_styles": 4, "seed": 5}
    whole = list(prepared([folder], max_steps=9, **options).train_dataloader())
    tail = list(prepared([folder], max_steps=9, done=6, **options).train_dataloader())
    assert len(tail) == 3
    for (crops, ids), (crops_again, ids_again) in zip(whole[6:], tail, strict=True):
        assert torch.equal(crops, crops_again) and torch.equal(ids, ids_again)


def test_two_processes_see_what_one_with_twice_the_batch_sees(folder):
    options = {"num_styles": 4, "seed": 5}
    whole = prepared([folder], batch_size=4, **options).train_dataloader()
    ranks = [
        prepared([folder], batch_size=2, rank=r, world_size=2, **options).train_dataloader()
        for r in (0, 1)
    ]
    for (crops, ids), *parts in zip(whole, *ranks, strict=True):
        assert torch.equal(crops, torch.cat([part[0] for part in parts]))
        assert torch.equal(ids, torch.cat([part[1] for part in parts]))


def test_reader_processes_change_nothing(folder):
    alone = prepared([folder], batch_size=3, num_styles=2, num_workers=0).train_dataloader()
    helped = prepared([folder], batch_size=3, num_styles=2, num_workers=2).train_dataloader()
    for (crops, ids), (crops_again, ids_again) in zip(alone, helped, strict=True):
        assert torch.equal(crops, crops_again) and torch.equal(ids, ids_again)


def test_missing_content_is_refused(tmp_path):
    with pytest.raises(FstError, match="nowhere"):
        ContentDataModule([tmp_path / "nowhere"])


def test_a_folder_of_bad_files_is_refused_before_the_first_step(tmp_path):
    for number in range(3):
        (tmp_path / f"{number}.png").write_bytes(b"no picture")
    with pytest.raises(FstError, match="cannot be read"):
        prepared([tmp_path])


@pytest.mark.parametrize("rank", [0, 1])
def test_the_photos_of_a_batch_are_named_as_they_are_seen(tmp_path, rank):
    """Blue is the number of the file; of a bad one the next is seen."""
    folder = write_folder(tmp_path / "photos", 7)
    (folder / "003.png").write_bytes(b"damaged")
    data = ContentDataModule([folder], SIZE_PX, batch_size=3, held_out=[folder / "000.png"])
    data.trainer = SimpleNamespace(global_rank=rank, world_size=2, is_global_zero=rank == 0)
    data.setup()
    assert len(data.photos.bad_files) == 1
    images = TrainingImages(data.photos, SIZE_PX, 1, data.seed)
    for batch in range(5):
        first = (2 * batch + rank) * 3
        seen = [images[position][0][2, 0, 0].item() for position in range(first, first + 3)]
        assert data.photo_names(batch) == [f"{number:03}.png" for number in seen]
