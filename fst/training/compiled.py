"""Train with the networks compiled by torch.compile: for long runs on a GPU."""

from typing import Any

import pytorch_lightning as pl
import torch

from fst.data.batches import StyleBatch
from fst.runtime.console import tell
from fst.training.finite import FiniteGuard
from fst.training.module import CROP_PX, StyleTransferModule

EAGER, USUAL = "force_eager", "default"  # stances of torch.compiler


class Compiled(pl.Callback):
    """Compiles the transformer network and the loss network, forward and backward.

    `fst-train ... --trainer.callbacks fst.training.compiled.Compiled`

    That takes a minute or two before the first step, in which a black batch goes through; a step
    then launches fewer kernels. What the network learns differs by rounding. Validations, whose
    pictures have other sizes, are not compiled, and neither are the statistics of the loss. Where
    compiling fails, the run goes on without, and says why.
    """

    def __init__(self, backend: Any = "inductor") -> None:
        """`backend`: of `torch.compile`."""
        self.backend = backend
        self.compiled = False

    def on_train_start(self, trainer: pl.Trainer, pl_module: StyleTransferModule) -> None:
        """Compile, and go through a step that changes nothing."""
        try:
            for network in (pl_module.network, pl_module.perceptual.loss_network):
                network.compile(backend=self.backend, dynamic=False)
            _try_step(trainer, pl_module)
            self.compiled = True
        except Exception as error:  # of any kind: compilers, drivers
            torch.compiler.set_stance(EAGER)
            reason = " ".join(str(error).split())[:160]
            if trainer.is_global_zero:
                tell("fst-train", f"not compiled ({type(error).__name__}: {reason})")
        finally:
            pl_module.zero_grad(set_to_none=True)
            pl_module.finite = FiniteGuard()

    def on_validation_start(self, trainer: pl.Trainer, pl_module: StyleTransferModule) -> None:
        """Pictures of many sizes are not worth it."""
        torch.compiler.set_stance(EAGER)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: StyleTransferModule) -> None:
        """Go on as before."""
        torch.compiler.set_stance(USUAL if self.compiled else EAGER)

    def on_fit_end(self, trainer: pl.Trainer, pl_module: StyleTransferModule) -> None:
        """Leave the process as it was."""
        torch.compiler.set_stance(USUAL)

    def on_exception(self, trainer: pl.Trainer, pl_module: Any, exception: BaseException) -> None:
        """As `on_fit_end`."""
        torch.compiler.set_stance(USUAL)


def _try_step(trainer: pl.Trainer, module: StyleTransferModule) -> None:
    """Forward and backward pass of a black batch of the run's size."""
    data = trainer.datamodule
    size_px = getattr(data, "size_px", CROP_PX)
    count = getattr(data, "batch_size", 1)
    photos = torch.zeros(count, 3, size_px, size_px, device=module.device)
    batch = StyleBatch(photos, torch.zeros(count, dtype=torch.long))
    with trainer.precision_plugin.train_step_context():
        loss = module.training_step(batch, 0)["loss"]
    loss.backward()
