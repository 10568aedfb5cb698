"""What a run shows: the progress bar, and TensorBoard's pictures, curves and tables."""

import json
import time
from collections.abc import Sequence
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, TQDMProgressBar
from pytorch_lightning.callbacks.progress.tqdm_progress import Tqdm
from pytorch_lightning.loggers import TensorBoardLogger
from torch import Tensor
from torchvision.utils import make_grid

from fst.data.batches import read_batch
from fst.data.styles import load_pictures
from fst.training.facts import plain_settings

GRID_CONTENTS = 4  # rows of the grid; with 8 styles of 256 px it takes TensorBoard 2 s to encode
GRID_STYLES = 16  # columns at most: wider grids are unreadable


def tensorboard_of(trainer: pl.Trainer):
    """The TensorBoard writer of a run, or None on other ranks and with other loggers."""
    for logger in trainer.loggers:
        if isinstance(logger, TensorBoardLogger) and trainer.is_global_zero:
            return logger.experiment
    return None


class ReviewGrid(Callback):
    """After each validation, a grid: style pictures on top, then held-out photos x styles."""

    def __init__(self) -> None:
        self._photos: list[Tensor] = []  # of the validation under way
        self._pictures: list[Tensor] = []  # of the styles, from the first validation on

    def on_validation_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Begin anew."""
        self._photos = []

    def on_validation_batch_end(self, trainer, module, outputs, batch, *_: Any, **__: Any) -> None:
        """Keep the first photos, all of one size."""
        photos = read_batch(batch, 1, lambda: 0, check=False).photos
        alike = [photo for photo in photos if photo.shape == (self._photos or photos)[0].shape]
        self._photos += alike[: GRID_CONTENTS - len(self._photos)]

    def on_validation_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Paint the grid and write it under "review/styles"."""
        writer = tensorboard_of(trainer)
        if writer is None or trainer.sanity_checking or not self._photos:
            return
        size = self._photos[0].shape[1:]
        if not self._pictures or self._pictures[0].shape[1:] != size:
            shown = load_pictures(module.styles[:GRID_STYLES], min(size))
            self._pictures = [_centre(pictures[0], *size) for pictures in shown]
        grid = review_grid(module, torch.stack(self._photos), self._pictures)
        writer.add_image("review/styles", grid, trainer.global_step)


@torch.no_grad()
def review_grid(module: pl.LightningModule, photos: Tensor, pictures: Sequence[Tensor]) -> Tensor:
    """Style pictures as header row, then one row a photo: the photo and its paintings.

    Args:
        module: A `StyleTransferModule`.
        photos: (N, 3, h, w) in [0, 1], on the device of the module.
        pictures: Of the first styles, which are shown, each (3, h, w).

    Returns:
        (3, H, W) in [0, 1] on the CPU.
    """
    cells = [torch.ones_like(photos[0], device="cpu"), *pictures]
    for photo in photos:
        cells.append(photo.cpu())
        for style_id in range(len(pictures)):
            cells.append(module(photo[None], style_id)[0].float().cpu())
    return make_grid(torch.stack(cells), nrow=len(pictures) + 1, padding=4, pad_value=1.0)


def _centre(picture: Tensor, height: int, width: int) -> Tensor:
    """The centre (3, height, width) of a picture, white where it is smaller."""
    cell = torch.ones(3, height, width)
    top, left = (max(0, (picture.shape[i] - side) // 2) for i, side in ((1, height), (2, width)))
    part = picture[:, top : top + height, left : left + width]
    cell[:, : part.shape[1], : part.shape[2]] = part
    return cell


class RunLog(Callback):
    """Throughput, per-style losses, settings, and the final figures of a run."""

    def __init__(self) -> None:
        self._last_time, self._images_since = 0.0, 0
        self._step = 0
        self._losses: dict[int, list[Tensor | float]] = {}  # of each style since the last writing
        self._under_way: list[tuple[list[int], Tensor]] = []  # batches of a step not yet taken

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Write the settings as text and start the clock."""
        self._last_time = time.monotonic()
        self._step = trainer.global_step
        writer = tensorboard_of(trainer)
        if writer is not None:
            settings = {"styles": module.hparams.styles, **plain_settings(module)}
            settings = json.dumps(settings, indent=2, default=str)
            writer.add_text("settings", f"```json\n{settings}\n```", trainer.global_step)

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx) -> None:
        """Collect the losses of each style; every `log_every_n_steps` write their means."""
        style_index = outputs["style_index"]
        self._images_since += len(style_index) * trainer.world_size
        self._under_way.append((style_index.tolist(), outputs["style_per_image"]))
        step, every = trainer.global_step, trainer.log_every_n_steps
        if step == self._step:  # it takes several batches
            return
        self._step = step
        for style_ids, losses in self._under_way:
            for style_id, loss in zip(style_ids, losses, strict=True):
                self._losses.setdefault(style_id, []).append(loss)
        self._under_way = []
        if every and step % every == 0:
            self._write(trainer, module)

    def state_dict(self) -> dict[str, Any]:
        """The losses of the steps taken and not yet written: a resumed run averages them too."""
        return {"losses": {style_id: _numbers(ls) for style_id, ls in self._losses.items()}}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self._losses = {int(i): list(losses) for i, losses in state_dict["losses"].items()}

    def _write(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        now = time.monotonic()
        values = {"throughput/images_per_s": self._images_since / max(1e-9, now - self._last_time)}
        for style_id, losses in self._losses.items():
            name = module.styles[style_id].name
            values[f"train_style/{name}"] = torch.tensor(_numbers(losses)).mean().item()
        for logger in trainer.loggers:
            logger.log_metrics(values, step=trainer.global_step)
        self._last_time, self._images_since, self._losses = now, 0, {}


def _numbers(losses: list[Tensor | float]) -> list[float]:
    """Numbers of a checkpoint and the tensors after them; a GPU is waited for once."""
    tensors = [loss for loss in losses if isinstance(loss, Tensor)]
    numbers = [loss for loss in losses if not isinstance(loss, Tensor)]
    return numbers + (torch.stack(tensors).tolist() if tensors else [])


def write_hyperparameters(trainer: pl.Trainer, module: pl.LightningModule) -> None:
    """Write the settings with the final held-out figures (TensorBoard's HParams)."""
    figures = {k: v for k, v in module.final_metrics.items() if k.startswith("held_out/")}
    given = plain_settings(module).items()
    settings = {k: v for k, v in given if isinstance(v, int | float | str)}
    settings |= {k: " ".join(map(str, v)) for k, v in given if isinstance(v, list | tuple)}
    settings["styles"] = ", ".join(style.name for style in module.styles)
    for logger in trainer.loggers:
        if isinstance(logger, TensorBoardLogger):
            # Without the step the final figures would stand at the start of their curves.
            logger.log_hyperparams(settings, figures, step=trainer.global_step)
            logger.save()


class RunProgress(TQDMProgressBar):
    """Lightning's bar with losses, images/s and time left; reviews do not draw one of their own."""

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
