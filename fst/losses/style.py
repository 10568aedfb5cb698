"""The style losses that are known by name: each a `StyleStatistic`.

A statistic is written as its name and options: "gram", "eigen top=5%", "eigen slice=10%-20%",
"projected rank=10% patches=3x3", "meanstd instances=max". `fst.losses.parse` reads that.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from fst.errors import FstError
from fst.losses import moments
from fst.losses.gram import Amount, count_of, eigenpairs, gram_matrix, part, span
from fst.losses.style_loss import FLOOR, Features, StyleLoss, Targets, aggregated, register
from fst.losses.wasserstein import Pair, blurred_root, gaussian_wasserstein

QUANTILES = 256  # bins of `sliced`
FLAT = 1e-2  # of the features' energy: what counts as no covariance, and as no mean


# ---- centred features, with the channel means matched by a term of their own --------------------


def split(features: Tensor) -> tuple[Tensor, Tensor]:
    """Channel means (B, C) of features (B, C, H, W), and the features less their means."""
    mean = moments.wide(features).mean(2)
    return mean, features - mean[:, :, None, None]


def of_centered(loss: StyleLoss) -> StyleLoss:
    """A loss of Gram matrices taken of centred features: of covariances, whatever the means are.

    The last target of the loss is what its distance is divided by, squared in the Gram matrix.
    """

    def target(features: Features) -> Targets:
        *parts, size = loss.target([split(image)[1] for image in features])
        # A picture of one colour has nearly none: relative to that, all others are infinitely far.
        return *parts, size.clamp_min((FLAT * _energy(features)).square())

    def distance(features: Tensor, *targets: Tensor) -> Tensor:
        return loss.distance(split(features)[1], *targets)

    return StyleLoss(target, distance)


def with_means(loss: StyleLoss, instances: str) -> StyleLoss:
    """A loss of covariances and the distance of the means, half and half:
    (d(centred y) + ||m - n||^2 / ||n||^2) / 2.

    Each is relative to its own target, for over a joint one the means, most of ||G||_F^2 in deep
    layers, would leave the covariance next to nothing: what centring is to undo. The halves make 1
    the distance of features that are all 0, as in the uncentred form.
    """
    centered = of_centered(loss)

    def target(features: Features) -> Targets:
        mean = aggregated(torch.cat([split(image)[0] for image in features]), instances)
        size = mean.square().sum().clamp_min(FLAT * _energy(features))
        return *centered.target(features), mean, size

    def distance(features: Tensor, *targets: Tensor) -> Tensor:
        *parts, target_mean, size = targets
        mean, rest = split(features)  # once, and so not by `centered`
        of_means = (mean - target_mean).square().sum(1) / size.clamp_min(FLOOR)
        return (loss.distance(rest, *parts) + of_means) / 2

    return StyleLoss(target, distance)


def _energy(features: Features) -> Tensor:
    """The trace of the mean Gram matrix."""
    return torch.stack([moments.wide(image).square().sum(1).mean() for image in features]).mean()


# ---- Gram matrices and parts of them -----------------------------------------------------------


def gram_target(features: Features, instances: str = "mean") -> Targets:
    """Gram matrices of a style's images as one: A (C, C), and ||A||_F^2."""
    matrix = aggregated(torch.cat([gram_matrix(image) for image in features]), instances)
    return matrix, matrix.square().sum()


def gram_distance(features: Tensor, targets: Tensor, size: Tensor) -> Tensor:
    """Relative squared distance of Gram matrices: ||G(y) - A||_F^2 / ||A||_F^2.

    Gatys et al. 2016, eq. 4. Differs from the paper: divided by the size of the target, so that
    one weight suits every style, layer and network; 1 is the distance of features that are all 0.

    Args:
        features: (B, C, H, W).
        targets: A, (B, C, C).
        size: ||A||_F^2, (B,).
    """
    squares = (gram_matrix(features) - targets).square().sum((1, 2))
    return squares / size.clamp_min(FLOOR)


@register("gram")
def gram(centered: bool = False, instances: str = "mean") -> StyleLoss:
    """All that Gram matrices say (Gatys et al. 2016); centred, covariances beside means."""
    loss = StyleLoss(lambda features: gram_target(features, instances), gram_distance)
    return with_means(loss, instances) if centered else loss


@register("eigen")
def eigen(
    top: Amount | None = None,
    bottom: Amount | None = None,
    slice: tuple[Amount, Amount] | None = None,
    ones: bool = False,
    centered: bool = False,
    instances: str = "mean",
) -> StyleLoss:
    """Some eigenpairs of the target: ||G(y) - P_K L_K P_K^T||_F^2 / ||A||_F^2 (thesis).

    Relative to the whole target, so that a part that says little weighs little.

    Args:
        top: The largest so many; this, `bottom` or `slice`.
        bottom: The smallest so many.
        slice: From after so many to so many, sorted from the largest.
        ones: The last of them is replaced by the ones-vector with a tiny eigenvalue.
        centered: Of the covariance, and the means apart (`with_means`): else the first pair is
            mostly the mean, and what is kept or left out beside it changes little.
        instances: How several images become one target: mean, max or min.

    Raises:
        FstError: More than one of `top`, `bottom` and `slice`.
    """
    if sum(choice is not None for choice in (top, bottom, slice)) > 1:
        raise FstError("style loss eigen: top, bottom and slice: give one of them")

    def target(features: Features) -> Targets:
        matrix, size = gram_target(features, instances)
        return part(matrix, *span(len(matrix), top, bottom, slice), ones), size

    loss = StyleLoss(target, gram_distance)
    return with_means(loss, instances) if centered else loss


def projected_distance(features: Tensor, vectors: Tensor, images: Tensor, size: Tensor) -> Tensor:
    """||G(y) P - P L||_F^2 / ||P L||_F^2 (thesis, "modified style loss").

    G(y) P is F (F^T P) / N: the C x C matrix is never made.

    Args:
        features: F, (B, C, H, W).
        vectors: P, (B, C, k).
        images: P L, (B, C, k).
        size: ||P L||_F^2, (B,).
    """
    with torch.autocast(features.device.type, enabled=False):
        flat = moments.wide(features)  # (B, C, N)
        along = flat.mT @ vectors.to(flat.dtype)  # (B, N, k)
        turned = flat @ along / flat.shape[2]  # (B, C, k)
    return (turned - images).square().sum((1, 2)) / size.clamp_min(FLOOR)


@register("projected")
def projected(rank: Amount = 0.1, centered: bool = False, instances: str = "mean") -> StyleLoss:
    """The Gram matrix along the target's leading eigenvectors: C x k numbers, not C x C (thesis).

    Args:
        rank: k.
        centered: Of the covariance, and the means apart (`with_means`).
        instances: How several images become one target: mean, max, min; or beside: each with its
            own eigenvectors, side by side.
    """

    def target(features: Features) -> Targets:
        matrices = [gram_matrix(image)[0] for image in features]
        if instances != "beside":
            matrices = [aggregated(torch.stack(matrices), instances)]
        vectors, images = [], []
        for matrix in matrices:
            k = count_of(rank, len(matrix))
            values, columns = eigenpairs(matrix)
            vectors.append(columns[:, :k].to(matrix))
            images.append((columns[:, :k] * values[:k]).to(matrix))
        beside = torch.cat(images, 1)
        return torch.cat(vectors, 1), beside, beside.square().sum()

    loss = StyleLoss(target, projected_distance)
    if not centered:
        return loss
    # From the means beside each other, the distance is that from their mean, but for a constant.
    return with_means(loss, "mean" if instances == "beside" else instances)


@register("covariance")
def covariance(instances: str = "mean") -> StyleLoss:
    """Gram matrices of centred features, whatever the means are: ||S(y) - T||_F^2 / ||T||_F^2."""
    return of_centered(gram(instances=instances))


def classic_distance(features: Tensor, targets: Tensor, size: Tensor) -> Tensor:
    """Mean squared difference of Gram matrices over C H W (Johnson et al. 2016, eq. 4).

    Differs from the paper: a mean over the C x C entries, as the widely used implementations do
    and as the weight 1e10 presumes. `size` is not used.
    """
    channels = features.shape[1]
    return ((gram_matrix(features) - targets) / channels).square().mean((1, 2))


# ---- moments and distributions -----------------------------------------------------------------


@register("meanstd")
def meanstd(instances: str = "mean") -> StyleLoss:
    """Mean and standard deviation of each channel (Huang & Belongie 2017, eq. 13).

    Differs from the paper: norms squared, both over the size of the target:
    (||m(y) - m||^2 + ||s(y) - s||^2) / (||m||^2 + ||s||^2)
    """

    def target(features: Features) -> Targets:
        rows = [torch.stack(moments.channel_moments(image), 1) for image in features]
        both = aggregated(torch.cat(rows), instances)  # (2, C)
        return both, both.square().sum()

    def distance(features: Tensor, both: Tensor, size: Tensor) -> Tensor:
        ours = torch.stack(moments.channel_moments(features), 1)
        return (ours - both).square().sum((1, 2)) / size.clamp_min(FLOOR)

    return StyleLoss(target, distance)


@register("wasserstein")
def wasserstein(instances: str = "mean") -> StyleLoss:
    """Squared 2-Wasserstein distance of normal distributions over ||n||^2 + tr(T).

    See `fst.losses.wasserstein`. 1 is the distance of features that are all 0. Of maxima and
    minima of covariances the negative part is cut off.
    """

    def target(features: Features) -> Targets:
        # Centred first: exacter than `covariance_matrix`.
        pairs = [split(image) for image in features]
        mean = aggregated(torch.cat([mean for mean, _ in pairs]), instances)
        matrix = aggregated(torch.cat([gram_matrix(rest) for _, rest in pairs]), instances)
        root, blur = blurred_root(mean, matrix)
        return mean, root, blur, mean.square().sum() + root.square().sum()

    def distances(features: Sequence[Tensor], targets: Sequence[Targets]) -> list[Tensor]:
        pairs, sizes = [], []
        for layer, (mean, root, blur, size) in zip(features, targets, strict=True):
            pairs.append(Pair(*moments.covariance_matrix(layer), mean, root, blur))
            sizes.append(size.clamp_min(FLOOR))
        found = gaussian_wasserstein(*pairs)
        return [distance / size for distance, size in zip(found, sizes, strict=True)]

    def distance(features: Tensor, *targets: Tensor) -> Tensor:
        return distances([features], [targets])[0]

    return StyleLoss(target, distance, distances)


@register("sliced")
def sliced(directions: int | None = None, seed: int = 0, instances: str = "mean") -> StyleLoss:
    """Sliced Wasserstein distance (Heitz et al. 2021, eq. 4), relative to the target's size.

    Features are projected on random directions and sorted; the distance is that of the sorted
    projections. Differs from the paper: the directions stay, so that L-BFGS sees one function, and
    the sorted projections are averaged in 256 bins, so that image sizes may differ; where 256 does
    not divide the positions, neighbouring bins share some.

    Args:
        directions: How many; as many as channels by default.
        seed: Of the directions.
        instances: How several images become one target: mean, max or min of the bins.
    """

    def along(features: Tensor) -> Tensor:
        channels = features.shape[1]
        return moments.directions(channels, directions or channels, seed, features.device)

    def target(features: Features) -> Targets:
        rows = [moments.quantiles(image, along(image), QUANTILES) for image in features]
        bins = aggregated(torch.cat(rows), instances)  # (K, Q)
        return bins, bins.square().sum()

    def distance(features: Tensor, bins: Tensor, size: Tensor) -> Tensor:
        ours = moments.quantiles(features, along(features), QUANTILES)
        return (ours - bins).square().sum((1, 2)) / size.clamp_min(FLOOR)

    return StyleLoss(target, distance)
