"""The progress bar of a run."""

import pytorch_lightning as pl
from pytorch_lightning.callbacks import TQDMProgressBar
from pytorch_lightning.callbacks.progress.tqdm_progress import Tqdm


class RunProgress(TQDMProgressBar):
    """Lightning's bar with losses, images/s and time left; validation draws none of its own."""

    def __init__(self, batch_size: int, refresh_rate: int = 1) -> None:
        super().__init__(refresh_rate=refresh_rate)
        self.batch_size = batch_size

    def init_train_tqdm(self) -> Tqdm:
        """The bar of the run: it has one epoch, so that word is left out."""
        bar = super().init_train_tqdm()
        bar.bar_format = "{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}{postfix}]"
        return bar

    def init_validation_tqdm(self) -> Tqdm:
        """A silent bar."""
        return Tqdm(disable=True)

    def on_train_epoch_start(self, trainer: pl.Trainer, *_: object) -> None:
        """Name the bar, and have it count steps, which may take several batches each."""
        super().on_train_epoch_start(trainer, *_)
        bar = self.train_progress_bar
        bar.total, bar.initial = trainer.max_steps, trainer.global_step
        bar.n = trainer.global_step
        bar.set_description("training")

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx) -> None:
        """Show a step."""
        bar, step = self.train_progress_bar, trainer.global_step
        if step != bar.n and self._should_update(step, bar.total):
            bar.n = step
            bar.set_postfix(self.get_metrics(trainer, module))

    def get_metrics(self, trainer: pl.Trainer, module: pl.LightningModule) -> dict:
        """Losses to three places and images/s; without the version number."""
        metrics = super().get_metrics(trainer, module)
        metrics.pop("v_num", None)
        bar = self.train_progress_bar.format_dict
        # None where the bar is disabled, as on all processes but the first.
        steps, seconds = bar["n"] - (bar["initial"] or 0), bar["elapsed"]
        if steps and seconds:
            batches = steps * trainer.accumulate_grad_batches * trainer.world_size
            rate = batches * self.batch_size / seconds
            metrics["images/s"] = f"{rate:.1f}"
        return metrics
