"""The metrics of distances and brushwork against their protocols written out in numpy."""

import numpy as np
import pytest
import torch
from PIL import Image
from torchmetrics.image import StructuralSimilarityIndexMeasure
from torchvision.models import vgg

from fst import metrics
from fst.data.styles import Style
from fst.io import images
from fst.metrics import (
    Brushwork,
    ContentDistance,
    Found,
    PhotoSimilarity,
    StyleDistance,
    brushwork_covariances,
    style_grams,
)
from fst.metrics.brushwork import equalised_grey
from fst.metrics.distances import STYLE_LAYERS
from fst.metrics.ruler import VIEW_SIZES_PX
from fst.networks.loss_network import LossNetwork

LAYERS = ("relu1_2", "relu2_2", "relu3_3", "relu4_3", "relu5_1")
CHANNELS = dict(zip(LAYERS, (3, 4, 5, 4, 3), strict=True))
STROKES = ("relu1_2 at 1/1", "relu2_2 at 1/1", "relu1_2 at 1/2")
STYLES = 3
STYLE_INDEX = torch.tensor([0, 2, 2, 0, 1, 2, 0])
ALL = [list(range(7))]


def random_features(batch, seed, size=6):
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.randn(batch, c, size, size, generator=generator) for name, c in CHANNELS.items()
    }


def random_covariances(batch, seed):
    random = np.random.default_rng(seed)
    factors = {name: random.normal(size=(batch, 4, 9)) for name in STROKES}
    return {n: torch.from_numpy(f @ f.transpose(0, 2, 1)).float() for n, f in factors.items()}


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


def by_style(values, style_index=STYLE_INDEX):
    groups = {style: [] for style in range(STYLES)}
    for value, style in zip(values, style_index.tolist(), strict=True):
        groups[style].append(value)
    return np.array([np.mean(group) if group else np.nan for group in groups.values()])


def relative(found, wanted):
    return np.sqrt(((found - wanted) ** 2).sum()) / np.sqrt((wanted**2).sum())


def naive_style_distance(features, targets, style_index=STYLE_INDEX):
    """Mean over layers, least over sizes for each photo, mean over the photos of a style."""
    distances = []
    for b, style in enumerate(style_index.tolist()):
        by_size = []
        for target in targets:
            wanted = {name: target[name][style].double().numpy() for name in LAYERS}
            each = [relative(naive_gram(features[name][b]), wanted[name]) for name in LAYERS]
            by_size.append(sum(each) / len(each))
        distances.append(min(by_size))
    return by_style(distances, style_index)


def naive_brushwork(covariances, b, views):
    """Least distance of picture b from any of the views."""
    return min(
        np.mean(
            [relative(covariances[n][b].double().numpy(), view.double().numpy())
             for n, view in zip(STROKES, each, strict=True)]
        )
        for each in zip(*(views[n] for n in STROKES), strict=True)
    )  # fmt: skip


def rows(features, chosen):
    return {name: values[chosen] for name, values in features.items()}


TARGETS = [random_targets(seed) for seed in (10, 11, 12)]
FEATURES, CONTENT = random_features(7, 1), random_features(7, 2)
COVARIANCES = random_covariances(7, 3)
VIEWS = [random_covariances(count, 20 + count) for count in (2, 3, 6)]
PICTURES = torch.rand(7, 3, 20, 16, generator=torch.Generator().manual_seed(4))
PHOTOS = (PICTURES + 0.1 * torch.rand(7, 3, 20, 16)).clamp(0, 1)


def updated(metric, *arguments, chosen=ALL):
    """The metric after updates with the chosen rows of its arguments, part by part."""
    for part in chosen:
        of_part = [rows(a, part) if isinstance(a, dict) else a[part] for a in arguments]
        metric.update(*of_part, STYLE_INDEX[part])
    return metric


def style_metric(chosen):
    return updated(StyleDistance(TARGETS), FEATURES, chosen=chosen)


def content_metric(chosen):
    return updated(ContentDistance(STYLES), FEATURES, CONTENT, chosen=chosen)


def brushwork_metric(chosen):
    return updated(Brushwork(VIEWS), COVARIANCES, chosen=chosen)


def found_metric(chosen):
    return updated(Found(VIEWS), COVARIANCES, chosen=chosen)


def similarity_metric(chosen):
    return updated(PhotoSimilarity(STYLES), PICTURES, PHOTOS, chosen=chosen)


METRICS = [style_metric, content_metric, brushwork_metric, found_metric, similarity_metric]


# ---- what each measures ------------------------------------------------------------------------


def test_style_distance_is_the_protocol():
    expected = naive_style_distance(FEATURES, TARGETS)
    np.testing.assert_allclose(style_metric(ALL).compute().numpy(), expected, rtol=1e-5)


def test_the_least_size_is_chosen_for_each_photo():
    alone = [naive_style_distance(FEATURES, [target]) for target in TARGETS]
    least = style_metric(ALL).compute().numpy()
    assert (least <= np.min(alone, axis=0) + 1e-6).all()
    assert (least < np.min(alone, axis=0) - 1e-4).any()  # different photos chose different sizes


def test_content_distance_is_the_protocol():
    ratios = []
    for y, x in zip(FEATURES["relu4_3"].numpy(), CONTENT["relu4_3"].numpy(), strict=True):
        ratios.append(np.linalg.norm(y - x) ** 2 / np.linalg.norm(x) ** 2)
    np.testing.assert_allclose(content_metric(ALL).compute().numpy(), by_style(ratios), rtol=1e-5)


def test_brushwork_is_the_protocol():
    styles = STYLE_INDEX.tolist()
    expected = [naive_brushwork(COVARIANCES, b, VIEWS[style]) for b, style in enumerate(styles)]
    np.testing.assert_allclose(
        brushwork_metric(ALL).compute().numpy(), by_style(expected), rtol=1e-5
    )


@pytest.mark.parametrize("own", [None, [[0], [1, 2], [2, 0]]])
def test_found_is_the_share_whose_nearest_style_is_their_own(own):
    """The last reference is no style that is painted."""
    references = [*VIEWS, random_covariances(9, 30)]
    nearest = [
        int(np.argmin([naive_brushwork(COVARIANCES, b, views) for views in references]))
        for b in range(7)
    ]
    metric = updated(Found(references, own), COVARIANCES)
    allowed = own or [[0], [1], [2]]
    hits = [place in allowed[s] for place, s in zip(nearest, STYLE_INDEX.tolist(), strict=True)]
    np.testing.assert_allclose(metric.compute().numpy()[:STYLES], by_style(hits))
    assert len(set(nearest)) > 1  # or the test could not tell styles apart


def test_a_painting_itself_is_found():
    metric = Found(VIEWS)
    for style, views in enumerate(VIEWS):
        metric.update(rows(views, [1]), torch.tensor([style]))
    assert metric.compute().tolist() == [1, 1, 1]


def test_similarity_is_that_of_torchmetrics_for_each_style():
    each = [
        StructuralSimilarityIndexMeasure(data_range=1.0)(y[None], x[None]).item()
        for y, x in zip(PICTURES, PHOTOS, strict=True)
    ]
    np.testing.assert_allclose(similarity_metric(ALL).compute().numpy(), by_style(each), rtol=1e-5)


# ---- as metrics --------------------------------------------------------------------------------


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
    expected = naive_style_distance({n: v.float() for n, v in half.items()}, TARGETS)
    metric = StyleDistance(TARGETS)
    metric.update(half, STYLE_INDEX)
    np.testing.assert_allclose(metric.compute().numpy(), expected, rtol=1e-5)


# ---- what they are made of ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def network():
    """A random VGG-19 of few channels to relu4_3."""
    torch.manual_seed(0)
    widths = [4, 4, "M", 6, 6, "M", 8, 8, 8, 8, "M", 10, 10, 10]
    state = vgg.make_layers(widths).state_dict()
    return LossNetwork({f"features.{key}": value for key, value in state.items()})


def naive_equalised(image):
    """Ranks counted pixel by pixel: how many are darker, or alike and before it."""
    grey = image[0] * np.float32(0.299) + image[1] * np.float32(0.587)
    flat = (grey + image[2] * np.float32(0.114)).ravel()
    ranks = [(flat < v).sum() + (flat[:i] == v).sum() for i, v in enumerate(flat)]
    return (0.05 + 0.9 * np.array(ranks) / (len(flat) - 1)).reshape(grey.shape)


def test_grey_is_equalised_by_rank():
    levels = torch.randint(0, 5, (2, 3, 9, 7), generator=torch.Generator().manual_seed(0)) / 8
    expected = [naive_equalised(image.numpy()) for image in levels]
    np.testing.assert_allclose(equalised_grey(levels)[:, 0].numpy(), expected, atol=1e-6)


def test_brushwork_sees_neither_colour_nor_tone():
    """Grey to the power of 3, tinted: the order of its levels is kept."""
    grey = torch.rand(1, 1, 12, 10, generator=torch.Generator().manual_seed(0)).expand(1, 3, -1, -1)
    tinted = grey**3 * torch.tensor([0.9, 0.5, 0.2]).view(3, 1, 1)
    torch.testing.assert_close(equalised_grey(tinted), equalised_grey(grey))


def test_covariances_are_those_of_the_features_of_equalised_grey_at_three_scales(network):
    image = torch.rand(3, 70, 52, generator=torch.Generator().manual_seed(1))
    found = brushwork_covariances(network, image[None])
    grey = Image.fromarray(naive_equalised(image.numpy()).astype(np.float32))
    expected = {}
    for scale, height, width in ((1, 70, 52), (2, 35, 26), (4, 18, 13)):
        shown = torch.from_numpy(np.array(grey.resize((width, height), Image.Resampling.BILINEAR)))
        layers = LAYERS[: 3 if scale == 4 else 4]
        for layer, features in network(shown.expand(1, 3, -1, -1), layers).items():
            expected[f"{layer} at 1/{scale}"] = np.cov(features[0].flatten(1).numpy(), bias=True)
    assert set(found) == set(expected) and len(found) == 11
    for name, covariance in expected.items():
        np.testing.assert_allclose(found[name][0].numpy(), covariance, rtol=1e-2, atol=1e-5)


def test_layers_with_a_single_row_are_left_out(network):
    found = set(brushwork_covariances(network, torch.rand(1, 3, 32, 40)))
    wide = set(brushwork_covariances(network, torch.rand(1, 3, 64, 64)))
    assert found == wide  # 8 px at 1/4 are two rows of the third stage
    assert wide - set(brushwork_covariances(network, torch.rand(1, 3, 28, 64))) == {
        "relu3_3 at 1/4", "relu4_3 at 1/2",
    }  # fmt: skip


def test_style_grams_are_the_mean_over_the_pictures_of_a_style(network):
    pictures = [[torch.rand(3, 24, 20)], [torch.rand(3, 24, 20), torch.rand(3, 16, 33)]]
    grams = style_grams(network, pictures)
    assert tuple(grams) == LAYERS[:4] and LAYERS == STYLE_LAYERS
    for name in grams:
        for style, files in enumerate(pictures):
            each = [naive_gram(network(picture[None], [name])[name][0]) for picture in files]
            np.testing.assert_allclose(grams[name][style], np.mean(each, axis=0), rtol=1e-4)


def test_a_shallow_network_is_measured_with_the_layers_it_has(network):
    state = {
        f"features.{i}.{key}": value
        for i, conv in zip((0, 2, 5, 7, 10), network.convs.values(), strict=False)
        for key, value in conv.named_parameters()
    }
    shallow = LossNetwork(state)
    assert metrics.content_layer(network) == "relu4_3"
    assert metrics.content_layer(shallow) == "relu3_1"
    assert metrics.measured_layers(shallow) == ("relu1_2", "relu2_2", "relu3_1")
    first = LossNetwork({k: v for k, v in state.items() if k.startswith("features.0.")})
    assert metrics.measured_layers(first) == ("relu1_1",)
    assert len(brushwork_covariances(first, torch.rand(1, 3, 32, 32))) == 3


def test_views_are_enlarged_and_reduced(tmp_path):
    assert VIEW_SIZES_PX == (320, 480, 640)
    picture = images.to_picture(torch.rand(3, 30, 45))
    picture.save(tmp_path / "p.png")
    style = Style("p", (str(tmp_path / "p.png"),) * 2)
    for size_px, width in ((20, 30), (60, 90)):
        views = metrics.load_views(style, size_px)
        expected = picture.resize((width, size_px), Image.Resampling.LANCZOS)
        assert len(views) == 2 and torch.equal(views[0], images.to_tensor(expected))
