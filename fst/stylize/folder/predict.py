"""The parts of Lightning's predict with which fst-infer paints a folder in several processes.

Only --devices, --num-nodes and --resume lead here: Lightning takes seconds to import.
"""

import argparse
import os
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
import torch.distributed as dist
from pytorch_lightning.callbacks import BasePredictionWriter
from torch import Tensor
from torch.utils.data import DataLoader, Sampler

from fst.errors import FstError
from fst.runtime.console import tell
from fst.runtime.memory import taken_bytes
from fst.stylize.bands.memory_plan import memory_left
from fst.stylize.folder.painter import PROGRAM, Painter
from fst.stylize.folder.record import Jobs, Record, Target, content_key, painting_key, unfinished
from fst.stylize.options import PaintOptions
from fst.stylize.stylizer import Stylizer

# One process may be done long before another; that one is still alive is seen otherwise.
PATIENCE = timedelta(days=30)


class RoundRobin(Sampler[int]):
    """Every so many-th picture for each process: each picture once, none repeated to fill up.

    Lightning's UnrepeatedDistributedSampler refuses fewer pictures than processes.
    """

    def __init__(self, count: int, rank: int, processes: int) -> None:
        self.mine = range(rank, count, processes)

    def __iter__(self) -> Iterator[int]:
        return iter(self.mine)

    def __len__(self) -> int:
        return len(self.mine)


class FolderData(pl.LightningDataModule):
    """Which pictures this process paints: of what is left to do, its share."""

    def __init__(self, jobs: Jobs, settings: str, resume: bool) -> None:
        super().__init__()
        self.allow_zero_length_dataloader_with_multiple_devices = True
        self.jobs, self.settings, self.resume = jobs, settings, resume
        self.group: Any = None  # of processes, if there are several

    def setup(self, stage: str) -> None:
        """Agree on what is to be done: by the plan of the first process, less what is finished."""
        if dist.is_initialized():
            self.group = dist.new_group(backend="gloo", timeout=PATIENCE)
        self.jobs = self.trainer.strategy.broadcast(self.jobs)
        planned = sum(len(targets) for _, targets in self.jobs)
        if len(set(self.gathered(self.settings))) > 1:
            raise FstError("processes differ in model or version of fst: give --model, one of all")
        if not self.resume:
            return
        mine = {
            index: unfinished(*self.jobs[index], self.settings)
            for index in self._share(len(self.jobs))
        }
        left = {index: todo for part in self.gathered(mine) for index, todo in part.items()}
        jobs = [(photo, [t[i] for i in left[n]]) for n, (photo, t) in enumerate(self.jobs)]
        self.jobs = [(photo, targets) for photo, targets in jobs if targets]
        finished = planned - sum(len(targets) for _, targets in self.jobs)
        if self.trainer.is_global_zero:
            tell(PROGRAM, f"{finished} of {planned} paintings were finished before")

    def predict_dataloader(self) -> DataLoader:
        """The jobs of this process, one by one; files are read by its painter, a thread ahead."""
        return DataLoader(
            self.jobs, batch_size=1, sampler=self._share(len(self.jobs)), collate_fn=_only
        )

    def transfer_batch_to_device(self, batch: Any, device: Any, dataloader_idx: int) -> Any:
        """Leave files where they are."""
        return batch

    def my_jobs(self) -> Jobs:
        """The jobs of this process."""
        return [self.jobs[index] for index in self._share(len(self.jobs))]

    def gathered(self, mine: Any) -> list[Any]:
        """What each process has, in order of rank.

        Raises:
            RuntimeError: A process has ended.
        """
        if self.group is None:
            return [mine]
        everyone = [None] * self.trainer.world_size
        dist.all_gather_object(everyone, mine, group=self.group)
        return everyone

    def _share(self, count: int) -> RoundRobin:
        return RoundRobin(count, self.trainer.global_rank, self.trainer.world_size)


def _only(jobs: Jobs) -> tuple[Path, list[Target]]:
    return jobs[0]


class RecordingPainter(Painter):
    """A painter of settled names that notes what it has done."""

    def __init__(
        self,
        stylizer: Stylizer,
        args: argparse.Namespace,
        options: PaintOptions,
        writer: ThreadPoolExecutor,
        *,
        jobs: Jobs,
        settings: str,
        record: Record,
    ) -> None:
        super().__init__(stylizer, [photo for photo, _ in jobs], args, options, writer)
        self.settings, self.record = settings, record
        self.contents: dict[Path, str] = {}  # of photos that were read
        self.keys: dict[Path, str] = {}
        self.ours = {t.path for _, targets in jobs for t in targets if t.done is not None}

    def read(self, photo: Path) -> Tensor | None:
        """As `Painter.read`; notes which content it was."""
        self.contents[photo] = content_key(photo)  # first: what changes meanwhile is painted again
        return super().read(photo)

    def paintings(
        self, photo: Path, targets: list[Target], reading: Future
    ) -> Iterator[tuple[Path, Tensor | None]]:
        """As `Painter.paintings`, each with a key to what it is made of."""
        reading.exception()  # waits: what was read is known then
        content = self.contents.pop(photo, "")
        for target in targets:
            self.keys[target.path] = painting_key(self.settings, target.style_id, content)
        yield from super().paintings(photo, [(t.style_id, t.path) for t in targets], reading)

    def _paint_in_bands(self, photo: Path, path: Path, style: Any) -> Path:
        self._begin(path)
        return super()._paint_in_bands(photo, path, style)

    def _write(self, painting: Tensor, path: Path) -> Path:
        self._begin(path)
        return super()._write(painting, path)

    def _begin(self, path: Path) -> None:
        if self._overwrites(path) or not os.path.lexists(path):  # else another took the name
            self.record.begin(path)

    def _overwrites(self, path: Path) -> bool:
        return path in self.ours or super()._overwrites(path)

    def _note(self, path: Path) -> Path:
        key = self.keys.pop(path, None)
        if key is not None:
            self.record.done(path, key)
        return super()._note(path)


class PaintingModule(pl.LightningModule):
    """The style model, painting files."""

    def __init__(
        self,
        stylizer: Stylizer,
        args: argparse.Namespace,
        options: PaintOptions,
        folder: Path,
        threads: tuple[ThreadPoolExecutor, ThreadPoolExecutor],
    ) -> None:
        super().__init__()
        self.network = stylizer.network  # which Lightning moves to the device
        self.stylizer, self.args, self.options = stylizer, args, options
        self.folder, (self.reader, self.writer) = folder, threads
        self.painter: RecordingPainter | None = None  # until there is something to paint

    def on_predict_start(self) -> None:
        """Begin to read."""
        data, processes = self.trainer.datamodule, self.trainer.num_devices
        self.stylizer.device = self.device
        if processes > 1 and self.args.max_memory is None:  # the half of what is free is for all
            share = memory_left(None, torch.device("cpu")) // processes
            if self.device.type != "cpu":  # a GPU each
                share = min(share, memory_left(None, self.device))
            self.args.max_memory = taken_bytes(self.device) + share
        self.painter = RecordingPainter(
            self.stylizer,
            self.args,
            self.options,
            self.writer,
            jobs=data.my_jobs(),
            settings=data.settings,
            record=Record(self.folder, self.global_rank),
        )
        self.ahead = self.painter.read_ahead(self.reader)

    def predict_step(
        self, batch: tuple[Path, list[Target]], batch_idx: int
    ) -> Iterator[tuple[Path, Tensor | None]]:
        """One picture in its styles; painted as the writer asks, so that memory holds but one."""
        return self.painter.paintings(*batch, next(self.ahead))


class PaintingWriter(BasePredictionWriter):
    """Has paintings written, one behind the one that is painted."""

    def __init__(self) -> None:
        super().__init__("batch")

    def write_on_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: PaintingModule,
        prediction: Iterator[tuple[Path, Tensor | None]],
        batch_indices: Any,
        batch: tuple[Path, list[Target]],
        batch_idx: int,
        dataloader_idx: int,
    ) -> None:
        """Write the paintings of one picture."""
        pl_module.painter.hand_over(prediction, len(batch[1]))

    def on_predict_end(self, trainer: pl.Trainer, pl_module: PaintingModule) -> None:
        """Wait for the last one."""
        pl_module.painter.report(0)

    def on_exception(
        self, trainer: pl.Trainer, pl_module: PaintingModule, exception: BaseException
    ) -> None:
        """Tell what is written before an interrupt."""
        if pl_module.painter is not None and not isinstance(exception, Exception):
            with suppress(FstError):
                pl_module.painter.report(0)
