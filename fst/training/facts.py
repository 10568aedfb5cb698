"""What a style model tells of the run that trained it, beside the module's own settings."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

from fst.style_model.format import describe

MAX_FOLDERS = 3  # of training photos that are named


def plain_settings(module: pl.LightningModule) -> dict[str, Any]:
    """The settings of a `StyleTransferModule` without its styles, by their own names alone."""
    groups = (module.hparams[name] for name in ("architecture", "objective", "schedule", "start"))
    settings = {name: value for group in groups for name, value in group.items()}
    del settings["kept_styles"]
    return settings | {"seed": module.hparams.seed}


def style_model_metadata(module: pl.LightningModule) -> dict[str, Any]:
    """What a style model says of itself: styles, settings, figures, and the run."""
    settings = plain_settings(module)
    training = {"step": module.global_step, "settings": settings, "metrics": module.final_metrics}
    training["run"] = run_facts(module)
    # File names only: where they lay on this machine is nobody else's business.
    styles = [
        {**style.as_dict(), "images": [Path(image).name for image in style.images], **mark}
        for style, mark in zip(module.styles, module.marks, strict=True)
    ]
    settings["loss_network"] = _file_names(settings["loss_network"])
    return describe(module.network, [*module.start.kept_styles, *styles], training)


def flat_settings(module: pl.LightningModule) -> dict[str, int | float | str | bool]:
    """All settings of a run as single values, for tables; weights and layers as they are used."""
    loss, trainer, data = module.perceptual, module.trainer, module.trainer.datamodule
    settings = plain_settings(module)
    settings["loss_network"] = _file_names(settings["loss_network"])
    weights = ("content_weight", "style_weight", "tv_weight")
    settings |= dict(zip(weights, loss.weights, strict=True))
    settings |= {"content_layer": loss.content_layer, "style_layers": loss.style_layers}
    settings |= {"precision": trainer.precision, "processes": trainer.world_size}
    first = {"styles": [style.name for style in module.styles], "steps": trainer.max_steps}
    first |= _data_facts(data) if hasattr(data, "held_out") else {}
    return {name: _single(value) for name, value in (first | settings).items()}


def _single(value: Any) -> int | float | str | bool:
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return value if isinstance(value, int | float | str) else "none"


def _file_names(networks: str | Sequence[str]) -> str:
    """Loss networks without folders: where they lay on this machine is nobody's business."""
    names = [networks] if isinstance(networks, str) else networks
    return " ".join(Path(name).name for name in names)


def run_facts(module: pl.LightningModule) -> dict[str, Any]:
    """Plain values, for the metadata and the model card; none outside a run.

    Folders are named without those above them: where they lay on this machine is nobody's business.
    """
    from fst import __version__

    trainer = module._trainer
    if trainer is None:
        return {}
    names = ("content", "style", "tv")
    weights = dict(zip(names, module.objective.weights(module.styles), strict=True))
    data = trainer.datamodule
    return {
        "max_steps": trainer.max_steps,
        "measured_step": module.measured_step,
        **_measured_at(module),
        "precision": trainer.precision,
        "processes": trainer.world_size,
        "weights": {**weights, "grid": module.objective.grid_weight},
        "versions": f"fst {__version__}, torch {torch.__version__}, "
        f"pytorch-lightning {pl.__version__}",
        **(_data_facts(data) if hasattr(data, "held_out") else {}),
    }


def _measured_at(module: pl.LightningModule) -> dict[str, Any]:
    """The layers of style and content distance, which differ between loss networks."""
    if module.metrics is None:
        return {}
    layers = list(module.metrics["style"].targets[0])
    return {"measured_style": layers, "measured_content": module.metrics["content"].layer}


def _data_facts(data: Any) -> dict[str, Any]:
    folders = [Path(given).resolve().name for given in data.content or () if Path(given).is_dir()]
    more = f" and {len(folders) - MAX_FOLDERS} more" if len(folders) > MAX_FOLDERS else ""
    where = f" ({', '.join(folders[:MAX_FOLDERS])}{more})" if folders else ""
    return {
        "size_px": data.size_px,
        "batch_size": data.batch_size,
        "content": _counted(data.photos) + where,
        "held_out": _counted(data.held_out) + (" of those trained on" if _are_shared(data) else ""),
    }


def _are_shared(data: Any) -> bool:
    """Of fewer than ten photos none is held out: they are validated on all the same."""
    held_out, photos = (set(getattr(p, "files", ())) for p in (data.held_out, data.photos))
    return bool(held_out & photos)


def _counted(pictures: Any) -> str:
    from fst.data.scenes import Scenes

    kind = "drawn scene" if isinstance(pictures, Scenes) else "photo"
    return f"{len(pictures)} {kind}{'s' * (len(pictures) != 1)}"
