"""What the styles of a run are held against: computed by one process, sent to the others."""

from collections.abc import Sequence
from typing import Any

import torch
from lightning_utilities.core.apply_func import apply_to_collection
from torch import Tensor

from fst.losses.perceptual import PerceptualLoss
from fst.losses.style_loss import Targets
from fst.metrics import STYLE_SIZES_PX, style_grams
from fst.styles import Style, fingerprint, load_pictures
from fst.training.processes import from_first

# Of the loss, a style; of the metrics, a size of the pictures; what marks a style.
Found = tuple[list[dict[str, Targets]], list[dict[str, Tensor]], list[dict[str, str]]]


def targets_of_styles(
    perceptual: PerceptualLoss,
    styles: Sequence[Style],
    sizes_px: int | Sequence[int],
    device: torch.device,
) -> Found:
    """Targets of the loss and of the metrics, and marks that tell styles of the same pictures.

    Args:
        perceptual: The loss, whose network lies on `device`.
        styles: All of the run.
        sizes_px: Shorter side of the pictures for the loss, one or one a style.
        device: Where the targets shall lie.

    Returns:
        For `PerceptualLoss.set_targets`, for `StyleDistance`, and for the style model.

    Raises:
        FstError: A picture cannot be read, or a statistic does not fit it; in every process.
    """
    found = from_first(lambda: _moved(compute_targets(perceptual, styles, sizes_px, device), "cpu"))
    return _moved(found, device)


@torch.no_grad()
def compute_targets(
    perceptual: PerceptualLoss,
    styles: Sequence[Style],
    sizes_px: int | Sequence[int],
    device: torch.device,
) -> Found:
    """The same by this process alone."""

    def pictures(size_px: int | Sequence[int]) -> list[list[Tensor]]:
        read = load_pictures(styles, size_px)
        return [[picture.to(device) for picture in of_style] for of_style in read]

    targets = perceptual.style_targets(pictures(sizes_px))
    grams = [style_grams(perceptual.loss_network, pictures(px)) for px in STYLE_SIZES_PX]
    return targets, grams, [{"fingerprint": fingerprint(style)} for style in styles]


def _moved(values: Any, device: torch.device | str) -> Any:
    """Lists, tuples and dicts with their tensors on a device."""
    return apply_to_collection(values, Tensor, lambda tensor: tensor.to(device))
