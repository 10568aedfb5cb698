"""What a style model says of the run that trained it, and the card that a run leaves beside it."""

import sys
from pathlib import Path
from typing import Any

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
from fst.style_model.format import describe
from fst.style_model.labelled import CELL_PX, MAX_PHOTOS, MAX_STYLES, card_picture
from fst.training.stopping import Terminated

SAMPLE_PX = 256  # shorter side of the sample photo
MAX_FOLDERS = 3  # of training photos that are named


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
        metadata = style_model_metadata(module)
        shown = with_picture and picture.name
        write_atomically(card, card_text(metadata, self.model.name, shown, told).encode())
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
    network, metadata = module.style_model()
    names = [style["name"] for style in metadata["styles"]]
    count = max(0, min(len(module.styles), MAX_STYLES - module.first_id))
    new = load_pictures(module.styles[:count], CELL_PX)
    pictures = [None] * module.first_id + [shown[0] for shown in new]

    @torch.no_grad()
    def paint(photo: Tensor, style_id: int) -> Tensor:
        index = torch.tensor([style_id], device=module.device)
        return network(photo[None].to(module.device), network.one_hot(index))[0].float().cpu()

    told += "; below, in each style."
    told += " Left, what shows the style." if count else ""
    return card_picture(paint, photos, names, pictures), told


# ---- metadata ----------------------------------------------------------------------------------


def plain_settings(module: pl.LightningModule) -> dict[str, Any]:
    """The settings of a `StyleTransferModule` without its styles, by their own names alone.

    Files are named without folders, here and below: where they lay on this machine is nobody
    else's business.
    """
    groups = (module.hparams[name] for name in ("architecture", "objective", "schedule", "start"))
    settings = {name: value for group in groups for name, value in group.items()}
    del settings["kept_styles"]
    networks = settings["loss_network"]
    networks = [networks] if isinstance(networks, str) else networks
    settings["loss_network"] = " ".join(Path(name).name for name in networks)
    return settings | {"seed": module.hparams.seed}


def style_model_metadata(module: pl.LightningModule) -> dict[str, Any]:
    """What a style model says of itself: styles, settings, figures, and the run."""
    training = {
        "step": module.global_step,
        "settings": plain_settings(module),
        "metrics": module.final_metrics,
        "run": run_facts(module),
    }
    styles = [
        {**style.as_dict(), "images": [Path(image).name for image in style.images], **mark}
        for style, mark in zip(module.styles, module.marks, strict=True)
    ]
    return describe(module.network, [*module.start.kept_styles, *styles], training)


def flat_settings(module: pl.LightningModule) -> dict[str, int | float | str | bool]:
    """All settings of a run as single values, for tables; weights and layers as they are used."""
    loss, trainer = module.perceptual, module.trainer
    settings = plain_settings(module)
    weights = ("content_weight", "style_weight", "tv_weight")
    settings |= dict(zip(weights, loss.weights, strict=True))
    settings |= {"content_layer": loss.content_layer, "style_layers": loss.style_layers}
    settings |= {"precision": trainer.precision, "processes": trainer.world_size}
    first = {"styles": [style.name for style in module.styles], "steps": trainer.max_steps}
    first |= _data_facts(trainer.datamodule)
    return {name: _single(value) for name, value in (first | settings).items()}


def _single(value: Any) -> int | float | str | bool:
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return value if isinstance(value, int | float | str) else "none"


def run_facts(module: pl.LightningModule) -> dict[str, Any]:
    """Plain values, for the metadata and the model card; none outside a run."""
    from fst import __version__

    trainer = module._trainer
    if trainer is None:
        return {}
    names = ("content", "style", "tv")
    weights = dict(zip(names, module.objective.weights(module.styles), strict=True))
    others = ("grid", "colour", "consistency")
    beside = {name: getattr(module.objective, f"{name}_weight") for name in others}
    return {
        "max_steps": trainer.max_steps,
        "measured_step": module.measured_step,
        **_measured_at(module),
        "precision": trainer.precision,
        "processes": trainer.world_size,
        "weights": weights | beside,
        "versions": f"fst {__version__}, torch {torch.__version__}, "
        f"pytorch-lightning {pl.__version__}",
        **_data_facts(trainer.datamodule),
    }


def _measured_at(module: pl.LightningModule) -> dict[str, Any]:
    """The layers of style and content distance, which differ between loss networks."""
    if module.metrics is None:
        return {}
    layers = list(module.metrics["style"].targets[0])
    return {"measured_style": layers, "measured_content": module.metrics["content"].layer}


def _data_facts(data: Any) -> dict[str, Any]:
    if not hasattr(data, "held_out"):  # a loader of the user's
        return {}
    folders = [Path(given).resolve().name for given in data.content or () if Path(given).is_dir()]
    more = f" and {len(folders) - MAX_FOLDERS} more" if len(folders) > MAX_FOLDERS else ""
    where = f" ({', '.join(folders[:MAX_FOLDERS])}{more})" if folders else ""
    # Of fewer than ten photos none is held out: they are validated on all the same.
    held_out, photos = (set(getattr(p, "files", ())) for p in (data.held_out, data.photos))
    return {
        "size_px": data.size_px,
        "batch_size": data.batch_size,
        "content": _counted(data.photos) + where,
        "held_out": _counted(data.held_out) + " of those trained on" * bool(held_out & photos),
    }


def _counted(pictures: Any) -> str:
    kind = "drawn scene" if isinstance(pictures, Scenes) else "photo"
    return f"{len(pictures)} {kind}{'s' * (len(pictures) != 1)}"
