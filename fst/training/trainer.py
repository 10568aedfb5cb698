"""Lightning's Trainer as fst-train sets it up: our callbacks and defaults, the user's flags."""

import re
import signal
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from lightning_fabric.plugins import CheckpointIO
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning.callbacks import (
    BatchSizeFinder,
    GradientAccumulationScheduler,
    LearningRateFinder,
    LearningRateMonitor,
    ModelCheckpoint,
    ProgressBar,
)
from torch.multiprocessing.spawn import ProcessException

from fst.errors import FstError
from fst.runtime.console import quieten_lightning
from fst.runtime.memory import best_precision, is_out_of_memory
from fst.runtime.processes import follow_first, noted_as_first
from fst.style_model.names import MODEL_NAME
from fst.training.card import RunCard
from fst.training.checkpoint import AtomicCheckpointIO, CheckpointError, RunSaver
from fst.training.curves import PaintingGrid, RunLog, RunLogger
from fst.training.plateau import Watch
from fst.training.report import Results, RunEnds, RunProgress, announce
from fst.training.start import Refused
from fst.training.stopping import Stopping

# The loss is computed in fp32: only what Lightning casts back and forth by itself.
PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")
FEWEST_VAL_STEPS = 100
# Callbacks that run epochs of their own or count them, and what to give instead.
UNFIT = {
    GradientAccumulationScheduler: "`trainer.accumulate_grad_batches`",
    LearningRateFinder: "`lr`",
    BatchSizeFinder: "`batch_size`",
}


def make_trainer(settings: Any, flags: dict[str, Any], folder: Path) -> tuple[pl.Trainer, RunSaver]:
    """The Trainer, with Lightning's own flags (None where not given), and what stores the run.

    Raises:
        FstError: Lightning refuses a flag, or it does not go with these runs.
    """
    quieten_lightning()
    given = {key: value for key, value in flags.items() if value is not None}
    check_strategy(given.get("strategy"))
    own, plugins = _as_list(given.pop("callbacks", None)), _as_list(given.pop("plugins", None))
    _check_objects(own, plugins)
    saver = RunSaver(folder, settings.save_every or max(1, settings.steps // 20))
    fixed = {
        "use_distributed_sampler": False,
        # RunSaver does it; what a ModelCheckpoint of the user's stores comes beside that.
        "enable_checkpointing": any(isinstance(callback, ModelCheckpoint) for callback in own),
        "num_sanity_val_steps": 0,
        "enable_model_summary": False,
    }
    try:
        trainer = pl.Trainer(
            **(_defaults(settings, given, folder) | given | fixed),
            callbacks=_callbacks(settings, given, own, saver) + own,
            plugins=[AtomicCheckpointIO(), *plugins],
        )
    except Exception as error:  # Lightning checks its flags with many kinds of exceptions
        raise FstError(f"`trainer`: {' '.join(str(error).split())}") from None
    if settings.until and trainer.limit_val_batches == 0:
        raise FstError("`until` watches validations: leave `trainer.limit_val_batches` 0 out")
    if trainer.precision not in PRECISIONS:
        raise FstError(
            f"`trainer.precision` {trainer.precision}: the loss is computed in fp32; use one of "
            f"{', '.join(PRECISIONS)}"
        )
    return trainer, saver


def val_steps(steps: int) -> int:
    """Steps from one validation to the next where none are given: a tenth of the run, but that of a
    short one would soon take longer than the steps before it.

    Examples:
        >>> val_steps(40), val_steps(400), val_steps(4000)
        (40, 100, 400)
    """
    return max(min(steps, FEWEST_VAL_STEPS), steps // 10)


def _defaults(settings: Any, given: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Flags where the user gives none."""
    val_every = settings.val_every or val_steps(settings.steps)
    defaults: dict[str, Any] = {
        "max_steps": settings.steps,
        "max_epochs": -1,  # the run is one long epoch, see fst/data/datamodule.py
        "precision": best_precision(given.get("accelerator", "auto")),
        "val_check_interval": val_every * given.get("accumulate_grad_batches", 1),
        "check_val_every_n_epoch": None,
        "default_root_dir": folder,  # where Lightning looks for what SLURM has interrupted
    }
    if not given.get("barebones"):  # which refuses them
        defaults["logger"] = RunLogger(folder)
        defaults["log_every_n_steps"] = max(1, min(20, settings.steps // 20))
    return defaults


def _callbacks(settings: Any, given: dict[str, Any], own: list, saver: RunSaver) -> list:
    """Ours. In this order: the last validation before the last save, a save before a stop."""
    # How often a run is saved is no part of its state: others save it to the same.
    stored = settings.text("save_every")
    callbacks = [RunLog(), PaintingGrid(), Watch(), RunEnds(saver.folder, stored)]
    if not given.get("fast_dev_run"):  # a trial: its model would count as the newest
        callbacks.append(saver)
    callbacks.append(Stopping())
    if not given.get("fast_dev_run"):
        callbacks.append(RunCard(saver.folder / MODEL_NAME))
    barebones = given.get("barebones", False)
    if settings.json:
        callbacks.append(Results(saver.folder))
    if given.get("logger", not barebones):
        callbacks.append(LearningRateMonitor())
    has_bar = any(isinstance(callback, ProgressBar) for callback in own)
    if given.get("enable_progress_bar", not barebones) and not has_bar:
        callbacks.append(RunProgress(settings.batch_size))
    return callbacks


def _check_objects(callbacks: list, plugins: list) -> None:
    """Refuse callbacks and plugins that would do what the run does itself."""
    for callback in callbacks:
        if type(callback) in UNFIT:
            raise FstError(
                f"`trainer.callbacks` {type(callback).__name__} needs epochs, and a run is one "
                f"long epoch: use {UNFIT[type(callback)]}"
            )
    if any(isinstance(plugin, CheckpointIO) for plugin in plugins):
        raise FstError(
            "`trainer.plugins`: fst-train stores checkpoints its own way, each in one step: leave "
            "the CheckpointIO out"
        )


def check_strategy(strategy: Any) -> None:
    """Refuse strategies, by Lightning's name or as instances, that cut the network into shards."""
    name = strategy if isinstance(strategy, str) else type(strategy).__name__
    if any(part in name.lower() for part in ("fsdp", "deepspeed", "modelparallel")):
        raise FstError(
            f"`trainer.strategy` {name} shards a network that is too big for one GPU; this one has "
            "less than two million numbers (27 MB with Adam's), so it would save nothing and wait "
            "for every layer: use ddp"
        )


def train(settings: Any, module, data, trainer: pl.Trainer, saver: RunSaver) -> None:
    """Fit; the callbacks do the rest.

    Raises:
        Refused: Lightning finds a flag wrong only now.
        FstError: The run cannot be resumed, or a process that this one has started failed.
    """
    if trainer.local_rank:
        follow_first()
    if trainer.is_global_zero:
        announce(settings, module, data, trainer)
        if not trainer.fast_dev_run:
            saver.remove_orphans()
            settings.save(saver.folder)
    with nullcontext() if trainer.local_rank else noted_as_first():
        _fit(settings, module, data, trainer, saver)


def _fit(settings: Any, module, data, trainer: pl.Trainer, saver: RunSaver) -> None:
    """Train; what a checkpoint to resume breaks before the first batch is through is its fault."""
    try:
        trainer.fit(module, datamodule=data, ckpt_path=settings.resume)
    except CheckpointError as error:
        raise FstError(f"`resume`: {settings.resume}: {error}") from None
    except FstError:
        raise
    except ProcessException as error:
        raise _no_memory(settings, error) or _of_spawned(error) from None
    except MisconfigurationException as error:
        raise Refused(f"`trainer`: {' '.join(str(error).split())}") from None
    except SystemExit as error:  # Lightning makes it of Ctrl-C
        if isinstance(error.__context__, KeyboardInterrupt) and not saver.has_stepped:
            raise error.__context__ from None
        raise
    except Exception as error:  # the file may hold anything in any place
        if str(error).startswith("Early stopping conditioned on metric"):
            raise Refused(f"`trainer.callbacks`: {' '.join(str(error).split())}") from None
        if problem := _no_memory(settings, error):
            raise problem from error
        if not settings.resume or saver.has_stepped:
            raise
        reason = " ".join(str(error).split())[:160]
        raise FstError(
            f"`resume`: {settings.resume} cannot be resumed ({type(error).__name__}: {reason}): "
            f"begin a new run with `warm_start` {settings.resume}"
        ) from error


def _no_memory(settings: Any, error: Exception) -> FstError | None:
    if not is_out_of_memory(error):
        return None
    return FstError(
        f"there is not enough memory for `batch_size` {settings.batch_size} and `size` "
        f"{settings.size}: give smaller ones, or a smaller `style_size`"
    )


def _of_spawned(error: Exception) -> BaseException:
    """What ended a process that this one has spawned, which knows its traceback alone."""
    if getattr(error, "exit_code", None) == 128 + signal.SIGTERM:
        return SystemExit(error.exit_code)
    told = re.findall(r"^fst\.[\w.]+Error: (.*)$", str(error), re.MULTILINE)
    return FstError(told[-1]) if told else error


def _as_list(value: Any) -> list:
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple) else [value]
