"""Twins: photos of a batch that are seen again a few pixels further on."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fst.losses.consistency import EACH, MARGIN_PX, MOVE_PX, Twins

MOVES = st.integers(-MOVE_PX, MOVE_PX)


def photos_of(count, height=48, width=40):
    generator = torch.Generator().manual_seed(count)
    return torch.rand(count, 3, height, width, generator=generator)


@given(MOVES, MOVES, st.integers(32, 50), st.integers(32, 50))
def test_a_twin_shows_its_photo_a_few_pixels_further_on(down, right, height, width):
    photos, ids = photos_of(8, height, width), torch.arange(8)
    joined, styles = Twins(8, 3, down, right).join(photos, ids)
    rest = [0, 1, 2, 4, 5, 6]
    assert torch.equal(joined[rest], photos[rest])
    assert styles.tolist() == [0, 1, 2, 2, 4, 5, 6, 6]
    sides = [(0, 0), (0, 0), (MOVE_PX, MOVE_PX), (MOVE_PX, MOVE_PX)]
    wide = np.pad(photos[[2, 6]].numpy(), sides, mode="reflect")
    top, left = MOVE_PX + down, MOVE_PX + right
    expected = wide[:, :, top : top + height, left : left + width]
    assert np.array_equal(joined[[3, 7]].numpy(), expected)
    assert torch.equal(photos, photos_of(8, height, width))  # the batch given stays as it was


@given(MOVES, MOVES)
def test_what_paints_each_pixel_by_itself_is_consistent(down, right):
    twins = Twins(4, 3, down, right)
    joined, _ = twins.join(photos_of(4), torch.zeros(4, dtype=torch.long))
    assert twins.difference(joined.square()) == 0


def test_the_difference_equals_a_naive_loop():
    images = photos_of(8)
    squares = [
        (twin[row, column] - first[row + 3, column - 2]).item() ** 2
        for at in (2, 6)
        for twin, first in zip(images[at], images[at - 1], strict=True)
        for row in range(MARGIN_PX, 48 - MARGIN_PX)
        for column in range(MARGIN_PX, 40 - MARGIN_PX)
    ]
    difference = Twins(8, 2, 3, -2).difference(images)
    assert difference.item() == pytest.approx(sum(squares) / len(squares), rel=1e-5)


def test_a_pattern_that_stays_where_the_photo_moves_is_measured():
    board = (torch.arange(48)[:, None] + torch.arange(40)) % 2
    twins = Twins(4, 3, 0, 1)
    joined, _ = twins.join(photos_of(4), torch.zeros(4, dtype=torch.long))
    torch.testing.assert_close(twins.difference(joined + board), torch.tensor(1.0))
    assert Twins(4, 3, 1, 1).difference(board.expand(4, 3, -1, -1).float()) == 0  # in step again


def test_moves_are_drawn_within_bounds_and_by_the_seed():
    drawn = {(twins.down, twins.right) for twins in (Twins.draw(4, 0, s) for s in range(2000))}
    assert {value for move in drawn for value in move} == set(range(-MOVE_PX, MOVE_PX + 1))
    assert Twins.draw(4, 0, 5) == Twins.draw(4, 0, 5)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("batch_size", [1, 2, 3, 4, 6, 16])
def test_one_image_of_four_is_a_twin_where_its_photo_is_in_the_batch(batch_size, seed):
    images, found = 48, []
    for number in range(0, images, batch_size):
        found += [number + at for at in Twins.draw(batch_size, number, seed).places]
    place = Twins.draw(EACH, 0, seed).first
    assert found == [n for n in range(place, images, EACH) if n % batch_size]


def test_it_is_the_second_or_the_last_as_often():
    """Else batches of 2 would have one in every other step, and the curves show only those."""
    drawn = [Twins.draw(EACH, 0, seed).first for seed in range(400)]
    assert set(drawn) == {1, 3} and 160 < drawn.count(1) < 240


def test_small_batches_have_in_the_mean_the_difference_of_a_large_one():
    images = photos_of(16)
    large = Twins.draw(16, 0, 7).difference(images)
    parts = [Twins.draw(2, n, 7).difference(images[n : n + 2]) for n in range(0, 16, 2)]
    torch.testing.assert_close(torch.stack(parts).mean(), large)


def test_a_batch_without_twins_and_pictures_without_a_middle_have_no_difference():
    photos, ids = photos_of(1), torch.zeros(1, dtype=torch.long)
    none = Twins.draw(1, 3, 0)
    assert torch.equal(none.join(photos, ids)[0], photos) and none.difference(photos) == 0
    assert Twins(4, 3, 2, 2).difference(photos_of(4, 2 * MARGIN_PX, 40)) == 0
