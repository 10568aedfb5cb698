"""What a run leaves on disk, written so that a kill never costs more than the last interval."""

import copy
import io
import pickle
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.io.torch_io import TorchCheckpointIO
from pytorch_lightning.callbacks import Callback

from fst.errors import FstError
from fst.stylize.style_model import remove_orphans, save_style_model, write_atomically

CHECKPOINT_NAME, MODEL_NAME = "last.ckpt", "model.safetensors"
FILE_NAMES = (CHECKPOINT_NAME, MODEL_NAME, "config.yaml")  # of a run, written in one step


class AtomicCheckpointIO(TorchCheckpointIO):
    """Checkpoints replace the previous file in one step, and are read with weights only.

    Lightning's own writer stages in $TMPDIR; across file systems its last move is a copy, which a
    kill or a full disk leaves half done over the good file.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path, storage_options=None) -> None:
        """Write `checkpoint` to `path`.

        Raises:
            FstError: The folder cannot be written, or the disk is full.
        """
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        write_atomically(path, buffer.getbuffer())

    def load_checkpoint(self, path, map_location=None, weights_only=None) -> dict[str, Any]:
        """Read a checkpoint; pickled code in it is refused.

        Raises:
            FstError: The file is missing or broken.
        """
        return read_checkpoint(path, map_location)


def read_checkpoint(path: str | Path, map_location: Any = "cpu") -> dict[str, Any]:
    """Read a checkpoint of fst-train, weights only.

    Raises:
        FstError: The file is missing, broken, or not written by fst-train.
    """
    if not Path(path).is_file():
        raise FstError(f"{path}: no such checkpoint; runs write {CHECKPOINT_NAME}")
    try:
        checkpoint = torch.load(path, map_location=map_location, weights_only=True)
    except pickle.UnpicklingError:  # torch's own text advises to run whatever the file holds
        raise FstError(f"{path}: damaged, or holds more than tensors and plain values") from None
    except Exception as error:  # a damaged zip or pickle fails in many ways
        reason = " ".join(str(error).split())[:120]
        raise FstError(f"{path}: not a readable checkpoint ({reason})") from None
    if not isinstance(checkpoint, Mapping) or "style_model" not in checkpoint:
        raise FstError(f"{path}: a checkpoint, but not one of fst-train")
    return dict(checkpoint)


class RunSaver(Callback):
    """Writes `last.ckpt` and `model.safetensors` every so many steps and at the end of the run."""

    def __init__(self, folder: str | Path, every_steps: int) -> None:
        self.folder, self.every_steps = Path(folder), every_steps
        self._saved_step = -1

    def remove_orphans(self) -> None:
        """Delete what a killed run has left half-written in the folder."""
        remove_orphans(self.folder, FILE_NAMES)

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """A resumed run has its first step stored already."""
        self._saved_step = trainer.global_step

    def on_train_batch_start(self, trainer, module, batch, batch_idx) -> None:
        """Save when the last step was due.

        Only here is a step over: its curves are written and its review is done, so that a resumed
        run goes on with nothing left out.
        """
        step = trainer.global_step
        # A step may take several batches; the file is written after the last of them.
        if step and step % self.every_steps == 0 and step != self._saved_step:
            with _at_the_end_of_a_step(trainer):
                self.save(trainer, module)

    def on_exception(self, trainer, module, exception: BaseException) -> None:
        """Keep what an interrupted run has learned (Ctrl-C)."""
        begun = self._saved_step >= 0  # else it has not yet read what it is to resume
        learned = begun and trainer.global_step != self._saved_step
        if isinstance(exception, KeyboardInterrupt) and learned:
            # A batch under way has not been learned: the resumed run has to draw it again.
            with _at_the_end_of_a_step(trainer):
                self.save(trainer, module)

    def on_train_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Save the last step, if it was not."""
        if trainer.global_step != self._saved_step:
            self.save(trainer, module)

    def save(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Write both files as the run stands.

        Raises:
            FstError: A weight is not finite, or a file cannot be written; the files of the last
                save stay.
        """
        module.finite.before_save(module)
        for logger in trainer.loggers:
            logger.save()  # a kill after this must not take the curves up to here with it
        self._saved_step = trainer.global_step
        trainer.save_checkpoint(self.folder / CHECKPOINT_NAME)  # every process takes part
        if trainer.is_global_zero:
            self.save_model(module)

    def save_model(self, module: pl.LightningModule) -> None:
        """Write the style model alone."""
        metadata = module.style_model_metadata()
        save_style_model(self.folder / MODEL_NAME, module.network, metadata)


@contextmanager
def _at_the_end_of_a_step(trainer: pl.Trainer) -> Iterator[None]:
    """Lightning's counts as a checkpoint must hold them to go on after the last step done.

    They are those that it has when it saves at the end of a batch, or in the middle of a review;
    with others it goes through a batch twice, ends early, or counts a step too many in the curves.
    """
    loop = trainer.fit_loop.epoch_loop
    before = loop.batch_progress, loop._batches_that_stepped, loop.val_loop.batch_progress
    done = trainer.global_step * trainer.accumulate_grad_batches
    loop._batches_that_stepped = trainer.global_step - 1
    if trainer.validating:  # by Ctrl-C: the resumed run makes the whole review
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
