"""Style losses of centred features, with the channel means matched by a term of their own."""

import torch
from torch import Tensor

from fst.losses.moments import wide
from fst.losses.style_loss import FLOOR, Features, StyleLoss, Targets, aggregated

FLAT = 1e-2  # of the features' energy: what counts as no covariance, and as no mean


def split(features: Tensor) -> tuple[Tensor, Tensor]:
    """Channel means (B, C) of features (B, C, H, W), and the features less their means."""
    mean = wide(features).mean(2)
    return mean, features - mean[:, :, None, None]


def of_centered(loss: StyleLoss) -> StyleLoss:
    """A loss of Gram matrices taken of centred features: of covariances, whatever the means are.

    Args:
        loss: Its last target is what its distance is divided by, squared in the Gram matrix.
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

    Args:
        loss: As `of_centered` takes it.
        instances: How several images become one mean: mean, max or min.
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
    """Mean over images and positions of the squared norm: the trace of the mean Gram matrix."""
    return torch.stack([wide(image).square().sum(1).mean() for image in features]).mean()
