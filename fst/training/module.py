"""The LightningModule: one network, many styles, a perceptual loss."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torchmetrics import MeanMetric

from fst.data.batches import read_batch
from fst.data.styles import Style
from fst.errors import FstError
from fst.losses import objective
from fst.losses.perceptual import PerceptualLoss
from fst.losses.terms import grid_pattern
from fst.networks.combined import load_loss_networks
from fst.networks.conditional import ConditionalInstanceNorm2d
from fst.networks.transformer import TransformerNet
from fst.style_model.format import describe
from fst.training.checkpoint import check_moments
from fst.training.facts import run_facts
from fst.training.finite import FiniteGuard
from fst.training.held_out import HeldOutMetrics
from fst.training.keeping import Keeper
from fst.training.schedule import rate_factors, scaled_rate, set_rates, steps_of
from fst.training.targets import targets_of_styles

TERMS = ("total", "content", "style", "tv", "grid", "kept")  # logged as train/...
CROP_PX = 256  # taken for the size of the crops where the data do not say
# Where styles are added and the trunk learns too: weight of the kept styles' mean squared drift,
# and relative rate of the convolutions. At full rate, and with kept rows learning, the kept styles
# had a fifth more style distance afterwards, at weights of 100 and 1000 alike.
KEPT_WEIGHT, TUNED_RATE = 1000.0, 0.2


class StyleTransferModule(pl.LightningModule):
    """Trains a `TransformerNet` on photos for a list of styles.

    A batch is a `StyleBatch`, as `ContentDataModule` makes it, or what any loader of images gives:
    see `read_batch`.

    Examples:
        >>> from fst import StyleTransferModule
        >>> module = StyleTransferModule(
        ...     ["wave.jpg"], width=0.25, num_blocks=1
        ... )
        >>> module(torch.rand(1, 3, 32, 32), torch.tensor([0])).shape
        torch.Size([1, 3, 32, 32])
    """

    def __init__(
        self,
        styles: Sequence[Style | str | Path | Mapping[str, Any]],
        width: float = 0.5,
        num_blocks: int = 5,
        loss_network: str | Sequence[str] = "vgg16-lite",
        content_layer: str | None = None,
        style_layers: Sequence[str] | None = None,
        content_weight: float | None = None,
        style_weight: float | Sequence[float] | None = None,
        tv_weight: float | None = None,
        grid_weight: float | None = None,
        classic_weights: bool = False,
        style_loss: str | None = None,
        style_size_px: int | Sequence[int] = objective.STYLE_SIZE_PX,
        shift_px: int = 3,
        learning_rate: float = 1e-3,
        rows_first_steps: int = 0,
        rows_rate: float = 1.0,
        scale_lr: bool = False,
        began_from: str | None = None,
        kept_styles: Sequence[dict[str, Any]] = (),
        tune_trunk: bool = False,
        seed: int = 0,
    ) -> None:
        """Make the network; the loss network and the style pictures are read in `setup`.

        Args:
            styles: For each style id a picture, a folder of pictures, or a `Style` (or its
                `as_dict`), whose weight, size_px and statistic outweigh those below.
            width: Scales the channels of the network, see `TransformerNet`.
            num_blocks: Residual blocks of the network.
            loss_network: "vgg16-lite", "vgg16", "vgg19" or a weights file, or several, of which
                the first that has a layer gives it; see `load_loss_networks`.
            content_layer: See `PerceptualLoss`; so `style_layers` and `style_loss`.
            style_layers: Layers of the style loss.
            content_weight: Weight of the content loss; None takes the default of the mode.
            style_weight: Weight of the style loss, likewise, or one for each style id.
            tv_weight: Weight of total variation, likewise.
            grid_weight: Weight of patterns in step with the pixel grid, see `grid_pattern`.
            classic_weights: Absolute sums with Johnson's weights.
            style_loss: Statistic that describes style, see `read_statistic`.
            style_size_px: Shorter side of the style pictures, or one for each style id: larger
                gives larger strokes.
            shift_px: The images are moved by up to this many pixels before the loss network, at
                random, so that the network cannot paint to its pooling grid.
            learning_rate: Adam's peak rate; cosine decay to zero over the run.
            rows_first_steps: For this long only the rows of the styles learn, not the convolutions
                that they share; for runs that begin from a trained network.
            rows_rate: Learning rate of the rows relative to `learning_rate`.
            scale_lr: Multiply the rates by the square root of the number of processes.
            began_from: Name of the model whose weights the caller put in, for the record.
            kept_styles: What that model says of its styles, where `styles` are added to them: they
                come first in the network, and their rows do not learn, nor do the convolutions.
            tune_trunk: Convolutions learn too, held to paint the kept styles as before, see
                `Keeper`; the kept rows do not.
            seed: Of the initial weights and the shifts.

        Raises:
            FstError: A list of weights or sizes has not one entry a style.
        """
        super().__init__()
        styles = [Style.of(style).as_dict() for style in styles]  # plain, for the checkpoint
        style_loss = style_loss or objective.statistic(classic_weights)
        if grid_weight is None:
            grid_weight = objective.grid_weight(classic_weights)
        for name, value in (("style_weight", style_weight), ("style_size_px", style_size_px)):
            if isinstance(value, list | tuple) and len(value) != len(styles):
                raise FstError(f"{name}: {len(value)} numbers for {len(styles)} styles")
        self.save_hyperparameters()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = TransformerNet(len(kept_styles) + len(styles), width, num_blocks)
        self.network = network.to(memory_format=torch.channels_last)
        self.first_id = len(kept_styles)  # in the network, of the first of `styles`
        self.keeper: Keeper | None = None
        if kept_styles and tune_trunk:
            self.keeper = Keeper(len(kept_styles), width, num_blocks)
            self._hold_kept_rows()
        elif kept_styles:
            for convolution in self._convolutions():
                convolution.requires_grad_(False)
        self.styles = [Style.of(style) for style in styles]
        self.marks: list[dict[str, str]] = [{} for _ in styles]  # which styles show the same
        self.perceptual: PerceptualLoss | None = None
        self.metrics: HeldOutMetrics | None = None
        self.drift: MeanMetric | None = None  # of the kept styles, in 1/255
        self.final_metrics: dict[str, float] = {}
        self.measured_step = -1  # the step of final_metrics
        self.num_steps = -1  # of the whole run, once it is known
        self.stopped_early = False  # the next review is the last, whatever the step
        self.finite = FiniteGuard()

    def forward(self, photos: Tensor, style_index: Tensor) -> Tensor:
        """Paint photos (B, 3, H, W) in [0, 1], each in the style of its place in `styles` (B,)."""
        photos = photos.contiguous(memory_format=torch.channels_last)
        return self.network(photos, self.network.one_hot(self.first_id + style_index))

    def setup(self, stage: str | None = None) -> None:
        """Read the loss network and the style pictures, and compute the targets.

        Raises:
            FstError: Weights or a style picture cannot be read, or a layer is missing.
        """
        if self.perceptual is not None:
            return
        settings = self.hparams
        # Lightning moves the module after this hook; self.device still says "cpu".
        device = self.trainer.strategy.root_device
        loss_network = load_loss_networks(settings.loss_network).to(device)
        loss_network.to(memory_format=torch.channels_last)
        self.perceptual = PerceptualLoss(
            loss_network,
            content_layer=settings.content_layer,
            style_layers=settings.style_layers,
            weights=self.loss_weights(),
            style_loss=[style.statistic or settings.style_loss for style in self.styles],
            classic=settings.classic_weights,
        )
        sizes = self._each(settings.style_size_px, "size_px")
        crop_px = getattr(self.trainer.datamodule, "size_px", CROP_PX)
        held = targets_of_styles(self.perceptual, self.styles, sizes, crop_px, device)
        self.perceptual.set_targets(held.targets)
        self.marks = held.marks
        self.metrics = HeldOutMetrics(held, loss_network)
        self.drift = MeanMetric().to(device) if self.keeper is not None else None

    def training_step(self, batch: Any, batch_idx: int) -> dict[str, Tensor]:
        """Loss of one batch; logged by the callbacks of `fst.training.review`."""
        photos, style_index = read_batch(
            batch, len(self.styles), self._seed_of_batch, check=batch_idx == 0
        )
        stylized = self(photos, style_index)
        terms = self.perceptual(*self._shifted(stylized, photos), style_index)
        if self.hparams.grid_weight:
            terms["grid"] = grid_pattern(stylized.float())
            terms["total"] = terms["total"] + self.hparams.grid_weight * terms["grid"]
        if self.keeper is not None:
            which = self.trainer.global_rank, self.trainer.world_size
            terms["kept"] = self.keeper.loss(self.network, photos, self._seed_of_step(), *which)
            terms["total"] = terms["total"] + KEPT_WEIGHT * terms["kept"]
        self.finite.see(self, terms["total"], style_index)
        for name in ("content", "style"):
            self.log(f"{name}", terms[name], prog_bar=True, logger=False)
        layers = {k: v for k, v in terms.items() if k.startswith("style/")}
        self.log_dict(
            {f"train/{name}": terms[name] for name in terms if name in TERMS}
            | {f"train_layer/{name.removeprefix('style/')}": v for name, v in layers.items()}
        )
        return {"loss": terms["total"], "style_per_image": terms["style_per_image"]}

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Stop before a step that would spoil the weights.

        Raises:
            FstError: Loss, gradient, weights or Adam's state are not finite in one process.
        """
        self.finite.before_step(self)

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Step, and look at what came of it."""
        super().optimizer_step(*args, **kwargs)
        self.finite.after_step(self)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Measure held-out photos in every style."""
        photos = read_batch(batch, len(self.styles), lambda: 0, check=batch_idx == 0).photos
        network = self.perceptual.loss_network
        self.metrics.update_with(network, self.forward, photos, self._is_last_review())
        if self.keeper is not None:
            self.drift.update(self.keeper.drift(self.network, photos).mean())

    def _is_last_review(self) -> bool:
        """Whether brushwork is measured."""
        trainer = self.trainer
        finished = 0 <= self.num_steps <= trainer.global_step
        return finished or self.stopped_early or trainer.state.fn != "fit"

    def on_validation_epoch_end(self) -> None:
        """Log the held-out distances per style and their means."""
        names = [style.name for style in self.styles]
        self.final_metrics = self.metrics.figures(names, self._is_last_review())
        self.measured_step = self.trainer.global_step
        if self.drift is not None:
            self.final_metrics["held_out/drift"] = self.drift.compute().item()
            self.drift.reset()
        # For callbacks that watch them; the curves are written here, because Lightning would
        # put them one step before the picture grid of the same review.
        self.log_dict(self.final_metrics, logger=False, rank_zero_only=True)
        for logger in self.trainer.loggers:
            logger.log_metrics(self.final_metrics, step=self.measured_step)

    def configure_optimizers(self) -> dict[str, Any]:
        """Adam without weight decay (it would move absent styles), cosine decay over the run."""
        rows, convolutions = self._rates()
        optimizer = torch.optim.Adam(
            [
                {"params": self._tables(), "lr": rows, "name": "rows"},
                {"params": self._convolutions(), "lr": convolutions, "name": "convolutions"},
            ],
            # Lightning cannot clip the gradients of a fused optimiser in mixed precision.
            fused=not self.trainer.gradient_clip_val,
        )
        self.num_steps = steps_of(self.trainer)
        factors = rate_factors(self.num_steps, self.hparams.rows_first_steps)
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, factors)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
        }

    def on_train_start(self) -> None:
        """A resumed run learns at its own rates: the checkpoint brings those that it had."""
        for config in self.trainer.lr_scheduler_configs:
            set_rates(config.scheduler, self._rates())

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what a style model needs, so that `fst-infer` reads the checkpoint as well."""
        checkpoint["style_model"] = self.style_model_metadata()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take up the figures of the last review, which the next files tell again.

        Raises:
            CheckpointError: The optimizer is that of another network: refused before it is used.
        """
        check_moments(checkpoint, [*self._tables(), *self._convolutions()])
        self.final_metrics = dict(checkpoint["style_model"]["training"]["metrics"])

    def style_model_metadata(self) -> dict[str, Any]:
        """Metadata of the style model as it stands: styles, settings, figures."""
        settings = {k: v for k, v in self.hparams.items() if "styles" not in k}
        training = {"step": self.global_step, "settings": settings, "metrics": self.final_metrics}
        training["run"] = run_facts(self)
        # File names only: where they lay on this machine is nobody else's business.
        styles = [
            {**style.as_dict(), "images": [Path(image).name for image in style.images], **mark}
            for style, mark in zip(self.styles, self.marks, strict=True)
        ]
        networks = settings["loss_network"]
        networks = [networks] if isinstance(networks, str) else networks
        settings["loss_network"] = " ".join(Path(network).name for network in networks)
        return describe(self.network, [*self.hparams.kept_styles, *styles], training)

    def _rates(self) -> tuple[float, float]:
        """Peak rates of the rows and of the convolutions."""
        settings = self.hparams
        rate = settings.learning_rate
        if settings.scale_lr:
            rate = scaled_rate(rate, self.trainer.world_size)
        return rate * settings.rows_rate, rate * (1 if self.keeper is None else TUNED_RATE)

    def _convolutions(self) -> list[Tensor]:
        return [m.weight for m in self.network.modules() if isinstance(m, nn.Conv2d)]

    def _tables(self) -> list[Tensor]:
        norms = (m for m in self.network.modules() if isinstance(m, ConditionalInstanceNorm2d))
        return [table for norm in norms for table in norm.parameters()]

    def _hold_kept_rows(self) -> None:
        for table in self._tables():
            table.register_hook(self._without_kept_rows)

    def __setstate__(self, state: dict[str, Any]) -> None:
        """In a spawned process, and as a copy: tensors leave their hooks behind."""
        super().__setstate__(state)
        if self.keeper is not None:
            self._hold_kept_rows()

    def _without_kept_rows(self, gradient: Tensor) -> Tensor:
        return torch.cat([torch.zeros_like(gradient[: self.first_id]), gradient[self.first_id :]])

    def _seed_of_batch(self) -> int:
        """Another for each batch of each process, and not that of the shifts."""
        trainer = self.trainer
        batch = trainer.fit_loop.epoch_loop.total_batch_idx
        place = batch * trainer.world_size + trainer.global_rank
        return int(np.random.SeedSequence((self.hparams.seed, 3, place)).generate_state(1)[0])

    def _seed_of_step(self) -> int:
        return self.hparams.seed * 1_000_003 + self.global_step

    def loss_weights(self) -> tuple[float, float | list[float], float]:
        """Weights of content, style (one, or one a style) and total variation, as they are used."""
        defaults = objective.weights(self.hparams.classic_weights)
        names = ("content_weight", "style_weight", "tv_weight")
        given = (self.hparams[name] for name in names)
        content, style, tv = (d if g is None else g for g, d in zip(given, defaults, strict=True))
        return content, self._each(style, "weight"), tv

    def _each(self, value: Any, name: str) -> Any:
        """A setting as one value for each style, where styles have their own; else as it is."""
        own = [getattr(style, name) for style in self.styles]
        if all(o is None for o in own):
            return value
        values = value if isinstance(value, list | tuple) else [value] * len(own)
        return [v if o is None else o for v, o in zip(values, own, strict=True)]

    def _shifted(self, stylized: Tensor, photos: Tensor) -> tuple[Tensor, Tensor]:
        """Both images without their first rows and columns, as many as this step draws."""
        # Deep layers need crops of 32 px: the smallest ones are not shifted.
        room = min(self.hparams.shift_px, min(photos.shape[2:]) - 32)
        if room <= 0:
            return stylized, photos
        generator = torch.Generator().manual_seed(self._seed_of_step())
        top, left = torch.randint(room + 1, (2,), generator=generator).tolist()
        return stylized[:, :, top:, left:], photos[:, :, top:, left:]
