"""The mean for each style id that metrics share; distances from style and photo."""

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.functional.image import structural_similarity_index_measure

from fst.losses.gram import gram_matrix
from fst.losses.terms import content_distance
from fst.losses.tone import tones
from fst.networks.loss_network import LossNetwork

STYLE_LAYERS = ("relu1_2", "relu2_2", "relu3_3", "relu4_3", "relu5_1")
# Deep: shallower features forbid to redraw in strokes what they are to keep.
CONTENT_LAYER = "relu4_3"
MIN_TONE_VARIANCE = 1e-5  # of a photo; below is only rounding


def layers_of(network: LossNetwork, wanted: Sequence[str]) -> tuple[str, ...]:
    """Those of the wanted layers that the network has; its deepest where it has none of them."""
    return tuple(layer for layer in wanted if layer in network.layers) or network.layers[-1:]


def content_layer(network: LossNetwork) -> str:
    """Where content is measured: relu4_3, or the deepest layer of a network that ends before."""
    return max(layer for layer in network.layers if layer <= CONTENT_LAYER)


def measured_layers(network: LossNetwork) -> tuple[str, ...]:
    """Layers that style and content distance need; what the network lacks is left out."""
    return tuple(dict.fromkeys((*layers_of(network, STYLE_LAYERS), content_layer(network))))


@torch.no_grad()
def style_grams(network: LossNetwork, styles: Sequence[Sequence[Tensor]]) -> dict[str, Tensor]:
    """Gram matrices of the styles: layer to (S, C, C), the mean over the pictures of each style.

    Args:
        network: Its layers among relu1_2, relu2_2, relu3_3, relu4_3 and relu5_1 are taken.
        styles: For each style its pictures (3, H, W) in [0, 1], all read at one size.
    """
    layers = layers_of(network, STYLE_LAYERS)
    rows: dict[str, list[Tensor]] = {layer: [] for layer in layers}
    for pictures in styles:
        grams: dict[str, list[Tensor]] = {layer: [] for layer in layers}
        for picture in pictures:
            for layer, features in network(picture[None], layers).items():
                grams[layer].append(gram_matrix(features))
        for layer in layers:
            rows[layer].append(torch.cat(grams[layer]).mean(0))
    return {layer: torch.stack(matrices) for layer, matrices in rows.items()}


class PerStyleMean(Metric):
    """Mean of a figure for each style id; NaN for a style never seen."""

    higher_is_better = False
    full_state_update = False

    def __init__(self, num_styles: int) -> None:
        super().__init__()
        zeros = torch.zeros(num_styles)
        self.add_state("total", zeros, dist_reduce_fx="sum")
        self.add_state("count", zeros.long(), dist_reduce_fx="sum")

    def _add(self, values: Tensor, style_index: Tensor) -> None:
        self.total.index_add_(0, style_index, values.to(self.total.dtype))
        self.count.index_add_(0, style_index, torch.ones_like(style_index))

    def compute(self) -> Tensor:
        """Means by style id, (S,)."""
        return (self.total / self.count).float()


class StyleDistance(PerStyleMean):
    """Mean relative distance of Gram matrices from those of the style, per style id.

    d(y, s) = mean over layers of ||G(y) - G(s)||_F / ||G(s)||_F, the least over the sizes of the
    style pictures, because a network may paint a style with larger or smaller strokes (Gatys et al.
    2016, eq. 3 and 4). Differs from the paper: neither squared nor weighed, so that networks can be
    compared however they were trained.

    Args:
        targets: One entry for each size of the style pictures: `style_grams` at that size.
    """

    def __init__(self, targets: Sequence[Mapping[str, Tensor]]) -> None:
        super().__init__(len(next(iter(targets[0].values()))))
        self.targets = [dict(target) for target in targets]

    def update(self, features: Mapping[str, Tensor], style_index: Tensor) -> None:
        """Add stylized images.

        Args:
            features: Of the stylized images, layer to (B, C, H, W), with those of the targets.
            style_index: (B,) the style each was painted in.
        """
        layers = tuple(self.targets[0])
        grams = {layer: gram_matrix(features[layer]) for layer in layers}
        by_size = [
            torch.stack([self._relative(grams[n], t[n], style_index) for n in layers]).mean(0)
            for t in self.targets
        ]
        self._add(torch.stack(by_size).amin(0), style_index)  # (B,)

    @staticmethod
    def _relative(grams: Tensor, targets: Tensor, style_index: Tensor) -> Tensor:
        target = targets.to(grams.device)[style_index]  # (B, C, C)
        norm = torch.linalg.matrix_norm
        return norm(grams - target) / norm(target).clamp_min(1e-6)


class ContentDistance(PerStyleMean):
    """Mean relative squared distance of deep features from those of the photo, per style id.

    ||F(y) - F(x)||^2 / ||F(x)||^2, see `fst.losses.terms.content_distance`.

    Args:
        num_styles: Style ids are below it.
        layer: Where; see `content_layer`.
    """

    def __init__(self, num_styles: int, layer: str = CONTENT_LAYER) -> None:
        super().__init__(num_styles)
        self.layer = layer

    def update(
        self, features: Mapping[str, Tensor], content: Mapping[str, Tensor], style_index: Tensor
    ) -> None:
        """Add stylized images.

        Args:
            features: Of the stylized images, with the layer (B, C, H, W).
            content: Of their photos, with that layer.
            style_index: (B,) the style each was painted in.
        """
        stylized, photo = features[self.layer].float(), content[self.layer].float()
        self._add(content_distance(stylized, photo), style_index)


class PhotoSimilarity(PerStyleMean):
    """Mean structural similarity of images with their photos, per style id; 1 is the photo.

    SSIM of Wang et al. 2004, "Image quality assessment: from error visibility to structural
    similarity", eq. 13, as `torchmetrics.image.StructuralSimilarityIndexMeasure` computes it with
    its defaults, on RGB in [0, 1]. Differs from that class: a mean for each style.
    """

    higher_is_better = True

    def update(self, stylized: Tensor, photos: Tensor, style_index: Tensor) -> None:
        """Add stylized images.

        Args:
            stylized: (B, 3, H, W) in [0, 1], both sides at least 11 px.
            photos: (B, 3, H, W), theirs.
            style_index: (B,) the style each was painted in.
        """
        similarity = structural_similarity_index_measure(
            stylized.float(), photos.float(), data_range=1.0, reduction="none"
        )
        self._add(similarity.reshape(-1), style_index)


class Tone(PerStyleMean):
    """Mean correlation of light and dark in images with those of their photos, per style id.

    Pearson's correlation of the lightness of y and x in cells of 16 x 16 px, see
    `fst.losses.tone.tones`; 1 where tones lie as in the photo, with any contrast. Photos of one
    tone are not counted; NaN where all are. Ours.
    """

    higher_is_better = True

    def update(self, stylized: Tensor, photos: Tensor, style_index: Tensor) -> None:
        """Add stylized images; arguments as of `PhotoSimilarity.update`.

        Images below 32 px on both sides are a single cell, and are not counted.
        """
        painted, given = tones(stylized), tones(photos)
        counted = given.square().mean(1) > MIN_TONE_VARIANCE
        correlation = F.cosine_similarity(painted, given, dim=1, eps=1e-6)
        self._add(correlation[counted], style_index[counted])
