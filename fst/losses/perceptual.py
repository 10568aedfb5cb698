"""The training objective: content, style and smoothness, each dimensionless."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from fst.errors import FstError
from fst.losses import objective
from fst.losses.grey import equalised, with_grey
from fst.losses.parse import Statistic, statistic_of
from fst.losses.style_groups import Comparison, StyleGroup, StyleIndex, check_ids, each_id, grouped
from fst.losses.style_loss import StyleStatistic, Targets
from fst.losses.terms import classic_content_distance, content_distance, total_variation
from fst.losses.traits import Traits
from fst.networks.loss_network import LossNetwork


class PerceptualLoss(nn.Module):
    """How far stylized images are from their content in shape and from their style in texture.

    `to` moves the frozen loss network and the style targets, which are out of reach of all else: no
    checkpoint holds them, no optimiser finds them, no distributed wrapper sends them, no `half`
    rounds them. All arithmetic on features is in fp32, whatever precision the loss network runs in.

    Examples:
        >>> from fst import LossNetwork, PerceptualLoss
        >>> from fst.networks.loss_network import load_loss_network
        >>> loss = PerceptualLoss(load_loss_network("vgg16-lite"), style_loss="gram")
        >>> loss.set_styles([[torch.rand(3, 64, 64)]])
        >>> photo = torch.rand(1, 3, 64, 64)
        >>> sorted(loss(photo, photo, 0))[:4]
        ['content', 'style', 'style/relu1_1', 'style/relu2_1']
    """

    def __init__(
        self,
        loss_network: LossNetwork,
        *,
        content_layer: str | None = None,
        style_layers: Sequence[str] | None = None,
        weights: tuple[float, float | Sequence[float], float] | None = None,
        style_loss: str | StyleStatistic | Sequence[str | StyleStatistic] | None = None,
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
            style_loss: An object with the two methods of `fst.losses.style_loss.StyleStatistic`, or
                the name of one with its options, see `fst.losses.parse.read_statistic`; or one for
                each style id.
            classic: Absolute sums and their weights (Johnson et al. 2016), not relative ones.

        Raises:
            FstError: The network lacks a layer, or a style loss is unknown or not for `classic`.
        """
        super().__init__()
        style_loss = style_loss or objective.statistic(classic)
        several = style_loss if isinstance(style_loss, list | tuple) else [style_loss]
        self.statistics = [statistic_of(one) for one in several]
        if classic:
            self.statistics = [statistic.classic() for statistic in self.statistics]
        self._frozen = (loss_network,)  # in a tuple, where nn.Module does not look for modules
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
        self.traits: Traits | None = None
        self.num_styles = 0

    @property
    def loss_network(self) -> LossNetwork:
        """The frozen network."""
        return self._frozen[0]

    @property
    def device(self) -> torch.device:
        """Of the loss network and the targets."""
        return self.loss_network.mean.device

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "PerceptualLoss":
        device = fn(torch.empty(0, device=self.device)).device
        self.loss_network.to(device)
        self.groups = self.groups and [group.to(device) for group in self.groups]
        self.traits = self.traits and self.traits.to(device)
        return super()._apply(fn, recurse)

    def set_styles(self, styles: Sequence[Sequence[Tensor]], in_grey: bool = False) -> None:
        """Compute the targets, once; see `style_targets`. With `in_grey`, those in grey too."""
        self.set_targets(*self.style_targets(styles, in_grey), traits=Traits.of(styles))

    @torch.no_grad()
    def style_targets(
        self, styles: Sequence[Sequence[Tensor]], in_grey: bool = False
    ) -> list[list[dict[str, Targets]]]:
        """The targets of each style, layer by layer, for `set_targets`.

        Args:
            styles: For each style id the pictures of that style, each (3, H, W) in [0, 1], on the
                device of the loss network and at the size whose strokes are wanted. None at all
                leaves style out of the loss.
            in_grey: Add those that images in grey are compared with, see `forward`.

        Raises:
            FstError: A statistic does not fit a layer, a picture or the number of styles; or the
                loss network overflows.
        """
        kinds = [styles]
        if in_grey:
            kinds += [[[equalised(one[None])[0] for one in pictures] for pictures in styles]]
        statistics = self._statistics_of(len(styles))
        return [[self._targets(*p) for p in zip(statistics, kind, strict=True)] for kind in kinds]

    def set_targets(
        self,
        targets: Sequence[dict[str, Targets]],
        in_grey: Sequence[dict[str, Targets]] = (),
        traits: Traits | None = None,
    ) -> None:
        """Take what `style_targets` (and `Traits.of`) computed, here or elsewhere."""
        self.num_styles, self.traits = len(targets), traits
        statistics = self._statistics_of(self.num_styles) * (2 if in_grey else 1)
        self.groups = grouped(statistics, [*targets, *in_grey], self.style_layers)

    def traits_of(self, style_index: Tensor) -> Traits:
        """The traits of the styles of ids (B,), on the device of the loss.

        Raises:
            FstError: The styles were set without their traits.
        """
        if self.traits is None:
            raise FstError("the styles are set without traits: call set_styles")
        return self.traits.rows(style_index)

    def _statistics_of(self, num_styles: int) -> list[Statistic]:
        statistics = self.statistics * (num_styles if len(self.statistics) == 1 else 1)
        if len(statistics) != num_styles:
            raise FstError(f"{len(statistics)} style losses for {num_styles} styles")
        return statistics

    def _targets(self, statistic: Statistic, pictures: Sequence[Tensor]) -> dict[str, Targets]:
        instances = [part for picture in pictures for part in statistic.pictures(picture)]
        features = [self.loss_network(image[None], self.style_layers) for image in instances]
        for name, feature in ((n, f[n]) for f in features for n in self.style_layers):
            if not feature.square().mean().isfinite():
                raise FstError(
                    f"the loss network overflows at {name}: its weights are damaged, give other "
                    "`loss_weights`"
                )
        return {n: statistic.target(n, [f[n] for f in features]) for n in self.style_layers}

    def forward(
        self,
        stylized: Tensor,
        content: Tensor,
        style_index: StyleIndex,
        grey: slice = slice(0),
    ) -> dict[str, Tensor]:
        """Loss terms of a batch.

        content = ||F(y) - F(x)||^2 / ||F(x)||^2, style = mean over layers of the style distance,
        weighted by `objective.layer_weights`; tv = mean squared difference of neighbouring pixels;
        total = w_content content + w_style style + w_tv tv, averaged over the batch.

        Args:
            stylized: y, (B, 3, H, W) in [0, 1]; gradients flow here.
            content: x, the same shape.
            style_index: (B,) style ids, whole numbers of any kind; or one for all. Those of the
                CPU spare a GPU the waiting for them.
            grey: Which images of the batch are compared in grey, see `equalised`: y with x and
                with the style, which must have been set `in_grey`.

        Returns:
            "total", "content", "style" and "tv" as scalars with gradient; "style_per_image" (B,)
            and "style/<layer>" scalars, detached, for logs.
        """
        return self.compare(stylized, content, self.comparison(style_index, len(stylized), grey))

    def compare(
        self, stylized: Tensor, content: Tensor, comparison: Comparison
    ) -> dict[str, Tensor]:
        """`forward` once it is known what images are compared with. To be compiled, it is given
        `Comparison.as_tensors`."""
        target = self.content_target(with_grey(content, comparison.grey))
        return self._terms(stylized, target, comparison)

    @torch.no_grad()
    def content_target(self, content: Tensor) -> Tensor:
        """Features of the content x (B, 3, H, W) that `terms` measures against, fp32."""
        return self.loss_network(content, [self.content_layer])[self.content_layer].float()

    def terms(
        self,
        stylized: Tensor,
        target: Tensor | None,
        style_index: StyleIndex,
        grey: slice = slice(0),
    ) -> dict[str, Tensor]:
        """The loss terms against a content target computed before; see `forward`.

        Args:
            stylized: y, as `forward` takes it.
            target: Of `content_target`; None leaves content out, its term is 0. That of images in
                grey is of the content in grey.
            style_index: As `forward` takes it. Where no style is set, style is left out, its term
                is 0.
            grey: As `forward` takes it.

        Raises:
            FstError: No styles were set, or not in grey; or an id is not one of theirs.
        """
        return self._terms(stylized, target, self.comparison(style_index, len(stylized), grey))

    def comparison(self, style_index: StyleIndex, count: int, grey: slice = slice(0)) -> Comparison:
        """What the images of a batch are compared with.

        Args:
            style_index: As `forward` takes it.
            count: B.
            grey: As `forward` takes it.

        Raises:
            FstError: No styles were set, or not in grey; or an id is not one of theirs.
        """
        if self.groups is None:
            raise FstError("the loss has no styles: call set_styles first, with [] for none")
        style_index = each_id(style_index, count)
        members, style_weight = self._members(style_index, grey), self.weights[1]
        if not isinstance(style_weight, int | float):
            each = torch.tensor(style_weight, dtype=torch.float32, device=style_index.device)[
                style_index
            ]
            style_weight = each.to(self.device, non_blocking=True)  # (B,)
        return Comparison(members, style_weight, grey)

    def _terms(
        self, stylized: Tensor, target: Tensor | None, comparison: Comparison
    ) -> dict[str, Tensor]:
        style_layers = self.style_layers if self.groups else ()
        layers = [*style_layers, *([] if target is None else [self.content_layer])]
        features = self.loss_network(with_grey(stylized, comparison.grey), layers) if layers else {}
        content = stylized.new_zeros((), dtype=torch.float32)
        if target is not None:
            distance = classic_content_distance if self.classic else content_distance
            content = distance(features[self.content_layer].float(), target).mean()
        by_layer = self._style({n: features[n] for n in style_layers}, comparison.members)
        weighed = [w * by_layer[n] for n, w in zip(style_layers, self.layer_weights, strict=False)]
        style = torch.stack(weighed or [content.new_zeros(len(stylized))]).sum(0)
        # Without a weight it is only told.
        w_content, _, w_tv = self.weights
        tv = total_variation((stylized if w_tv else stylized.detach()).float())
        return {
            "total": w_content * content + (comparison.style_weight * style).mean() + w_tv * tv,
            "content": content,
            "style": style.mean(),
            "tv": tv,
            "style_per_image": style.detach(),
            **{f"style/{layer}": d.detach().mean() for layer, d in by_layer.items()},
        }

    def _members(self, style_index: Tensor, grey: slice) -> list[tuple[Tensor, Tensor]]:
        """For each group the places of its images in the batch and those of their targets."""
        if not self.groups:  # any id will do
            return []
        ids = style_index.tolist()
        check_ids(ids, self.num_styles)
        if ids[grey]:
            if sum(len(group.ids) for group in self.groups) == self.num_styles:
                raise FstError("the styles are not set in grey: call set_styles with in_grey")
            ids[grey] = [self.num_styles + style_id for style_id in ids[grey]]
        members = (group.members(ids) for group in self.groups)
        # From pinned memory or not: what is sent to a GPU need not be waited for.
        return [tuple(t.to(self.device, non_blocking=True) for t in pair) for pair in members]

    def _style(
        self, features: dict[str, Tensor], members: Sequence[tuple[Tensor, Tensor]]
    ) -> dict[str, Tensor]:
        """Distances (B,) at each layer, each image by the statistic of its style."""
        distances = {n: f.new_zeros(len(f), dtype=torch.float32) for n, f in features.items()}
        for group, (places, own) in zip(self.groups or (), members, strict=True):
            if not len(places):
                continue
            targets = [tuple(t[own] for t in group.targets[layer]) for layer in features]
            theirs = [f if len(places) == len(f) else f[places] for f in features.values()]
            found = group.statistic.distances(theirs, targets)
            for layer, distance in zip(features, found, strict=True):
                if len(places) == len(features[layer]) and distance.shape == places.shape:
                    distances[layer] = distance.float()
                else:
                    distances[layer] = distances[layer].index_put((places,), distance.float())
        return distances
