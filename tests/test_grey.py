"""Style without colour: images of a batch compared in grey with equalised histograms."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from fst.errors import FstError
from fst.losses.grey import equalised, grey_places, with_grey
from fst.losses.perceptual import PerceptualLoss
from fst.losses.style_groups import Comparison
from fst.losses.terms import total_variation
from fst.metrics.brushwork import equalised_grey
from fst.networks.loss_network import load_loss_network
from fst.training.settings import Objective


def images_of(count, height=40, width=48):
    generator = torch.Generator().manual_seed(count)
    coarse = torch.rand(count, 3, height // 4, width // 4, generator=generator)
    smooth = F.interpolate(coarse, (height, width), mode="bicubic")
    return smooth.clamp(0, 1)


@given(st.integers(32, 60), st.integers(32, 60))
def test_tones_are_the_ranks_of_brushwork(height, width):
    images = images_of(2, height, width)
    tones = equalised(images)
    assert tones.shape == images.shape and tones.dtype == torch.float32
    assert (tones[:, :1] == tones).all()  # channels alike
    assert (tones[:, :1] - equalised_grey(images)).abs().max() < 0.03


@given(st.floats(0.3, 3.0), st.floats(0.2, 1.0), st.floats(0.0, 0.4))
def test_contrast_and_palette_do_not_count(gamma, contrast, brightness):
    images = images_of(2).mean(1, keepdim=True).expand(-1, 3, -1, -1)
    toned = (brightness + contrast * (1 - brightness) * images**gamma).clamp(0, 1)
    assert (equalised(toned) - equalised(images)).abs().mean() < 0.03


def test_the_least_change_of_pixels_changes_the_tones_as_little():
    """Though pixels lie on the edges of bins: sums in another order train the same."""
    images = (images_of(1)[:, :1] * 128).round() / 128
    noise = 1e-6 * torch.randn(1, 1, 40, 48, generator=torch.Generator().manual_seed(1))
    tones = [equalised(grey.expand(-1, 3, -1, -1)) for grey in (images, images + noise)]
    assert (tones[0] - tones[1]).abs().max() < 1e-4


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_one_colour_has_a_finite_tone_and_gradient(value):
    flat = torch.full((1, 3, 32, 32), value, requires_grad=True)
    tones = equalised(flat)
    tones.sum().backward()
    assert (tones == tones[0, 0, 0, 0]).all() and 0.05 <= tones.min() <= tones.max() <= 0.95
    assert flat.grad.isfinite().all()


@pytest.mark.parametrize("places", [slice(1, None, 2), slice(0, None, 3), slice(2, None, 9)])
def test_images_are_chosen_by_their_places_or_by_yes_and_no(places):
    images = images_of(4)
    chosen = Comparison([], 1.0, places).as_tensors(images).grey
    assert chosen.tolist() == [at in range(4)[places] for at in range(4)]
    gradients = []
    for grey in (places, chosen):
        images = images.detach().requires_grad_()
        tones = with_grey(images, grey)
        tones.square().sum().backward()
        gradients.append((tones, images.grad))
    torch.testing.assert_close(*gradients, rtol=0, atol=1e-6)


def test_where_no_image_is_compared_in_grey_nothing_is_asked():
    none = Comparison([], 1.0, grey_places(0, 3, 5))
    assert none.as_tensors(images_of(4)) is none


@given(st.integers(0, 1000))
def test_the_gradient_is_that_of_differences(seed):
    generator = torch.Generator().manual_seed(seed)
    images = (0.1 + 0.8 * images_of(1)).requires_grad_()
    weights, way = (torch.rand(1, 1, 10, 12, generator=generator) - 0.5 for _ in range(2))
    weights, way = (F.interpolate(coarse, (40, 48), mode="bicubic") for coarse in (weights, way))

    def loss(moved):
        return (equalised(moved)[:, :1] * weights).double().mean()

    (gradient,) = torch.autograd.grad(loss(images), images)
    step = 1e-3
    with torch.no_grad():
        expected = (loss(images + step * way) - loss(images - step * way)) / (2 * step)
        scale = gradient.abs().sum() * way.abs().mean()
    assert abs((gradient * way).sum() - expected) < 0.02 * scale


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_a_pixel_that_is_not_finite_spoils_its_image_alone(bad):
    images = images_of(3)
    spoilt = images.clone()
    spoilt[1, 0, 5, 5] = bad
    tones = equalised(spoilt)
    assert tones[1].isnan().any()
    assert torch.equal(tones[[0, 2]], equalised(images)[[0, 2]])


def test_no_gradient_makes_a_whole_image_brighter():
    """A gradient at a fixed tone curve does: all pixels drift to white, and no tone changes."""
    images = (0.1 + 0.8 * images_of(1)).requires_grad_()
    weights = torch.rand(1, 1, 10, 12, generator=torch.Generator().manual_seed(0))
    weights = weights.repeat_interleave(4, 2).repeat_interleave(4, 3)
    (equalised(images)[:, :1] * weights).sum().backward()
    assert images.grad.sum().abs() < 0.05 * images.grad.abs().sum()


@given(st.integers(1, 5), st.integers(1, 4), st.integers(1, 4), st.integers(0, 1000))
def test_processes_have_together_the_places_of_one(every, size, processes, seed):
    whole = list(range(size * processes))[grey_places(every, 0, seed)]
    parts = []
    for process in range(processes):
        batch = range(process * size, (process + 1) * size)
        parts += batch[grey_places(every, process * size, seed)]
    assert parts == whole
    assert len(whole) in (len(batch) * processes // every, -(-len(batch) * processes // every))


def test_by_lot_all_images_have_their_turn():
    places = {tuple(range(4)[grey_places(2, 0, seed)]) for seed in range(20)}
    assert places == {(0, 2), (1, 3)}
    assert not range(4)[grey_places(0, 3, 1)]


@pytest.fixture(scope="module")
def network():
    return load_loss_network("vgg16-lite")


def test_each_image_is_measured_as_if_alone(network):
    """Grey ones against grey photo and style, the others as they are."""
    loss = PerceptualLoss(network, weights=(1.0, (2.0, 3.0), 0.0))
    styles = [list(images_of(1)), list(images_of(2))]
    stylized, photos = images_of(4), images_of(5)[:4]
    loss.set_styles(styles, in_grey=True)
    terms = loss(stylized, photos, [0, 1, 1, 0], slice(1, None, 2))
    alone = PerceptualLoss(network, weights=(1.0, (2.0, 3.0), 0.0))
    alone.set_styles(styles)
    in_grey = PerceptualLoss(network, weights=(1.0, (2.0, 3.0), 0.0))
    in_grey.set_styles([list(equalised(torch.stack(one))) for one in styles])
    singles = []
    for at, style_id in enumerate([0, 1, 1, 0]):
        pair = stylized[at : at + 1], photos[at : at + 1]
        measure = alone
        if at % 2:
            measure, pair = in_grey, [equalised(image) for image in pair]
        singles.append(measure(*pair, style_id))
    for name in ("total", "content", "style"):
        expected = torch.stack([single[name] for single in singles]).mean()
        torch.testing.assert_close(terms[name], expected, rtol=1e-4, atol=1e-5)
    each = torch.cat([single["style_per_image"] for single in singles])
    torch.testing.assert_close(terms["style_per_image"], each, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(terms["tv"], total_variation(stylized))  # of what is painted


def test_styles_must_be_set_in_grey(network):
    loss = PerceptualLoss(network)
    loss.set_styles([list(images_of(1))] * 2)
    photos = images_of(2)
    with pytest.raises(FstError, match="not set in grey"):
        loss(photos, photos, [0, 1], slice(0, 1))
    loss.set_styles([list(images_of(1))] * 2, in_grey=True)
    with pytest.raises(FstError, match="expected 0 to 1"):
        loss(photos, photos, [0, 2], slice(0, 1))


@pytest.mark.parametrize("every", [-1, 1.5, "2", 2**31])
def test_how_many_is_a_whole_number(every):
    with pytest.raises(FstError, match=f"grey_every {every!r}: must be a whole number"):
        Objective(grey_every=every)


def test_a_batch_without_grey_stays_as_it_is():
    images = images_of(3)
    assert with_grey(images, slice(0)) is images
    made = with_grey(images, slice(2, None, 3))
    assert torch.equal(made[:2], images[:2])
    assert torch.equal(made[2:], equalised(images[2:]))
