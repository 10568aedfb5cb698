"""Gradient descent on the pixels of an image of one size, and the memory that it takes."""

import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NoReturn

import torch
from torch import Tensor

from fst.errors import FstError
from fst.losses.grain import excess_grain
from fst.losses.grey import with_grey
from fst.losses.perceptual import PerceptualLoss
from fst.networks import winograd
from fst.networks.padding import pad
from fst.runtime.memory import readable_bytes

Shape = tuple[int, int]  # height and width
OPTIMIZERS = {"lbfgs": 1.0, "adam": 0.02}  # with their default learning rates
# Pixels beyond black and white are free for the optimiser and clipped in the file. Each unit of
# weight that content and style have adds this much of their mean square.
RANGE_WEIGHT = 2.0
# L-BFGS learns the curvature from its first step: the mean move of a pixel. torch's own, a sum of 1
# over all pixels, is rounding noise in a large image.
FIRST_MOVE = 0.002
ENDLESS = 10**9  # iterations: the number of evaluations is counted here
DIVERGED = 10  # Adam does not come back from a loss this many times the first one
BACK_OFF = 0.25  # of the learning rate, once

MIN_HISTORY, MAX_HISTORY = 3, 20
IMAGE_BYTES = 12  # a pixel: three fp32 channels
IMAGES_KEPT = 16  # pixels, best, gradients, directions, and where the line search has been
PROBE_SIZES_PX = 64, 128
# Peak of forward and backward pass over what autograd has kept in between, from 384 to 768 px:
# vgg19-lite (of fst 0.1) 1.8, VGG-19 to relu3_1 1.9, beside `working_bytes`.
BACKWARD_FACTOR = 2.5


@dataclass(frozen=True)
class GatysStep:
    """One evaluation of the loss, as `optimize` reports it.

    Attributes:
        number: Evaluations so far, over all sizes, from 1.
        total: Evaluations in all.
        size_px: Shorter side of the image now.
        losses: The terms of `PerceptualLoss`, of this evaluation; not of the best.
        best: The best image so far at this size, (1, 3, H, W), a live buffer: use `image`.
    """

    number: int
    total: int
    size_px: int
    losses: dict[str, float]
    best: Tensor

    @property
    def image(self) -> Tensor:
        """A copy of the best image so far, (3, H, W) in [0, 1] on the CPU."""
        return finished(self.best)


OnStep = Callable[[GatysStep], None] | None


class ImageTooLargeError(FstError):
    """An image that does not fit in the memory that may be used."""


class Descent:
    """The loss at the present size, and what became of the run so far.

    Attributes:
        number: Evaluations so far.
        stopped: "done", "interrupted" or "diverged": how the last `descend` ended.
    """

    def __init__(
        self,
        loss: PerceptualLoss,
        bf16: bool,
        total: int,
        on_step: OnStep,
        in_grey: bool = False,
        margin_px: int = 0,
        grain_weight: float = 0.0,
    ) -> None:
        """`in_grey`: the mean of the losses of the image and of a copy in grey is minimised;
        `margin_px`: the loss sees so much of the image's reflection around it; `grain_weight`: of
        `fst.losses.grain`, where there is a style."""
        self.margin_px, self.grain_weight = margin_px, grain_weight
        self.loss, self.bf16, self.total, self.on_step = loss, bf16, total, on_step
        self.number, self.stopped = 0, "done"
        self.device = loss.loss_network.mean.device
        self.range_weight = 0.0 if loss.classic else RANGE_WEIGHT * sum(loss.weights[:2])
        self.copies, self.grey = (2, slice(1, 2)) if in_grey else (1, slice(0))
        self.target: Tensor | None = None
        self.grain: Tensor | None = None  # of the style, (1, 3, 48)
        self.best, self.best_objective = torch.empty(0), math.inf

    def set_targets(self, content: Tensor | None, style: Sequence[Tensor]) -> None:
        """Compute the targets of a content image (1, 3, H, W) and style pictures."""
        pictures = [[picture.to(self.device) for picture in style]] if style else []
        self.loss.set_styles(pictures, in_grey=self.copies == 2)
        self.grain = self.loss.traits.grain if style and self.grain_weight else None
        if content is not None:
            self.target = self.content_target(content.to(self.device))

    def content_target(self, content: Tensor) -> Tensor:
        """Of a content image (1, 3, H, W), for each copy."""
        return self.loss.content_target(with_grey(self._shown(content), self.grey))

    def terms(self, image: Tensor, target: Tensor | None) -> dict[str, Tensor]:
        """Those of `PerceptualLoss` of an image (1, 3, H, W), means over its copies, and "grain",
        which is in "total" with its weight."""
        terms = self.loss.terms(self._shown(image), target, 0, self.grey)
        if self.grain is not None:
            terms["grain"] = excess_grain(image, self.grain)
            terms["total"] = terms["total"] + self.grain_weight * terms["grain"]
        return terms

    def _shown(self, image: Tensor) -> Tensor:
        """What the loss sees of an image (1, 3, H, W): its copies, with margins."""
        image = pad(image, (self.margin_px,) * 4, "reflect")
        return image.expand(self.copies, -1, -1, -1)

    def objective(self, pixels: Tensor, target: Tensor | None) -> tuple[Tensor, dict[str, Tensor]]:
        """What is minimised, and the terms of the loss."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            terms = self.terms(pixels, target)
        beyond = (pixels - pixels.clamp(0, 1)).square().mean()
        return terms["total"] + self.range_weight * beyond, terms

    @torch.no_grad()
    def losses_of(self, image: Tensor) -> dict[str, float]:
        """The terms of an image (1, 3, H, W) in fp32."""
        return _numbers(self.terms(image, self.target))

    def descend(self, image: Tensor, steps: int, method: "Method") -> Tensor:
        """The best of `steps` images, each (1, 3, H, W); FstError where no loss is finite."""
        self.best, self.best_objective = image.clone(), math.inf
        last = self.number + steps
        try:
            self.stopped = self._descend(image, last, method)
            if self.stopped == "diverged":  # once more, more carefully, from the best so far
                careful = replace(method, rate=BACK_OFF * method.rate)
                self.stopped = self._descend(self.best, last, careful)
        except KeyboardInterrupt:
            self.stopped = "interrupted"
        if self.stopped == "diverged" and self.best_objective == math.inf:
            raise FstError(
                "the loss is not finite for the very image begun from: try fp32, lower weights or "
                "another loss network"
            )
        return self.best

    def _descend(self, image: Tensor, last: int, method: "Method") -> str:
        """Descend until evaluation `last` or divergence; says which."""
        # L-BFGS needs NCHW; an image of 1 x 1 px is enlarged to channels last.
        pixels = image.clone(memory_format=torch.contiguous_format).requires_grad_(True)
        limit: float | None = None

        def closure() -> Tensor:
            nonlocal limit
            if self.number == last:
                raise _Over("done")
            scaled, objective, losses = self._evaluate(pixels)
            limit = method.limit(objective) if limit is None else limit
            if not objective <= limit:  # NaN too
                raise _Over("diverged")
            if self.on_step:
                size_px = min(pixels.shape[2:])
                self.on_step(GatysStep(self.number, self.total, size_px, losses, self.best))
            return scaled

        try:
            method.run(pixels, closure)
        except _Over as over:
            return over.how

    def _evaluate(self, pixels: Tensor) -> tuple[Tensor, float, dict[str, float]]:
        """The objective with its gradient in `pixels.grad`; keeps the image if it is the best."""
        pixels.grad = None
        objective, terms = self.objective(pixels, self.target)
        # L-BFGS skips updates whose curvature is below 1e-10: gradients of order 1 a pixel.
        scaled = objective * pixels.numel()
        scaled.backward()
        self.number += 1
        losses = _numbers({**terms, "objective": objective})
        value = losses.pop("objective")
        if value < self.best_objective:
            self.best.copy_(pixels.detach())
            self.best_objective = value
        return scaled.detach(), value, losses


class _Over(Exception):
    """Ends an optimiser from within its closure; says how the descent ended."""

    def __init__(self, how: str) -> None:
        super().__init__(how)
        self.how = how


@dataclass(frozen=True)
class Method:
    """How to descend: an optimiser, its learning rate, and L-BFGS's history (0 for Adam)."""

    name: str
    rate: float
    history: int

    def limit(self, first: float) -> float:
        """The objective above which the descent has diverged; a line search may try any."""
        return sys.float_info.max if self.name == "lbfgs" else DIVERGED * first + 1

    def run(self, pixels: Tensor, closure: Callable[[], Tensor]) -> NoReturn:
        """Change the pixels until the closure, which evaluates them, raises."""
        if self.name == "adam":
            optimizer = torch.optim.Adam([pixels], self.rate, betas=(0.9, 0.99))
            while True:
                optimizer.step(closure)
        while True:
            # The first step is the gradient over the sum of its magnitudes, times the rate.
            optimizer = torch.optim.LBFGS(
                [pixels], FIRST_MOVE * pixels.numel(), max_iter=1, max_eval=ENDLESS,
                history_size=self.history, tolerance_grad=0, tolerance_change=0,
                line_search_fn="strong_wolfe",
            )  # fmt: skip
            optimizer.step(closure)
            optimizer.param_groups[0].update(lr=self.rate, max_iter=ENDLESS)
            optimizer.step(closure)  # comes back where it finds no way down: forget and go on


def finished(image: Tensor) -> Tensor:
    """(1, 3, H, W) as an image to keep: (3, H, W) in [0, 1] on the CPU."""
    return image[0].detach().float().clamp(0, 1).cpu().contiguous()


def _numbers(terms: dict[str, Tensor]) -> dict[str, float]:
    """The scalars by name; one transfer from the device."""
    scalars = {name: term.detach() for name, term in terms.items() if term.dim() == 0}
    values = torch.stack([term.float() for term in scalars.values()]).tolist()
    return dict(zip(scalars, values, strict=True))


# ---- memory ------------------------------------------------------------------------------------


def history(
    shape: Shape,
    optimizer: str,
    bytes_per_pixel: float,
    budget: int,
    working: int = 0,
    margin_px: int = 0,
) -> int:
    """How many steps L-BFGS may remember within a budget of bytes; 0 for Adam.

    Raises:
        ImageTooLargeError: The image does not fit, with as few as `MIN_HISTORY`.
    """
    pixels = math.prod(side + 2 * margin_px for side in shape)
    least = MIN_HISTORY if optimizer == "lbfgs" else 0
    fixed = working + pixels * (IMAGES_KEPT * IMAGE_BYTES + bytes_per_pixel)
    step = pixels * 2 * IMAGE_BYTES
    room = int((budget - fixed) // step)
    if room < least:
        raise ImageTooLargeError(
            f"{shape[1]}x{shape[0]} px need {readable_bytes(fixed + least * step)} of memory, and "
            f"{readable_bytes(budget)} may be used: choose a smaller size, or allow more"
        )
    return min(MAX_HISTORY, room) if least else 0


def working_bytes(run: Descent) -> int:
    """What convolutions take for a while, whatever the size of the image."""
    if run.device.type != "cpu" or run.bf16:
        return 0
    return winograd.working_bytes(run.loss.loss_network)


def bytes_per_pixel(run: Descent) -> float:
    """Peak of the loss and its gradient above the images themselves."""
    small, large = PROBE_SIZES_PX  # the difference leaves out what does not grow: the targets
    grown = _saved_bytes(run, large) - _saved_bytes(run, small)
    seen = [(size_px + 2 * run.margin_px) ** 2 for size_px in (small, large)]
    return BACKWARD_FACTOR * grown / (seen[1] - seen[0])


def _saved_bytes(run: Descent, side: int) -> int:
    """What autograd keeps of the objective of one image for its gradient."""
    storages: dict[int, torch.UntypedStorage] = {}  # kept alive, so that no address comes twice

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        storages[storage.data_ptr()] = storage
        return tensor

    noise = torch.rand(1, 3, side, side, device=run.device)
    target = None if run.target is None else run.content_target(noise)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        run.objective(noise.requires_grad_(True), target)
    return sum(storage.nbytes() for storage in storages.values())
