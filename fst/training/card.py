"""The model card that a run leaves beside its model."""

import sys
from pathlib import Path

import pytorch_lightning as pl
import torch
from PIL import Image
from pytorch_lightning.callbacks import Callback
from torch import Tensor

from fst.assets import SAMPLE_PHOTO
from fst.data.scenes import Scenes
from fst.data.styles import load_pictures
from fst.io import images
from fst.io.atomic import write_atomically
from fst.io.paths import printable
from fst.style_model.card import card_text, jpeg_bytes
from fst.style_model.labelled import CELL_PX, MAX_PHOTOS, MAX_STYLES, card_picture
from fst.training.stopping import Terminated

SAMPLE_PX = 256  # shorter side of the sample photo


class RunCard(Callback):
    """Writes `model.md` and `model.jpg` at the end of a run; when told to stop, `model.md` alone.

    The run is done or ending: what goes wrong here is told, and changes nothing.
    """

    def __init__(self, model: str | Path) -> None:
        """Take the path of the style model that the card is about."""
        self.model = Path(model)

    def on_fit_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Write both, where a step was taken."""
        if trainer.global_step:
            self._try_to_write(trainer, module, with_picture=True)

    def on_exception(self, trainer, module, exception: BaseException) -> None:
        """Say in the card that the run is not at its end."""
        stored = self.model.is_file() and trainer.global_step > 0
        if isinstance(exception, KeyboardInterrupt | Terminated) and stored:
            self._try_to_write(trainer, module, with_picture=False)

    def _try_to_write(
        self, trainer: pl.Trainer, module: pl.LightningModule, with_picture: bool
    ) -> None:
        if not trainer.is_global_zero:
            return
        try:
            self._write(trainer, module, with_picture)
        except Exception as error:  # a full disk, a photo that is gone, memory, ...
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            print(f"fst-train: no model card: {printable(reason)}", file=sys.stderr)

    def _write(self, trainer: pl.Trainer, module: pl.LightningModule, with_picture: bool) -> None:
        card, picture = self.model.with_suffix(".md"), self.model.with_suffix(".jpg")
        told = ""
        if with_picture:
            sheet, told = _painted(trainer, module)
            write_atomically(picture, jpeg_bytes(sheet))
        text = card_text(
            module.style_model_metadata(), self.model.name, with_picture and picture.name, told
        )
        write_atomically(card, text.encode())
        if with_picture:
            print(f"card:    {card}", flush=True)


def _unpainted(trainer: pl.Trainer) -> tuple[list[Tensor], str]:
    """What to paint: the photos of the validation; of drawn scenes two, after the sample photo."""
    crops = trainer.datamodule.val_dataloader().dataset
    shown = [crops[i].float() / 255 for i in range(min(MAX_PHOTOS, len(crops)))]
    if not isinstance(trainer.datamodule.held_out, Scenes):
        return shown, "On top, photos of the validation"
    sample = images.load(SAMPLE_PHOTO, SAMPLE_PX)
    return [sample, *shown[:2]], "On top, a sample photo and scenes drawn by the program"


def _painted(trainer: pl.Trainer, module: pl.LightningModule) -> tuple[Image.Image, str]:
    """The picture, and what is on it."""
    photos, told = _unpainted(trainer)
    names = [style["name"] for style in module.style_model_metadata()["styles"]]
    count = max(0, min(len(module.styles), MAX_STYLES - module.first_id))
    new = load_pictures(module.styles[:count], CELL_PX)
    pictures = [None] * module.first_id + [shown[0] for shown in new]

    @torch.no_grad()
    def paint(photo: Tensor, style_id: int) -> Tensor:
        index = torch.tensor([style_id], device=module.device)
        batch = photo[None].to(module.device).contiguous(memory_format=torch.channels_last)
        return module.network(batch, module.network.one_hot(index))[0].float().cpu()

    told += "; below, in each style."
    told += " Left, what shows the style." if count else ""
    return card_picture(paint, photos, names, pictures), told
