"""What TensorBoard shows of a run: curves, settings, hyperparameters, and a grid of paintings."""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from PIL import Image
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.loggers import TensorBoardLogger
from torch import Tensor
from torch.utils.tensorboard.summary import hparams

from fst.assets import SAMPLE_PHOTO
from fst.data.batches import read_batch
from fst.data.scenes import Scenes
from fst.data.styles import load_pictures
from fst.io import images
from fst.io.markdown import escaped
from fst.style_model.labelled import label, labelled_sheet
from fst.training.card import flat_settings

# What TensorBoard's table of hyperparameters has of a run, and what runs are compared by there.
TURNED = ("styles", "steps", "batch_size", "size_px", "style_size_px", "style_loss",
    "content_weight", "style_weight", "tv_weight", "grid_weight", "grain_weight",
    "colour_weight", "tone_weight", "consistency_weight", "grey_every", "learning_rate", "width",
    "num_blocks", "began_from")  # fmt: skip
COMPARED = ("val/brushwork", "val/style", "val/content", "val/found")
GRID_PHOTOS = 4  # rows of the grid; with 8 styles of 256 px it takes TensorBoard 2 s to encode
GRID_STYLES = 16  # columns at most: wider grids are unreadable
TAG = "val/paintings"


class RunLogger(TensorBoardLogger):
    """Lightning's logger, in the folder of the run itself: TensorBoard calls a run by its folder.

    Differs: no curve of the epoch, of which a run is one; the table of hyperparameters is left to
    `RunLog`, which knows the weights that None stands for.
    """

    def __init__(self, folder: Any) -> None:
        super().__init__(folder, name="", version="", default_hp_metric=False)

    def log_metrics(self, metrics: dict[str, Any], step: int | None = None) -> None:
        """Write points of curves."""
        super().log_metrics({k: v for k, v in metrics.items() if k != "epoch"}, step)


def tensorboard_of(trainer: pl.Trainer):
    """The TensorBoard writer of a run, or None on other ranks and with other loggers."""
    for logger in trainer.loggers:
        if isinstance(logger, TensorBoardLogger) and trainer.is_global_zero:
            return logger.experiment
    return None


class RunLog(Callback):
    """Throughput, losses of each style, and the settings of a run."""

    def __init__(self) -> None:
        self._last_time, self._images_since = 0.0, 0
        self._step = 0
        self._losses: dict[int, list[Tensor | float]] = {}  # of each style since the last writing
        self._under_way: list[tuple[list[int], Tensor]] = []  # batches of a step not yet taken

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Write the settings and start the clock."""
        self._last_time = time.monotonic()
        self._step = trainer.global_step
        writer = tensorboard_of(trainer)
        if writer is None:
            return
        settings = flat_settings(module)
        rows = "".join(f"| {k} | {escaped(str(v), 400)} |\n" for k, v in settings.items())
        writer.add_text("settings", f"| setting | value |\n| --- | --- |\n{rows}", self._step)
        turned = {name: settings[name] for name in TURNED if name in settings}
        table = hparams(turned, dict.fromkeys(COMPARED, 0.0))  # their names: curves have values
        for summary in table:
            writer.file_writer.add_summary(summary, self._step)

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
            values[f"train/style/{name}"] = torch.tensor(_numbers(losses)).mean().item()
        for logger in trainer.loggers:
            logger.log_metrics(values, step=trainer.global_step)
        self._last_time, self._images_since, self._losses = now, 0, {}


def _numbers(losses: list[Tensor | float]) -> list[float]:
    """Numbers of a checkpoint and the tensors after them; a GPU is waited for once."""
    tensors = [loss for loss in losses if isinstance(loss, Tensor)]
    numbers = [loss for loss in losses if not isinstance(loss, Tensor)]
    return numbers + (torch.stack(tensors).tolist() if tensors else [])


class PaintingGrid(Callback):
    """After each validation, a grid: style pictures on top, then held-out photos x styles.

    Where scenes are held out, a real photo is the first row.
    """

    def __init__(self) -> None:
        self._photos: list[Tensor] = []  # of the validation under way
        self._pictures: list[Tensor] = []  # of the styles, from the first validation on

    def on_validation_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Begin anew."""
        self._photos = []
        if isinstance(getattr(trainer.datamodule, "held_out", None), Scenes):
            size_px = trainer.datamodule.size_px
            photo = _centre(images.load(SAMPLE_PHOTO, size_px), size_px, size_px)
            self._photos = [photo.to(module.device)]

    def on_validation_batch_end(self, trainer, module, outputs, batch, *_: Any, **__: Any) -> None:
        """Keep the first photos, all of one size."""
        photos = read_batch(batch, 1, lambda: 0, check=False).photos
        alike = [photo for photo in photos if photo.shape == (self._photos or photos)[0].shape]
        self._photos += alike[: GRID_PHOTOS - len(self._photos)]

    def on_validation_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Paint the grid and write it."""
        writer = tensorboard_of(trainer)
        if writer is None or trainer.sanity_checking or not self._photos:
            return
        size = self._photos[0].shape[1:]
        if not self._pictures or self._pictures[0].shape[1:] != size:
            shown = load_pictures(module.styles[:GRID_STYLES], min(size))
            self._pictures = [_centre(pictures[0], *size) for pictures in shown]
        grid = painting_grid(module, self._photos, self._pictures)
        writer.add_image(TAG, np.asarray(grid), trainer.global_step, dataformats="HWC")


@torch.no_grad()
def painting_grid(
    module: pl.LightningModule, photos: Sequence[Tensor], pictures: Sequence[Tensor]
) -> Image.Image:
    """Style pictures with their names as header row, then one row a photo: it and its paintings.

    All are (3, h, w) in [0, 1], the photos on the device of the module; the pictures are those of
    the first styles, which are shown.
    """
    names = [label(style_id, style.name) for style_id, style in enumerate(module.styles)]
    header = zip(names, map(images.to_picture, pictures), strict=False)  # of the first styles
    cells: list[tuple[str, Image.Image | None]] = [("", None), *header]
    for photo in photos:
        cells.append(("", images.to_picture(photo)))
        for style_id in range(len(pictures)):
            cells.append(("", images.to_picture(module(photo[None], style_id)[0])))
    return labelled_sheet(cells, len(pictures) + 1)


def _centre(picture: Tensor, height: int, width: int) -> Tensor:
    """The centre (3, height, width) of a picture, white where it is smaller."""
    cell = torch.ones(3, height, width)
    top, left = (max(0, (picture.shape[i] - side) // 2) for i, side in ((1, height), (2, width)))
    part = picture[:, top : top + height, left : left + width]
    cell[:, : part.shape[1], : part.shape[2]] = part
    return cell
