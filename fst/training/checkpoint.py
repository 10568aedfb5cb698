"""What a run leaves on disk, written so that a kill never costs more than the last interval."""

import copy
import io
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.io.torch_io import TorchCheckpointIO
from pytorch_lightning.callbacks import Callback
from torch import Tensor

from fst.errors import FstError
from fst.io.atomic import remove_orphans, write_atomically
from fst.io.torch_files import plain, read_torch_file
from fst.style_model.format import build, save_style_model
from fst.style_model.names import MODEL_NAME
from fst.training.card import style_model_metadata
from fst.training.stopping import Terminated

MOMENTS = {"step", "exp_avg", "exp_avg_sq"}  # of Adam, for each parameter
CHECKPOINT_NAME = "last.ckpt"
CARD_NAMES = ("model.md", "model.jpg")  # MODEL_NAME's
SETTINGS = "settings"  # in the checkpoint: the command's, as the YAML text of config.yaml
FILE_NAMES = (CHECKPOINT_NAME, MODEL_NAME, "config.yaml", *CARD_NAMES)  # each written in one step


class CheckpointError(FstError):
    """A checkpoint that does not fit the run; the message does not know its name."""


class AtomicCheckpointIO(TorchCheckpointIO):
    """Checkpoints replace the previous file in one step, and are read with weights only.

    Lightning's own writer stages in $TMPDIR; across file systems its last move is a copy, which a
    kill or a full disk leaves half done over the good file.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path, storage_options=None) -> None:
        """Write it; FstError where the folder cannot be written, or the disk is full."""
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        write_atomically(path, buffer.getbuffer())

    def load_checkpoint(self, path, map_location=None, weights_only=None) -> dict[str, Any]:
        """Read a checkpoint, or what a spawned process hands back; pickled code is refused.

        Into memory, if nothing else is asked for: the GPU that wrote it may not be here.

        Raises:
            FstError: The file is missing or broken.
        """
        kept = _kept.pop(_identity(path), None) if map_location in (None, "cpu") else None
        return _read(path, map_location or "cpu") if kept is None else kept


# The checkpoint that was read last, by its file's identity, until Lightning takes it: what resumes
# a run asks for it several times.
_kept: dict[tuple | None, dict[str, Any]] = {}


def _identity(path: str | Path) -> tuple | None:
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    return os.path.realpath(path), found.st_ino, found.st_mtime_ns, found.st_size


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint of fst-train, weights only, into memory.

    Raises:
        FstError: The file is missing, broken, or not written by fst-train.
    """
    identity = _identity(path)
    if identity in _kept:
        return _kept[identity]
    checkpoint = _read(path, "cpu")
    if not isinstance(checkpoint, dict) or "style_model" not in checkpoint:
        raise FstError(f"{path}: a checkpoint, but not one of fst-train")
    try:
        checkpoint["style_model"] = plain(checkpoint["style_model"], "the metadata")
    except FstError as error:
        raise FstError(f"{path}: {error}") from None
    _kept.clear()
    _kept[identity] = checkpoint
    return checkpoint


def _read(path: str | Path, map_location: Any) -> Any:
    if not os.path.isfile(path):  # unlike Path.is_file, also of names that no file can have
        inside = Path(path, CHECKPOINT_NAME)
        if os.path.isfile(inside):
            raise FstError(f"{path} is a folder: did you mean {inside}?")
        raise FstError(f"{path}: no such checkpoint; runs write {CHECKPOINT_NAME}")
    try:
        return read_torch_file(path, map_location, archive=True)
    except FstError as error:
        raise FstError(f"{path}: {error}") from None


def read_run(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint to go on from; what the command looks at is of the right kind.

    Raises:
        FstError: As `read_checkpoint`, or it is no state of a run.
    """
    checkpoint = read_checkpoint(path)
    try:
        build(checkpoint["style_model"])
        settings = plain(checkpoint["hyper_parameters"], "the settings")
        check_settings(settings)
        start, schedule = settings["start"], settings["schedule"]
        sound = (
            _is_count(checkpoint["global_step"])
            and all(isinstance(style["name"], str) for style in start.get("kept_styles", []))
            and _is_count(schedule.get("styles_first_steps", 0))
            and 0 < schedule.get("styles_rate", 1.0) < math.inf
            and isinstance(start.get("began_from") or "", str)
        )
    except FstError as error:
        raise FstError(f"{path}: {str(error)[:300]}") from None  # it may quote the file
    except Exception as error:  # any of it may be missing, or be something else
        reason = " ".join(str(error).split())[:120]
        raise FstError(f"{path}: damaged ({type(error).__name__} {reason})") from None
    if not sound:
        raise FstError(f"{path}: damaged, its settings are of the wrong kind")
    return {**checkpoint, "hyper_parameters": settings}


def check_settings(settings: Mapping[str, Any]) -> None:
    """Raise CheckpointError of the settings of fst 0.1, which stand in no groups."""
    rates = settings.get("schedule", {}).keys() >= {"styles_first_steps", "styles_rate"}
    if not (rates and "began_from" in settings.get("start", {})):
        raise CheckpointError(
            "a run of fst 0.1: resume it with that version, or begin a new run from its weights"
        )


def check_moments(checkpoint: dict[str, Any], parameters: list[Tensor]) -> None:
    """Hold Adam's state in a checkpoint against its parameters, in the optimizer's order.

    The fused kernel goes by the size of the parameter alone: it would read and write beyond a
    smaller moment.

    Raises:
        CheckpointError: A moment is missing, of another shape, or there are other parameters.
    """
    try:
        for stored in checkpoint.get("optimizer_states", []):
            groups = [place for group in stored["param_groups"] for place in group["params"]]
            fits = groups == list(range(len(parameters)))
            for place, state in stored["state"].items():
                shape = parameters[place].shape
                moments = [state[name] for name in ("exp_avg", "exp_avg_sq")]
                fits = fits and set(state) == MOMENTS and state["step"].numel() == 1
                fits = fits and all(m.shape == shape and m.is_floating_point() for m in moments)
            if not fits:
                raise CheckpointError("its optimizer is that of another network: damaged")
    except FstError:
        raise
    except Exception as error:  # any of it may be missing, or be something else
        raise CheckpointError(f"its optimizer is damaged ({type(error).__name__})") from None


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 0


class RunSaver(Callback):
    """Writes `last.ckpt` and `model.safetensors` every so many steps and at the end of the run."""

    def __init__(self, folder: str | Path, every_steps: int) -> None:
        self.folder, self.every_steps = Path(folder), every_steps
        self._saved_step = -1
        self.has_stepped = False  # whether a batch of this process went through

    def remove_orphans(self) -> None:
        """Delete what a killed run has left half-written in the folder."""
        remove_orphans(self.folder, FILE_NAMES)

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """A resumed run has its first step stored already; its model may be of the save before.

        A kill may fall between the two files. Left so, kills of several runs in a row would leave
        the model further and further behind.
        """
        self._saved_step = trainer.global_step
        if trainer.global_step and trainer.is_global_zero:
            self.save_model(module)

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx) -> None:
        """Note that the run goes."""
        self.has_stepped = True

    def on_train_batch_start(self, trainer, module, batch, batch_idx) -> None:
        """Save when the last step was due.

        Only here is a step over: its curves are written and its validation is done, so that a
        resumed run goes on with nothing left out.
        """
        step = trainer.global_step
        # A step may take several batches; the file is written after the last of them.
        if step and step % self.every_steps == 0 and step != self._saved_step:
            with _at_the_end_of_a_step(trainer):
                self.save(trainer, module)

    def on_exception(self, trainer, module, exception: BaseException) -> None:
        """Keep what an interrupted run has learned (Ctrl-C, SIGTERM)."""
        begun = self._saved_step >= 0  # else it has not yet read what it is to resume
        learned = begun and trainer.global_step != self._saved_step
        if isinstance(exception, KeyboardInterrupt | Terminated) and learned:
            # A batch under way has not been learned: the resumed run has to draw it again.
            with _at_the_end_of_a_step(trainer):
                self.save(trainer, module)

    def on_train_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Save the last step, or, if it was saved, the model with the figures of its validation."""
        if trainer.global_step != self._saved_step:
            self.save(trainer, module)
        elif trainer.is_global_zero:
            self.save_model(module)

    def save(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Write both files as the run stands; where that fails, those of the last save stay."""
        module.finite.before_save(module)
        for logger in trainer.loggers:
            logger.save()  # a kill after this must not take the curves up to here with it
        trainer.save_checkpoint(self.folder / CHECKPOINT_NAME)  # every process takes part
        if trainer.is_global_zero:
            self.save_model(module)
        self._saved_step = trainer.global_step  # last: an interrupted save is made again

    def save_model(self, module: pl.LightningModule) -> None:
        """Write the style model alone."""
        save_style_model(self.folder / MODEL_NAME, module.network, style_model_metadata(module))


@contextmanager
def _at_the_end_of_a_step(trainer: pl.Trainer) -> Iterator[None]:
    """Lightning's counts as a checkpoint must hold them to go on after the last step done.

    They are those that it has when it saves at the end of a batch, or in the middle of validation;
    with others it goes through a batch twice, ends early, or counts a step too many in the curves.
    """
    loop = trainer.fit_loop.epoch_loop
    before = loop.batch_progress, loop._batches_that_stepped, loop.val_loop.batch_progress
    done = trainer.global_step * trainer.accumulate_grad_batches
    loop._batches_that_stepped = trainer.global_step - 1
    if trainer.validating:  # by Ctrl-C: the resumed run makes the whole validation
        loop.val_loop.batch_progress = _progress(loop.val_loop.batch_progress, begun=1, ended=0)
        loop.batch_progress = _progress(loop.batch_progress, begun=done, ended=done)
    else:
        loop.batch_progress = _progress(loop.batch_progress, begun=done, ended=done - 1)
        for counts in (loop.batch_progress.total, loop.batch_progress.current):
            counts.processed = done
    try:
        yield
    finally:
        loop.batch_progress, loop._batches_that_stepped, loop.val_loop.batch_progress = before


def _progress(progress: Any, begun: int, ended: int) -> Any:
    """A copy with other counts."""
    progress = copy.deepcopy(progress)
    progress.is_last_batch = False
    for counts in (progress.total, progress.current):
        counts.ready = counts.started = begun
        counts.processed = counts.completed = ended
    return progress
