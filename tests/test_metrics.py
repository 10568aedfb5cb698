"""The held-out distances against the protocol written out in numpy."""

import numpy as np
import pytest
import torch
from torchvision.models import vgg

from fst import metrics
from fst.metrics import ContentDistance, StyleDistance, style_grams
from fst.networks.vgg import LossNetwork

LAYERS = ("relu1_1", "relu2_1", "relu3_1")
CHANNELS = {"relu1_1": 3, "relu2_1": 4, "relu3_1": 5}
STYLES = 3


def random_features(batch, seed, size=6):
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.randn(batch, c, size, size, generator=generator) for name, c in CHANNELS.items()
    }


def naive_gram(image):
    flat = image.double().numpy().reshape(len(image), -1)
    return flat @ flat.T / flat.shape[1]


def random_targets(seed):
    """Gram matrices of the styles at one size."""
    features = random_features(STYLES, seed)
    return {
        name: torch.from_numpy(np.stack([naive_gram(f) for f in features[name]])).float()
        for name in LAYERS
    }


def naive_style_distance(features, targets, style_index):
    """Mean over layers, least over sizes for each photo, mean over the photos of a style."""
    by_style = {style: [] for style in range(STYLES)}
    for b, style in enumerate(style_index.tolist()):
        by_size = []
        for target in targets:
            by_layer = []
            for name in LAYERS:
                wanted = target[name][style].double().numpy()
                difference = naive_gram(features[name][b]) - wanted
                by_layer.append(np.sqrt((difference**2).sum()) / np.sqrt((wanted**2).sum()))
            by_size.append(sum(by_layer) / len(by_layer))
        by_style[style].append(min(by_size))
    return np.array([np.mean(values) if values else np.nan for values in by_style.values()])


def rows(features, chosen):
    return {name: values[chosen] for name, values in features.items()}


TARGETS = [random_targets(seed) for seed in (10, 11, 12)]
FEATURES, CONTENT = random_features(7, 1), random_features(7, 2)
STYLE_INDEX = torch.tensor([0, 2, 2, 0, 1, 2, 0])


def style_metric(chosen):
    metric = StyleDistance(TARGETS)
    for part in chosen:
        metric.update(rows(FEATURES, part), STYLE_INDEX[part])
    return metric


def content_metric(chosen):
    metric = ContentDistance(STYLES)
    for part in chosen:
        metric.update(rows(FEATURES, part), rows(CONTENT, part), STYLE_INDEX[part])
    return metric


ALL = [list(range(7))]
METRICS = [style_metric, content_metric]


def test_style_distance_is_the_protocol():
    expected = naive_style_distance(FEATURES, TARGETS, STYLE_INDEX)
    np.testing.assert_allclose(style_metric(ALL).compute().numpy(), expected, rtol=1e-5)


def test_the_least_size_is_chosen_for_each_photo():
    alone = [naive_style_distance(FEATURES, [target], STYLE_INDEX) for target in TARGETS]
    least = style_metric(ALL).compute().numpy()
    assert (least <= np.min(alone, axis=0) + 1e-6).all()
    assert (least < np.min(alone, axis=0) - 1e-4).any()  # different photos chose different sizes


def test_content_distance_is_the_protocol():
    ratios = []
    for y, x in zip(FEATURES["relu3_1"].numpy(), CONTENT["relu3_1"].numpy(), strict=True):
        ratios.append(np.linalg.norm(y - x) ** 2 / np.linalg.norm(x) ** 2)
    ids = STYLE_INDEX.tolist()
    expected = [
        np.mean([ratio for ratio, i in zip(ratios, ids, strict=True) if i == style])
        for style in range(STYLES)
    ]
    np.testing.assert_allclose(content_metric(ALL).compute().numpy(), expected, rtol=1e-5)


@pytest.mark.parametrize("metric", METRICS)
def test_order_and_size_of_updates_do_not_matter(metric):
    expected = metric(ALL).compute()
    for parts in ([[6], [5], [4], [3], [2], [1], [0]], [[3, 1], [0, 6, 5], [2, 4]]):
        torch.testing.assert_close(metric(parts).compute(), expected)


@pytest.mark.parametrize("metric", METRICS)
def test_two_merged_metrics_equal_one(metric):
    first, second = metric([[0, 3], [1]]), metric([[2, 4, 5, 6]])
    first.merge_state(second)
    torch.testing.assert_close(first.compute(), metric(ALL).compute())


@pytest.mark.parametrize("metric", METRICS)
def test_a_style_never_seen_is_nan_and_the_others_are_not(metric):
    got = metric([[0, 3], [4]]).compute()
    assert torch.isnan(got).tolist() == [False, False, True]


@pytest.mark.filterwarnings("ignore:The ``compute`` method of metric")
@pytest.mark.parametrize("metric", METRICS)
def test_reset_forgets(metric):
    used = metric(ALL)
    used.reset()
    assert torch.isnan(used.compute()).all()


def test_own_style_and_own_photo_have_distance_zero():
    own = [
        {
            n: torch.stack([torch.from_numpy(naive_gram(f)) for f in FEATURES[n][:STYLES]]).float()
            for n in LAYERS
        }
    ]
    style = StyleDistance(own)
    style.update(rows(FEATURES, range(STYLES)), torch.arange(STYLES))
    assert style.compute().max() < 1e-6
    content = ContentDistance(STYLES)
    content.update(FEATURES, FEATURES, STYLE_INDEX)
    assert content.compute().tolist() == [0, 0, 0]


def test_bf16_features_are_measured_in_fp32():
    half = {name: values.bfloat16() for name, values in FEATURES.items()}
    expected = naive_style_distance({n: v.float() for n, v in half.items()}, TARGETS, STYLE_INDEX)
    metric = StyleDistance(TARGETS)
    metric.update(half, STYLE_INDEX)
    np.testing.assert_allclose(metric.compute().numpy(), expected, rtol=1e-5)


def test_style_grams_are_the_mean_over_the_pictures_of_a_style():
    torch.manual_seed(0)
    state = vgg.make_layers([4, 4, "M", 6, 6, "M", 8]).state_dict()
    network = LossNetwork({f"features.{key}": value for key, value in state.items()})
    pictures = [[torch.rand(3, 24, 20)], [torch.rand(3, 24, 20), torch.rand(3, 16, 33)]]
    grams = style_grams(network, pictures)
    assert tuple(grams) == LAYERS == metrics.STYLE_LAYERS
    for name in LAYERS:
        for style, files in enumerate(pictures):
            each = [naive_gram(network(picture[None], [name])[name][0]) for picture in files]
            np.testing.assert_allclose(grams[name][style], np.mean(each, axis=0), rtol=1e-4)
