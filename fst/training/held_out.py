"""What the held-out photos are measured by, while a network is trained."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from fst.metrics import (
    Brushwork,
    ContentDistance,
    Found,
    StyleDistance,
    brushwork_covariances,
    content_layer,
    measured_layers,
)
from fst.networks.loss_network import LossNetwork
from fst.training.targets import Held

PHOTOS = "photo_brushwork"


class HeldOutMetrics(nn.ModuleDict):
    """The metrics of every style by their names: "style", "content", "brushwork", "found".

    *Found* needs two styles at least. "photo_brushwork", that of the photos themselves, is what a
    painting begins from; it is measured the first time and stays.
    """

    def __init__(self, held: Held, loss_network: LossNetwork) -> None:
        """Make the metrics.

        Args:
            held: What the styles are held against.
            loss_network: Gives the features; `update` takes the same.
        """
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
        """Measure photos in every style.

        Args:
            loss_network: As in `__init__`.
            paint: Takes photos and style ids (B,), returns paintings (B, 3, H, W).
            photos: (B, 3, H, W) in [0, 1].
        """
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
        """What was measured since the last time, of each style and in the mean; begins anew.

        Args:
            names: Of the styles.
        """
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
