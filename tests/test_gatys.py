"""Optimising pixels: what it reaches, from where, and how it ends."""

import itertools
import math
from functools import partial
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from conftest import smooth_field, stripes
from hypothesis import given, settings
from hypothesis import strategies as st

from fst.errors import FstError
from fst.gatys import descent, optimize
from fst.gatys.descent import bytes_per_pixel, history
from fst.gatys.optimization import MARGIN_PX, POOLING, default_loss, shape_of, styles_at
from fst.io import images
from fst.losses.grain import excess_grain, grain_of_styles
from fst.losses.grey import equalised
from fst.losses.perceptual import PerceptualLoss
from fst.networks.loss_network import CombinedLossNetwork, LossNetwork, load_loss_network

SAMPLE_STYLES = Path(__file__).parents[1] / "datasets" / "samples" / "styles"


@pytest.fixture
def make_loss(loss_weights):
    """A loss on the slim VGG."""
    network = partial(load_loss_network, loss_weights, padding="zeros")
    return lambda **options: PerceptualLoss(network(), **options)


PHOTO = images.to_tensor(smooth_field(4, 48, 64))
STYLE = images.to_tensor(stripes(1, 64))


def framed(image):
    """What the loss sees of an image where there is a content."""
    return F.pad(image[None], (MARGIN_PX,) * 4, mode="reflect")


def style_of(loss, image, style=STYLE):
    loss.set_styles([[style]])
    with torch.no_grad():
        return loss.terms(image[None], None, torch.tensor([0]))["style"].item()


# ---- what it reaches ---------------------------------------------------------------------------


# A squared distance of second moments, and one of the features themselves: its root's pace.
@pytest.mark.parametrize(("style_loss", "share"), [("gram", 0.05), ("wasserstein", 0.05**0.5)])
def test_texture_from_noise_has_a_small_share_of_the_style_loss(style_loss, share, loss_weights):
    painting = images.load(SAMPLE_STYLES / "woodblock_waves.jpg", 128)
    losses = []
    loss = PerceptualLoss(load_loss_network(loss_weights, POOLING), style_loss=style_loss)
    options = {"loss": loss, "sizes": [64], "steps": 100, "style_size_px": 128}
    result = optimize(
        style=[painting], on_step=lambda s: losses.append(s.losses["style"]), **options
    )
    assert result.image.shape == (3, 64, 64)
    assert result.losses["style"] < share * losses[0]


def test_content_alone_brings_the_content_back_from_noise():
    # Of a real VGG's rectified first layer some colours do not come back: 0.05 is left for good.
    weight = torch.randn(32, 3, 3, 3, generator=torch.Generator().manual_seed(0))
    network = LossNetwork({"features.0.weight": weight, "features.0.bias": torch.ones(32)})
    loss = PerceptualLoss(
        network, content_layer="relu1_1", style_layers=["relu1_1"], weights=(1.0, 0.0, 0.0)
    )
    result = optimize(PHOTO, loss=loss, start="noise", sizes=[48], steps=80)
    assert (result.image - PHOTO).square().mean().sqrt() < 0.02  # noise: about 0.4
    assert result.losses["style"] == 0


def test_two_sizes_beat_one_for_the_same_number_of_pixels_evaluated():
    painting = images.load(SAMPLE_STYLES / "stained_glass.jpg", 256)

    def total(sizes, steps):
        return optimize(style=[painting], sizes=sizes, steps=steps).losses["total"]

    assert total([64, 192], [90, 20]) < 0.8 * total([192], 30)


def test_the_losses_told_are_those_of_the_image_returned(make_loss):
    loss = make_loss(weights=(1.0, 3.0, 0.1))
    options = {"loss": loss, "sizes": [48], "steps": 5, "style_size_px": 64, "in_grey": False}
    result = optimize(PHOTO, [STYLE], **options)
    terms = make_loss(weights=(1.0, 3.0, 0.1))
    terms.set_styles([[STYLE]])
    expected = terms(framed(result.image), framed(PHOTO), torch.tensor([0]))
    expected["grain"] = excess_grain(result.image[None], grain_of_styles([[STYLE]]))
    expected["total"] = expected["total"] + 0.01 * expected["grain"]
    assert set(result.losses) == set(expected) - {"style_per_image"}
    for name, value in result.losses.items():
        assert value == pytest.approx(expected[name].item(), rel=1e-4, abs=1e-7)
    assert result.image.min() >= 0 and result.image.max() <= 1


@pytest.mark.parametrize(
    ("classic", "content", "in_grey"),
    [(False, PHOTO, True), (True, PHOTO, False), (False, None, False)],
)
def test_in_grey_the_losses_are_the_means_of_colour_and_grey(make_loss, classic, content, in_grey):
    """By default so, but not by the classic recipe, nor of textures, whose colours count."""
    options = {"sizes": [48], "style_size_px": 64, "steps": 3, "start": PHOTO}
    result = optimize(content, [STYLE], loss=make_loss(classic=classic), **options)
    shown = [
        image if classic or content is None else framed(image)[0] for image in (result.image, PHOTO)
    ]
    pairs = [(*shown, STYLE)]
    if in_grey:
        pairs.append(tuple(equalised(image[None])[0] for image in pairs[0]))
    means = dict.fromkeys(("content", "style"), 0.0)
    for image, photo, style in pairs:
        terms = make_loss(classic=classic)
        terms.set_styles([[style]])
        target = None if content is None else terms.content_target(photo[None])
        for name in means:
            means[name] += terms.terms(image[None], target, 0)[name].item() / len(pairs)
    for name, mean in means.items():
        assert result.losses[name] == pytest.approx(mean, rel=1e-3, abs=1e-7)


@pytest.mark.parametrize("optimizer", ["lbfgs", "adam"])
def test_both_optimisers_go_down(make_loss, optimizer):
    losses = []
    options = {"loss": make_loss(), "sizes": [48], "optimizer": optimizer}
    optimize(
        PHOTO, [STYLE], steps=25, on_step=lambda s: losses.append(s.losses["total"]), **options
    )
    assert losses[-1] < 0.5 * losses[0]


def test_several_pictures_are_one_style(make_loss):
    other = images.to_tensor(stripes(2, 64))
    loss = make_loss()
    optimize(style=[STYLE, other], loss=loss, sizes=[64], steps=1)
    both = loss.groups[0].targets["relu1_1"][0][0]
    each = []
    for picture in (STYLE, other):
        loss.set_styles([[picture]])
        each.append(loss.groups[0].targets["relu1_1"][0][0])
    torch.testing.assert_close(both, (each[0] + each[1]) / 2)


def test_the_term_of_grain_takes_noise_away(make_loss):
    def grain_of(weight, **options):
        options = {"loss": make_loss(**options), "sizes": [48], "steps": 30}
        image = optimize(PHOTO, [STYLE], grain_weight=weight, **options).image
        return excess_grain(image[None], grain_of_styles([[STYLE]]))

    usual = grain_of(None)
    assert usual == grain_of(0.01) and usual < 0.5 * grain_of(0.0)
    assert grain_of(None, classic=True) == grain_of(0.0, classic=True)


def test_total_variation_smooths(make_loss):
    def variation(weight):
        loss = make_loss(weights=(0.0, 1.0, weight))
        return optimize(style=[STYLE], loss=loss, sizes=[48], steps=30).losses["tv"]

    assert variation(20.0) < 0.8 * variation(0.0)


# ---- from where --------------------------------------------------------------------------------


def first_image(make_loss, **options):
    """The image of the first evaluation: of one step, the only one."""
    return optimize(loss=make_loss(), sizes=[48], steps=1, **options).image


def test_it_starts_from_the_content(make_loss):
    torch.testing.assert_close(first_image(make_loss, content=PHOTO, style=[STYLE]), PHOTO)


def test_it_starts_from_a_given_image_of_any_size(make_loss):
    given = images.to_tensor(smooth_field(9, 96, 128))
    start = first_image(make_loss, content=PHOTO, style=[STYLE], start=given)
    assert start.shape == PHOTO.shape
    halved = torch.nn.functional.avg_pool2d(given, 2)
    assert (start - halved).abs().mean() < 0.01


def test_noise_depends_on_the_seed_alone(make_loss):
    def noise(seed, style):
        return first_image(make_loss, content=PHOTO, style=[style], start="noise", seed=seed)

    assert torch.equal(noise(1, STYLE), noise(1, 1 - STYLE))
    assert not torch.equal(noise(1, STYLE), noise(2, STYLE))
    assert noise(1, STYLE).std() > 0.2


def test_the_same_seed_gives_the_same_image(make_loss):
    def image():
        options = {"start": "noise", "seed": 3, "sizes": [40, 48], "steps": 6}
        return optimize(PHOTO, [STYLE], loss=make_loss(), **options).image

    assert torch.equal(image(), image())


# ---- from size to size -------------------------------------------------------------------------


def test_each_size_begins_from_the_result_before(make_loss):
    seen = []
    options = {"sizes": [32, 48, 64], "steps": [4, 3, 2], "on_step": seen.append}
    result = optimize(PHOTO, [STYLE], loss=make_loss(), **options)
    assert [step.size_px for step in seen] == [32] * 4 + [48] * 3 + [64] * 2
    assert [step.number for step in seen] == list(range(1, 10)) and seen[0].total == 9
    assert result.image.shape == (3, 64, 85) and result.steps == 9


@pytest.mark.parametrize(
    ("paddings", "side"),
    [(["zeros"], 64), (["reflect"], 48), (["reflect", "zeros"], 64), (["reflect", "reflect"], 48)],
)
def test_margins_are_against_zero_padding_alone(loss_weights, monkeypatch, paddings, side):
    """Of one network, and of several that are combined."""
    networks = [load_loss_network(loss_weights, padding=padding) for padding in paddings]
    network = networks[0] if len(networks) == 1 else CombinedLossNetwork(networks)
    seen, forward = [], network.forward
    monkeypatch.setattr(
        network, "forward", lambda x, layers: seen.append(min(x.shape[2:])) or forward(x, layers)
    )
    optimize(PHOTO, [STYLE], loss=PerceptualLoss(network), sizes=[48], steps=1)
    assert seen[-1] == side


def test_targets_are_computed_once_a_size(make_loss, monkeypatch):
    loss, passes = make_loss(), []
    forward = loss.loss_network.forward
    monkeypatch.setattr(
        loss.loss_network, "forward", lambda x, layers: passes.append(x.shape) or forward(x, layers)
    )

    def count(steps):
        passes.clear()
        optimize(PHOTO, [STYLE], loss=loss, sizes=[48], steps=steps)
        return len(passes)

    assert count(7) - count(4) == 3  # one pass an evaluation, nothing else


@given(st.integers(32, 600), st.integers(32, 600), st.integers(32, 512), st.floats(0.1, 1))
@settings(max_examples=40, deadline=None)
def test_style_pictures_keep_their_proportions_and_are_never_enlarged(height, width, size, scale):
    (scaled,) = styles_at([torch.zeros(3, height, width)], size, scale)
    shorter = min(scaled.shape[1:])
    assert shorter == max(32, round(min(height, width, size) * scale))
    assert scaled.shape[2] / scaled.shape[1] == pytest.approx(width / height, rel=1 / shorter)


def test_an_image_has_the_proportions_asked_for():
    assert shape_of(100, 1.5) == (100, 150) and shape_of(100, 0.5) == (200, 100)


# ---- how it ends -------------------------------------------------------------------------------


def test_an_interrupt_keeps_the_best_image(make_loss):
    losses = []

    def stop(step):
        losses.append(step.losses["total"])
        if step.number == 9:
            raise KeyboardInterrupt

    result = optimize(PHOTO, [STYLE], loss=make_loss(), sizes=[48, 64], steps=20, on_step=stop)
    assert (result.stopped, result.steps, result.image.shape) == ("interrupted", 9, (3, 48, 64))
    assert result.losses["total"] < losses[0]


def spoil(monkeypatch, loss, when):
    """Makes the style loss NaN at the evaluations for which `when` says so."""
    terms, calls = loss.terms, itertools.count(1)

    def spoiled(pixels, target, *which):
        result = terms(pixels, target, *which)
        if (
            pixels.shape[2:] == framed(PHOTO).shape[2:]
            and pixels.requires_grad
            and when(next(calls))
        ):
            result["total"] = result["total"] * math.nan
        return result

    monkeypatch.setattr(loss, "terms", spoiled)


def test_one_bad_step_is_taken_back(make_loss, monkeypatch):
    loss, losses = make_loss(), []
    spoil(monkeypatch, loss, lambda call: call == 6)
    options = {"sizes": [48], "steps": 40, "on_step": lambda s: losses.append(s.losses["total"])}
    result = optimize(PHOTO, [STYLE], loss=loss, **options)
    assert result.stopped == "done" and result.steps == 40
    assert result.losses["total"] < 0.5 * losses[0]


def test_a_second_bad_step_ends_the_run_with_the_last_good_image(make_loss, monkeypatch):
    loss, losses = make_loss(), []
    spoil(monkeypatch, loss, lambda call: call >= 6)
    options = {
        "sizes": [48, 64],
        "steps": 40,
        "on_step": lambda s: losses.append(s.losses["total"]),
    }
    result = optimize(PHOTO, [STYLE], loss=loss, **options)
    assert (result.stopped, result.steps) == ("diverged", 7)
    assert result.image.isfinite().all()
    assert result.losses["total"] == pytest.approx(min(losses[:5]), rel=0.05)


def test_a_far_too_high_rate_diverges_and_keeps_a_good_image(make_loss):
    options = {"optimizer": "adam", "learning_rate": 1e4, "sizes": [48], "steps": 40}
    result = optimize(PHOTO, [STYLE], loss=make_loss(), **options)
    assert result.stopped == "diverged"
    torch.testing.assert_close(result.image, PHOTO)


def test_a_loss_that_never_was_finite_is_an_error(make_loss, monkeypatch):
    loss = make_loss()
    spoil(monkeypatch, loss, lambda call: True)
    with pytest.raises(FstError, match="not finite for the very image begun from"):
        optimize(PHOTO, [STYLE], loss=loss, sizes=[48], steps=5)


# ---- memory ------------------------------------------------------------------------------------


def test_the_history_is_what_fits():
    pixels = 100 * 200
    enough = pixels * (192 + 1000 + 24 * 20)
    assert history((100, 200), "lbfgs", 1000, enough) == 20
    assert history((100, 200), "lbfgs", 1000, 10 * enough) == 20
    assert history((100, 200), "lbfgs", 1000, pixels * (192 + 1000 + 24 * 7)) == 7
    assert history((100, 200), "adam", 1000, pixels * (192 + 1000)) == 0
    with_margins = 116 * 216 * (192 + 1000 + 24 * 7)
    assert history((100, 200), "lbfgs", 1000, with_margins, margin_px=8) == 7
    assert history((100, 200), "lbfgs", 1000, with_margins - 1, margin_px=8) == 6


def test_an_image_that_does_not_fit_is_refused_before_the_first_step(make_loss):
    seen = []
    options = {"sizes": [48, 192], "steps": 3, "on_step": seen.append}
    with pytest.raises(FstError, match=r"256x192 px need .* of memory, and 8 MiB may be used"):
        optimize(PHOTO, [STYLE], loss=make_loss(), max_memory_bytes=2**23, **options)
    assert not seen


@pytest.mark.parametrize("margin_px", [0, 8])
def test_what_the_gradient_needs_grows_with_the_pixels(make_loss, margin_px):
    # Counted at 64 and 128 px; the real figure at 256 px must lie on the same line.
    run = descent.Descent(make_loss(), bf16=False, total=1, on_step=None, margin_px=margin_px)
    run.set_targets(PHOTO[None], [STYLE])
    counted = bytes_per_pixel(run) / descent.BACKWARD_FACTOR
    largest = descent._saved_bytes(run, 256) - descent._saved_bytes(run, 128)
    grown = (256 + 2 * margin_px) ** 2 - (128 + 2 * margin_px) ** 2
    assert counted == pytest.approx(largest / grown, rel=0.03)
    # relu1_1 alone keeps a padded image, four channels, and the image: more than that in all.
    assert counted > 4 * (3 + 4 + 3)


def test_room_for_wide_convolutions_is_left():
    """The shipped loss network has layers that Winograd's way computes on a CPU, in fp32 alone."""
    run = descent.Descent(default_loss(), bf16=False, total=1, on_step=None)
    working = descent.working_bytes(run)
    assert working > 2**26
    assert descent.working_bytes(descent.Descent(run.loss, bf16=True, total=1, on_step=None)) == 0
    pixels = 100 * 200
    room = working + pixels * (192 + 1000 + 24 * 7)
    assert history((100, 200), "lbfgs", 1000, room, working) == 7
    with pytest.raises(FstError, match="need"):
        history((100, 200), "lbfgs", 1000, room - working, working)


# ---- what is refused ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sizes": [512, 256]}, "ascending numbers from 32 px up"),
        ({"sizes": []}, "sizes \\(none\\)"),
        ({"sizes": [16]}, "sizes 16"),
        ({"sizes": [48, 64], "steps": [1, 2, 3]}, "one for each of the 2 sizes"),
        ({"steps": 0}, "steps 0"),
        ({"optimizer": "sgd"}, "lbfgs or adam"),
        ({"start": "zeros"}, "content or noise, or an image"),
        ({"style": []}, "no style picture"),
        ({"content": torch.zeros(1, 40, 40)}, r"shape \(1, 40, 40\)"),
        ({"content": torch.zeros(3, 40, 40, dtype=torch.uint8)}, "torch.uint8"),
    ],
)
def test_settings_that_do_not_fit_are_named(make_loss, options, message):
    defaults = {"content": PHOTO, "style": [STYLE], "sizes": [48], "steps": 1}
    with pytest.raises(FstError, match=message):
        optimize(loss=make_loss(), **defaults | options)


def test_a_weight_for_each_of_several_styles_is_refused(make_loss):
    with pytest.raises(FstError, match="give it one"):
        optimize(PHOTO, [STYLE], loss=make_loss(weights=(1.0, [2.0, 3.0], 0.0)))
