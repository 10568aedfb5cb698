"""What fst-train says: the beginning of a run, and its end."""

import multiprocessing
import sys
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.loggers import TensorBoardLogger

from fst.runtime.allocator import keep_freed_memory
from fst.runtime.console import quieten_lightning
from fst.runtime.devices import described
from fst.runtime.precision import exact_fp32
from fst.runtime.processes import follow_first
from fst.training.checkpoint import CHECKPOINT_NAME, MODEL_NAME, SETTINGS
from fst.training.review import write_hyperparameters
from fst.training.start import announcement


def announce(settings: Any, module: pl.LightningModule, data: Any, trainer: pl.Trainer) -> None:
    """Say what the run begins from and works on."""
    names = ", ".join(style.name for style in module.styles)
    if not settings.content:
        print("no --content given: training on scenes drawn by the program")
    if start := announcement(settings, module):
        print(start)
    world = trainer.world_size
    each = f" in each of {world} processes" if world > 1 else ""
    print(
        f"{len(module.styles)} styles ({names}), {len(data.photos)} photos and "
        f"{len(data.held_out)} held out, {settings.steps} steps of {settings.batch_size} x "
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
        """Review the last step, if it was not or not in full, before it is saved."""
        reviewed = module.measured_step == trainer.global_step
        complete = reviewed and "held_out/brushwork" in module.final_metrics
        if complete or trainer.limit_val_batches == 0:
            return
        module.stopped_early = True
        trainer.validating = True  # as Lightning does for a review on the way
        trainer.fit_loop.epoch_loop.val_loop.run()
        trainer.training = True

    def on_fit_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """The final figures, in TensorBoard and on the terminal."""
        if trainer.is_global_zero:
            write_hyperparameters(trainer, module)
            _conclude(module, trainer.datamodule)
            _tell_where(self.folder, trainer, module)


def _conclude(module: pl.LightningModule, data: Any) -> None:
    if data.photos.bad_files:
        print(data.photos.report())
    if module.final_metrics:  # not with --trainer.limit_val_batches 0
        print(f"\nheld-out distances   {'style':>9} {'content':>9} {'brushwork':>9}")
    for style in module.styles if module.final_metrics else ():
        kinds = ("style", "content", "brushwork")
        figures = (module.final_metrics[f"held_out_{kind}/{style.name}"] for kind in kinds)
        print(f"  {style.name[:18]:18} {' '.join(f'{figure:9.3f}' for figure in figures)}")
    if "held_out/found" in module.final_metrics:
        share = module.final_metrics["held_out/found"]
        print(f"nearest to the painting of its own style: {share:.0%} of the pictures")
    if "held_out/drift" in module.final_metrics:
        drift = module.final_metrics["held_out/drift"]
        print(f"drift of the {module.first_id} earlier styles: {drift:.2f}/255 in the mean")


def _tell_where(folder: Path, trainer: pl.Trainer, module: pl.LightningModule) -> None:
    """What is written, what ended the run, and what can be done next."""
    model, steps = folder / MODEL_NAME, f"{trainer.global_step} of {trainer.max_steps} steps"
    if trainer.fast_dev_run:
        print(f"\nfast_dev_run: {steps} done, nothing is written")
        return
    if not trainer.global_step:  # --trainer.limit_train_batches 0, a Timer of no time
        print("\nno step was taken, nothing is written")
        return
    if trainer.global_step < trainer.max_steps:
        print(f"\nended early, after {steps}: {_reason(trainer)}")
    print(
        f"\nwritten: {model} (style model), {folder / CHECKPOINT_NAME} (to resume)\n"
        f"paint:   fst-infer PHOTO --model {model} --style {module.styles[0].name}"
    )
    for logger in trainer.loggers:
        place = folder if logger.log_dir == str(folder / "tensorboard") else logger.log_dir
        if isinstance(logger, TensorBoardLogger):
            print(f"review:  tensorboard --logdir {place} --samples_per_plugin images=999")
        elif place:
            print(f"log:     {place}")
    sys.stdout.flush()


def _reason(trainer: pl.Trainer) -> str:
    """What a callback of the user's says of the end that it has brought about."""
    said = (getattr(callback, "stopping_reason_message", None) for callback in trainer.callbacks)
    return " ".join(next(filter(None, said), "a callback has stopped it").split())
