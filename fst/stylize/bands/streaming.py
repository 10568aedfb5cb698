"""Paint images of any size in bands of rows, with the statistics of the whole image.

Instance norm needs the mean and variance of all of a layer's features before one of them can be
normalised. So the image is passed once for each layer: the pass computes the layer's output band
by band and merges the moments of the bands. The trunk, a sixteenth of the pixels, is stored
between passes; the layers at full and half resolution are computed anew in each pass that needs
them, 1.13 times the arithmetic of one forward at width 0.5. The result is that of
`TransformerNet.forward` to rounding.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from fst.networks.conditional import ConditionalInstanceNorm2d
from fst.networks.moments import Moments
from fst.networks.transformer import STRIDE, ResidualBlock, TransformerNet
from fst.stylize.bands.row_layers import (
    ConvRows,
    NormRows,
    ReluRows,
    Rows,
    ShuffleRows,
    StoredRows,
    SumRows,
    UpsampleRows,
    WindowRows,
    Work,
)
from fst.stylize.bands.row_store import RowStore
from fst.stylize.controls.enlarged import Enlarged

# How often each part is computed: once for its own moments, and again for each pass after it that
# begins before a store.
_TIMES = {"conv_in": 2, "down": 1, "blocks": 1, "up": 2, "conv_out": 1}


class Look:
    """Which styles are where: style weights, each with its share of every place."""

    def __init__(self, weights: Sequence[Tensor], masks: Sequence[Enlarged] = ()) -> None:
        """Take one style for the whole image, or several, each over those before it.

        Args:
            weights: K of (1, S).
            masks: Where the second and later ones are, K - 1 of (1, H, W).
        """
        self.weights, self.masks = torch.cat(list(weights)), list(masks)

    def affine(self, norm: ConditionalInstanceNorm2d, moments: Moments, step: int):
        """What gives scale and shift, (1, C, 1 or h, 1 or W), for rows of a layer.

        Args:
            norm: Of the layer.
            moments: Of its features.
            step: Pixels of the image for one of the layer.
        """
        gamma, beta = (self.weights.to(t) @ t for t in (norm.gamma, norm.beta))  # (K, C)
        factor = torch.rsqrt(moments.variance + norm.eps).to(gamma)  # (C,)
        scale, shift = gamma * factor, beta - moments.mean.to(gamma) * gamma * factor  # (K, C)

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
        last = min((high + 1) * step, height + -height % STRIDE)
        index = np.minimum(np.arange(first, last), height - 1)
        masks = [mask.rows(index[0], index[-1] + 1)[0] for mask in self.masks]
        left, shares = torch.ones(index[-1] + 1 - index[0], width), []
        for mask in reversed(masks):
            shares.append(left * mask)
            left = left * (1 - mask)
        shares = torch.stack([left, *reversed(shares)])[None, :, index - index[0]]
        places = F.pad(shares, (0, -width % STRIDE, 0, 0), mode="replicate")
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
    return sum(_TIMES[part] * count for part, count in _work_of_parts(network, height, width))


def forward_work(network: TransformerNet, height: int, width: int) -> int:
    """Multiplications of one forward pass."""
    return sum(count for _, count in _work_of_parts(network, height, width))


def _work_of_parts(network: TransformerNet, height: int, width: int) -> Iterator[tuple[str, int]]:
    pixels = (height + -height % STRIDE) * (width + -width % STRIDE)
    for part, step in (("conv_in", 2), ("down", 4), ("conv_out", 2)):
        yield part, pixels // step**2 * getattr(network, part).conv.weight.numel()
    yield "up", pixels // 16 * 16 * (network.up.conv.weight.numel() // 9)  # 4 of 2x2 for each 3x3
    for block in network.blocks:
        for layer in (block.conv1, block.conv2):
            yield "blocks", pixels // 16 * layer.conv.weight.numel()


class Streamer:
    """Paints a stored photo band by band, one pass a layer."""

    def __init__(
        self,
        network: TransformerNet,
        look: Look,
        band_px: int,
        *,
        in_memory: bool,
        work: Work,
        stores: list[RowStore],
        bf16: bool = False,
    ) -> None:
        """Take the network.

        Args:
            network: In eval mode; its device is where bands are computed.
            look: The styles.
            band_px: Height of a band in rows of the image, a multiple of 4.
            in_memory: Whether features are stored in memory, else in temporary files.
            work: Told the multiplications done.
            stores: Gets all stores that are made, for the caller to close.
            bf16: Whether convolutions are computed in bfloat16.
        """
        self.network, self.look, self.band_px = network, look, band_px
        self.in_memory, self.work, self.stores, self.bf16 = in_memory, work, stores, bf16
        self.device = network.conv_in.conv.weight.device
        self.height = 0  # of the photo, padded

    def paint(self, photo: Rows) -> Rows:
        """The painting's logits, (3, H, W) of the photo, normalised; `sigmoid` gives it."""
        net, self.height = self.network, photo.height
        x = ReluRows(self._normed(ConvRows(photo, net.conv_in, self.work), net.conv_in.norm, 2))
        x = self._trunk(ConvRows(x, net.down, self.work))
        x = ReluRows(self._normed(UpsampleRows(x, net.up, self.work), net.up.norm, 2))
        return self._last(ShuffleRows(ConvRows(x, net.conv_out, self.work)))

    def _trunk(self, source: Rows) -> Rows:
        """The last downsampling layer and the residual blocks, at a quarter of the size."""
        norm, channels = self.network.down.norm, self.network.down.conv.out_channels
        x, first, second = (self._store(source, channels) for _ in range(3))
        down = self._normed(source, norm, 4, into=x)
        self._pass(ReluRows(down), into=x)
        for block in self.network.blocks:
            inner = ConvRows(x, block.conv1, self.work)
            inner = ReluRows(self._normed(inner, block.conv1.norm, 4, into=first))
            outer = ConvRows(inner, block.conv2, self.work)
            outer = self._normed(outer, block.conv2.norm, 4, into=second)
            self._pass(SumRows(x, outer), into=x)
        first.store.close()
        second.store.close()
        return x

    def _last(self, source: Rows) -> Rows:
        return self._normed(source, self.network.conv_out.norm, 1, into=self._store(source, 3))

    def _normed(
        self,
        source: Rows,
        norm: ConditionalInstanceNorm2d,
        step: int,
        into: StoredRows | None = None,
    ) -> Rows:
        """One pass: the source's moments, its rows stored if asked; then it normalised."""
        moments = Moments()
        self._pass(source, moments, into)
        return NormRows(into or source, self.look.affine(norm, moments, step))

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

    def _store(self, like: Rows, channels: int) -> StoredRows:
        shape = (like.height, like.width, channels)
        self.stores.append(RowStore(shape, np.float32, in_memory=self.in_memory))
        return StoredRows(self.stores[-1], self.device)


class SampleStreamer(Streamer):
    """Paints in one pass, with the moments of parts of the photo: near, not exact."""

    def __init__(self, *args, sample: Tensor, sample_weights: Tensor, **options) -> None:
        """Take what `Streamer` takes, and parts of the photo with their style weights."""
        super().__init__(*args, **options)
        self.moments = sample_moments(self.network, sample, sample_weights)

    def _trunk(self, source: Rows) -> Rows:
        x = ReluRows(self._normed(source, self.network.down.norm, 4))
        for block in self.network.blocks:
            x = _BlockRows(x, block, self)
        return x

    def _last(self, source: Rows) -> Rows:
        into = self._store(source, 3)
        self._pass(source, into=into)
        return self._normed(into, self.network.conv_out.norm, 1)

    def _normed(
        self,
        source: Rows,
        norm: ConditionalInstanceNorm2d,
        step: int,
        into: StoredRows | None = None,
    ) -> Rows:
        return NormRows(source, self.look.affine(norm, self.moments[norm], step))


class _BlockRows:
    """A residual block whose moments are known; its input is computed once for both branches."""

    def __init__(self, source: Rows, block: ResidualBlock, streamer: SampleStreamer) -> None:
        self.source, self.block, self.streamer = source, block, streamer
        self.height, self.width = source.height, source.width

    def rows(self, low: int, high: int) -> Tensor:
        x = WindowRows(self.source, low - 2, high + 2)
        branch: Rows = x
        for layer, last in ((self.block.conv1, False), (self.block.conv2, True)):
            branch = ConvRows(branch, layer, self.streamer.work)
            branch = self.streamer._normed(branch, layer.norm, 4)
            branch = branch if last else ReluRows(branch)
        return SumRows(x, branch).rows(low, high)


def sample_moments(
    network: TransformerNet, sample: Tensor, weights: Tensor
) -> dict[ConditionalInstanceNorm2d, Moments]:
    """The moments that each layer's features have in parts of a photo.

    Args:
        network: In eval mode.
        sample: (1, 3, h, w) in [0, 1].
        weights: (1, S), or (1, S, h, w).
    """
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
