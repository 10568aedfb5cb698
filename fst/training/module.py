"""The LightningModule: one network, many styles, a perceptual loss."""

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor
from torchmetrics import MeanMetric

from fst.data.batches import read_batch
from fst.data.styles import Style
from fst.errors import FstError
from fst.losses.consistency import Twins
from fst.losses.grey import grey_places
from fst.losses.perceptual import PerceptualLoss
from fst.losses.style_groups import Comparison, StyleIndex, check_ids, each_id
from fst.losses.terms import grid_pattern
from fst.losses.traits import Traits
from fst.networks.transformer import TransformerNet
from fst.style_model.format import save_style_model
from fst.training.card import style_model_metadata
from fst.training.checkpoint import check_moments, check_settings
from fst.training.finite import FiniteGuard
from fst.training.held_out import HeldOutMetrics, targets_of_styles
from fst.training.schedule import Fall, rate_factors, scaled_rate, set_rates, steps_of
from fst.training.settings import Architecture, Objective, Schedule, Start
from fst.training.warm_start import (
    Keeper,
    convolution_weights,
    hold_kept_styles,
    style_parameters,
)

CROP_PX = 256  # taken for the size of the crops where the data do not say
# Where styles are added and the trunk learns too: weight of the kept styles' mean squared drift,
# and relative rate of the convolutions. At full rate, and with kept styles learning, those had a
# fifth more style distance afterwards, at weights of 100 and 1000 alike.
KEPT_WEIGHT, TUNED_RATE = 1000.0, 0.2
OF_STYLES, OF_TWINS, OF_GREY = 3, 4, 5  # what seeds are for


class StyleTransferModule(pl.LightningModule):
    """Trains a `TransformerNet` on photos for a list of styles.

    A batch is a `StyleBatch`, as `ContentDataModule` makes it, or what any loader of images gives:
    see `read_batch`.

    Examples:
        >>> from fst import Architecture, StyleTransferModule
        >>> module = StyleTransferModule(["wave.jpg"], Architecture(width=0.25, num_blocks=1))
        >>> module(torch.rand(1, 3, 32, 32), 0).shape
        torch.Size([1, 3, 32, 32])
    """

    def __init__(
        self,
        styles: Sequence[Style | str | Path | Mapping[str, Any]],
        architecture: Architecture | Mapping[str, Any] | None = None,
        objective: Objective | Mapping[str, Any] | None = None,
        schedule: Schedule | Mapping[str, Any] | None = None,
        start: Start | Mapping[str, Any] | None = None,
        seed: int = 0,
    ) -> None:
        """Make the network; the loss network and the style pictures are read in `setup`.

        Args:
            styles: For each style id a picture, a folder of pictures, or a `Style` (or its
                `as_dict`), whose weight, size_px and statistic outweigh those of the objective.
            architecture: Size of the network.
            objective: What is minimised.
            schedule: Learning rates.
            start: Where the weights come from, if they are not random.
            seed: Of the initial weights and the shifts.

        Raises:
            FstError: A list of weights or sizes has not one entry a style, or a setting is unknown.
        """
        super().__init__()
        self.styles = [Style.of(style) for style in styles]
        self.architecture = Architecture.of(architecture)
        self.objective = Objective.of(objective)
        self.schedule = Schedule.of(schedule)
        self.start = Start.of(start)
        self.objective.check_counts(len(self.styles))
        groups = ("architecture", "objective", "schedule", "start")
        plain = {name: getattr(self, name).as_dict() for name in groups}
        styles = [style.as_dict() for style in self.styles]
        self.save_hyperparameters({"styles": styles, **plain, "seed": seed})
        self.first_id = len(self.start.kept_styles)  # in the network, of the first of `styles`
        size = self.architecture.as_dict()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = TransformerNet(self.first_id + len(self.styles), **size)
        self.network = network.to(memory_format=torch.channels_last)
        self.keeper: Keeper | None = None
        if self.first_id and self.start.tune_trunk:
            self.keeper = Keeper(self.first_id, **size)
            hold_kept_styles(self.network, self.first_id)
        elif self.first_id:
            for weight in convolution_weights(self.network):
                weight.requires_grad_(False)
        self.marks: list[dict[str, str]] = [{} for _ in styles]  # which styles show the same
        self.perceptual: PerceptualLoss | None = None
        self.metrics: HeldOutMetrics | None = None
        self.drift: MeanMetric | None = None  # of the kept styles, in 1/255
        self.final_metrics: dict[str, float] = {}
        self.measured_step = -1  # the step of final_metrics
        self.fall: Fall | None = None  # of the rate, once the length of the run is known
        self.finite = FiniteGuard()

    def forward(self, photos: Tensor, style_index: StyleIndex) -> Tensor:
        """Paint photos (B, 3, H, W) in [0, 1], each in the style of its id; one id may be for all.

        Raises:
            FstError: They are no style ids, or not one an image.
        """
        photos = photos.contiguous(memory_format=torch.channels_last)
        ids = each_id(style_index, len(photos))
        if ids.device.type == "cpu":  # a GPU would have to be waited for
            check_ids(ids.tolist(), len(self.styles))
        weights = self.network.one_hot(self.first_id + ids)
        return self.network(photos, weights.to(photos.device, non_blocking=True))

    def save(self, path: str | Path) -> Path:
        """Write the style model as it stands, for `Stylizer` and fst-infer, as *.safetensors.

        Raises:
            FstError: The name has another end, it cannot be written, or a weight is not finite.
        """
        if Path(path).suffix != ".safetensors":
            raise FstError(f"{path}: style models end in .safetensors")
        return save_style_model(path, self.network, style_model_metadata(self))

    def setup(self, stage: str | None = None) -> None:
        """Read the loss network and the style pictures, and compute the targets.

        Raises:
            FstError: Weights or a style picture cannot be read, or a layer is missing.
        """
        if self.perceptual is not None:
            return
        # Lightning moves the module after this hook; self.device still says "cpu".
        device = self.trainer.strategy.root_device
        self.perceptual = self.objective.perceptual(self.styles, device)
        crop_px = getattr(self.trainer.datamodule, "size_px", CROP_PX)
        sizes_px = self.objective.sizes_px(self.styles)
        in_grey = bool(self.objective.grey_every)
        held = targets_of_styles(self.perceptual, self.styles, sizes_px, crop_px, in_grey)
        self.perceptual.set_targets(*held.targets, traits=held.traits)
        self.marks = held.marks
        self.metrics = HeldOutMetrics(held, self.perceptual.loss_network)
        self.drift = MeanMetric().to(device) if self.keeper is not None else None

    def training_step(self, batch: Any, batch_idx: int) -> dict[str, Tensor]:
        """Loss of one batch; logged before the optimiser steps, and by `RunLog`."""
        photos, style_index = read_batch(
            batch, len(self.styles), self._seed_of_batch, check=batch_idx == 0
        )
        number, twins = self._place_of_batch() * len(photos), None
        if self.objective.consistency_weight:
            twins = Twins.draw(len(photos), number, self._seed(OF_TWINS, self.global_step))
            photos, style_index = twins.join(photos, each_id(style_index, len(photos)))
        stylized = self(photos, style_index)
        seed = self._seed(OF_GREY, self.global_step)
        grey = grey_places(self.objective.grey_every, number, seed)
        window = ..., *self.objective.window(*photos.shape[2:], self._seed_of_step())
        comparison = self.perceptual.comparison(style_index, len(photos), grey)
        traits = None
        if any(self.objective.trait_weights):
            traits = self.perceptual.traits_of(each_id(style_index, len(photos)))
        whole, seen = (stylized, photos), (stylized[window], photos[window])
        terms = self.terms_of_images(whole, seen, comparison, traits)
        _add(terms, self._terms_of_batch(photos, stylized.float(), twins))
        per_image = terms.pop("style_per_image")
        self.finite.see(self, terms, style_index, () if twins is None else twins.places)
        return {"loss": terms["total"], "style_per_image": per_image, "style_index": style_index}

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Stop before a step that would spoil the weights, and log it: a GPU is waited for once.

        Raises:
            FstError: Loss, gradient, weights or Adam's state are not finite in one process.
        """
        terms = self.finite.before_step(self)  # on the CPU
        shown = {name: terms[name] for name in ("content", "style")}
        self.log_dict(shown, prog_bar=True, logger=False)
        self.log_dict({_curve(name): value for name, value in terms.items()})

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Step, and look at what came of it."""
        super().optimizer_step(*args, **kwargs)
        self.finite.after_step(self)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Measure held-out photos in every style."""
        photos = read_batch(batch, len(self.styles), lambda: 0, check=batch_idx == 0).photos
        self.metrics.update_with(self.perceptual.loss_network, self.forward, photos)
        if self.keeper is not None:
            self.drift.update(self.keeper.drift(self.network, photos).mean())

    def on_validation_epoch_end(self) -> None:
        """Log the held-out distances per style and their means."""
        self.final_metrics = self.metrics.figures([style.name for style in self.styles])
        self.measured_step = self.trainer.global_step
        if self.drift is not None:
            self.final_metrics["val/drift"] = self.drift.compute().item()
            self.drift.reset()
        # For callbacks that watch them; the curves are written here, because Lightning would
        # put them one step before the picture grid of the same validation.
        self.log_dict(self.final_metrics, logger=False, rank_zero_only=True)
        for logger in self.trainer.loggers:
            logger.log_metrics(self.final_metrics, step=self.measured_step)

    def configure_optimizers(self) -> dict[str, Any]:
        """Adam without weight decay (it would move absent styles); the rate falls to 0."""
        parts = {
            "styles": style_parameters(self.network),
            "convolutions": convolution_weights(self.network),
        }
        groups = [
            {"params": parameters, "lr": rate, "name": name}
            for (name, parameters), rate in zip(parts.items(), self._rates(), strict=True)
        ]
        # Lightning cannot clip the gradients of a fused optimiser in mixed precision.
        optimizer = torch.optim.Adam(groups, fused=not self.trainer.gradient_clip_val)
        self.fall = Fall.of_run(steps_of(self.trainer), self.schedule.until_plateau)
        factors = rate_factors(self.fall, self.schedule.styles_first_steps)
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, factors)
        each_step = {"scheduler": scheduler, "interval": "step"}
        return {"optimizer": optimizer, "lr_scheduler": each_step}

    def on_train_start(self) -> None:
        """A resumed run learns at its own rates: the checkpoint brings those that it had."""
        for config in self.trainer.lr_scheduler_configs:
            set_rates(config.scheduler, self._rates())

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what a style model needs, so that a checkpoint is one too."""
        checkpoint["style_model"] = style_model_metadata(self)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take up the figures of the last validation, which the next files tell again, and the
        network's margin, which runs from before there was one do without.

        Raises:
            CheckpointError: It is of fst 0.1, or its optimizer is that of another network.
        """
        check_settings(checkpoint.get("hyper_parameters", {}))
        learning = [*style_parameters(self.network), *convolution_weights(self.network)]
        check_moments(checkpoint, learning)
        self.final_metrics = dict(checkpoint["style_model"]["training"]["metrics"])
        margin = checkpoint["style_model"]["architecture"].get("margin", 0)
        for network in (self.network, self.keeper and self.keeper.network):
            if network is not None:
                network.margin = margin

    def style_model(self) -> tuple[TransformerNet, dict[str, Any]]:
        """A copy of the network to paint with, and the metadata: what a style model file holds."""
        network = copy.deepcopy(self.network).eval().requires_grad_(False)
        return network, style_model_metadata(self)

    def _rates(self) -> tuple[float, float]:
        """Peak rates of the style parameters and of the convolutions."""
        rate = self.schedule.learning_rate
        if self.schedule.scale_lr:
            rate = scaled_rate(rate, self.trainer.world_size)
        tuned = 1 if self.keeper is None else TUNED_RATE
        return rate * self.schedule.styles_rate, rate * tuned

    def __setstate__(self, state: dict[str, Any]) -> None:
        """In a spawned process, and as a copy: tensors leave their hooks behind."""
        super().__setstate__(state)
        if self.keeper is not None:
            hold_kept_styles(self.network, self.first_id)

    def terms_of_images(
        self,
        whole: tuple[Tensor, Tensor],
        seen: tuple[Tensor, Tensor],
        comparison: Comparison,
        traits: Traits | None,
    ) -> dict[str, Tensor]:
        """The terms that each image has by itself, and their total. If all styles form one group,
        shapes are the same in every batch, so that it can be compiled (`fst.training.compiled`).

        Args:
            whole: Stylized images and their photos, (B, 3, H, W).
            seen: What the loss network sees of both.
            comparison: Of `PerceptualLoss.comparison`.
            traits: Of the style of each image, where a term needs them.
        """
        stylized, photos = whole[0].float(), whole[1]
        terms = self.perceptual.compare(*seen, comparison)
        if self.objective.grid_weight:
            _add(terms, [("grid", self.objective.grid_weight, grid_pattern(stylized))])
        if traits is not None:
            _add(terms, traits.terms(stylized, photos, *self.objective.trait_weights))
        return terms

    def _terms_of_batch(
        self, photos: Tensor, stylized: Tensor, twins: Twins | None
    ) -> Iterator[tuple[str, float, Tensor]]:
        """Name, weight and value of the terms that compare images of the batch with each other, or
        the network with another."""
        if twins is not None:
            yield "consistency", self.objective.consistency_weight, twins.difference(stylized)
        if self.keeper is not None:
            which = self.trainer.global_rank, self.trainer.world_size
            kept = self.keeper.loss(self.network, photos, self._seed_of_step(), *which)
            yield "kept", KEPT_WEIGHT, kept

    def _seed_of_batch(self) -> int:
        """Another for each batch of each process, and not that of the shifts."""
        return self._seed(OF_STYLES, self._place_of_batch())

    def _seed(self, use: int, number: int) -> int:
        words = self.hparams.seed, use, number
        return int(np.random.SeedSequence(words).generate_state(1)[0])

    def _place_of_batch(self) -> int:
        """Of the batch among those of all processes; 0 without a Trainer."""
        if self._trainer is None:
            return 0
        batch = self.trainer.fit_loop.epoch_loop.total_batch_idx
        return batch * self.trainer.world_size + self.trainer.global_rank

    def _seed_of_step(self) -> int:
        return self.hparams.seed * 1_000_003 + self.global_step


def _add(terms: dict[str, Tensor], further: Iterable[tuple[str, float, Tensor]]) -> None:
    """Further terms, each with its weight, to the others and their total."""
    for name, weight, term in further:
        terms[name] = term
        terms["total"] = terms["total"] + weight * term


def _curve(term: str) -> str:
    """What a term of the loss is called in the logs, as Lightning's users expect."""
    return f"train/{'loss' if term == 'total' else term.replace('style/', 'layer/')}"
