"""The training objective: content, style and smoothness, each dimensionless."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from fst.errors import FstError
from fst.losses import objective
from fst.losses.parse import Statistic, read_statistic
from fst.losses.style import classic_distance
from fst.losses.style_loss import StyleLoss, Targets
from fst.networks.loss_network import LossNetwork

# How the network's quarter-resolution trunk can show: a pattern that repeats with its pixels.
GRID_PERIOD_PX, GRID_TILE_PX = 4, 64


@dataclass(frozen=True)
class StyleGroup:
    """The styles that share a statistic, with targets of one shape.

    Attributes:
        statistic: Theirs.
        ids: Their style ids.
        targets: Layer to tensors of (len(ids), ...), one row a style.
    """

    statistic: Statistic
    ids: tuple[int, ...]
    targets: dict[str, Targets]

    def members(self, style_index: Tensor) -> tuple[Tensor, Tensor]:
        """Where style ids (B,) are of this group, and their rows in `targets`."""
        ids = torch.tensor(self.ids, device=style_index.device)
        return (style_index[:, None] == ids).nonzero(as_tuple=True)

    def distance(self, features: Tensor, *targets: Tensor) -> Tensor:
        """Distances (B,) of features from the targets of their styles, fp32."""
        return self.statistic.loss.distance(features, *targets).float()

    def to(self, device: torch.device) -> "StyleGroup":
        """The same with targets on a device."""
        moved = {n: tuple(t.to(device) for t in parts) for n, parts in self.targets.items()}
        return replace(self, targets=moved)


class PerceptualLoss:
    """How far stylised images are from their content in shape and from their style in texture.

    A plain object, not a module: it holds the frozen loss network and the style targets out of
    reach of checkpoints, optimisers and distributed wrappers.

    All arithmetic on features is in fp32, whatever precision the loss network runs in.
    """

    def __init__(
        self,
        loss_network: LossNetwork,
        *,
        content_layer: str | None = None,
        style_layers: Sequence[str] | None = None,
        weights: tuple[float, float | Sequence[float], float] | None = None,
        style_loss: str | Sequence[str] | None = None,
        classic: bool = False,
    ) -> None:
        """Choose layers and weights.

        Args:
            loss_network: Frozen features.
            content_layer: Layer that measures content; this and the following by default as
                `fst.losses.objective` has them.
            style_layers: Layers that measure style.
            weights: Of content, style and total variation. That of style may be a sequence, one for
                each style id.
            style_loss: Statistic with its options, see `read_statistic`; or one for each style id.
            classic: Absolute sums and their weights (Johnson et al. 2016), not relative ones.

        Raises:
            FstError: The network lacks a layer, or a style loss is unknown or not for `classic`.
        """
        style_loss = style_loss or objective.statistic(classic)
        texts = [style_loss] if isinstance(style_loss, str) else style_loss
        self.statistics = [read_statistic(text) for text in texts]
        if classic:
            self.statistics = [_classic(statistic) for statistic in self.statistics]
        self.loss_network = loss_network
        self.content_layer = content_layer or objective.CONTENT_LAYER
        default_layers = objective.style_layers(loss_network.topology, classic)
        self.style_layers = tuple(style_layers or default_layers)
        loss_network.require([self.content_layer, *self.style_layers])
        self.classic = classic
        self.weights = weights or objective.weights(classic)
        # The classic recipes add the layers up.
        equal = [1.0] * len(self.style_layers)
        self.layer_weights = equal if classic else objective.layer_weights(self.style_layers)
        self.groups: list[StyleGroup] | None = None  # until the styles are set

    def set_styles(self, styles: Sequence[Sequence[Tensor]]) -> None:
        """Compute the targets, once; see `style_targets`."""
        self.set_targets(self.style_targets(styles))

    @torch.no_grad()
    def style_targets(self, styles: Sequence[Sequence[Tensor]]) -> list[dict[str, Targets]]:
        """The targets of each style, layer by layer.

        Args:
            styles: For each style id the pictures of that style, each (3, H, W) in [0, 1], on the
                device of the loss network and at the size whose strokes are wanted. None at all
                leaves style out of the loss.

        Raises:
            FstError: A statistic does not fit a layer or a picture, or there is not one statistic,
                or one for each style.
        """
        statistics = self._statistics_of(len(styles))
        return [self._targets(*pair) for pair in zip(statistics, styles, strict=True)]

    def set_targets(self, targets: Sequence[dict[str, Targets]]) -> None:
        """Take the targets that `style_targets` computed, here or in another process.

        Args:
            targets: One entry a style, on the device of the loss network.

        Raises:
            FstError: There is not one statistic, or one for each style.
        """
        members: dict[Any, list[int]] = {}
        statistics = self._statistics_of(len(targets))
        for style_id, (statistic, target) in enumerate(zip(statistics, targets, strict=True)):
            # Those of `instances=beside` are as wide as there are pictures.
            shapes = [part.shape for layer in self.style_layers for part in target[layer]]
            members.setdefault((statistic.text, *shapes), []).append(style_id)
        self.groups = [
            StyleGroup(
                statistics[ids[0]],
                tuple(ids),
                {layer: _stacked([targets[i][layer] for i in ids]) for layer in self.style_layers},
            )
            for ids in members.values()
        ]

    def _statistics_of(self, num_styles: int) -> list[Statistic]:
        statistics = self.statistics * (num_styles if len(self.statistics) == 1 else 1)
        if len(statistics) != num_styles:
            raise FstError(f"{len(statistics)} style losses for {num_styles} styles")
        return statistics

    def _targets(self, statistic: Statistic, pictures: Sequence[Tensor]) -> dict[str, Targets]:
        """The targets of one style, layer by layer."""
        instances = [part for picture in pictures for part in statistic.pictures(picture)]
        features = [self.loss_network(image[None], self.style_layers) for image in instances]
        targets = {}
        for layer in self.style_layers:
            try:
                targets[layer] = statistic.loss.target([f[layer] for f in features])
            except FstError as error:
                raise FstError(f"style loss {statistic.text}, {layer}: {error}") from None
        return targets

    def to(self, device: torch.device) -> "PerceptualLoss":
        """Move the loss network and the targets."""
        self.loss_network.to(device)
        self.groups = self.groups and [group.to(device) for group in self.groups]
        return self

    def __call__(self, stylized: Tensor, content: Tensor, style_index: Tensor) -> dict[str, Tensor]:
        """Loss terms of a batch.

        content = ||F(y) - F(x)||^2 / ||F(x)||^2, style = mean over layers of the style distance,
        weighted by `objective.layer_weights`; tv = mean squared difference of neighbouring pixels;
        total = w_content content + w_style style + w_tv tv, averaged over the batch.

        Args:
            stylized: y, (B, 3, H, W) in [0, 1]; gradients flow here.
            content: x, the same shape.
            style_index: (B,) style ids, int64.

        Returns:
            "total", "content", "style" and "tv" as scalars with gradient; "style_per_image" (B,)
            and "style/<layer>" scalars, detached, for logs.
        """
        return self.terms(stylized, self.content_target(content), style_index)

    @torch.no_grad()
    def content_target(self, content: Tensor) -> Tensor:
        """Features of the content x (B, 3, H, W) that `terms` measures against, fp32."""
        return self.loss_network(content, [self.content_layer])[self.content_layer].float()

    def terms(
        self, stylized: Tensor, target: Tensor | None, style_index: Tensor
    ) -> dict[str, Tensor]:
        """The loss terms against a content target computed before; see `__call__`.

        Args:
            stylized: y, (B, 3, H, W) in [0, 1]; gradients flow here.
            target: Of `content_target`; None leaves content out, its term is 0.
            style_index: (B,) style ids, int64. With an empty list of styles set, style is left out,
                its terms are 0.

        Raises:
            FstError: No styles were set, or an id is not one of theirs.
        """
        if self.groups is None:
            raise FstError("the loss has no styles: call set_styles first, with [] for none")
        style_layers = self.style_layers if self.groups else ()
        layers = {*style_layers, *([] if target is None else [self.content_layer])}
        features = self.loss_network(stylized, layers) if layers else {}
        content = stylized.new_zeros((), dtype=torch.float32)
        if target is not None:
            content = self._content(features[self.content_layer].float(), target).mean()
        members = self._members(style_index)
        by_layer = {
            layer: self._style(features[layer], layer, members) for layer in style_layers
        }  # each (B,)
        weighed = [w * by_layer[n] for n, w in zip(style_layers, self.layer_weights, strict=False)]
        style = torch.stack(weighed or [content.new_zeros(len(stylized))]).sum(0)
        tv = total_variation(stylized.float())
        return {
            "total": self._total(content, style, tv, style_index),
            "content": content,
            "style": style.mean(),
            "tv": tv,
            "style_per_image": style.detach(),
            **{f"style/{layer}": d.detach().mean() for layer, d in by_layer.items()},
        }

    def _members(self, style_index: Tensor) -> list[tuple[Tensor, Tensor]]:
        """For each group the places of its images in the batch and the rows of their targets."""
        if len(self.groups) == 1:  # spares a GPU the waiting for how many they are
            return [(torch.arange(len(style_index), device=style_index.device), style_index)]
        members = [group.members(style_index) for group in self.groups]
        if self.groups and sum(len(places) for places, _ in members) != len(style_index):
            count = sum(len(group.ids) for group in self.groups)
            raise FstError(f"style ids {style_index.tolist()}: expected 0 to {count - 1}")
        return members

    def _style(
        self, features: Tensor, layer: str, members: Sequence[tuple[Tensor, Tensor]]
    ) -> Tensor:
        """Distances (B,) at one layer, each image by the statistic of its style."""
        distances = features.new_zeros(len(features), dtype=torch.float32)
        for group, (places, rows) in zip(self.groups, members, strict=True):
            if len(places):
                targets = (target[rows] for target in group.targets[layer])
                own = features if len(places) == len(features) else features[places]
                distances = distances.index_put((places,), group.distance(own, *targets))
        return distances

    def _total(self, content: Tensor, style: Tensor, tv: Tensor, style_index: Tensor) -> Tensor:
        w_content, w_style, w_tv = self.weights
        if not isinstance(w_style, int | float):
            w_style = style.new_tensor(w_style)[style_index]  # (B,)
        return w_content * content + (w_style * style).mean() + w_tv * tv

    def _content(self, features: Tensor, target: Tensor) -> Tensor:
        if self.classic:
            return (features - target).square().mean((1, 2, 3))
        return content_distance(features, target)


def _stacked(rows: Sequence[Targets]) -> Targets:
    """Targets of several styles as one batch."""
    return tuple(torch.stack(parts) for parts in zip(*rows, strict=True))


def _classic(statistic: Statistic) -> Statistic:
    if not statistic.has_classic_form:
        raise FstError(f"style loss {statistic.text!r} has no classic form: use gram")
    return replace(statistic, loss=StyleLoss(statistic.loss.target, classic_distance))


def content_distance(features: Tensor, target: Tensor) -> Tensor:
    """Relative squared distance of features: ||F(y) - F(x)||^2 / ||F(x)||^2, (B,).

    Gatys et al. 2016, eq. 1. Differs from the paper: relative to the content's features. A
    one-colour photo may have none at all, hence the small floor.
    """
    squares = (features - target).square().sum((1, 2, 3))
    return squares / target.square().sum((1, 2, 3)).clamp_min(1e-6 * target[0].numel())


def total_variation(images: Tensor) -> Tensor:
    """Mean squared difference of neighbouring pixels of (B, 3, H, W), summed over both directions.

    Johnson et al. 2016, section 3.2. Differs from the paper: a mean, so that size drops out.
    """
    rows = (images[:, :, 1:] - images[:, :, :-1]).square().mean()
    columns = (images[:, :, :, 1:] - images[:, :, :, :-1]).square().mean()
    return rows + columns


def grid_pattern(images: Tensor) -> Tensor:
    """Energy of what repeats every 4 px in step with the pixel grid, averaged over the batch.

    In each tile of 64 px the image is averaged over its 16 x 16 periods; the variance of that 4 x 4
    pattern is a checkerboard's energy, while strokes, which do not keep step, average out. Gram
    matrices cannot tell such a pattern from the painter's texture, the eye can.

    Args:
        images: (B, 3, H, W), row and column 0 on the grid; a rest below a tile's size is left out.

    Returns:
        Scalar, at least 0; 0 for images smaller than a tile.
    """
    period, tile = GRID_PERIOD_PX, GRID_TILE_PX
    rows, columns = (size // tile for size in images.shape[2:])
    if not (rows and columns):
        return images.new_zeros(())
    cut = images[:, :, : rows * tile, : columns * tile]
    cells = cut.unflatten(3, (columns, -1, period)).unflatten(2, (rows, -1, period))
    pattern = cells.mean((3, 6))  # (B, 3, rows, n, 4, columns, n, 4) -> (B, 3, rows, 4, columns, 4)
    return pattern.var((3, 5), correction=0).mean()
