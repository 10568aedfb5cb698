"""Paint images of any size in bands of rows, with the statistics of the whole image.

Instance norm needs the mean and variance of all of a layer's features before one of them can be
normalised. So the image is passed once for each layer: the pass computes the layer's output band
by band and merges the moments of the bands. The trunk, a sixteenth of the pixels, is stored
between passes; the layers at half resolution are computed anew in each pass that needs
them, 1.13 times the arithmetic of one forward at width 0.5. The result is that of
`TransformerNet.forward` to rounding.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from fst.networks.conditional import ConditionalInstanceNorm2d, Moments
from fst.networks.layers import Layer, ResidualBlock
from fst.networks.transformer import STRIDE, TransformerNet
from fst.stylize.bands.memory_plan import RowStores
from fst.stylize.bands.rows import (
    NormRows,
    Rows,
    StoredRows,
    SumRows,
    WindowRows,
    Work,
    convolved,
    work_of_pixel,
)
from fst.stylize.controls.masks import Enlarged


class Look:
    """Which styles are where: style weights, each with its share of every place."""

    def __init__(
        self, weights: Sequence[Tensor], masks: Sequence[Enlarged] = (), margin: int = 0
    ) -> None:
        """Take one style for the whole image, or several, each over those before it: K weights (1,
        S) and, of the second and later ones, where they are: K - 1 masks (1, H, W), and the
        network's margin around them."""
        self.weights, self.masks, self.margin = torch.cat(list(weights)), list(masks), margin

    def affine(self, norm: ConditionalInstanceNorm2d, moments: Moments, step: int):
        """What gives scale and shift, (1, C, 1 or h, 1 or W), for rows of a layer with these
        moments; `step` pixels of the image are one of the layer."""
        scale, shift = norm.affine(moments, self.weights)  # (K, C)

        def of(low: int, high: int) -> tuple[Tensor, Tensor]:
            if not self.masks:
                return scale[0][None, :, None, None], shift[0][None, :, None, None]
            places = self._places(low, high, step).to(scale)  # (K, h, W)
            return tuple(torch.einsum("khw,kc->chw", places, t)[None] for t in (scale, shift))

        return of

    def _places(self, low: int, high: int, step: int) -> Tensor:
        """The maps for rows of a layer, scaled to it as the network scales maps of weights."""
        height, width = self.masks[0].size
        # One row more on either side: the filter of antialiasing reaches so far.
        first = max(0, low - 1) * step
        last = min((high + 1) * step, height + -height % STRIDE + 2 * self.margin)
        index = (np.arange(first, last) - self.margin).clip(0, height - 1)
        masks = [mask.rows(index[0], index[-1] + 1)[0] for mask in self.masks]
        left, shares = torch.ones(index[-1] + 1 - index[0], width), []
        for mask in reversed(masks):
            shares.append(left * mask)
            left = left * (1 - mask)
        shares = torch.stack([left, *reversed(shares)])[None, :, index - index[0]]
        sides = self.margin, -width % STRIDE + self.margin, 0, 0
        places = F.pad(shares, sides, mode="replicate")
        if step > 1:
            size = tuple(side // step for side in places.shape[-2:])
            places = F.interpolate(places, size, mode="bilinear", antialias=True)
        return places[0, :, low - first // step :][:, : high - low]


def bands(height: int, band_px: int) -> Iterator[tuple[int, int]]:
    """The rows of an image in bands: first row and the one after the last."""
    for low in range(0, height, band_px):
        yield low, min(low + band_px, height)


def planned_work(network: TransformerNet, height: int, width: int) -> int:
    """Multiplications of a streamed painting, without the few rows that bands share."""
    total, times = 0, 0
    for layer, step, count in reversed(_work_of_layers(network, height, width)):
        # Once for its own moments, and again for each pass after it that begins before a store.
        times = 1 if _is_stored(network, layer, step) else times + 1
        total += times * count
    return total


def forward_work(network: TransformerNet, height: int, width: int) -> int:
    """Multiplications of one forward pass."""
    return sum(count for *_, count in _work_of_layers(network, height, width))


def _work_of_layers(
    network: TransformerNet, height: int, width: int
) -> list[tuple[Layer, int, int]]:
    """Each convolution, its step and its multiplications."""
    high, wide = (side + -side % STRIDE + 2 * network.margin for side in (height, width))
    return [
        (layer, step, high * wide // step**2 * work_of_pixel(layer))
        for layer, step in network.convolutions()
    ]


def _is_stored(network: TransformerNet, layer: Layer, step: int) -> bool:
    """Whether what a layer computes is kept between passes: in the trunk, and the painting."""
    return step == STRIDE or layer is network.layers[-1]


class Streamer:
    """Paints a stored photo band by band, one pass a layer, on the device of the network."""

    def __init__(
        self,
        network: TransformerNet,
        look: Look,
        band_px: int,
        *,
        work: Work,
        stores: RowStores,
        bf16: bool = False,
    ) -> None:
        """Take a network in eval mode, the height of a band in rows of the image, a multiple of 4,
        who is told the multiplications done, and what makes room for features."""
        self.network, self.look, self.band_px = network, look, band_px
        self.work, self.stores, self.bf16 = work, stores, bf16
        self.device = network.conv_in.conv.weight.device
        self.height = 0  # of the photo, padded
        self._spare: list[StoredRows] = []  # for the convolutions of blocks, one after the other

    def paint(self, photo: Rows) -> Rows:
        """The last layer's numbers, (3, H, W) of the photo; `TransformerNet.bounded` follows."""
        x, self.height = photo, photo.height
        for layer in self.network.layers:
            x = (self._block if isinstance(layer, ResidualBlock) else self._layer)(x, layer)
        return x

    def _layer(self, source: Rows, layer: Layer) -> Rows:
        """A layer's features: stored, or computed anew in each pass that asks for them."""
        while self._spare:
            self._spare.pop().store.close()
        x = convolved(source, layer, self.work)
        if not _is_stored(self.network, layer, self.height // x.height):
            return self._normed(x, layer)
        into = self._store(x, layer)
        normed = self._normed(x, layer, into)
        if layer is self.network.layers[-1]:
            return normed
        self._pass(normed, into=into)
        return into

    def _block(self, x: StoredRows, block: ResidualBlock) -> Rows:
        """A residual block; its features take the place of those before it."""
        branch = x
        self._spare = self._spare or [self._store(x, layer) for layer in block.children()]
        for layer, into in zip(block.children(), self._spare, strict=True):
            branch = self._normed(convolved(branch, layer, self.work), layer, into)
        self._pass(SumRows(x, branch), into=x)
        return x

    def _normed(self, source: Rows, layer: Layer, into: StoredRows | None = None) -> Rows:
        """One pass: the source's moments, its rows stored if asked; then it normalised."""
        moments = Moments()
        self._pass(source, moments, into)
        return self._shown(into or source, layer, moments)

    def _shown(self, source: Rows, layer: Layer, moments: Moments) -> Rows:
        """A convolution's rows normalised, in the look's styles, and rectified."""
        step = self.height // source.height
        return NormRows(source, self.look.affine(layer.norm, moments, step), layer.relu)

    def _pass(
        self, source: Rows, moments: Moments | None = None, into: StoredRows | None = None
    ) -> None:
        for low, high in bands(source.height, self.band_px * source.height // self.height):
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
                rows = source.rows(low, high)
            if moments is not None:
                moments.add(rows)
            if into is not None:
                into.put(low, rows)

    def _store(self, like: Rows, layer: Layer) -> StoredRows:
        shape = (like.height, like.width, layer.norm.gamma.shape[1])
        return StoredRows(self.stores.new(shape, np.float32), self.device)


class SampleStreamer(Streamer):
    """Paints in one pass, with the moments of parts of the photo: near, not exact."""

    def __init__(self, *args, sample: Tensor, sample_weights: Tensor, **options) -> None:
        """Take what `Streamer` takes, and parts of the photo with their style weights."""
        super().__init__(*args, **options)
        self.moments = sample_moments(self.network, sample, sample_weights)

    def _layer(self, source: Rows, layer: Layer) -> Rows:
        x = convolved(source, layer, self.work)
        if layer is self.network.layers[-1]:
            into = self._store(x, layer)
            self._pass(x, into=into)
            x = into
        return self._shown(x, layer, self.moments[layer.norm])

    def _block(self, x: Rows, block: ResidualBlock) -> Rows:
        return _BlockRows(x, block, self)


class _BlockRows:
    """A residual block whose moments are known; its input is computed once for both branches."""

    def __init__(self, source: Rows, block: ResidualBlock, streamer: SampleStreamer) -> None:
        self.source, self.block, self.streamer = source, block, streamer
        self.height, self.width = source.height, source.width

    def rows(self, low: int, high: int) -> Tensor:
        reach = sum(layer.padding[0] for layer in self.block.children())
        x = WindowRows(self.source, low - reach, high + reach)
        branch: Rows = x
        for layer in self.block.children():
            branch = self.streamer._layer(branch, layer)
        return SumRows(x, branch).rows(low, high)


def sample_moments(
    network: TransformerNet, sample: Tensor, weights: Tensor
) -> dict[ConditionalInstanceNorm2d, Moments]:
    """The moments that each layer's features have in parts of a photo, (1, 3, h, w) in [0, 1]."""
    moments: dict[ConditionalInstanceNorm2d, Moments] = {}

    def note(norm: ConditionalInstanceNorm2d, inputs: tuple[Tensor, ...]) -> None:
        moments[norm] = Moments()
        moments[norm].add(inputs[0].float())

    norms = [m for m in network.modules() if isinstance(m, ConditionalInstanceNorm2d)]
    hooks = [norm.register_forward_pre_hook(note) for norm in norms]
    try:
        network(sample, weights)
    finally:
        for hook in hooks:
            hook.remove()
    return moments
