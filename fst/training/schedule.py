"""Learning rates over a run, and with the number of processes."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pytorch_lightning import Trainer
from torch.optim.lr_scheduler import LambdaLR

from fst.errors import FstError

WARMUP_STEPS = 50  # Adam's first steps at full rate throw the output layer into saturation


def scaled_rate(rate: float, processes: int) -> float:
    """The rate for a batch that so many processes share: the square root rule.

    Malladi et al. 2022, "On the SDEs and Scaling Rules for Adaptive Gradient Algorithms": Adam
    divides by the gradient's size, of which the noise falls with the root of the batch. The linear
    rule (Goyal et al. 2017) is one for SGD.

    Examples:
        >>> scaled_rate(1e-3, 4)
        0.002
    """
    return rate * math.sqrt(processes)


def steps_of(trainer: Trainer) -> int:
    """The optimizer's steps of a whole run, by its max_steps or max_epochs.

    Raises:
        FstError: It has no end, so the rate cannot fall to 0 at it.
    """
    steps = trainer.estimated_stepping_batches
    if math.isinf(steps):
        raise FstError("the run has no end: give the Trainer max_steps, or max_epochs")
    return int(steps)


COOLING = 0.2  # of the steps before: for so long the rate falls in a run without a fixed end


@dataclass
class Fall:
    """When the learning rate falls to 0, as half a cosine; before that it stays.

    Over the whole run where its length is known. Where it ends at a plateau, over the last steps
    alone: Hagele et al. 2024, "Scaling Laws and Compute-Optimal Training Beyond Fixed Training
    Durations", reach with a fifth of the steps what a cosine over all of them does.

    Attributes:
        first: Step it begins at.
        last: Step of rate 0, the end of the run.
    """

    first: int
    last: int

    @classmethod
    def of_run(cls, steps: int, until_plateau: bool) -> "Fall":
        """Over all of a run; or over the end that it has if no plateau comes before."""
        return cls(round(steps / (1 + COOLING)) if until_plateau else 0, max(1, steps))

    def begin(self, step: int) -> None:
        """Fall from this step on, if it was not to fall earlier."""
        if step < self.first:
            self.first, self.last = step, min(self.last, step + max(1, round(COOLING * step)))

    def factor(self, step: int) -> float:
        """1 before, 0 after."""
        done = min(1.0, max(0.0, (step - self.first) / max(1, self.last - self.first)))
        return (1 + math.cos(math.pi * done)) / 2


def rate_factors(
    fall: Fall, styles_first_steps: int
) -> tuple[Callable[[int], float], Callable[[int], float]]:
    """Factors by step of the rates of style parameters and convolutions: warm-up, then the fall.

    Args:
        fall: Of the run; it may change on the way.
        styles_first_steps: For this long the convolutions wait, then warm up in turn.

    Examples:
        >>> styles, shared = rate_factors(Fall(0, 1000), 200)
        >>> styles(0), styles(500), shared(200), shared(500)
        (0.02, 0.5, 0.0, 0.5)
    """

    def styles(step: int) -> float:
        return min(1, (step + 1) / WARMUP_STEPS) * fall.factor(step)

    def shared(step: int) -> float:
        waited = (
            min(1, max(0, step - styles_first_steps) / WARMUP_STEPS) if styles_first_steps else 1
        )
        return styles(step) * waited

    return styles, shared


def set_rates(scheduler: LambdaLR, peaks: Sequence[float]) -> None:
    """Let a scheduler go on from where it is with other peak rates, one a group of parameters.

    Its state and the optimizer's, read from a checkpoint, bring the earlier ones.
    """
    scheduler.base_lrs = list(peaks)
    groups = scheduler.optimizer.param_groups
    for group, peak, factor in zip(groups, peaks, scheduler.lr_lambdas, strict=True):
        group["initial_lr"], group["lr"] = peak, peak * factor(scheduler.last_epoch)
    scheduler._last_lr = [group["lr"] for group in groups]
