"""What the styles of a run are held against: computed by one process, sent to the others."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from lightning_utilities.core.apply_func import apply_to_collection
from torch import Tensor

from fst.data.styles import Style, fingerprint, load_pictures
from fst.losses.perceptual import PerceptualLoss
from fst.losses.style_loss import Targets
from fst.metrics import brushwork_covariances, load_views, style_grams
from fst.runtime.processes import from_first

# Shorter sides of the paintings for the metrics, in crops: what `VIEW_SIZES_PX` are to photos of
# 320 px. Strokes are as large as the run paints them.
VIEW_SIZES = (1.0, 1.5, 2.0)


@dataclass
class Held:
    """What styles are held against.

    Attributes:
        targets: For each style its targets, for `PerceptualLoss.set_targets`.
        grams: For each size of the pictures what `StyleDistance` needs.
        views: For each style what `Brushwork` needs.
        marks: For each style what tells that others are of the same pictures, for the style model.
    """

    targets: list[dict[str, Targets]]
    grams: list[dict[str, Tensor]]
    views: list[dict[str, Tensor]]
    marks: list[dict[str, str]]


def targets_of_styles(
    perceptual: PerceptualLoss,
    styles: Sequence[Style],
    sizes_px: int | Sequence[int],
    crop_px: int,
    device: torch.device,
) -> Held:
    """Targets of the loss and of the metrics, and marks that tell styles of the same pictures.

    Args:
        perceptual: The loss, whose network lies on `device`.
        styles: All of the run.
        sizes_px: Shorter side of the pictures for the loss, one or one a style.
        crop_px: Side of the run's crops, which the metrics' sizes go by.
        device: Where the targets shall lie.

    Raises:
        FstError: A picture cannot be read, or a statistic does not fit it; in every process.
    """
    found = from_first(
        lambda: _moved(compute_targets(perceptual, styles, sizes_px, crop_px, device), "cpu")
    )
    return _moved(found, device)


@torch.no_grad()
def compute_targets(
    perceptual: PerceptualLoss,
    styles: Sequence[Style],
    sizes_px: int | Sequence[int],
    crop_px: int,
    device: torch.device,
) -> Held:
    """The same by this process alone."""
    targets = perceptual.style_targets(_moved(load_pictures(styles, sizes_px), device))
    network, grams = perceptual.loss_network, []
    views: list[list[dict[str, Tensor]]] = [[] for _ in styles]
    for size in VIEW_SIZES:
        shown_px = round(size * crop_px)
        pictures = [_moved(load_views(style, shown_px), device) for style in styles]
        grams.append(style_grams(network, pictures))
        for of_style, shown in zip(views, pictures, strict=True):
            of_style += [brushwork_covariances(network, picture[None]) for picture in shown]
    stacked = [{name: torch.cat([v[name] for v in each]) for name in each[0]} for each in views]
    marks = [{"fingerprint": fingerprint(style)} for style in styles]
    return Held(targets, grams, stacked, marks)


def _moved(values: Any, device: torch.device | str) -> Any:
    """Lists, dicts and dataclasses with their tensors on a device."""
    return apply_to_collection(values, Tensor, lambda tensor: tensor.to(device))
