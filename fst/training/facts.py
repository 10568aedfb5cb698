"""What a style model tells of the run that trained it, beside the module's own settings."""

from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

MAX_FOLDERS = 3  # of training photos that are named


def run_facts(module: pl.LightningModule) -> dict[str, Any]:
    """Plain values, for the metadata and the model card; none outside a run.

    Folders are named without those above them: where they lay on this machine is nobody's business.
    """
    from fst import __version__

    trainer = module._trainer
    if trainer is None:
        return {}
    names = ("content", "style", "tv")
    weights = dict(zip(names, module.loss_weights(), strict=True))
    data = trainer.datamodule
    return {
        "max_steps": trainer.max_steps,
        "measured_step": module.measured_step,
        **_measured_at(module),
        "precision": trainer.precision,
        "processes": trainer.world_size,
        "weights": {**weights, "grid": module.hparams.grid_weight},
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
    """Of fewer than ten photos none is held out: the review shows them all the same."""
    held_out, photos = (set(getattr(p, "files", ())) for p in (data.held_out, data.photos))
    return bool(held_out & photos)


def _counted(pictures: Any) -> str:
    from fst.data.scenes import Scenes

    kind = "drawn scene" if isinstance(pictures, Scenes) else "photo"
    return f"{len(pictures)} {kind}{'s' * (len(pictures) != 1)}"
