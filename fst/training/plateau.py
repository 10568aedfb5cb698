"""Where a run stands, by the brushwork of held-out photos: still gaining, or at its plateau."""

import math
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback
from tqdm import tqdm

from fst.training.schedule import WARMUP_STEPS

WATCHED = "val/brushwork"
WINDOW = 5  # validations that a gain is measured over: single ones are noisy
FEWEST = 3  # in short runs
# Share of the distance from the paintings' strokes that as many steps as the run has done would
# still take away. Below it more steps are not worth their time.
LITTLE = 0.03
Curve = Sequence[tuple[int, float]]  # steps and the brushwork after them


class Standing(NamedTuple):
    """What the last validations say.

    Attributes:
        gain: Share of the distance that 100 more steps would take away, at the pace of now; below 0
            where it grows.
        to_plateau: Steps until doubling the steps gains less than `LITTLE`; 0 at the plateau, None
            where that cannot be told.
    """

    gain: float
    to_plateau: int | None


def standing(curve: Curve) -> Standing | None:
    """Where a run stands; None before there are `FEWEST` validations.

    By a straight line through the last validations, of distance over the logarithm of the step: its
    fall by a doubling of the steps is what so many steps more would give.

    Examples:
        >>> falling = [(step, 0.8 - 0.05 * math.log2(step)) for step in (20, 40, 60, 80, 100)]
        >>> round(standing(falling).gain, 3)
        0.107
        >>> standing([(step, 0.5) for step in (20, 40, 60, 80, 100)]).to_plateau
        0
    """
    if len(curve) < FEWEST:
        return None
    slope, level, step = _line(curve[-WINDOW:])
    gain = -slope * math.log2(1 + 100 / step) / level
    before = curve[:-WINDOW][-WINDOW:]
    doubling = -slope / level  # share that as many steps again would take away
    if doubling < LITTLE:
        return Standing(gain, 0)
    if len(before) < WINDOW:
        return Standing(gain, None)
    former = -_line(before)[0] / _line(before)[1]
    if former <= doubling:  # not slowing down yet
        return Standing(gain, None)
    pace = (former - doubling) / (step - before[-1][0])
    return Standing(gain, math.ceil((doubling - LITTLE) / pace))


def _line(points: Curve) -> tuple[float, float, int]:
    """Slope by doubling of the steps, height at the last step, and that step."""
    steps, values = np.array(points, dtype=float).T
    slope, height = np.polyfit(np.log2(steps), values, 1)
    return float(slope), float(height + slope * np.log2(steps[-1])), int(steps[-1])


def advice(curve: Curve) -> str:
    """Whether more steps would help, for the end of a run of fixed length; "" of too short ones.

    By the whole curve: its end is flat in any case, because the learning rate has fallen to 0.
    """
    if len(curve) < FEWEST:
        return ""
    slope, level, _ = _line(curve)
    if -slope / level < LITTLE:
        return "by this run's curve more steps would hardly help"
    return (
        f"more steps would help: by this run's curve twice as many would take {-slope / level:.0%} "
        "off the distance of the strokes"
    )


class Watch(Callback):
    """Says after each validation where the run stands, and ends it at a plateau if asked to.

    Its module's `Schedule.until_plateau` asks. The rate then falls to 0 and the run ends with it:
    the model of the end is the last good one.
    """

    def __init__(self) -> None:
        self.stopping_reason_message: str | None = None
        self.curve: list[tuple[int, float]] = []
        self.fall: tuple[int, int] | None = None  # of the rate, once a plateau was seen
        self._began = (0, 0.0)  # step and time of the first batch

    def state_dict(self) -> dict[str, Any]:
        """What was seen, for a checkpoint."""
        return {"curve": self.curve, "fall": self.fall}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self.curve = [(int(step), float(value)) for step, value in state_dict["curve"]]
        self.fall = state_dict["fall"]

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Start the clock; let the rate fall as it did before an interruption."""
        self._began = trainer.global_step, time.monotonic()
        if self.fall is not None:
            module.fall.first, module.fall.last = self.fall

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx) -> None:
        """End the run where the rate has come to 0."""
        if self.fall is not None and trainer.global_step >= self.fall[1]:
            self.stopping_reason_message = "the strokes have come to a plateau"
            trainer.should_stop = True

    def on_validation_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Note the figure, and tell."""
        step, value = module.measured_step, module.final_metrics.get(WATCHED, math.nan)
        if trainer.sanity_checking or not math.isfinite(value):
            return
        self.curve = [point for point in self.curve if point[0] < step] + [(step, value)]
        learned = self.learned(module)
        now, before = standing(learned), standing(learned[:-1])
        is_there = len(learned) > WINDOW and now.to_plateau == before.to_plateau == 0
        if module.schedule.until_plateau and self.fall is None and is_there:
            module.fall.begin(step)
            self.fall = module.fall.first, module.fall.last
        if trainer.is_global_zero:
            with tqdm.external_write_mode():
                print(self._told(module, now), flush=True)

    def learned(self, module: pl.LightningModule) -> Curve:
        """The curve from where all that shall learn does so at its full rate."""
        waits = module.schedule.styles_first_steps
        waits *= not module.start.kept_styles or module.start.tune_trunk  # else nothing follows
        return [(step, value) for step, value in self.curve if step > waits + WARMUP_STEPS]

    def _told(self, module: pl.LightningModule, now: Standing | None) -> str:
        step, value = self.curve[-1]
        photos = module.final_metrics.get("val/photo_brushwork", math.nan)
        text = f"step {step}: strokes {1 - value / photos:.0%} nearer to the style than the photos'"
        if self.fall is not None:
            return f"{text}; the learning rate falls to 0 at step {self.fall[1]}, the end"
        if now is None:
            return text
        if now.to_plateau == 0:
            return f"{text}; hardly gaining any more"
        text += f", gaining {now.gain:.1%} per 100 steps"
        return text if now.to_plateau is None else text + f"; {self._time(now)} to the plateau"

    def _time(self, now: Standing) -> str:
        """How long it takes to the plateau, at the pace of this process so far."""
        first, began = self._began
        seconds = (time.monotonic() - began) / max(1, self.curve[-1][0] - first) * now.to_plateau
        return f"about {max(1, round(seconds / 60))} min"
