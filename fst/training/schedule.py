"""Learning rates over a run, and with the number of processes."""

import math
from collections.abc import Callable, Sequence

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


def rate_factors(
    steps: int, styles_first_steps: int
) -> tuple[Callable[[int], float], Callable[[int], float]]:
    """Factors by step of the rates of style parameters and convolutions: warm-up, cosine decay.

    Args:
        steps: Of the run.
        styles_first_steps: For this long the convolutions wait, then warm up in turn.

    Examples:
        >>> styles, shared = rate_factors(1000, 200)
        >>> styles(0), styles(500), shared(200), shared(500)
        (0.02, 0.5, 0.0, 0.5)
    """
    steps = max(1, steps)

    def styles(step: int) -> float:
        return min(1, (step + 1) / WARMUP_STEPS) * (1 + math.cos(math.pi * step / steps)) / 2

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
