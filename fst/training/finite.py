"""Stop a run at the first number that is not finite, and say which step and batch it came from."""

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.nn.utils import get_total_norm

from fst.errors import FstError
from fst.io.images import printable

WAY_OUT = (
    "resume from the last checkpoint with a lower learning rate, or get the loss network again"
)
NAMED_PHOTOS = 8  # of a batch, at most: the message is one line


class NotFiniteError(FstError):
    """A loss, a gradient, a weight or Adam's state that is not finite."""


class Seen(NamedTuple):
    """A batch of the step under way: its number, style ids, terms of its loss, and the places whose
    photo is the one before."""

    number: int
    style_index: Tensor
    terms: dict[str, Tensor]
    twins: Sequence[int]


class Fault(NamedTuple):
    """What a process found; of several processes the earliest cause counts."""

    order: int
    what: str
    batch: str


class FiniteGuard:
    """Watches the losses, the gradient, the weights and Adam's state of a run.

    All are judged at one place, before the optimiser steps, and by all processes together: a
    process that stopped alone would leave the others waiting for its gradient. Weights and Adam's
    state are those that the step before has left, so that a GPU is waited for once a step.
    """

    def __init__(self) -> None:
        self._seen: list[Seen] = []
        self._stepped: list[Seen] = []  # of the step before
        self._state_is_finite: Tensor | None = None  # after the step before

    def see(
        self, module: pl.LightningModule, terms: dict[str, Tensor], style_index: Tensor,
        twins: Sequence[int] = (),
    ) -> None:  # fmt: skip
        """Note a batch, its terms, and the places whose photo is the one before; without a trainer
        there is nobody who would stop."""
        if module._trainer is None:
            return
        number = module.trainer.fit_loop.epoch_loop.total_batch_idx
        detached = {name: term.detach() for name, term in terms.items()}
        self._seen.append(Seen(number, style_index, detached, twins))

    def before_step(self, module: pl.LightningModule) -> dict[str, Tensor]:
        """Judge the step under way before it changes the weights.

        Returns:
            The terms of its last batch and "grad_norm", the gradient's length before it is clipped,
            on the CPU: one transfer brings them and the judgement.

        Raises:
            NotFiniteError: Something is not finite: names it, the step and the batch.
        """
        norm = _gradient_norm(module)
        finite = _scaler_of(module) is not None or _square_is_finite(norm)
        for seen in self._seen:
            finite = finite & seen.terms["total"].isfinite()
        if self._state_is_finite is not None:
            finite = finite & self._state_is_finite
        terms = {**self._seen[-1].terms, "grad_norm": norm}
        values = torch.stack([torch.as_tensor(v).float() for v in (finite, *terms.values())]).cpu()
        self._judge(module, bool(values[0]) and _bad_rate(module) is None)
        return dict(zip(terms, values[1:], strict=True))

    def after_step(self, module: pl.LightningModule) -> None:
        """Look at what the step has made of weights and Adam's state; judged with the next step."""
        self._state_is_finite = _largest(t for _, t in _named_state(module)).isfinite()
        self._stepped, self._seen = self._seen, []

    def before_save(self, module: pl.LightningModule) -> None:
        """Judge what a checkpoint would hold.

        Raises:
            NotFiniteError: A weight or Adam's state is not finite.
        """
        self._state_is_finite = _largest(t for _, t in _named_state(module)).isfinite()
        self._judge(module, bool(self._state_is_finite))

    def _judge(self, module: pl.LightningModule, finite: bool) -> None:
        """Raise in every process if something is not finite in one of them."""
        trainer = module.trainer
        if trainer.strategy.reduce_boolean_decision(finite):
            return
        faults: list[Fault | None] = [None if finite else self._fault(module)]
        if trainer.world_size > 1:
            (mine,), faults = faults, [None] * trainer.world_size
            torch.distributed.all_gather_object(faults, mine)
        found = [fault for fault in faults if fault is not None]
        first = min(found, key=lambda fault: fault.order)
        batches = dict.fromkeys(fault.batch for fault in found if fault.order == first.order)
        raise NotFiniteError(f"{first.what} ({'; '.join(batches)}): {WAY_OUT}")

    def _fault(self, module: pl.LightningModule) -> Fault:
        """What is not finite, the earliest cause first."""
        step = module.global_step
        if self._state_is_finite is not None and not self._state_is_finite:
            bad = next(n for n, tensor in _named_state(module) if not tensor.isfinite().all())
            return Fault(0, f"{bad} is not finite after step {step}", _shown(module, self._stepped))
        for seen in self._seen:
            if not seen.terms["total"].isfinite():
                what = f"the loss is {seen.terms['total'].item()} at step {step}"
                return Fault(1, what, _shown(module, [seen]))
        batch = _shown(module, self._seen)
        if (rate := _bad_rate(module)) is not None:
            return Fault(2, f"the learning rate is {rate} at step {step}", batch)
        names = [n for n, p in module.named_parameters() if not _square_is_finite(p.grad)]
        where = f" of {names[0]}" if names else ""
        return Fault(3, f"the gradient{where} is not finite at step {step}", batch)


def _named_state(module: pl.LightningModule) -> Iterator[tuple[str, Tensor]]:
    """Weights, each with what Adam keeps of it."""
    for name, parameter in module.named_parameters():
        yield name, parameter.detach()
        for optimizer in module.trainer.optimizers:
            for key, value in optimizer.state.get(parameter, {}).items():
                if isinstance(value, Tensor) and key != "step":
                    yield f"Adam's {key} of {name}", value


def _largest(tensors: Iterator[Tensor]) -> Tensor:
    """Largest absolute value of all, NaN where one is NaN."""
    return get_total_norm(list(tensors), math.inf)


def _scaler_of(module: pl.LightningModule) -> Any:
    """Half precision's scaler, which leaves out steps that overflow itself; None without one."""
    return getattr(module.trainer.precision_plugin, "scaler", None)


def _gradient_norm(module: pl.LightningModule) -> Tensor:
    """Length of the gradient of all weights; of the true one, where a scaler enlarges it."""
    norm = get_total_norm([p.grad for p in module.parameters() if p.grad is not None])
    fused = any(group.get("fused") for o in module.trainer.optimizers for group in o.param_groups)
    scaler = _scaler_of(module)
    # A fused optimiser divides by the scale itself, when it steps.
    return norm / scaler.scale(torch.ones_like(norm)) if scaler is not None and fused else norm


def _square_is_finite(gradient: Tensor | None) -> Tensor | bool:
    return gradient is None or gradient.float().square().isfinite().all()


def _bad_rate(module: pl.LightningModule) -> float | None:
    rates = (group["lr"] for o in module.trainer.optimizers for group in o.param_groups)
    return next((float(rate) for rate in rates if not math.isfinite(rate)), None)


def _shown(module: pl.LightningModule, batches: list[Seen]) -> str:
    """Batches in words: "batch 5: sea.jpg in wave, tree.jpg in starry"."""
    names_of = getattr(module.trainer.datamodule, "photo_names", None)
    texts = []
    for seen in batches:
        styles = [module.styles[i].name for i in seen.style_index.tolist()]
        photos = list(names_of(seen.number)) if names_of else ["a photo"] * len(styles)
        for place in seen.twins:
            photos[place] = photos[place - 1]
        pairs = [f"{p} in {s}" for p, s in zip(photos, styles, strict=True)]
        more = f" and {len(pairs) - NAMED_PHOTOS} more" if len(pairs) > NAMED_PHOTOS else ""
        texts.append(f"batch {seen.number}: {', '.join(pairs[:NAMED_PHOTOS])}{more}")
    return printable("; ".join(texts))
