"""What TensorBoard shows of the paintings: a grid after each validation."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from PIL import Image
from pytorch_lightning.callbacks import Callback
from torch import Tensor

from fst.assets import SAMPLE_PHOTO
from fst.data.batches import read_batch
from fst.data.scenes import Scenes
from fst.data.styles import load_pictures
from fst.io import images
from fst.style_model.labelled import label, labelled_sheet
from fst.training.curves import tensorboard_of

GRID_PHOTOS = 4  # rows of the grid; with 8 styles of 256 px it takes TensorBoard 2 s to encode
GRID_STYLES = 16  # columns at most: wider grids are unreadable
TAG = "val/paintings"


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

    Args:
        module: A `StyleTransferModule`.
        photos: Each (3, h, w) in [0, 1], on the device of the module.
        pictures: Of the first styles, which are shown, each (3, h, w).
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
