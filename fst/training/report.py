"""What fst-train says: the beginning of a run, how it goes on, and its end."""

import json
import math
import multiprocessing
import sys
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback, Timer, TQDMProgressBar
from pytorch_lightning.callbacks.progress.tqdm_progress import Tqdm
from pytorch_lightning.loggers import TensorBoardLogger

from fst.runtime.console import quieten_lightning
from fst.runtime.memory import described, exact_fp32, keep_freed_memory
from fst.runtime.processes import follow_first
from fst.style_model.names import MODEL_NAME
from fst.training.checkpoint import CHECKPOINT_NAME, SETTINGS
from fst.training.curves import RunLogger
from fst.training.plateau import Curve, Watch, advice
from fst.training.run_folder import RUNS
from fst.training.start import announcement


def announce(settings: Any, module: pl.LightningModule, data: Any, trainer: pl.Trainer) -> None:
    """Say what the run begins from and works on."""
    count, names = len(module.styles), ", ".join(style.name for style in module.styles)
    kind = "photos" if settings.content else "scenes"
    if not settings.content:
        print("no photos given: training on scenes drawn by the program")
    if start := announcement(settings, module):
        print(start)
    world, most = trainer.world_size, "at most " * bool(settings.until)
    each = f" in each of {world} processes" if world > 1 else ""
    print(
        f"{count} style{'s' * (count > 1)} ({names}), {len(data.photos)} {kind} and "
        f"{len(data.held_out)} held out, {most}{settings.steps} steps of {settings.batch_size} x "
        f"{settings.size} px{each}, {trainer.precision} on "
        f"{described(trainer.strategy.root_device)}"
    )


class RunEnds(Callback):
    """Sets up each process of a run; at the end measures the last state and says what to do next.

    All of it in the processes that train: those that a strategy spawns hand little back.
    """

    def __init__(self, folder: Path, settings: str | None = None) -> None:
        """Take the folder of the run, and the command's settings for its checkpoints."""
        self.folder, self.settings = folder, settings

    def setup(self, trainer: pl.Trainer, module: pl.LightningModule, stage: str) -> None:
        """What holds for a whole process."""
        quieten_lightning()
        keep_freed_memory()
        exact_fp32()
        if multiprocessing.parent_process():  # spawned
            follow_first()

    def on_save_checkpoint(self, trainer, module, checkpoint: dict[str, Any]) -> None:
        """A checkpoint alone is enough to go on from."""
        if self.settings is not None:
            checkpoint[SETTINGS] = self.settings

    def on_train_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Validate the last step, if it was not, before it is saved."""
        if module.measured_step == trainer.global_step or trainer.limit_val_batches == 0:
            return
        trainer.validating = True  # as Lightning does on the way
        trainer.fit_loop.epoch_loop.val_loop.run()
        trainer.training = True

    def on_fit_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """The final figures on the terminal."""
        if trainer.is_global_zero:
            _conclude(module, trainer.datamodule, _curve(trainer, module))
            _tell_where(self.folder, trainer, module)


class Results(Callback):
    """A JSON object a line to stdout, of each validation and of the end: for programs."""

    def __init__(self, folder: Path) -> None:
        """Take the folder of the run."""
        self.folder = folder

    def setup(self, trainer: pl.Trainer, module: pl.LightningModule, stage: str) -> None:
        """Leave stdout to the results, in a process that a strategy has spawned too."""
        if multiprocessing.parent_process():
            sys.stdout = sys.stderr

    def on_validation_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """The figures."""
        self._tell(trainer, module, event="validation")

    def on_fit_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """The figures, and the files, where a step was taken."""
        wrote = trainer.global_step > 0 and not trainer.fast_dev_run
        files = {"model": MODEL_NAME, "checkpoint": CHECKPOINT_NAME} if wrote else {}
        paths = {kind: str(self.folder / name) for kind, name in files.items()}
        most = trainer.max_steps
        reason = None if trainer.global_step >= most else _reason(trainer)
        self._tell(trainer, module, event="end", max_steps=most, stopped=reason, **paths)

    def _tell(self, trainer: pl.Trainer, module: pl.LightningModule, **about: Any) -> None:
        if not trainer.is_global_zero:
            return
        finite = {k: v if math.isfinite(v) else None for k, v in module.final_metrics.items()}
        line = {**about, "step": trainer.global_step, "metrics": finite}
        print(json.dumps(line), file=sys.__stdout__, flush=True)


class RunProgress(TQDMProgressBar):
    """Lightning's bar with losses, images/s and time left; validation draws none of its own."""

    def __init__(self, batch_size: int, refresh_rate: int = 1) -> None:
        super().__init__(refresh_rate=refresh_rate)
        self.batch_size = batch_size

    def init_train_tqdm(self) -> Tqdm:
        """The bar of the run: it has one epoch, so that word is left out."""
        bar = super().init_train_tqdm()
        bar.bar_format = "{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}{postfix}]"
        return bar

    def init_validation_tqdm(self) -> Tqdm:
        """A silent bar."""
        return Tqdm(disable=True)

    def on_train_epoch_start(self, trainer: pl.Trainer, *_: object) -> None:
        """Name the bar, and have it count steps, which may take several batches each."""
        super().on_train_epoch_start(trainer, *_)
        bar = self.train_progress_bar
        bar.total, bar.initial = trainer.max_steps, trainer.global_step
        bar.n = trainer.global_step
        bar.set_description("training")

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx) -> None:
        """Show a step."""
        bar, step = self.train_progress_bar, trainer.global_step
        if step != bar.n and self._should_update(step, bar.total):
            bar.n = step
            bar.set_postfix(self.get_metrics(trainer, module))

    def get_metrics(self, trainer: pl.Trainer, module: pl.LightningModule) -> dict:
        """Losses to three places and images/s; without the version number."""
        metrics = super().get_metrics(trainer, module)
        metrics.pop("v_num", None)
        bar = self.train_progress_bar.format_dict
        # None where the bar is disabled, as on all processes but the first.
        steps, seconds = bar["n"] - (bar["initial"] or 0), bar["elapsed"]
        if steps and seconds:
            batches = steps * trainer.accumulate_grad_batches * trainer.world_size
            rate = batches * self.batch_size / seconds
            metrics["images/s"] = f"{rate:.1f}"
        return metrics


def _curve(trainer: pl.Trainer, module: pl.LightningModule) -> Curve:
    """Brushwork of the run, as its callback has noted it; of one that it has ended, nothing."""
    watches = (callback for callback in trainer.callbacks if isinstance(callback, Watch))
    return next((watch.learned(module) for watch in watches if watch.fall is None), [])


def _conclude(module: pl.LightningModule, data: Any, curve: Curve) -> None:
    if data.photos.bad_files:
        print(data.photos.report())
    if "val/style" in module.final_metrics:  # not where none are validated
        print(f"\nheld-out distances   {'style':>9} {'content':>9} {'brushwork':>9}")
    for style in module.styles if "val/style" in module.final_metrics else ():
        kinds = ("style", "content", "brushwork")
        figures = (module.final_metrics[f"val/{kind}/{style.name}"] for kind in kinds)
        print(f"  {style.name[:18]:18} {' '.join(f'{figure:9.3f}' for figure in figures)}")
    if "val/found" in module.final_metrics:
        share = module.final_metrics["val/found"]
        print(f"nearest to the painting of its own style: {share:.0%} of the pictures")
    if "val/drift" in module.final_metrics:
        drift = module.final_metrics["val/drift"]
        print(f"drift of the {module.first_id} earlier styles: {drift:.2f}/255 on average")
    if told := advice(curve):
        print(told)


def _tell_where(folder: Path, trainer: pl.Trainer, module: pl.LightningModule) -> None:
    """What is written, what ended the run, and what can be done next."""
    model, steps = folder / MODEL_NAME, f"{trainer.global_step} of {trainer.max_steps} steps"
    if trainer.fast_dev_run:
        print(f"\nfast_dev_run: {steps} done, nothing is written")
        return
    if not trainer.global_step:  # limit_train_batches is 0, or a Timer has no time
        print("\nno step was taken, nothing is written")
        return
    if trainer.global_step < trainer.max_steps:
        print(f"\nended early, after {steps}: {_reason(trainer)}")
    print(
        f"\nwritten: {model} (style model), {folder / CHECKPOINT_NAME} (to resume)\n"
        f"paint:   fst-infer PHOTO --model {model} --style {module.styles[0].name}"
    )
    for logger in trainer.loggers:
        place = RUNS if folder.parent == RUNS else folder  # among other runs, to compare them
        place = place if isinstance(logger, RunLogger) else logger.log_dir
        if isinstance(logger, TensorBoardLogger):
            print(f"curves:  tensorboard --logdir {place} --samples_per_plugin images=999")
        elif place:
            print(f"log:     {place}")
    sys.stdout.flush()


def _reason(trainer: pl.Trainer) -> str:
    """What a callback of the user's says of the end that it has brought about."""
    said = [getattr(callback, "stopping_reason_message", None) for callback in trainer.callbacks]
    timers = [callback for callback in trainer.callbacks if isinstance(callback, Timer)]
    if any((left := timer.time_remaining()) is not None and left <= 0 for timer in timers):
        said.append("the time of its Timer is over")
    return " ".join(next(filter(None, said), "a callback has stopped it").split())
