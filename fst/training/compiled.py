"""Train with networks and loss compiled by torch.compile: for long runs on a GPU."""

from collections.abc import Callable, Iterator
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from fst.losses.style_groups import Comparison
from fst.runtime.console import tell
from fst.training.finite import FiniteGuard
from fst.training.module import StyleTransferModule

SHOWN_REASON = 200  # characters of what a compiler says


class Compiled(pl.Callback):
    """Compiles the transformer network, and the loss with its network, forward and backward.

    `fst-train ... --trainer.callbacks fst.training.compiled.Compiled`

    The first batch goes through once more, which takes a minute or more; each step then launches
    fewer kernels. What the network learns differs by rounding. Only training steps are compiled,
    for batches of one size: not validations, the pictures of which have other sizes. Where styles
    have several statistics, batches mix them in ever other ways, so that of the loss its network
    alone is compiled. Where compiling fails, in any process, the run goes on without, and says why.
    After the run all is as before.
    """

    def __init__(self, backend: Any = "inductor") -> None:
        """`backend`: of `torch.compile`."""
        self.backend = backend
        self.compiled: bool | None = None  # not tried yet
        self._places: list[tuple[nn.Module, str, Callable]] = []

    def on_fit_start(self, trainer: pl.Trainer, pl_module: StyleTransferModule) -> None:
        """Each run compiles anew."""
        self.compiled = None

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: StyleTransferModule, batch: Any, batch_idx: int
    ) -> None:
        """Before the first step, compile; before each, put what is compiled in place."""
        if self.compiled is None:
            self._compile(trainer, pl_module, batch, batch_idx)
        if self.compiled:
            self._put_in_place()

    def on_before_backward(self, trainer: pl.Trainer, pl_module: Any, loss: Tensor) -> None:
        """Whoever copies or shows the networks after a step finds them as they were."""
        self._take_away()

    def on_exception(self, trainer: pl.Trainer, pl_module: Any, exception: BaseException) -> None:
        """As after a step."""
        self._take_away()

    def places(self, module: StyleTransferModule) -> Iterator[tuple[nn.Module, str, Callable]]:
        """Whose method is compiled, its name, and what takes its place."""
        options = {"backend": self.backend, "dynamic": False}
        yield module.network, "forward", torch.compile(module.network.forward, **options)
        if len(module.perceptual.groups) > 1:
            network = module.perceptual.loss_network
            yield network, "forward", torch.compile(network.forward, **options)
            return
        terms = torch.compile(module.terms_of_images, **options)

        def of_tensors(whole: Any, seen: Any, comparison: Comparison, traits: Any) -> dict:
            return terms(whole, seen, comparison.of_tensors(len(whole[0])), traits)

        yield module, "terms_of_images", of_tensors

    def _compile(
        self, trainer: pl.Trainer, module: StyleTransferModule, batch: Any, batch_idx: int
    ) -> None:
        reason = ""
        try:
            self._places = list(self.places(module))
            self._put_in_place()
            with trainer.precision_plugin.train_step_context():
                loss = module.training_step(batch, batch_idx)["loss"]
            loss.backward()
        except Exception as error:  # of any kind: compilers, drivers
            lines = str(error).strip().splitlines()[:2]
            reason = " ".join([f"{type(error).__name__}:", *map(str.strip, lines)])[:SHOWN_REASON]
        finally:
            self._take_away()
            module.zero_grad(set_to_none=True)
            module.finite = FiniteGuard()
        self.compiled = trainer.strategy.reduce_boolean_decision(not reason)
        if not self.compiled and trainer.is_global_zero:
            reason = reason or "it failed in another process"
            tell("fst-train", f"the networks are not compiled, training goes on without: {reason}")

    def _put_in_place(self) -> None:
        for of, name, function in self._places:
            setattr(of, name, function)

    def _take_away(self) -> None:
        for of, name, _ in self._places:
            vars(of).pop(name, None)
