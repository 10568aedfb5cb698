"""What a run's styles are held against, and what its held-out photos are measured by."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from lightning_utilities.core.apply_func import apply_to_collection
from torch import Tensor, nn

from fst.data.styles import Style, fingerprint, load_pictures
from fst.losses.perceptual import PerceptualLoss
from fst.losses.style_loss import Targets
from fst.losses.traits import Traits
from fst.metrics import (
    Brushwork,
    ContentDistance,
    Found,
    StyleDistance,
    brushwork_covariances,
    content_layer,
    load_views,
    measured_layers,
    style_grams,
)
from fst.networks.loss_network import LossNetwork
from fst.runtime.processes import from_first

# Shorter sides of the paintings for the metrics, in crops: what `VIEW_SIZES_PX` are to photos of
# 320 px. Strokes are as large as the run paints them.
VIEW_SIZES = (1.0, 1.5, 2.0)
PHOTOS = "photo_brushwork"


@dataclass
class Held:
    """What styles are held against.

    Attributes:
        targets: For each style its targets, for `PerceptualLoss.set_targets`; and those in grey, or
            none.
        grams: For each size of the pictures what `StyleDistance` needs.
        views: For each style what `Brushwork` needs.
        marks: For each style what tells that others are of the same pictures, for the style model.
        traits: Of `Traits.of`, for `PerceptualLoss.set_targets`.
    """

    targets: list[list[dict[str, Targets]]]
    grams: list[dict[str, Tensor]]
    views: list[dict[str, Tensor]]
    marks: list[dict[str, str]]
    traits: Traits | None


def targets_of_styles(
    perceptual: PerceptualLoss,
    styles: Sequence[Style],
    sizes_px: int | Sequence[int],
    crop_px: int,
    in_grey: bool = False,
) -> Held:
    """Targets of the loss and of the metrics, and marks that tell styles of the same pictures.

    Args:
        perceptual: The loss, on whose device they shall be.
        styles: All of the run.
        sizes_px: Shorter side of the pictures for the loss, one or one a style.
        crop_px: Side of the run's crops, which the metrics' sizes go by.
        in_grey: Whether images are compared in grey, too.

    Raises:
        FstError: A picture cannot be read, or a statistic does not fit it; in every process.
    """
    found = from_first(
        lambda: _moved(compute_targets(perceptual, styles, sizes_px, crop_px, in_grey), "cpu")
    )
    return _moved(found, perceptual.device)


@torch.no_grad()
def compute_targets(
    perceptual: PerceptualLoss,
    styles: Sequence[Style],
    sizes_px: int | Sequence[int],
    crop_px: int,
    in_grey: bool = False,
) -> Held:
    """The same by this process alone."""
    device = perceptual.device
    pictures = _moved(load_pictures(styles, sizes_px), device)
    targets = perceptual.style_targets(pictures, in_grey)
    traits = Traits.of(pictures)
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
    return Held(targets, grams, stacked, marks, traits)


def _moved(values: Any, device: torch.device | str) -> Any:
    """Lists, dicts and dataclasses with their tensors on a device."""
    return apply_to_collection(values, Tensor, lambda tensor: tensor.to(device))


class HeldOutMetrics(nn.ModuleDict):
    """The metrics of every style by their names: "style", "content", "brushwork", "found".

    *Found* needs two styles at least. "photo_brushwork", that of the photos themselves, is what a
    painting begins from; it is measured the first time and stays.
    """

    def __init__(self, held: Held, loss_network: LossNetwork) -> None:
        """Make the metrics of features of a loss network, the same that `update_with` is given."""
        count = len(held.views)
        metrics = {
            "style": StyleDistance(held.grams),
            "content": ContentDistance(count, content_layer(loss_network)),
            "brushwork": Brushwork(held.views),
            PHOTOS: Brushwork(held.views),
        }
        if count > 1:
            metrics["found"] = Found(held.views)
        super().__init__(metrics)
        self.count = count
        self.knows_photos = False

    def update_with(
        self,
        loss_network: LossNetwork,
        paint: Callable[[Tensor, Tensor], Tensor],
        photos: Tensor,
    ) -> None:
        """Measure photos (B, 3, H, W) in [0, 1] as `paint` paints them, given style ids (B,)."""
        layers = measured_layers(loss_network)
        content = loss_network(photos, layers)
        strokes = None if self.knows_photos else brushwork_covariances(loss_network, photos)
        for style_id in range(self.count):
            style_index = torch.full((len(photos),), style_id, device=photos.device)
            stylized = paint(photos, style_index)
            features = loss_network(stylized, layers)
            self["style"].update(features, style_index)
            self["content"].update(features, content, style_index)
            covariances = brushwork_covariances(loss_network, stylized)
            for kind in {"brushwork", "found"} & set(self):
                self[kind].update(covariances, style_index)
            if strokes is not None:
                self[PHOTOS].update(strokes, style_index)

    def figures(self, names: Sequence[str]) -> dict[str, float]:
        """What was measured since the last time, of each style by name and on average."""
        figures = {}
        for kind, metric in self.items():
            values = metric.compute().reshape(-1)  # torchmetrics makes (1,) a scalar
            if kind != PHOTOS:
                metric.reset()
            for name, value in zip(names, values.tolist(), strict=True):
                figures[f"val/{kind}/{name}"] = value
            figures[f"val/{kind}"] = values.mean().item()
        self.knows_photos = True
        return figures
