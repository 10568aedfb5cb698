"""From settings to the finished picture, size by size.

Large pictures are made from small ones (Gatys et al. 2017, "Controlling Perceptual Factors in
Neural Style Transfer", section 6): large forms are painted where the loss network can see them
whole, detail is added at each further size.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from fst.errors import FstError
from fst.gatys.descent import (
    OPTIMIZERS,
    Descent,
    GatysStep,
    Method,
    Shape,
    bytes_per_pixel,
    finished,
    history,
    working_bytes,
)
from fst.losses import objective
from fst.losses.perceptual import PerceptualLoss
from fst.networks.loss_network import LITE, load_loss_network
from fst.networks.sizes import MIN_VGG_PX
from fst.runtime.memory import available_bytes, best_precision

# Average pooling, as Gatys et al. 2016 advise: with that of training an optimiser finds grain.
# Zero padding: with reflection each layer mirrors the edge once more, and dashes grow there.
# Not for textures: those of another size than the style's picture have another share of edges.
POOLING, PADDING = "avg", "zeros"
# What of its reflection the loss sees around an image where the loss network pads with zeros, which
# leaves dark lines and coloured blobs in the outer pixels. Not by the classic recipe.
MARGIN_PX = 8
STARTS = ("content", "noise")
# At the first size, which makes the forms, and at others. Compared in grey as well, a step takes
# twice as long, and half as many lead further (docs/quality.md).
STEPS, STEPS_IN_GREY = (300, 150), (150, 75)


@dataclass(frozen=True)
class GatysResult:
    """What `optimize` returns.

    Attributes:
        image: The best image of the last size begun, (3, H, W) in [0, 1] on the CPU, fp32.
        losses: Its terms, measured in fp32 after clipping to [0, 1]; those of the image with its
            margins, where it has them.
        steps: Evaluations done, over all sizes.
        stopped: "done", "interrupted" (Ctrl-C) or "diverged".
    """

    image: Tensor
    losses: dict[str, float]
    steps: int
    stopped: Literal["done", "interrupted", "diverged"]


def optimize(
    content: Tensor | None = None,
    style: Sequence[Tensor] = (),
    *,
    loss: PerceptualLoss | None = None,
    start: str | Tensor = "content",
    sizes: Sequence[int] = (512,),
    steps: int | Sequence[int] | None = None,
    style_size_px: int | None = None,
    optimizer: str = "lbfgs",
    learning_rate: float | None = None,
    seed: int = 0,
    aspect: float = 1.0,
    bf16: bool | None = None,
    in_grey: bool | None = None,
    grain_weight: float | None = None,
    max_memory_bytes: int | None = None,
    on_step: Callable[[GatysStep], None] | None = None,
) -> GatysResult:
    """Paint one image by gradient descent on its pixels.

    Minimises loss(y) + r mean((y - clip(y, 0, 1))^2) over the pixels y (Gatys et al. 2016, eq. 7).
    Differs from the paper: relative losses; a term of grain (`fst.losses.grain`); r, twice the
    weights of content and style, keeps the pixels in range; and the loss sees image and content
    with 8 px of their reflection around them, where there is a content and the loss network pads
    with zeros. With the classic weights there are no margins, no grain, and r is 0. A step is one
    evaluation of loss and gradient: L-BFGS's line search (strong Wolfe conditions) takes one to two
    an iteration. The best image evaluated is kept.

    Memory: at most H W (24 m + 192 + a) bytes for an image of H x W pixels with its margins. m is
    L-BFGS's history, two images of fp32 a step: as much as fits, at most 20 (Adam: 0). a is what
    the loss needs for its gradient, measured on a small image before the first step.

    Args:
        content: x, (3, h, w) in [0, 1]; None synthesises texture from the style alone.
        style: The pictures of one style, each (3, h, w) in [0, 1]. None if its weight is 0.
        loss: Loss network, layers, weights and statistic; its styles are replaced. By default
            `default_loss`.
        start: "content", "noise" (seeded), or an image (3, h, w) of any size. Texture begins
            from noise in any case but the last.
        sizes: Shorter sides of the image in px, ascending; each begins from the result before.
        steps: Evaluations at each size, or one number for all; by default 150 at the first size and
            75 at further ones, twice as many where not `in_grey`.
        style_size_px: Shorter side of the style pictures at the last size, by default that size;
            at earlier sizes in proportion; never enlarged. Larger gives larger strokes.
        optimizer: "lbfgs" or "adam".
        learning_rate: By default 1 for L-BFGS and 0.02 for Adam.
        seed: Of the noise.
        aspect: Width over height of a texture.
        bf16: Run the loss network in bfloat16; by default where that is faster.
        in_grey: Compare the image with content and style in grey as well, see `fst.losses.grey`:
            strokes come nearer to the painting's, and an evaluation takes twice as long. By default
            where there are both, and the loss is not classic.
        grain_weight: Of more fine texture than the style has, see `fst.losses.grain`, without which
            the pixels are full of coloured noise; by default 0.01, or 0 where the loss is classic.
        max_memory_bytes: Half of what is free by default.
        on_step: Called after every evaluation.

    Returns:
        The image and how it came about. Ctrl-C and divergence (after one try at a quarter of the
        learning rate) end the run with the best image so far.

    Raises:
        FstError: Settings that do not fit together, an image that does not fit in memory, or a
            loss that is not finite even for the image begun from.

    Examples:
        >>> from fst.gatys import optimize
        >>> photo, painting = torch.rand(3, 40, 60), torch.rand(3, 50, 50)
        >>> result = optimize(photo, [painting], sizes=[32], steps=4)
        >>> result.image.shape, result.stopped
        (torch.Size([3, 32, 48]), 'done')
    """
    loss = loss or default_loss(texture=content is None)
    if in_grey is None:
        in_grey = objective.gatys_grey(loss.classic, texture=content is None or not style)
    counts = _steps_per_size(sizes, steps, STEPS_IN_GREY if in_grey else STEPS)
    _check(content, style, loss, start, optimizer)
    device = loss.loss_network.mean.device
    bf16 = best_precision(device.type) == "bf16-mixed" if bf16 is None else bf16
    zeros = loss.loss_network.padding == "zeros"
    margin_px = MARGIN_PX if zeros and content is not None and not loss.classic else 0
    grain_weight = objective.gatys_grain(loss.classic, grain_weight)
    run = Descent(loss, bf16, sum(counts), on_step, in_grey, margin_px, grain_weight)
    for image in (start, content):  # gives the proportions, the content before all
        aspect = aspect_of(image) if isinstance(image, Tensor) else aspect
    shapes = [shape_of(size_px, aspect) for size_px in sizes]
    targets = _targets(content, style, style_size_px, shapes)
    run.set_targets(*next(targets))
    budget = max_memory_bytes or available_bytes(device) // 2
    each, working = bytes_per_pixel(run), working_bytes(run)
    # For all sizes before work begins: a size that does not fit is told at once.
    histories = [history(shape, optimizer, each, budget, working, margin_px) for shape in shapes]
    image = first_image(content, start, shapes[0], seed).to(device)
    for shape, count, remembered in zip(shapes, counts, histories, strict=True):
        method = Method(optimizer, learning_rate or OPTIMIZERS[optimizer], remembered)
        image = run.descend(resized(image, shape), count, method)
        if run.stopped != "done" or shape == shapes[-1]:
            break
        run.set_targets(*next(targets))
    losses = run.losses_of(image.clamp(0, 1))
    return GatysResult(finished(image), losses, run.number, run.stopped)


def default_loss(texture: bool = False) -> PerceptualLoss:
    """The objective of `fst.losses.objective`, by the shipped loss network with pooling and padding
    for single images."""
    network = load_loss_network(LITE, POOLING, None if texture else PADDING)
    # The convolutions of CPUs and tensor cores prefer this layout.
    network.to(memory_format=torch.channels_last)
    return PerceptualLoss(network, weights=objective.weights(gatys=True))


def _targets(
    content: Tensor | None,
    style: Sequence[Tensor],
    style_size_px: int | None,
    shapes: Sequence[Shape],
) -> Iterator[tuple[Tensor | None, list[Tensor]]]:
    """Content image (1, 3, H, W) and style pictures at each size, one after the other."""
    last = min(shapes[-1])
    for shape in shapes:
        styles = styles_at(style, style_size_px or last, min(shape) / last)
        yield None if content is None else resized(content[None], shape), styles


def _steps_per_size(
    sizes: Sequence[int], steps: int | Sequence[int] | None, usual: tuple[int, int]
) -> list[int]:
    """One number of steps for each size; FstError where sizes do not ascend or are too small."""
    sizes = list(sizes)
    if not sizes or sizes != sorted(set(sizes)) or sizes[0] < MIN_VGG_PX:
        raise FstError(
            f"sizes {' '.join(map(str, sizes)) or '(none)'}: expected ascending numbers from "
            f"{MIN_VGG_PX} px up, such as 256 512"
        )
    if steps is None:
        return [usual[0], *[usual[1]] * (len(sizes) - 1)]
    counts = [steps] if isinstance(steps, int) else list(steps)
    counts = counts * len(sizes) if len(counts) == 1 else counts
    if len(counts) != len(sizes) or min(counts) < 1:
        raise FstError(
            f"steps {' '.join(map(str, counts))}: expected one number from 1 up, or one for each "
            f"of the {len(sizes)} sizes"
        )
    return counts


def _check(
    content: Tensor | None, style: Sequence[Tensor], loss: PerceptualLoss, start, optimizer: str
) -> None:
    """Refuse settings that do not fit together."""
    if optimizer not in OPTIMIZERS:
        raise FstError(f"optimizer {optimizer!r} is unknown: use {' or '.join(OPTIMIZERS)}")
    if isinstance(start, str) and start not in STARTS:
        raise FstError(f"start {start!r} is unknown: use {' or '.join(STARTS)}, or an image")
    if not isinstance(loss.weights[1], int | float):
        raise FstError("the loss has a style weight for each of several styles: give it one")
    if not style and (loss.weights[1] or content is None):
        raise FstError("no style picture: give one, or a content image and style weight 0")
    given = [*style, *(image for image in (content, start) if isinstance(image, Tensor))]
    for image in given:
        if image.dim() != 3 or image.shape[0] != 3 or not image.is_floating_point():
            raise FstError(
                f"an image is {image.dtype} of shape {tuple(image.shape)}: expected (3, H, W) "
                "floats in [0, 1]"
            )


# ---- the images at each size --------------------------------------------------------------------


def first_image(content: Tensor | None, start: str | Tensor, shape: Shape, seed: int) -> Tensor:
    """The first image, (1, 3, H, W)."""
    if isinstance(start, Tensor):
        return start[None]
    if start == "content" and content is not None:
        return content[None]
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(1, 3, *shape, generator=generator)


def shape_of(size_px: int, aspect: float) -> Shape:
    """Height and width of an image of a shorter side, `aspect` times as wide as high."""
    if aspect >= 1:
        return size_px, round(size_px * aspect)
    return round(size_px / aspect), size_px


def aspect_of(image: Tensor) -> float:
    """Width over height of (..., H, W)."""
    return image.shape[-1] / image.shape[-2]


def styles_at(style: Sequence[Tensor], style_size_px: int, scale: float) -> list[Tensor]:
    """Style pictures shrunk to a shorter side of `style_size_px` at most, then scaled."""
    scaled = []
    for picture in style:
        side = round(min(*picture.shape[1:], style_size_px) * scale)
        shape = shape_of(max(MIN_VGG_PX, side), aspect_of(picture))
        scaled.append(resized(picture[None], shape)[0])
    return scaled


def resized(image: Tensor, shape: Shape) -> Tensor:
    """(B, 3, h, w) scaled to (B, 3, H, W); pixels beyond [0, 1], as in photos, are not made."""
    if image.shape[2:] == shape:
        return image
    options = {"mode": "bicubic", "align_corners": False, "antialias": True}
    return F.interpolate(image, shape, **options).clamp(0, 1)
