"""Optimising one image: the classical recipe against `fst.gatys`, for scripts/benchmark.py.

The classical recipe is that of Gatys et al. 2016 without any saving: VGG-19 to relu5_1 with a mean
activation of one, content relu4_2, Gram matrices of relu1_1 to relu5_1 weighted 1e3 / C^2, pixels
in 0..255, L-BFGS without a line search from the content, fp32, the content's features computed
anew at every evaluation (a third of its time: ports that keep them are faster by that much).

Both are judged by a third network as `fst.metrics` does (--judge: VGG-19 weights, which the
classical recipe then uses as deep as they reach; deeper layers, and all without --judge, are
random, which costs the same).
"""

import argparse
import math
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from benchmark_networks import random_vgg
from benchmark_timing import by_torch
from evaluate import make_judge, open_loss_network
from torch import Tensor
from torchvision.transforms.functional import center_crop

from fst.assets import SAMPLE_PHOTO
from fst.data.styles import Style, read_styles
from fst.gatys import optimize
from fst.gatys.descent import (
    IMAGE_BYTES,
    IMAGES_KEPT,
    MAX_HISTORY,
    Descent,
    bytes_per_pixel,
    working_bytes,
)
from fst.gatys.optimization import MARGIN_PX, default_loss
from fst.io import images
from fst.losses.objective import GATYS_GRAIN_WEIGHT
from fst.networks.loss_network import LossNetwork, layer_names

STYLE_LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
CONTENT_LAYER = "relu4_2"
STYLE_WEIGHT = 1e3  # over C^2; content has 1
LOSS_SCALE = 1e6  # torch's L-BFGS learns nothing from curvatures below 1e-10
SHAPES = ((256, 384), (512, 512))

Rows = list[dict[str, object]]
# Called with the image (1, 3, H, W) in [0, 1] after every evaluation.
OnEvaluation = Callable[[Tensor], None]


class Record:
    """The time of every evaluation of a descent and, now and then, its judged distances.

    Attributes:
        seconds: Of each evaluation, without the judging.
        judged: Evaluations so far to judged style and content distance.
    """

    def __init__(self, judge: Callable[[Tensor], tuple[float, float]] | None) -> None:
        self.judge = judge
        self.seconds: list[float] = []
        self.judged: dict[int, tuple[float, float]] = {}
        self.start = time.perf_counter()

    def __call__(self, image: Tensor) -> None:
        """Note an evaluation just done."""
        self.seconds.append(time.perf_counter() - self.start)
        count = len(self.seconds)
        if self.judge and (count < 10 or count % 5 == 0):
            self.judged[count] = self.judge(image)
        self.start = time.perf_counter()

    @property
    def median(self) -> float:
        """Seconds of an evaluation."""
        return statistics.median(self.seconds)

    def reaches(self, style: float) -> tuple[float, float]:
        """Seconds until the judged style distance is this or less, and the content distance then.

        Infinite and not a number, if it never is.
        """
        for count, (distance, content) in sorted(self.judged.items()):
            if distance <= style:
                return count * self.median, content
        return math.inf, math.nan


def classical_network(judge: LossNetwork | None, photo: Tensor) -> LossNetwork:
    """A VGG-19 to relu5_1: the judge's layers, random ones below them; mean activations one."""
    indices, given = layer_names("vgg19"), {}
    for name, conv in judge.convs.items() if judge else ():
        given |= {f"features.{indices[name]}.{key}": p for key, p in conv.named_parameters()}
    network = LossNetwork(random_vgg("vgg19", STYLE_LAYERS[-1], given))
    features = network(photo, network.layers)
    before = torch.ones(())
    for name, conv in network.convs.items():
        mean = features[name].mean()
        conv.weight.mul_(before / mean)
        conv.bias.div_(mean)
        before = mean
    return network


@by_torch
def classical_descent(
    network: LossNetwork, photo: Tensor, style: Tensor, evaluations: int, note: OnEvaluation
) -> None:
    """The baseline: L-BFGS for a number of evaluations."""
    layers = (*STYLE_LAYERS, CONTENT_LAYER)

    def gram(features: Tensor) -> Tensor:
        flat = features[0].flatten(1)  # (C, N)
        return flat @ flat.T / flat.shape[1]

    with torch.no_grad():
        targets = {n: gram(f) for n, f in network(style, STYLE_LAYERS).items()}
    pixels = (255 * photo).requires_grad_()
    optimizer = torch.optim.LBFGS([pixels], max_iter=evaluations, max_eval=evaluations,
                                  tolerance_grad=-1, tolerance_change=-1)  # fmt: skip

    def closure() -> Tensor:
        optimizer.zero_grad()
        with torch.no_grad():
            content = network(photo, layers)[CONTENT_LAYER]
        features = network(pixels / 255, layers)
        loss = F.mse_loss(features[CONTENT_LAYER], content)
        for name, target in targets.items():
            weight = STYLE_WEIGHT / len(target) ** 2
            loss = loss + weight * F.mse_loss(gram(features[name]), target)
        (LOSS_SCALE * loss).backward()
        note((pixels / 255).detach().clamp(0, 1))
        return LOSS_SCALE * loss

    optimizer.step(closure)


def run_gatys(args: argparse.Namespace) -> Rows:
    """Optimising one image, against the classical recipe."""
    judge = open_loss_network(args.judge, "cpu") if args.judge else None
    styles = read_styles([args.style])
    rows: Rows = []
    for shape in args.shapes or SHAPES:
        photo = center_crop(images.load(args.content, max(shape)), list(shape))
        style = images.load(styles[0].images[0], min(shape))
        distances = judge_of(judge, styles[0], photo) if judge else None
        theirs, ours = Record(distances), Record(distances)
        network = classical_network(judge, photo[None])
        theirs.start = time.perf_counter()
        classical_descent(network, photo[None], style[None], args.evaluations, theirs)
        optimize(photo, [style], sizes=[min(shape)], steps=2, in_grey=False)  # warm-up
        ours.start = time.perf_counter()
        # As long as the baseline took: some three evaluations in the time of one of its own.
        optimize_for(sum(theirs.seconds), photo, style, ours)
        rows += report(f"{shape[1]}x{shape[0]} px", theirs, ours)
    return rows


def optimize_for(seconds: float, photo: Tensor, style: Tensor, note: Record) -> None:
    """`fst.gatys.optimize` in colour, as the baseline, until the time, without judging, is over."""

    def step(state) -> None:
        note(state.best.clamp(0, 1))
        if sum(note.seconds) >= seconds:
            raise KeyboardInterrupt  # as a user would end it

    sizes = [min(photo.shape[1:])]
    optimize(photo, [style], sizes=sizes, steps=10**6, in_grey=False, on_step=step)


def judge_of(
    judge: LossNetwork, style: Style, photo: Tensor
) -> Callable[[Tensor], tuple[float, float]]:
    """Measures style and content distance of an image (1, 3, H, W)."""
    measure = make_judge(judge, style, photo)
    return lambda image: tuple(measure(image[0])[kind] for kind in ("style", "content"))


def report(name: str, theirs: Record, ours: Record) -> Rows:
    """Two rows: the baseline and fst in the same time."""
    goal = min((style for style, _ in theirs.judged.values()), default=0.0)
    rows: Rows = []
    for case, record in ((f"baseline, {name}", theirs), (f"fst, {name}", ours)):
        row: dict[str, object] = {"case": case, "evaluations/s": 1 / record.median}
        row["speed ratio"] = theirs.median / record.median
        if record.judged:
            style, content = record.judged[max(record.judged)]
            reached, then = record.reaches(goal)
            row |= {"evaluations": len(record.seconds), "judged style": style}
            row |= {"judged content": content, "s to the baseline's best style": reached}
            row |= {"content then": then, "time ratio": theirs.reaches(goal)[0] / reached}
        rows.append(row)
    return rows


def descend(size_px: int) -> None:
    """Enough steps of `fst.gatys.optimize` on a square to fill L-BFGS's history."""
    loss = default_loss()
    noise = torch.rand(3, size_px, size_px)
    optimize(noise, [noise], loss=loss, sizes=[size_px], steps=MAX_HISTORY + 10, bf16=False)


def promised_mib(size_px: int) -> float:
    """The memory that `fst.gatys.optimize` says that `descend` takes at most."""
    usual = {"in_grey": True, "margin_px": MARGIN_PX, "grain_weight": GATYS_GRAIN_WEIGHT}
    run = Descent(default_loss(), False, 1, None, **usual)
    noise = torch.rand(1, 3, 64, 64)
    run.set_targets(noise, [noise[0]])
    fixed = IMAGES_KEPT * IMAGE_BYTES + 2 * IMAGE_BYTES * MAX_HISTORY
    pixels = (size_px + 2 * MARGIN_PX) ** 2
    return (working_bytes(run) + pixels * (fixed + bytes_per_pixel(run))) / 2**20


def add_arguments(add: Callable) -> None:
    """Options of the comparison."""
    samples = Path(__file__).parents[1] / "datasets" / "samples" / "styles"
    add("--judge", metavar="FILE", help="gatys: VGG-19 weights that judge, such as vgg19")
    add("--content", default=SAMPLE_PHOTO, metavar="PHOTO", help="gatys: (the sample photo)")
    add("--style", default=samples / "woodblock_waves.jpg", metavar="PICTURE", help="gatys: style")
    add("--evaluations", type=int, default=100, metavar="N", help="gatys: of the baseline (100)")
    add("--shapes", type=height_width, nargs="+", metavar="HxW", help="gatys: (256x384 512x512)")


def height_width(text: str) -> tuple[int, int]:
    """HxW as two numbers of at least 32."""
    height, _, width = text.partition("x")
    if not (height.isdecimal() and width.isdecimal() and min(int(height), int(width)) >= 32):
        raise argparse.ArgumentTypeError(f"{text!r} is not HxW, such as 256x384, from 32 up")
    return int(height), int(width)
