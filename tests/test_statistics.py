"""The style statistics against computations of another kind, and their options."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fst.errors import FstError
from fst.losses import gram, moments
from fst.losses.parse import read_statistic
from fst.losses.patches import cut
from fst.losses.style import gram_target
from fst.losses.style_loss import STYLE_LOSSES


def features_of(seed=0, channels=6, height=5, width=7, batch=1):
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(batch, channels, height, width, generator=generator, dtype=torch.float64)
    mixing = torch.randn(channels, channels, generator=generator, dtype=torch.float64)
    return torch.einsum("ij,bjhw->bihw", mixing, values).relu()


def distance(text, image, style):
    """By the statistic of that text, of an image (1, C, H, W) from the pictures of a style."""
    loss = read_statistic(text).loss
    return loss.distance(image, *(t[None] for t in loss.target(style))).item()


def flat(features):
    return features[0].flatten(1).numpy()


def numpy_gram(features):
    f = flat(features)
    return np.array([[np.mean(a * b) for b in f] for a in f])


IMAGE, STYLE = features_of(0), features_of(1, height=6, width=4)


# ---- eigen -------------------------------------------------------------------------------------


def numpy_part(matrix, places):
    """The sum of outer products of some eigenpairs, largest first, by numpy's general solver."""
    values, vectors = np.linalg.eig(matrix)
    order = np.argsort(-np.abs(values))
    pairs = [(values[i], vectors[:, i]) for i in order]
    return sum(
        (value * np.outer(vector, vector) for value, vector in (pairs[p] for p in places)),
        np.zeros_like(matrix),
    ).real


@pytest.mark.parametrize(
    ("option", "places"),
    [("top=2", [0, 1]), ("bottom=2", [4, 5]), ("slice=1-3", [1, 2]), ("slice=50%-100%", [3, 4, 5]),
     ("top=50%", [0, 1, 2]), ("top=1%", [0])],
)  # fmt: skip
def test_eigen_keeps_the_chosen_pairs(option, places):
    matrix = numpy_gram(STYLE)
    rebuilt = numpy_part(matrix, places)
    expected = np.linalg.norm(numpy_gram(IMAGE) - rebuilt) ** 2 / np.linalg.norm(matrix) ** 2
    assert distance(f"eigen {option}", IMAGE, [STYLE]) == pytest.approx(expected, rel=1e-9)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), instances=st.sampled_from(["mean", "max", "min"]))
def test_all_eigenpairs_are_the_plain_gram_loss(seed, instances):
    pictures = [features_of(seed), features_of(seed + 1)]
    plain = distance(f"gram instances={instances}", IMAGE, pictures)
    for option in ("", "top=100%", "slice=0-6"):
        whole = distance(f"eigen {option} instances={instances}", IMAGE, pictures)
        assert whole == pytest.approx(plain, rel=1e-5)


def test_slices_add_up_to_the_whole():
    matrix = gram_target([STYLE])[0]
    parts = [gram.part(matrix, start, start + 2) for start in (0, 2, 4)]
    torch.testing.assert_close(sum(parts), matrix)


def test_the_smallest_pair_gives_way_to_the_ones_vector():
    matrix = numpy_gram(STYLE)
    largest = np.linalg.eigvalsh(matrix)[-1]
    ones = np.full((6, 6), 1 / 6)
    expected = numpy_part(matrix, range(5)) + gram.ONES_EIGENVALUE * largest * ones
    target = read_statistic("eigen ones").loss.target([STYLE])[0]
    np.testing.assert_allclose(target.numpy(), expected, rtol=1e-9, atol=1e-12)


def test_energy_rank_counts_the_pairs_that_hold_a_share():
    # Squares 16, 9, 0.01: of 25.01 the first holds 64 %, two 99.96 %.
    values = gram.eigenpairs(torch.diag(torch.tensor([0.1, 4.0, -3.0])))[0]
    assert [gram.energy_rank(values, share) for share in (0.6, 0.9, 0.9999)] == [1, 2, 3]


# ---- projected ---------------------------------------------------------------------------------


def test_projected_at_full_rank_is_the_rotated_plain_loss():
    plain = distance("gram", IMAGE, [STYLE])
    assert distance("projected rank=100%", IMAGE, [STYLE]) == pytest.approx(plain, rel=1e-9)


@pytest.mark.parametrize("k", [1, 3])
def test_projected_is_its_formula(k):
    values, vectors = np.linalg.eigh(numpy_gram(STYLE))
    vectors, values = vectors[:, ::-1][:, :k], values[::-1][:k]
    difference = numpy_gram(IMAGE) @ vectors - vectors * values
    expected = np.linalg.norm(difference) ** 2 / np.sum(values**2)
    assert distance(f"projected rank={k}", IMAGE, [STYLE]) == pytest.approx(expected, rel=1e-9)


def test_projected_beside_sums_over_the_instances():
    other = features_of(2)
    expected, size = 0.0, 0.0
    for picture in (STYLE, other):
        values, vectors = np.linalg.eigh(numpy_gram(picture))
        vectors, values = vectors[:, -2:], values[-2:]
        expected += np.linalg.norm(numpy_gram(IMAGE) @ vectors - vectors * values) ** 2
        size += np.sum(values**2)
    found = distance("projected rank=2 instances=beside", IMAGE, [STYLE, other])
    assert found == pytest.approx(expected / size, rel=1e-9)


def test_projected_target_is_smaller_than_a_gram_matrix():
    vectors, images, _ = read_statistic("projected rank=2").loss.target([STYLE])
    assert vectors.shape == images.shape == (6, 2)


# ---- centred -----------------------------------------------------------------------------------


def numpy_moments(features):
    return flat(features).mean(1), np.cov(flat(features), bias=True)


def half_and_half(of_covariance, size, image, mean):
    """The mean of a relative distance of covariances and the relative distance of the means."""
    of_means = np.sum((numpy_moments(image)[0] - mean) ** 2) / np.sum(mean**2)
    return (of_covariance / size + of_means) / 2


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 10**6), channels=st.integers(1, 5), height=st.integers(2, 9),
    offset=st.floats(0, 3),
)  # fmt: skip
def test_centred_gram_is_covariance_and_means_half_and_half(seed, channels, height, offset):
    image, style = (features_of(seed + i, channels, height) + offset * i for i in (0, 1))
    (_, s), (n, t) = numpy_moments(image), numpy_moments(style)
    # A covariance below a hundredth of the energy counts as that much.
    size = max(np.sum(t**2), (0.01 * np.trace(numpy_gram(style))) ** 2)
    expected = half_and_half(np.sum((s - t) ** 2), size, image, n)
    assert distance("gram centered", image, [style]) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    ("option", "places"), [("top=2", [0, 1]), ("bottom=50%", [3, 4, 5]), ("slice=1-3", [1, 2])]
)
def test_centred_eigen_keeps_pairs_of_the_covariance(option, places):
    (_, s), (n, t) = numpy_moments(IMAGE), numpy_moments(STYLE)
    squares = np.sum((s - numpy_part(t, places)) ** 2)
    expected = half_and_half(squares, np.sum(t**2), IMAGE, n)
    assert distance(f"eigen centered {option}", IMAGE, [STYLE]) == pytest.approx(expected, rel=1e-9)


def test_centred_eigen_puts_the_ones_vector_in_place_of_the_smallest_pair():
    t = numpy_moments(STYLE)[1]
    ones = np.full((6, 6), gram.ONES_EIGENVALUE * np.linalg.eigvalsh(t)[-1] / 6)
    target = read_statistic("eigen centered ones").loss.target([STYLE])[0]
    np.testing.assert_allclose(target.numpy(), numpy_part(t, range(5)) + ones, atol=1e-12)


@pytest.mark.parametrize("k", [1, 3])
def test_centred_projected_looks_along_the_eigenvectors_of_the_covariance(k):
    (_, s), (n, t) = numpy_moments(IMAGE), numpy_moments(STYLE)
    values, vectors = np.linalg.eigh(t)
    vectors, values = vectors[:, -k:], values[-k:]
    squares = np.sum((s @ vectors - vectors * values) ** 2)
    expected = half_and_half(squares, np.sum(values**2), IMAGE, n)
    found = distance(f"projected centered rank={k}", IMAGE, [STYLE])
    assert found == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("how", ["mean", "max", "min"])
def test_centred_instances_are_aggregated_means_and_covariances(how):
    pictures = [features_of(seed) for seed in (1, 2, 3)]
    function = {"mean": np.mean, "max": np.max, "min": np.min}[how]
    n, t = (function(rows, axis=0) for rows in zip(*map(numpy_moments, pictures), strict=True))
    matrix, _, mean, _ = read_statistic(f"gram centered instances={how}").loss.target(pictures)
    np.testing.assert_allclose(matrix.numpy(), t, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(mean.numpy(), n, rtol=1e-9)


def test_means_beside_each_other_are_their_mean():
    pictures = [STYLE, features_of(2)]
    text = "projected centered rank=2 instances=beside"
    vectors, _, _, mean, _ = read_statistic(text).loss.target(pictures)
    assert vectors.shape == (6, 4)
    expected = np.mean([numpy_moments(picture)[0] for picture in pictures], axis=0)
    np.testing.assert_allclose(mean.numpy(), expected, rtol=1e-9)


@pytest.mark.parametrize("text", ["gram", "eigen top=1", "eigen bottom=2", "projected rank=1"])
def test_palette_stays_matched_whatever_of_the_covariance_is_kept(text):
    # Of a constant shift of all features, centred losses see the means' part alone.
    near, far = (distance(f"{text} centered", STYLE + by, [STYLE]) for by in (0, 0.5))
    mean = numpy_moments(STYLE)[0]
    assert far - near == pytest.approx(6 * 0.5**2 / np.sum(mean**2) / 2, rel=1e-9)


@pytest.mark.parametrize("text", ["gram centered", "projected centered rank=3"])
def test_features_that_are_all_0_have_centred_distance_1(text):
    assert distance(text, torch.zeros_like(IMAGE), [STYLE]) == pytest.approx(1)


def test_partial_covariances_lie_further_from_another_than_partial_gram_matrices():
    # The mean is most of a Gram matrix of rectified features: its first pair is nearly all of it.
    style = STYLE + 2
    lost = {
        text: distance(text, style, [style]) for text in ("eigen top=1", "eigen centered top=1")
    }
    assert lost["eigen top=1"] < 0.01 < 0.05 < lost["eigen centered top=1"]


# ---- instances ---------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["mean", "max", "min"])
def test_instances_are_aggregated_element_by_element(how):
    pictures = [features_of(seed) for seed in (1, 2, 3)]
    function = {"mean": np.mean, "max": np.max, "min": np.min}[how]
    matrix = function([numpy_gram(picture) for picture in pictures], axis=0)
    target = read_statistic(f"gram instances={how}").loss.target(pictures)[0]
    np.testing.assert_allclose(target.numpy(), matrix, rtol=1e-9)
    moments_of = [np.stack([flat(p).mean(1), np.sqrt(flat(p).var(1) + 1e-5)]) for p in pictures]
    target = read_statistic(f"meanstd instances={how}").loss.target(pictures)[0]
    np.testing.assert_allclose(target.numpy(), function(moments_of, axis=0), rtol=1e-9)


# ---- moments and distributions -----------------------------------------------------------------


def test_meanstd_is_its_formula():
    (m, s), (n, t) = ((flat(f).mean(1), np.sqrt(flat(f).var(1) + 1e-5)) for f in (IMAGE, STYLE))
    expected = (np.sum((m - n) ** 2) + np.sum((s - t) ** 2)) / (np.sum(n**2) + np.sum(t**2))
    assert distance("meanstd", IMAGE, [STYLE]) == pytest.approx(expected, rel=1e-9)


def test_covariance_is_numpys():
    ours, theirs = (np.cov(flat(f), bias=True) for f in (IMAGE, STYLE))
    expected = np.linalg.norm(ours - theirs) ** 2 / np.linalg.norm(theirs) ** 2
    assert distance("covariance", IMAGE, [STYLE]) == pytest.approx(expected, rel=1e-9)
    assert distance("covariance", IMAGE + 3, [STYLE]) == pytest.approx(expected, rel=1e-9)


def test_wasserstein_of_normal_distributions_by_the_general_root():
    # tr((T^1/2 S T^1/2)^1/2) is the sum of the roots of the eigenvalues of S T.
    (m, s), (n, t) = ((flat(f).mean(1), np.cov(flat(f), bias=True)) for f in (IMAGE, STYLE))
    cross = np.sqrt(np.linalg.eigvals(s @ t).real.clip(0)).sum()
    squared = np.sum((m - n) ** 2) + np.trace(s) + np.trace(t) - 2 * cross
    expected = squared / (np.sum(n**2) + np.trace(t))
    assert distance("wasserstein", IMAGE, [STYLE]) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_covariance_and_its_gradients_are_those_of_centred_features(memory_format):
    features = torch.randn(2, 3, 4, 5, dtype=torch.float64).to(memory_format=memory_format)
    features.requires_grad_()

    def plain(features):
        centred = features.flatten(2) - features.mean((2, 3))[:, :, None]
        return features.mean((2, 3)), centred @ centred.mT / 20

    weights = [torch.randn(part.shape, dtype=torch.float64) for part in plain(features)]
    for way in (moments.covariance_matrix, plain):
        parts = way(features)
        total = sum((w * p.sin()).sum() for w, p in zip(weights, parts, strict=True))
        (gradient,) = torch.autograd.grad(total, features, create_graph=True)
        (second,) = torch.autograd.grad(gradient.square().sum(), features)
        if way is moments.covariance_matrix:
            found = *parts, gradient, second
    for one, other in zip(found, (*parts, gradient, second), strict=True):
        torch.testing.assert_close(one, other)


def test_covariance_in_fp32_of_features_far_from_0():
    features = 100 + torch.randn(1, 4, 64, 64, generator=torch.Generator().manual_seed(0))
    expected = np.cov(features.double().flatten(2)[0].numpy(), bias=True)
    _, found = moments.covariance_matrix(features)
    np.testing.assert_allclose(found[0].numpy(), expected, atol=2e-2)  # 1e-6 of 100^2, twice


def test_a_style_of_one_colour_has_a_finite_wasserstein_distance():
    grey = torch.full((1, 6, 5, 7), 0.5)
    loss = read_statistic("wasserstein").loss
    targets = [target[None] for target in loss.target([grey])]
    for image in (grey.clone(), torch.zeros(1, 6, 5, 7), torch.rand(1, 6, 5, 7)):
        found = loss.distance(image.requires_grad_(), *targets)
        found.sum().backward()
        assert found.isfinite().all() and image.grad.isfinite().all()
    assert loss.distance(grey, *targets).item() == pytest.approx(0, abs=1e-4)


def test_wasserstein_takes_maxima_that_are_no_covariance():
    pictures = [features_of(seed) for seed in (1, 2, 3)]
    for how in ("max", "min"):
        assert np.isfinite(distance(f"wasserstein instances={how}", IMAGE, pictures))


def test_sliced_is_a_loop_over_directions():
    image, style = features_of(0, 3, 16, 16), features_of(1, 3, 32, 16)  # 1 and 2 values a bin
    along = moments.directions(3, 4, seed=7).double().numpy()
    expected, size = 0.0, 0.0
    for direction in along:
        ours = np.sort(direction @ flat(image))
        theirs = np.sort(direction @ flat(style)).reshape(256, 2).mean(1)
        expected += np.sum((ours - theirs) ** 2)
        size += np.sum(theirs**2)
    found = distance("sliced directions=4 seed=7", image, [style])
    assert found == pytest.approx(expected / size, rel=1e-9)


# ---- all of them -------------------------------------------------------------------------------

CENTERED = ["gram centered", "eigen centered top=2", "projected centered rank=2"]
ALL = [*STYLE_LOSSES, "eigen top=2", "projected rank=2", "sliced directions=5", *CENTERED]


@pytest.mark.parametrize(
    "text",
    [
        *("gram", "eigen", "projected", "meanstd", "covariance", "sliced"),
        *("gram centered", "eigen centered", "projected centered rank=2"),
    ],
)
def test_the_style_picture_itself_has_distance_zero(text):
    assert distance(text, STYLE, [STYLE]) == pytest.approx(0, abs=1e-12)


def test_the_style_picture_itself_is_near_in_wasserstein():
    # Both are blurred alike.
    assert distance("wasserstein", STYLE, [STYLE]) == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize("text", ALL)
def test_gradients(text):
    loss = read_statistic(text).loss
    targets = [target[None].expand(2, *target.shape) for target in loss.target([STYLE])]
    # Not rectified: two equal numbers, as zeros are, have no derivative of their order.
    image = torch.randn(2, 6, 3, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda f: loss.distance(f, *targets), image)


@pytest.mark.parametrize("text", ALL)
def test_few_positions_and_flat_features_have_finite_gradients(text):
    loss = read_statistic(text).loss
    targets = [target[None].float() for target in loss.target([STYLE])]
    for image in (torch.ones(1, 6, 4, 4), torch.zeros(1, 6, 1, 2), torch.rand(1, 6, 1, 2)):
        image.requires_grad_()
        loss.distance(image, *targets).sum().backward()
        assert image.grad.isfinite().all()


@pytest.mark.parametrize("text", ALL)
def test_distance_is_fp32_and_near_exact_under_bf16_autocast(text):
    loss = read_statistic(text).loss
    targets = [target[None].float() for target in loss.target([STYLE])]
    plain = loss.distance(IMAGE.float(), *targets)
    with torch.autocast("cpu", torch.bfloat16):
        cast = loss.distance(IMAGE.float(), *targets)
    assert cast.dtype == torch.float32
    torch.testing.assert_close(cast, plain, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("text", ALL)
def test_a_batch_is_its_images(text):
    loss = read_statistic(text).loss
    images = features_of(3, batch=2)
    styles = [loss.target([features_of(seed)]) for seed in (4, 5)]
    together = loss.distance(images, *(torch.stack(t) for t in zip(*styles, strict=True)))
    for place in (0, 1):
        alone = loss.distance(images[place : place + 1], *(t[None] for t in styles[place]))
        assert together[place].item() == pytest.approx(alone.item(), rel=1e-9)


# ---- patches -----------------------------------------------------------------------------------


def test_patches_of_a_grid_tile_the_picture():
    picture = torch.rand(3, 80, 120)
    patches = cut(picture, (2, 3))
    rows = [torch.cat(patches[start : start + 3], 2) for start in (0, 3)]
    torch.testing.assert_close(torch.cat(rows, 1), picture)


@settings(max_examples=40, deadline=None)
@given(
    height=st.integers(96, 200), width=st.integers(96, 200), rows=st.integers(1, 3),
    columns=st.integers(1, 3), overlap=st.floats(0.2, 0.9),
)  # fmt: skip
def test_overlapping_patches_are_equal_and_reach_the_edges(height, width, rows, columns, overlap):
    picture = torch.arange(height * width).view(1, height, width)
    patches = cut(picture, (rows, columns), overlap)
    assert len({patch.shape for patch in patches}) == 1 and len(patches) == rows * columns
    seen = torch.cat([patch.flatten() for patch in patches]).unique()
    assert len(seen) == height * width  # every pixel is in some patch
    if rows > 1:
        shared = patches[0].shape[1] - (patches[columns][0, 0, 0] // width).item()
        assert shared / patches[0].shape[1] == pytest.approx(overlap, abs=0.06)


def test_patch_size_is_what_it_says():
    assert {p.shape for p in cut(torch.zeros(3, 100, 140), (2, 2), size_px=40)} == {(3, 40, 40)}


@pytest.mark.parametrize(
    "options", [{"grid": (3, 1)}, {"grid": (1, 1), "size_px": 90}, {"grid": (9, 9)}]
)
def test_pictures_too_small_for_the_grid_are_refused(options):
    with pytest.raises(FstError, match=r"64x80 px.*at least 32 px"):
        cut(torch.zeros(3, 80, 64), **options)


# ---- how they are written ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("vibes", "choose among gram, eigen"),
        ("", "unknown"),
        ("patches", "an option of each, as in 'gram patches=...'"),
        ("gram top=3", "option 'top'"),
        ("eigen top=2 top=3", "given twice"),
        ("eigen top=0", "from 1 up"),
        ("eigen top=101%", "to 100%"),
        ("eigen top=few", "such as 5%"),
        ("eigen slice=20%-10%", "ends before it begins"),
        ("eigen slice=3", "FROM-TO"),
        ("eigen slice=1-50%", "two counts or two shares"),
        ("eigen ones=maybe", "yes or no"),
        ("gram centered=maybe", "yes or no"),
        ("wasserstein centered", "option 'centered' is unknown"),
        ("projected rank", "such as 5%"),
        ("gram instances=median", "mean, max, min"),
        ("gram instances=beside", "mean, max, min"),
        ("gram patches=3", "ROWSxCOLUMNS"),
        ("gram overlap=0.5", "needs patches"),
        ("gram patches=2x2 overlap=100%", "below 100%"),
        ("gram patches=2x2 overlap=10% patch_size=64", "one of them"),
        ("gram patches=2x2 patch_size=31", "from 32 up"),
        ("sliced directions=0", "from 1 up"),
        ("sliced seed=99999999999999999999", "whole number"),
        (f"eigen top={'9' * 5000}", "such as 5%"),
        ("eigen top=1 bottom=1", "give one of them"),
    ],
)
def test_a_wrong_statistic_is_told_in_one_line(text, part):
    with pytest.raises(FstError) as error:
        read_statistic(text)
    assert part in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("eigen top=7", "7 eigenpairs, but the layer has 6"),
        ("projected rank=7", "6 channels"),
        ("eigen slice=1%-2%", "none of 6"),
    ],
)
def test_ranks_that_a_layer_lacks_are_refused(text, part):
    with pytest.raises(FstError, match=part):
        read_statistic(text).loss.target([STYLE])


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("eigen  slice=0.1-20%", "eigen slice=10%-20%"),
        ("gram patches=2x3 overlap=.5", "gram overlap=50% patches=2x3"),
        ("eigen ones", "eigen ones=yes"),
        ("projected rank=8", "projected rank=8"),
        ("gram instances=mean", "gram"),
        ("projected centered rank=10% patches=2x2", "projected centered=yes patches=2x2"),
        ("gram centered=no", "gram"),
        ("projected rank=10%", "projected"),
        ("eigen ones=no", "eigen"),
        ("eigen slice=0-5", "eigen slice=0-5"),
    ],
)
def test_equal_statistics_have_equal_text(text, canonical):
    statistic = read_statistic(text)
    assert statistic.text == canonical
    assert read_statistic(statistic.text).text == canonical


def test_counts_and_shares():
    assert gram.count_of(0.1, 64) == 6 and gram.count_of(1, 64) == 1
    assert gram.count_of(1.0, 64) == 64 and gram.count_of(1e-6, 64) == 1


def test_a_picture_of_one_colour_is_not_infinitely_far():
    flat_picture = torch.ones(1, 6, 8, 8)
    for text in (*STYLE_LOSSES, *CENTERED):
        assert distance(text, IMAGE.float(), [flat_picture]) < 1e6


def test_eigen_takes_one_choice():
    with pytest.raises(FstError, match="give one of them"):
        STYLE_LOSSES["eigen"](top=1, bottom=1)


@pytest.mark.parametrize(
    "option", [{"top": 0}, {"top": -3}, {"bottom": 0.0}, {"top": 1.5}, {"slice": (-2, 3)}]
)
def test_eigen_takes_a_count_or_a_share(option):
    statistic = STYLE_LOSSES["eigen"](**option)
    with pytest.raises(FstError, match="expected a count from 1 up or a share to 100%"):
        statistic.target([IMAGE])


@pytest.mark.parametrize("size", [256, 300, 513, 1000, 255, 100, 4, 1])
def test_bins_of_a_gpu_average_as_torch_does(size):
    """Also where there are fewer places than bins, and each is in several."""
    ours = torch.randn(2, 3, size, dtype=torch.float64, requires_grad=True)
    theirs = ours.detach().clone().requires_grad_(True)
    got = moments.AveragedInBins.apply(ours, 256)
    expected = torch.nn.functional.adaptive_avg_pool1d(theirs, 256)
    assert torch.equal(got, expected)
    weights = torch.randn_like(expected)
    (got * weights).sum().backward()
    (expected * weights).sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad)
