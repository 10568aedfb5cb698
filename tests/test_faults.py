"""The faults, measured in pictures made to have them, and in the same without them."""

import numpy as np
import pytest
import torch

from fst.losses.colour import colour_deviations, colours_of_styles
from fst.losses.grain import grain
from fst.metrics import Contrast, Flat, Fringes, Halo
from fst.metrics.faults import calm_ground, finest_colour, local_contrast

SIZE = 160
ROWS, COLUMNS = torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij")
RADIUS = ((ROWS - SIZE / 2) ** 2 + (COLUMNS - SIZE / 2) ** 2).sqrt()
INDEX = torch.tensor([0])


def rgb(grey):
    return grey.expand(3, -1, -1).contiguous()


def noise(amount, seed=0, size=SIZE):
    generator = torch.Generator().manual_seed(seed)
    return amount * torch.randn(3, size, size, generator=generator)


def weave(amount):
    """Stripes three pixels wide, on the sky alone."""
    return amount * ((COLUMNS // 3 % 2) * 2 - 1) * (ROWS < SIZE // 2)


# A sky that grows lighter, over a busy ground.
SKY = rgb(0.6 + 0.001 * ROWS.float())
BUSY = (ROWS >= SIZE // 2) * noise(0.2, 1)
PHOTO = (SKY + BUSY).clamp(0, 1)
CALM_STYLE = rgb(torch.full((SIZE, SIZE), 0.4)) + (ROWS >= SIZE // 3) * noise(0.2, 2)
GRAINY_STYLE = 0.5 + noise(0.1, 3)


def flat_of(painting, style, photo=PHOTO):
    metric = Flat(calm_ground([style])[None])
    metric.update(painting[None], photo[None], INDEX)
    return metric.compute().item()


def test_local_contrast_is_the_standard_deviation_in_a_window():
    image = torch.rand(3, 20, 23, generator=torch.Generator().manual_seed(0))
    found = local_contrast(image[None])[0].numpy()
    assert found.shape == (6, 9)
    for row, column in ((0, 0), (5, 8), (2, 7)):
        window = image[:, row : row + 15, column : column + 15].double().numpy()
        expected = np.sqrt(np.mean([np.var(channel) for channel in window]))
        assert found[row, column] == pytest.approx(expected, rel=1e-5)


def test_calm_ground_is_the_mean_of_the_calmest_fifth_of_the_grainiest_view():
    views = [torch.rand(3, 30, 40), 0.3 * torch.rand(3, 24, 24)]
    means = []
    for view in views:
        values = np.sort(local_contrast(view[None]).numpy().ravel())
        means.append(values[: len(values) // 5].mean())
    assert calm_ground(views).item() == pytest.approx(max(means), rel=1e-5)


def test_the_photo_itself_and_a_recoloured_sky_are_flat():
    assert flat_of(PHOTO, CALM_STYLE) == 0
    blue = PHOTO * torch.tensor([0.3, 0.6, 1.0]).view(3, 1, 1)
    assert flat_of(blue, CALM_STYLE) == 0


@pytest.mark.parametrize("amount", [0.05, 0.1])
def test_a_weave_on_the_sky_is_as_loud_as_it_was_made(amount):
    """The sky is a half of the photo; stripes of +-a have a standard deviation of a."""
    assert flat_of(PHOTO + weave(amount), CALM_STYLE) == pytest.approx(amount, rel=0.15)


def test_a_coloured_weave_of_even_brightness_is_seen():
    tint = torch.tensor([0.587, -0.299, 0.0]).view(3, 1, 1)  # luma of it is zero
    assert flat_of(PHOTO + weave(0.2) * tint, CALM_STYLE) > 0.05


def test_grain_that_the_style_has_everywhere_is_allowed_and_more_is_not():
    assert flat_of(PHOTO + noise(0.08, 4), GRAINY_STYLE) == 0
    assert flat_of(PHOTO + noise(0.08, 4), CALM_STYLE) > 0.05
    assert flat_of(PHOTO + noise(0.2, 4), GRAINY_STYLE) == pytest.approx(0.1, rel=0.1)


def test_what_is_painted_on_busy_ground_does_not_count():
    assert flat_of(PHOTO + (ROWS >= SIZE // 2 + 8) * noise(0.3, 5), CALM_STYLE) < 0.003


def test_photos_without_flat_ground_are_not_counted():
    assert np.isnan(flat_of(PHOTO, CALM_STYLE, photo=rgb(torch.zeros(SIZE, SIZE)) + noise(0.2)))
    metric = Flat(calm_ground([CALM_STYLE])[None])
    busy = rgb(torch.zeros(SIZE, SIZE)) + noise(0.2)
    metric.update(
        torch.stack([PHOTO + weave(0.1)] * 2), torch.stack([busy, PHOTO]), INDEX.repeat(2)
    )
    assert metric.compute().item() == pytest.approx(0.1, rel=0.15)


# ---- halo --------------------------------------------------------------------------------------

DISC = rgb(torch.where(RADIUS < 45, 0.3, 0.7))


def rim(inner, outer, height):
    return rgb(height * ((RADIUS - (inner + outer) / 2).abs() < (outer - inner) / 2).float())


def halo_of(painting, photo=DISC):
    metric = Halo(1)
    metric.update(painting[None], photo[None], INDEX)
    return metric.compute().item()


def test_the_photo_itself_a_flat_repainting_and_a_blurred_one_have_no_halo():
    assert halo_of(DISC) == 0
    assert abs(halo_of(1 - DISC)) < 0.01
    assert abs(halo_of(0.5 * DISC + 0.2)) < 0.01
    soft = rgb(0.3 + 0.4 * torch.sigmoid((RADIUS - 45) / 2))
    assert abs(halo_of(soft)) < 0.01


@pytest.mark.parametrize("height", [0.1, 0.2, -0.15])
def test_a_rim_counts_half_its_height_on_one_side_and_all_of_it_on_both(height):
    outside, both = rim(45, 54, height), rim(36, 54, height)
    assert halo_of(DISC + outside) == pytest.approx(height / 2, abs=0.01)
    assert halo_of(DISC + both) == pytest.approx(height, abs=0.01)


def test_a_rim_that_the_photo_has_itself_is_no_halo():
    lit = DISC + rim(45, 54, 0.1)
    assert abs(halo_of(lit, photo=lit)) < 1e-6
    assert halo_of(lit + rim(36, 45, 0.1), photo=lit) == pytest.approx(0.05, abs=0.015)


def test_strokes_everywhere_are_no_halo():
    strokes = rgb(0.15 * torch.sin((ROWS + COLUMNS) / 4.0))
    assert abs(halo_of(DISC + strokes)) < 0.02


def test_photos_without_strong_edges_are_not_counted():
    assert np.isnan(halo_of(DISC, photo=SKY))
    assert np.isnan(halo_of(DISC, photo=rgb(torch.full((SIZE, SIZE), 0.5)) + noise(0.01)))
    small = torch.rand(1, 3, 16, 40)
    metric = Halo(1)
    metric.update(small, small, INDEX)
    assert torch.isnan(metric.compute()).all()


# ---- contrast ----------------------------------------------------------------------------------


def test_contrast_is_the_mean_strength_of_each_style():
    of_styles = colours_of_styles([[DISC + noise(0.05)], [DISC + noise(0.1)]])
    images = torch.rand(3, 3, 20, 30, generator=torch.Generator().manual_seed(0)) - 0.3
    metric, ids = Contrast(of_styles), torch.tensor([1, 0, 1])
    metric.update(images[:2], ids[:2])
    metric.update(images[2:], ids[2:])
    each = (colour_deviations(images) / of_styles[ids]).clamp(max=1).mean(1).tolist()
    assert metric.compute().tolist() == pytest.approx([each[1], (each[0] + each[2]) / 2], rel=1e-4)


@pytest.mark.parametrize("share", [0.6, 1.0, 1.2])
def test_a_paler_copy_of_the_style_has_so_much_less_contrast(share):
    style = DISC + noise(0.05)
    metric = Contrast(colours_of_styles([[style]]))
    metric.update((0.5 + share * (style - 0.5))[None], INDEX)
    assert metric.compute().item() == pytest.approx(min(1, share), rel=1e-3)


# ---- fringes -----------------------------------------------------------------------------------


def test_fringes_are_the_mean_excess_of_the_finest_colours():
    pictures = torch.rand(3, 3, 24, 32, generator=torch.Generator().manual_seed(0))
    styles = [[pictures[0] / 3], [pictures[1] / 3, pictures[1].flip(1) / 4]]
    metric = Fringes(torch.stack([finest_colour(views) for views in styles]))
    metric.update(pictures[:2], torch.tensor([1, 0]))
    metric.update(pictures[2:], torch.tensor([1]))
    finest = [grain(picture[None])[0, 1:].numpy() for picture in pictures]
    allowed = [
        np.max([grain(view[None])[0, 1:].numpy() for view in views], axis=0) for views in styles
    ]
    each = [
        np.maximum(0, finest[i] / allowed[style] - 1).mean() for i, style in enumerate((1, 0, 1))
    ]
    expected = [each[1], (each[0] + each[2]) / 2]
    assert metric.compute().tolist() == pytest.approx(expected, rel=1e-4)


def test_a_style_without_colour_is_taken_to_have_what_rounding_leaves():
    """One wave of length 2/255 in blue: twice the floor, in one of 2 x 48 numbers."""
    metric = Fringes(finest_colour([torch.full((3, 16, 16), 0.5)])[None])
    wave = torch.cos(7 * torch.pi / 16 * (2 * torch.arange(8) + 1)) / 2 / 8**0.5  # of length 1
    image = torch.full((1, 3, 16, 16), 0.5)
    image[:, 2] += 2 / 255 * wave.repeat(2)
    metric.update(image, INDEX)
    assert metric.compute().item() == pytest.approx(1 / 96, rel=1e-2)


def test_fringes_are_of_colour_not_of_lightness_and_not_what_the_style_has():
    style = DISC + noise(0.01)
    metric = Fringes(finest_colour([style])[None])
    stripes = 0.1 * (COLUMNS % 2 - 0.5)[None]

    def fringes_of(image):
        metric.reset()
        metric.update(image[None], INDEX)
        return metric.compute().item()

    coloured = torch.cat([stripes, -stripes, 0 * stripes])
    assert fringes_of(style) == pytest.approx(0, abs=1e-6)
    assert fringes_of(style + stripes) == pytest.approx(0, abs=1e-4)
    assert fringes_of(style + coloured) > 0.5
    assert np.isnan(fringes_of(style[:, :7]))


# ---- as metrics --------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [lambda: Flat(calm_ground([CALM_STYLE])[None]), lambda: Halo(1)])
def test_two_merged_metrics_equal_one(make):
    ring = PHOTO.minimum(rgb((RADIUS > 30).float()))
    pairs = [(PHOTO + weave(0.1), PHOTO), (DISC + rim(45, 54, 0.2), DISC), (ring, ring)]
    paintings, photos = (torch.stack(each) for each in zip(*pairs, strict=True))
    whole, first, second = make(), make(), make()
    whole.update(paintings, photos, INDEX.repeat(3))
    first.update(paintings[:1], photos[:1], INDEX)
    second.update(paintings[1:], photos[1:], INDEX.repeat(2))
    first.merge_state(second)
    torch.testing.assert_close(first.compute(), whole.compute())
