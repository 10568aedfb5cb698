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
SEVERAL = "the styles have targets of several kinds, which every batch mixes differently"


class Compiled(pl.Callback):
    """Compiles the transformer network, and the loss with its network, forward and backward.

    `fst-train ... --trainer.callbacks fst.training.compiled.Compiled`

    The first batch is run once more for each attempt, which takes a minute or more; each step then
    launches fewer kernels. What the network learns differs by rounding. Only training steps are
    compiled, for batches of one size: not validations, whose pictures have other sizes. Where the
    targets of styles are of several kinds, as of several statistics, each batch mixes them
    differently, so only the two networks are compiled; so they are where the loss cannot be. Where
    they cannot be either, in any process, the run goes on without, and says why. After the run all
    is as before.

    Attributes:
        compiled: "all", "networks", or "nothing"; None before the first step.
    """

    def __init__(self, backend: Any = "inductor") -> None:
        """`backend`: of `torch.compile`."""
        self.backend = backend
        self.compiled: str | None = None
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
        if self.compiled != "nothing":
            self._put_in_place()

    def on_before_backward(self, trainer: pl.Trainer, pl_module: Any, loss: Tensor) -> None:
        """Whoever copies or shows the networks after a step finds them as they were."""
        self._take_away()

    def on_exception(self, trainer: pl.Trainer, pl_module: Any, exception: BaseException) -> None:
        """As after a step."""
        self._take_away()

    def places(
        self, module: StyleTransferModule, whole_loss: bool = True
    ) -> Iterator[tuple[nn.Module, str, Callable]]:
        """Whose method is compiled, its name, and what takes its place: the transformer network's
        and that of the whole loss, or of the loss network alone."""
        options = {"backend": self.backend, "dynamic": False}
        yield module.network, "forward", torch.compile(module.network.forward, **options)
        if not whole_loss:
            network = module.perceptual.loss_network
            yield network, "forward", torch.compile(network.forward, **options)
            return
        terms = torch.compile(module.terms_of_images, **options)

        def terms_with_mask(whole: Any, seen: Any, comparison: Comparison, traits: Any) -> dict:
            return terms(whole, seen, comparison.as_tensors(whole[0]), traits)

        yield module, "terms_of_images", terms_with_mask

    def _compile(
        self, trainer: pl.Trainer, module: StyleTransferModule, batch: Any, batch_idx: int
    ) -> None:
        """Keep the most that can be compiled in all processes."""
        reason = ""
        for whole_loss in (True, False) if len(module.perceptual.groups) == 1 else (False,):
            earlier, reason = reason, ""
            try:
                self._places = list(self.places(module, whole_loss))
                self._try(trainer, module, batch, batch_idx)
            except Exception as error:  # of any kind: compilers, drivers
                lines = str(error).strip().splitlines()[:2]
                reason = " ".join([f"{type(error).__name__}:", *map(str.strip, lines)])
            if trainer.strategy.reduce_boolean_decision(not reason):
                self.compiled = "all" if whole_loss else "networks"
                break
            self.compiled, reason = "nothing", reason[:SHOWN_REASON] or "in another process"
        if not trainer.is_global_zero:
            return
        if self.compiled == "nothing":
            tell("fst-train", f"compiling failed, training continues uncompiled: {reason}")
        elif self.compiled == "networks":
            why = f"compiling the whole loss failed: {earlier}" if earlier else SEVERAL
            tell("fst-train", f"only the two networks are compiled; {why}")

    def _try(
        self, trainer: pl.Trainer, module: StyleTransferModule, batch: Any, batch_idx: int
    ) -> None:
        """A step that leaves nothing behind."""
        try:
            self._put_in_place()
            with trainer.precision_plugin.train_step_context():
                loss = module.training_step(batch, batch_idx)["loss"]
            loss.backward()
        finally:
            self._take_away()
            module.zero_grad(set_to_none=True)
            module.finite = FiniteGuard()

    def _put_in_place(self) -> None:
        for of, name, function in self._places:
            setattr(of, name, function)

    def _take_away(self) -> None:
        for of, name, _ in self._places:
            vars(of).pop(name, None)
