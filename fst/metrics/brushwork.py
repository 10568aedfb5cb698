"""Brushwork: whether a stylized image has the strokes of its style, whatever its colours."""

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from fst.losses.gram import gram_matrix
from fst.losses.grey import DARKEST, LIGHTEST, grey_of
from fst.metrics.distances import PerStyleMean, layers_of
from fst.networks.loss_network import LossNetwork

BRUSHWORK_LAYERS = ("relu1_2", "relu2_2", "relu3_3", "relu4_3")
BRUSHWORK_SCALES = (1, 2, 4)  # the picture is shown at 1/1, 1/2 and 1/4 of its size
# At a quarter of the size relu4_3 has too few positions for a covariance of its channels.
LEFT_OUT = ("relu4_3", 4)

# "relu2_2 at 1/4" to covariances (N, C, C), N pictures or views of one style.
Covariances = Mapping[str, Tensor]


def equalised_grey(images: Tensor) -> Tensor:
    """Images without colour and tone: each pixel's grey is its rank, spread over [0.05, 0.95].

    Of N pixels, the one of rank r (0 to N - 1, equal ones in row-major order) becomes
    0.05 + 0.9 r / (N - 1): histogram equalisation that leaves no two pixels alike.

    Args:
        images: (B, 3, H, W) in [0, 1].

    Returns:
        (B, 1, H, W), fp32.
    """
    grey = grey_of(images)
    flat = grey.flatten(1)  # (B, H W)
    levels = torch.linspace(DARKEST, LIGHTEST, flat.shape[1], device=flat.device)
    order = flat.argsort(dim=1, stable=True)
    return torch.empty_like(flat).scatter_(1, order, levels.expand_as(flat)).view_as(grey)


@torch.no_grad()
def brushwork_covariances(network: LossNetwork, images: Tensor) -> dict[str, Tensor]:
    """What brushwork compares: how channels vary together, at several layers and sizes.

    C = (F - mean F) (F - mean F)^T / N, with F the features as a (C, N) matrix, of `equalised_grey`
    repeated to three channels, shown at 1, 1/2 and 1/4 of its size (bilinear, antialiased).

    Args:
        network: Its layers among relu1_2, relu2_2, relu3_3, relu4_3 are taken, relu4_3 not at 1/4.
        images: (B, 3, H, W) in [0, 1]. Where a side is so small that a layer would have a single
            row or column, that layer is left out at that scale.

    Returns:
        "relu2_2 at 1/4" and so on to (B, C, C), fp32.
    """
    grey, found = equalised_grey(images), {}
    for scale in BRUSHWORK_SCALES:
        height, width = (round(side / scale) for side in grey.shape[2:])
        layers = [
            layer
            for layer in layers_of(network, BRUSHWORK_LAYERS)
            if (layer, scale) != LEFT_OUT and min(height, width) >> int(layer[4]) - 1 > 1
        ]
        if not layers:
            continue
        shown = grey
        if scale > 1:
            shown = F.interpolate(grey, (height, width), mode="bilinear", antialias=True)
        features = network(shown.expand(-1, 3, -1, -1), layers)
        for layer, values in features.items():
            wide = values.float()
            centred = wide - wide.mean((2, 3), keepdim=True)
            found[f"{layer} at 1/{scale}"] = gram_matrix(centred)
    return found


def brushwork_distances(pictures: Covariances, views: Covariances) -> Tensor:
    """Distance of every picture from every view, (B, V): see `Brushwork`.

    Args:
        pictures: `brushwork_covariances` of B pictures.
        views: Of V views of style pictures, at least the layers and scales that the pictures have.
    """
    of_each = []
    for name, covariances in pictures.items():
        theirs = views[name].to(covariances.device).flatten(1)  # (V, C C)
        distance = torch.cdist(
            covariances.flatten(1), theirs, compute_mode="donot_use_mm_for_euclid_dist"
        )
        of_each.append(distance / theirs.norm(dim=1).clamp_min(1e-12))
    return torch.stack(of_each).mean(0)


class Brushwork(PerStyleMean):
    """Mean distance of images from the strokes of their style, per style id, blind to colour.

    d(y, p) = mean over layers and scales of ||C(y) - C(p)||_F / ||C(p)||_F, with C the centred
    covariances of `brushwork_covariances`; of a style the least d over its pictures and the sizes
    they are shown at. Second moments of features describe texture after Gatys et al. 2016, eq. 3.
    Differs from the paper: equalised grey in place of colours, because Gram matrices of shallow
    layers see palette and grain before strokes; centred; several scales, so that strokes larger
    than the network's field of view count; relative, so that layers count alike.

    Args:
        views: For each style id its pictures' covariances, V views (pictures times sizes) each.
    """

    def __init__(self, views: Sequence[Covariances]) -> None:
        super().__init__(len(views))
        self.views = [dict(of_style) for of_style in views]

    def update(self, covariances: Covariances, style_index: Tensor) -> None:
        """Add stylized images.

        Args:
            covariances: `brushwork_covariances` of B images.
            style_index: (B,) the style each was painted in.
        """
        nearest = [
            brushwork_distances({n: c[i : i + 1] for n, c in covariances.items()}, views).amin()
            for i, views in enumerate(self.views[style] for style in style_index.tolist())
        ]
        self._add(torch.stack(nearest), style_index)


class Found(PerStyleMean):
    """Share of stylized images whose nearest style by brushwork is their own, per style id.

    found(s) = share of the images y in style s with argmin_r min_p d(y, p) in own(s), r over all
    reference styles, p over the views of r and d the distance of `Brushwork`. Nearest-neighbour
    retrieval (recall at 1); a painter of N styles at random has 1 / N.

    Args:
        references: For each reference style the covariances of its views; those of the style ids
            come first.
        own: For each style id the references that count as its own; by default each its own alone.
    """

    higher_is_better = True

    def __init__(
        self, references: Sequence[Covariances], own: Sequence[Sequence[int]] | None = None
    ) -> None:
        own = [[style] for style in range(len(references))] if own is None else own
        super().__init__(len(own))
        self.references = [dict(views) for views in references]
        self.own = [frozenset(places) for places in own]

    def update(self, covariances: Covariances, style_index: Tensor) -> None:
        """Add stylized images; arguments as of `Brushwork.update`."""
        by_style = [brushwork_distances(covariances, v).amin(1) for v in self.references]
        nearest = torch.stack(by_style).argmin(0)  # (R, B) to (B,)
        pairs = zip(nearest.tolist(), style_index.tolist(), strict=True)
        hits = [float(place in self.own[style]) for place, style in pairs]
        self._add(torch.tensor(hits, device=style_index.device), style_index)
