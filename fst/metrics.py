"""Held-out style and content distances, as torchmetrics metrics.

Style distance of a stylised photo y in style s: mean over layers of ||G(y) - G(s)||_F / ||G(s)||_F,
the least over several sizes of the style picture, because a network may paint it with larger or
smaller strokes. Content distance: ||F(y) - F(x)||^2 / ||F(x)||^2. Neither squares the style
distance nor weighs it against content: they compare networks however they were trained.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torchmetrics import Metric

from fst.losses.gram import gram_matrix
from fst.losses.perceptual import content_distance
from fst.networks.vgg import LossNetwork

STYLE_LAYERS = ("relu1_1", "relu2_1", "relu3_1")
CONTENT_LAYER = "relu3_1"
STYLE_SIZES_PX = (256, 384, 512)


def style_grams(loss_network: LossNetwork, styles: Sequence[Sequence[Tensor]]) -> dict[str, Tensor]:
    """Gram matrices of the styles: layer to (S, C, C), the mean over the pictures of each style.

    Args:
        loss_network: One that has relu1_1, relu2_1 and relu3_1.
        styles: For each style its pictures (3, H, W) in [0, 1], all read at one size.
    """
    rows: dict[str, list[Tensor]] = {layer: [] for layer in STYLE_LAYERS}
    for pictures in styles:
        features = [loss_network(picture[None], STYLE_LAYERS) for picture in pictures]
        for layer in STYLE_LAYERS:
            rows[layer].append(torch.cat([gram_matrix(f[layer]) for f in features]).mean(0))
    return {layer: torch.stack(grams) for layer, grams in rows.items()}


class _PerStyleMean(Metric):
    """Mean of a distance for each style id; NaN for a style never seen."""

    higher_is_better = False
    full_state_update = False

    def __init__(self, num_styles: int) -> None:
        super().__init__()
        zeros = torch.zeros(num_styles)
        self.add_state("total", zeros, dist_reduce_fx="sum")
        self.add_state("count", zeros.long(), dist_reduce_fx="sum")

    def _add(self, distances: Tensor, style_index: Tensor) -> None:
        self.total.index_add_(0, style_index, distances.to(self.total.dtype))
        self.count.index_add_(0, style_index, torch.ones_like(style_index))

    def compute(self) -> Tensor:
        """Mean distances by style id, (S,)."""
        return (self.total / self.count).float()


class StyleDistance(_PerStyleMean):
    """Mean relative distance of Gram matrices from those of the style, per style id.

    Args:
        targets: One entry for each size of the style pictures: `style_grams` at that size.
    """

    def __init__(self, targets: Sequence[Mapping[str, Tensor]]) -> None:
        super().__init__(len(targets[0][STYLE_LAYERS[0]]))
        self.targets = [dict(target) for target in targets]

    def update(self, features: Mapping[str, Tensor], style_index: Tensor) -> None:
        """Add stylised images.

        Args:
            features: Of the stylised images, layer to (B, C, H, W).
            style_index: (B,) the style each was painted in.
        """
        grams = {layer: gram_matrix(features[layer]) for layer in STYLE_LAYERS}
        by_size = [
            torch.stack([self._relative(grams[n], t[n], style_index) for n in STYLE_LAYERS]).mean(0)
            for t in self.targets
        ]
        self._add(torch.stack(by_size).amin(0), style_index)  # (B,)

    @staticmethod
    def _relative(grams: Tensor, targets: Tensor, style_index: Tensor) -> Tensor:
        target = targets.to(grams.device)[style_index]  # (B, C, C)
        norm = torch.linalg.matrix_norm
        return norm(grams - target) / norm(target).clamp_min(1e-6)


class ContentDistance(_PerStyleMean):
    """Mean relative squared distance of relu3_1 features from those of the photo, per style id."""

    def update(
        self, features: Mapping[str, Tensor], content: Mapping[str, Tensor], style_index: Tensor
    ) -> None:
        """Add stylised images.

        Args:
            features: Of the stylised images, with relu3_1 (B, C, H, W).
            content: Of their photos, with relu3_1.
            style_index: (B,) the style each was painted in.
        """
        stylized, photo = features[CONTENT_LAYER].float(), content[CONTENT_LAYER].float()
        self._add(content_distance(stylized, photo), style_index)
