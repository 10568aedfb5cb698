"""A mean for each style id, what metrics share, and the similarity of stylized image and photo."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.functional.image import structural_similarity_index_measure

from fst.networks.loss_network import LossNetwork


def layers_of(network: LossNetwork, wanted: Sequence[str]) -> tuple[str, ...]:
    """Those of the wanted layers that the network has; its deepest where it has none of them."""
    return tuple(layer for layer in wanted if layer in network.layers) or network.layers[-1:]


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


class PhotoSimilarity(PerStyleMean):
    """Mean structural similarity of images with their photos, per style id; 1 is the photo.

    SSIM of Wang et al. 2004, "Image quality assessment: from error visibility to structural
    similarity", eq. 13, as `torchmetrics.image.StructuralSimilarityIndexMeasure` computes it with
    its defaults, on RGB in [0, 1]. Differs from that class: a mean for each style.

    Args:
        num_styles: Style ids are below it.
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
