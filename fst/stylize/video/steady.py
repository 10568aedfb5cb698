"""Paint the frames of a clip one after the other, so that the painting is steady in time.

Painted each for itself, frames flicker. Measured (`scripts/measure_flicker.py`), most of it comes
from the network's two halvings, which see other pixels when the picture moves by one: 4 px are a
step of its grid. The rest is noise of the camera, and statistics of instance norm that change with
what comes into view. So here
- the grid follows the picture, shifted by up to 3 px;
- where a frame shows what the one before showed (`fst.stylize.video.motion`), most of the painting
  is that of the frame before, moved, and so is the photo that the network sees;
- means and variances of instance norm are averaged over frames.
"""

import copy
from collections.abc import Collection
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from fst.networks.conditional import ConditionalInstanceNorm2d, Moments
from fst.networks.transformer import STRIDE, TransformerNet
from fst.stylize.options import check_range
from fst.stylize.stylizer import Stylizer
from fst.stylize.video import motion

DEFAULT = 0.8
PARTS = ("statistics", "grid", "photo", "painting")
MOST_KEPT = 0.95  # of the frame before, at steadiness 1: all of it would never change again
CUT_BELOW = 0.25  # share of a frame that is where it was, but for motion; less is another scene
FOLLOW_FROM = 0.75  # px that the picture is off its grid before the grid follows


class SteadyStylizer(Stylizer):
    """A `Stylizer` for the frames of one clip, in their order.

    `stylize` takes what that of `Stylizer` takes; what it keeps is two frames. Style and controls
    may change on the way.

    Example:
        >>> from fst.assets import GALLERY
        >>> steady = SteadyStylizer(Stylizer(GALLERY), steadiness=0.8)
        >>> frames = torch.rand(3, 32, 48).expand(4, 3, 32, 48)  # a still clip
        >>> paintings = [steady.stylize(frame, style="wave") for frame in frames]
        >>> bool((paintings[0] == paintings[3]).all())
        True
    """

    def __init__(
        self,
        stylizer: Stylizer,
        steadiness: float = DEFAULT,
        parts: Collection[str] = PARTS,
    ) -> None:
        """Take over a model; the stylizer itself stays as it is.

        Args:
            stylizer: Loaded.
            steadiness: From 0, each frame for itself, to 1.
            parts: What is done for it, of `PARTS`; fewer, to see what each one does.

        Raises:
            FstError: The steadiness is outside [0, 1].
        """
        check_range("steadiness", steadiness, 0, 1)
        vars(self).update(vars(stylizer))
        self.kept, self.parts = MOST_KEPT * steadiness, parts
        kept = self.kept if "statistics" in parts else 0.0
        self.network = _with_steady_norms(stylizer.network, kept)
        self.cuts = 0  # seen so far
        self.begin()

    def begin(self) -> None:
        """Forget the frames so far: another clip begins."""
        self.frame: Tensor | None = None  # the last one, as the network saw it
        self.painting: Tensor | None = None
        self.seen: Tensor | None = None  # as it was given
        self.look: tuple[Tensor, tuple[int, int]] | None = None  # style weights, and painted size
        self.grid = _Grid()
        for norm in _steady_norms(self.network):
            norm.forget()

    def _painted(self, content: Tensor, weights: Tensor, work: tuple[int, int]) -> Tensor:
        if not self.kept:
            return super()._painted(content, weights, work)
        if self.look and not (torch.equal(weights, self.look[0]) and work == self.look[1]):
            self.begin()
        if self.seen is not None and torch.equal(content, self.seen):
            return self.painting  # clips of few frames a second repeat them to be more
        before = self._from_before(content)
        calm = content
        if before is None:
            self.begin()
        elif "photo" in self.parts:
            calm = torch.lerp(content, before.frame, before.share * before.is_still)
        painting = super()._painted(calm, weights, work)
        if before is not None and "painting" in self.parts:
            painting = torch.lerp(painting, before.painting, before.share)
        self.frame, self.painting, self.seen = calm, painting, content
        self.look = weights, work
        return painting

    def _from_before(self, content: Tensor) -> "_Before | None":
        """The frame before as it lies in this one; None where it is of another scene or size."""
        if self.frame is None or self.frame.shape != content.shape:
            return None
        field = motion.motion_between(self.frame, content)
        before = motion.moved(self.frame, field).clamp(0, 1)
        sure = motion.confidence(before, content, field)
        if sure.mean() < CUT_BELOW:
            self.cuts += 1
            return None
        if "grid" in self.parts:
            self.grid.follow(field, sure)
        painting = motion.moved(self.painting, field).clamp(0, 1)
        return _Before(before, painting, self.kept * sure, (field == 0).all(0))

    def _paint(self, content: Tensor, weights: Tensor) -> Tensor:
        for norm in _steady_norms(self.network):
            norm.turn = tuple(content.shape[1:])
        left, top = self.grid.padding(content)
        padded = F.pad(content[None], (left, 0, top, 0), mode="reflect")[0]
        if weights.dim() == 4:
            weights = F.interpolate(weights, tuple(content.shape[1:]), mode="bilinear")
            weights = F.pad(weights, (left, 0, top, 0), mode="replicate")
        return super()._paint(padded, weights)[:, top:, left:]


@dataclass
class _Before:
    """The frame before, its painting, both moved, and the share of them to keep, by place."""

    frame: Tensor  # (3, H, W)
    painting: Tensor  # (3, H, W)
    share: Tensor  # (H, W)
    is_still: Tensor  # (H, W), where nothing moves


class _Grid:
    """How far the picture has moved, and how far the network's grid has followed, in pixels."""

    def __init__(self) -> None:
        self.place = torch.zeros(2)  # across, down
        self.followed = torch.zeros(2)
        self.width = 0

    def follow(self, field: Tensor, sure: Tensor) -> None:
        """Move with most of the picture."""
        self.width = field.shape[2]
        where = field[:, ::4, ::4][:, sure[::4, ::4] > 0.5]
        if where.numel():
            self.place = self.place + where.median(dim=1).values
        off = (self.place - self.followed).abs() > FOLLOW_FROM
        self.followed = torch.where(off, self.place.round(), self.followed)

    def padding(self, content: Tensor) -> tuple[int, int]:
        """Pixels to add on the left and on top of a frame, or of one scaled."""
        scale = content.shape[2] / (self.width or content.shape[2])
        across, down = (round(float(side) * scale) % STRIDE for side in self.followed)
        return across, down


class SteadyNorm(ConditionalInstanceNorm2d):
    """Instance norm by the averaged statistics of all frames so far, the last one counting most.

    m_t = k m_(t-1) + (1 - k) m(x_t), and so the variance.
    """

    def __init__(self, norm: ConditionalInstanceNorm2d, kept: float) -> None:
        super().__init__(*norm.gamma.shape, eps=norm.eps)
        self.gamma, self.beta, self.kept = norm.gamma, norm.beta, kept
        self.turn: tuple[int, ...] = ()  # frames painted at several sizes have statistics of each
        self.forget()

    def forget(self) -> None:
        self.statistics: dict[tuple[int, ...], Tensor] = {}

    def moments(self, image: Tensor, maps: int = 1) -> Moments:
        """Those averaged; each call counts as a frame."""
        moments = super().moments(image, maps)
        now = torch.stack([moments.mean, moments.variance])
        before = self.statistics.get(self.turn, now)
        mean, variance = self.statistics[self.turn] = torch.lerp(now, before, self.kept)
        return Moments(moments.count, mean, moments.count * variance)

    def _affine(self, x: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
        moments = self.moments(x)
        mean, variance = (v.float()[None, :, None, None] for v in (moments.mean, moments.variance))
        scale = gamma * torch.rsqrt(variance + self.eps)
        return torch.addcmul(beta - mean * scale, x.to(scale.dtype), scale).to(x.dtype)


def _with_steady_norms(network: TransformerNet, kept: float) -> TransformerNet:
    network = copy.deepcopy(network)
    for module in list(network.modules()):
        if type(getattr(module, "norm", None)) is ConditionalInstanceNorm2d:
            module.norm = SteadyNorm(module.norm, kept)
    return network


def _steady_norms(network: TransformerNet) -> list[SteadyNorm]:
    return [module for module in network.modules() if isinstance(module, SteadyNorm)]
