"""fst: one small feed-forward network that paints in many styles."""

from typing import TYPE_CHECKING

__version__ = "0.2.0.dev0"
__all__ = [
    "Architecture",
    "ContentDataModule",
    "FstError",
    "LossNetwork",
    "Objective",
    "PaintOptions",
    "PerceptualLoss",
    "Schedule",
    "Start",
    "StyleTransferModule",
    "Stylizer",
    "TransformerNet",
    "__version__",
]

if TYPE_CHECKING:
    from fst.data.datamodule import ContentDataModule
    from fst.errors import FstError
    from fst.losses.perceptual import PerceptualLoss
    from fst.networks.loss_network import LossNetwork
    from fst.networks.transformer import TransformerNet
    from fst.stylize.options import PaintOptions
    from fst.stylize.stylizer import Stylizer
    from fst.training.module import StyleTransferModule
    from fst.training.settings import Architecture, Objective, Schedule, Start

_HOMES = {
    "ContentDataModule": "fst.data.datamodule",
    "FstError": "fst.errors",
    "LossNetwork": "fst.networks.loss_network",
    "PaintOptions": "fst.stylize.options",
    "PerceptualLoss": "fst.losses.perceptual",
    "TransformerNet": "fst.networks.transformer",
    "Stylizer": "fst.stylize.stylizer",
    "StyleTransferModule": "fst.training.module",
    **dict.fromkeys(("Architecture", "Objective", "Schedule", "Start"), "fst.training.settings"),
}


if not TYPE_CHECKING:  # a type checker would take every name for one of ours

    def __getattr__(name: str):
        # Lazy, so that `import fst` is instant and stylising never imports Lightning.
        if name not in _HOMES:
            raise AttributeError(f"module 'fst' has no attribute {name!r}")
        from importlib import import_module

        return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
