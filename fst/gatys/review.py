"""What fst-gatys shows while it works: a progress bar, pictures on the way, TensorBoard."""

from pathlib import Path
from types import TracebackType

from tqdm import tqdm

from fst.errors import FstError
from fst.gatys import GatysResult, GatysStep
from fst.io import images
from fst.runtime.console import tell

IMAGE_EVERY = 50  # steps between the images in TensorBoard, without --save-every


class Review:
    """Called after every step by `fst.gatys.optimize`; closes bar and log as a context manager."""

    def __init__(self, output: Path, save_every: int | None, log: Path | None) -> None:
        """Open what was asked for: pictures beside `output` every so many steps, a log folder.

        Raises:
            FstError: The log folder cannot be written.
        """
        self.output, self.save_every = output, save_every
        self.image_every = save_every or IMAGE_EVERY
        self.writer = _writer(log) if log else None
        self.bar: tqdm | None = None
        self.last: GatysStep | None = None  # its losses are not yet logged

    def __enter__(self) -> "Review":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None):
        if self.bar is not None:
            self.bar.close()
        if self.writer is not None:
            self._log_last()
            self.writer.close()

    def __call__(self, step: GatysStep) -> None:
        """Show one step."""
        if self.bar is None:  # made late: before the first step comes the reading of weights
            self.bar = tqdm(total=step.total, unit="step", disable=None)
        shown = {name: f"{step.losses[name]:.4f}" for name in ("content", "style", "total")}
        self.bar.set_postfix({"px": step.size_px, **shown}, refresh=False)
        self.bar.update()
        if self.save_every and step.number % self.save_every == 0:
            self._save(step)
        if self.writer is not None:
            self._log_last()
            self.last = step
            if step.number % self.image_every == 0:
                self.writer.add_image("gatys/image", step.image, step.number)

    def finish(self, result: GatysResult) -> None:
        """Log the picture that is kept, and its losses as those of the last step, whose own are of
        none that anybody sees."""
        if self.writer is not None:
            self._log(result.losses, result.steps)
            self.last = None
            self.writer.add_image("gatys/image", result.image, result.steps)

    def _log_last(self) -> None:
        if self.last is not None:
            self._log(self.last.losses, self.last.number)

    def _log(self, losses: dict[str, float], step: int) -> None:
        for name, value in losses.items():
            tag = f"gatys/{name}".replace("gatys/style/", "gatys_layer/")
            self.writer.add_scalar(tag, value, step)

    def _save(self, step: GatysStep) -> None:
        path = self.output.with_name(f"{self.output.stem}-step{step.number:05}.png")
        try:
            images.save(step.image, path, overwrite=True)
        except FstError as error:  # a full disk, say: the run itself goes on
            tell("fst-gatys", str(error))


def _writer(folder: Path):
    from torch.utils.tensorboard import SummaryWriter

    try:
        return SummaryWriter(folder)
    except (OSError, ValueError) as error:  # the latter of a NUL
        reason = getattr(error, "strerror", None) or error
        raise FstError(f"the log folder {folder}: {reason}") from None
