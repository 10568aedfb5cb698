"""The term against misplaced light and dark, and the metric beside it."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fst.losses.tone import CELL_PX, misplaced_tone, tones
from fst.metrics import Tone

SIDES = st.integers(2 * CELL_PX, 5 * CELL_PX)
SEEDS = st.integers(0, 99)


def images_of(count, height=64, width=48, seed=0):
    """Smooth images: pixels of noise alone would average out in a cell."""
    small = torch.rand(count, 3, 4, 3, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(small, (height, width), mode="bilinear")


def cells_of(image):
    """Lightness of whole cells in numpy, of an image (3, H, W)."""
    grey = image.double().numpy().mean(0)
    rows, columns = (side // CELL_PX for side in grey.shape)
    blocks = grey[: rows * CELL_PX, : columns * CELL_PX]
    blocks = blocks.reshape(rows, CELL_PX, columns, CELL_PX).mean((1, 3)).ravel()
    return blocks - blocks.mean()


@given(SIDES, SIDES, SEEDS)
def test_tones_are_means_of_cells(height, width, seed):
    images = images_of(2, height, width, seed)
    expected = np.stack([cells_of(image) for image in images])
    np.testing.assert_allclose(tones(images).numpy(), expected, atol=1e-5)


@given(SEEDS)
def test_what_the_photo_does_not_explain_is_the_residual_of_a_regression(seed):
    images, photos = images_of(2, seed=seed), images_of(2, seed=seed + 100)
    deviations = torch.tensor([0.1, 0.3])
    expected = []
    for image, photo, deviation in zip(images, photos, deviations.tolist(), strict=True):
        painted, given_ = cells_of(image), cells_of(photo)
        slope = np.linalg.lstsq(given_[:, None], painted, rcond=None)[0][0]
        expected.append((painted - max(slope, 0) * given_).var() / deviation**2)
    found = misplaced_tone(images, photos, deviations).item()
    assert found == pytest.approx(np.mean(expected), rel=1e-3)


@pytest.mark.parametrize("contrast", [0.2, 1.0, 1.5])
def test_any_contrast_and_colour_will_do_where_tones_lie_as_in_the_photo(contrast):
    photo = images_of(1)
    grey = 0.5 + contrast * (photo.mean(1, keepdim=True).expand(-1, 3, -1, -1) - 0.5)
    reddish = grey + torch.tensor([0.1, -0.2, 0.1]).view(1, 3, 1, 1)
    assert misplaced_tone(reddish, photo, torch.tensor([0.2])).item() < 1e-6


def test_strokes_within_a_cell_are_free():
    photo = images_of(1)
    rows = torch.arange(64) % CELL_PX < CELL_PX // 2
    strokes = torch.where(rows, 0.1, -0.1).view(1, 1, 64, 1)
    assert misplaced_tone(photo + strokes, photo, torch.tensor([0.2])).item() < 1e-6


def test_a_negative_is_as_bad_as_its_own_tones():
    photo = images_of(1)
    of_negative = misplaced_tone(1 - photo, photo, torch.tensor([0.2])).item()
    assert of_negative == pytest.approx(cells_of(photo[0]).var() / 0.04, rel=1e-3)


def test_patches_on_plain_ground_are_penalised_and_plain_ground_is_not():
    plain, painted = torch.full((1, 3, 64, 48), 0.7), images_of(1)
    deviation = torch.tensor([0.2])
    patchy = misplaced_tone(painted, plain, deviation).item()
    assert patchy == pytest.approx(cells_of(painted[0]).var() / 0.04, rel=1e-3)
    assert misplaced_tone(plain, painted, deviation).item() < 1e-9


@pytest.mark.parametrize("shape", [(8, 8), (16, 40), (33, 17)])
@pytest.mark.parametrize("photo", [torch.rand, torch.zeros])
def test_gradients_are_finite_at_any_size_for_plain_photos_and_plain_styles(shape, photo):
    image = torch.rand(2, 3, *shape, requires_grad=True)
    misplaced_tone(image, photo(2, 3, *shape), torch.zeros(2)).backward()
    assert image.grad.isfinite().all()


def test_the_metric_is_the_mean_correlation_in_each_style():
    images, photos = images_of(3), images_of(3, seed=1)
    each = [
        np.corrcoef(cells_of(image), cells_of(photo))[0, 1]
        for image, photo in zip(images, photos, strict=True)
    ]
    metric = Tone(3)
    metric.update(images, photos, torch.tensor([0, 2, 0]))
    expected = [(each[0] + each[2]) / 2, np.nan, each[1]]
    np.testing.assert_allclose(metric.compute().numpy(), expected, atol=1e-4)


def test_the_metric_leaves_out_photos_of_one_tone():
    photos = torch.cat([torch.full((1, 3, 64, 48), 0.3), images_of(1)])
    metric = Tone(1)
    metric.update(torch.rand(2, 3, 64, 48), photos[[0, 0]], torch.zeros(2, dtype=torch.long))
    assert metric.compute().isnan()
    metric.update(photos, photos, torch.zeros(2, dtype=torch.long))
    assert metric.compute().item() == pytest.approx(1)
