"""What a run leaves on disk, written so that a kill never costs more than the last interval."""

import io
import math
import os
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.io.torch_io import TorchCheckpointIO
from pytorch_lightning.callbacks import Callback
from torch import Tensor

from fst.errors import FstError
from fst.stylize.style_model import build, save_style_model, write_atomically
from fst.torch_files import plain, read_torch_file

MOMENTS = {"step", "exp_avg", "exp_avg_sq"}  # of Adam, for each parameter
CHECKPOINT_NAME, MODEL_NAME = "last.ckpt", "model.safetensors"


class CheckpointError(FstError):
    """A checkpoint that does not fit the run; the message does not know its name."""


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
    if not os.path.isfile(path):  # unlike Path.is_file, also of names that no file can have
        raise FstError(f"{path}: no such checkpoint; runs write {CHECKPOINT_NAME}")
    try:
        checkpoint = read_torch_file(path, map_location, archive=True)
        if not isinstance(checkpoint, dict) or "style_model" not in checkpoint:
            raise FstError("a checkpoint, but not one of fst-train")
        checkpoint["style_model"] = plain(checkpoint["style_model"], "the metadata")
        return checkpoint
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
        kept = settings.get("kept_styles", [])
        sound = (
            _is_count(checkpoint["global_step"])
            and all(isinstance(style["name"], str) for style in kept)
            and _is_count(settings.get("rows_first_steps", 0))
            and 0 < settings.get("rows_rate", 1.0) < math.inf
            and isinstance(settings.get("began_from") or "", str)
        )
    except FstError as error:
        raise FstError(f"{path}: {str(error)[:300]}") from None  # it may quote the file
    except Exception as error:  # any of it may be missing, or be something else
        reason = " ".join(str(error).split())[:120]
        raise FstError(f"{path}: damaged ({type(error).__name__} {reason})") from None
    if not sound:
        raise FstError(f"{path}: damaged, its settings are of the wrong kind")
    return {**checkpoint, "hyper_parameters": settings}


def check_moments(checkpoint: dict[str, Any], parameters: list[Tensor]) -> None:
    """Hold Adam's state in a checkpoint against the parameters that it is for.

    The fused kernel goes by the size of the parameter alone: it would read and write beyond a
    smaller moment.

    Args:
        checkpoint: From `read_checkpoint`.
        parameters: In the optimizer's order.

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

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """A resumed run has its first step stored already."""
        self._saved_step = trainer.global_step

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx) -> None:
        """Save when a step that is due has just been taken."""
        step, self.has_stepped = trainer.global_step, True
        # A step may take several batches; the file is written after the last of them.
        if step and step % self.every_steps == 0 and step != self._saved_step:
            self.save(trainer, module)

    def on_exception(self, trainer, module, exception: BaseException) -> None:
        """Keep what an interrupted run has learned (Ctrl-C)."""
        if isinstance(exception, KeyboardInterrupt) and trainer.global_step != self._saved_step:
            # A batch under way has not been learned: the resumed run has to draw it again.
            progress = trainer.fit_loop.epoch_loop.batch_progress
            done = trainer.global_step * trainer.accumulate_grad_batches
            for counts in (progress.total, progress.current):
                counts.ready = counts.started = counts.processed = counts.completed = done
            self.save(trainer, module)

    def on_train_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Save the last step, if it was not."""
        if trainer.global_step != self._saved_step:
            self.save(trainer, module)

    def save(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Write both files as the run stands.

        Raises:
            FstError: A weight is not finite; the files of the last save stay.
        """
        parameters = module.network.named_parameters()
        bad = [name for name, tensor in parameters if not tensor.isfinite().all()]
        if bad:  # a finite loss can have a gradient that is not
            raise FstError(
                f"{bad[0]} is not finite after step {trainer.global_step}: resume from the last "
                "checkpoint with a lower --lr"
            )
        self._saved_step = trainer.global_step
        trainer.save_checkpoint(self.folder / CHECKPOINT_NAME)  # every process takes part
        if trainer.is_global_zero:
            self.save_model(module)

    def save_model(self, module: pl.LightningModule) -> None:
        """Write the style model alone."""
        metadata = module.style_model_metadata()
        save_style_model(self.folder / MODEL_NAME, module.network, metadata)
