"""Training batches: which photo, which crop, which style, for every step of a run.

Everything is a function of (seed, position), where position counts the images of the run: image j
of process r at step k of W processes with batches of B has position (k W + r) B + j. So a resumed
run continues the same sequence, and two processes see what one with twice the batch would.
"""

import math
import os
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler
from tqdm import tqdm

from fst.data.batches import StyleBatch
from fst.data.photos import PhotoFolder
from fst.data.scenes import Scenes
from fst.io import images

# Photos are read a little larger than the crops, so that crops differ in both directions.
READ_PER_CROP = 1.125
MAX_HELD_OUT = 8
# Drawn at the start of a run; each gives many different crops.
NUM_SCENES = 300


class ContentDataModule(pl.LightningDataModule):
    """Photos of folders as endless seeded crops, and a few held out for validation."""

    def __init__(
        self,
        content: Sequence[str | Path] | None = None,
        size_px: int = 256,
        batch_size: int = 4,
        num_styles: int = 1,
        seed: int = 0,
        held_out: Sequence[str | Path] | None = None,
        num_workers: int | None = None,
    ) -> None:
        """Find the photos; nothing is decoded before `setup`.

        Args:
            content: Folders, files or patterns of photos; None trains on drawn scenes.
            size_px: Side of the square crops.
            batch_size: Images per step and process.
            num_styles: S, styles to draw from.
            seed: Of photo order, crops, flips and styles.
            held_out: Photos for validation only; by default up to 8 (at most a tenth) of `content`.
            num_workers: Reader processes; by default 4, and 0 on a CPU where the photos fit in
                memory.

        Raises:
            FstError: A path is missing or holds no photo.
        """
        super().__init__()
        read_px = round(size_px * READ_PER_CROP)
        if content is None:
            self.photos = Scenes(NUM_SCENES, read_px, seed)
            self.held_out = (
                PhotoFolder(held_out, size_px) if held_out else Scenes(4, size_px, seed + 1)
            )
        else:
            files, reserved = _split(images.find(content), held_out, seed)
            self.photos = PhotoFolder(files, read_px)
            self.held_out = PhotoFolder(reserved, size_px)
        self.content = content
        self.size_px, self.batch_size, self.num_styles = size_px, batch_size, num_styles
        self.seed, self.num_workers = seed, num_workers
        self._batches_done = 0

    def setup(self, stage: str | None = None) -> None:
        """Decode what fits in memory, so that bad files are known before step 1; begin to draw.

        Raises:
            FstError: Too many files are bad.
        """
        is_quiet = self.trainer is not None and not self.trainer.is_global_zero
        with tqdm(leave=False, disable=is_quiet or None) as bar:

            def progress(done: int, count: int) -> None:
                bar.total = count
                bar.update(done - bar.n)

            if isinstance(self.photos, Scenes) and not self._readers(True):
                # Half the processors draw, in the order of the run, while its first steps go on.
                order = _shuffled(self.seed, 0, 0, len(self.photos)).tolist()
                self.photos.begin(order, max(1, (os.cpu_count() or 1) // 2))
            else:
                bar.set_description(f"{'drawing' if self.content is None else 'reading'} pictures")
                self.photos.preload(progress=progress)
        self.held_out.preload()

    def train_dataloader(self) -> DataLoader:
        """Batches of `TrainingImages` from where the run stands to the end of the epoch."""
        trainer = self.trainer
        sampler = StepSampler(
            start=self._batches_done,
            epoch_batches=self._epoch_batches(),
            by_epochs=self._by_epochs(),
            batch_size=self.batch_size,
            rank=trainer.global_rank,
            world_size=trainer.world_size,
        )
        workers = self._readers(self.photos.all_cached)
        return DataLoader(
            TrainingImages(self.photos, self.size_px, self.num_styles, self.seed),
            batch_sampler=sampler,
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=trainer.strategy.root_device.type == "cuda",
        )

    def _readers(self, in_memory: bool) -> int:
        """Processes that read: a GPU is not to wait for crops being cut."""
        if self.num_workers is not None:
            return self.num_workers
        is_cpu = self.trainer is None or self.trainer.strategy.root_device.type == "cpu"
        return 0 if in_memory and is_cpu else 4

    def _epoch_batches(self) -> int:
        """Batches of an epoch: every photo once, or all of a run that is given its steps alone."""
        trainer = self.trainer
        if not self._by_epochs():
            return max(1, trainer.max_steps) * trainer.accumulate_grad_batches
        return math.ceil(len(self.photos) / (self.batch_size * trainer.world_size))

    def _by_epochs(self) -> bool:
        return self.trainer.max_epochs is not None and self.trainer.max_epochs >= 0

    def photo_names(self, batch: int) -> list[str]:
        """Which photos a batch of this process is made of, for messages."""
        trainer, size = self.trainer, self.batch_size
        sampler = StepSampler(batch, batch + 1, size, trainer.global_rank, trainer.world_size)
        training = TrainingImages(self.photos, self.size_px, self.num_styles, self.seed)
        return [self.photos.name(training.photo(at)) for at in next(iter(sampler))]

    def val_dataloader(self) -> DataLoader:
        """The held-out photos, centre-cropped, one by one, the same for every process."""
        return DataLoader(CentreCrops(self.held_out, self.size_px), batch_size=1)

    def state_dict(self) -> dict[str, Any]:
        """Where the run stands, for a checkpoint."""
        return {"batches_done": self.trainer.fit_loop.epoch_loop.total_batch_idx + 1}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue where the checkpoint was written."""
        self._batches_done = int(state_dict["batches_done"])


def _split(
    files: list[Path], held_out: Sequence[str | Path] | None, seed: int
) -> tuple[list[Path], list[Path]]:
    """Photos to train on and photos held out; of fewer than ten none is spared, all are shown."""
    if held_out:
        reserved = images.find(held_out)
        taken = {path.resolve() for path in reserved}
        return [path for path in files if path.resolve() not in taken] or files, reserved
    count = min(MAX_HELD_OUT, len(files) // 10)
    if not count:
        return files, files[:4]
    order = np.random.default_rng(seed).permutation(len(files))
    chosen = set(order[:count].tolist())
    rest = [path for index, path in enumerate(files) if index not in chosen]
    return rest, [files[index] for index in sorted(chosen)]


class StepSampler(Sampler[list[int]]):
    """Positions of each batch of an epoch, from batch `start` of the run on.

    By epochs, each goes on where the one before ended. Else the run is one epoch, and where
    Lightning is told to end it early (`limit_train_batches`), its first batches come again.
    """

    def __init__(
        self,
        start: int,
        epoch_batches: int,
        batch_size: int,
        rank: int = 0,
        world_size: int = 1,
        by_epochs: bool = False,
    ):
        self.start, self.epoch_batches, self.batch_size = start, epoch_batches, batch_size
        self.rank, self.world_size = rank, world_size
        self.epoch = 0
        if by_epochs:
            # Reader processes begin before Lightning calls `set_epoch`, which it looks for here.
            self.epoch = start // epoch_batches
            self.sampler = self

    def set_epoch(self, epoch: int) -> None:
        """Go on to another epoch; Lightning calls this."""
        self.epoch = epoch

    def __len__(self) -> int:
        """Batches of the whole epoch: Lightning counts those before a resume as done."""
        return self.epoch_batches

    def __iter__(self) -> Iterator[list[int]]:
        begin = self.epoch * self.epoch_batches
        for step in range(max(self.start, begin), begin + self.epoch_batches):
            first = (step * self.world_size + self.rank) * self.batch_size
            yield list(range(first, first + self.batch_size))


class TrainingImages(Dataset):
    """Position to (crop (3, s, s) uint8, style id): a pure function of seed and position."""

    def __init__(self, photos: Dataset, size_px: int, num_styles: int, seed: int) -> None:
        self.photos, self.size_px = photos, size_px
        self.num_styles, self.seed = num_styles, seed

    def __getitem__(self, position: int) -> StyleBatch:
        photo = self.photos[self.photo(position)]
        random = np.random.default_rng((self.seed, 1, position))
        top = random.integers(photo.shape[1] - self.size_px + 1)
        left = random.integers(photo.shape[2] - self.size_px + 1)
        crop = photo[:, top : top + self.size_px, left : left + self.size_px]
        if random.random() < 0.5:
            crop = crop.flip(2)
        # Each run of S positions holds every style once: balanced but for the ends of the run,
        # and for twins, which take the style of the image before (`fst.losses.consistency`).
        block, place = divmod(position, self.num_styles)
        style_id = int(_shuffled(self.seed, 2, block, self.num_styles)[place])
        return StyleBatch(crop.clone(), style_id)

    def photo(self, position: int) -> int:
        """Which photo it is cut from."""
        epoch, place = divmod(position, len(self.photos))
        return int(_shuffled(self.seed, 0, epoch, len(self.photos))[place])


@lru_cache(maxsize=4)
def _shuffled(seed: int, purpose: int, epoch: int, count: int) -> np.ndarray:
    return np.random.default_rng((seed, purpose, epoch)).permutation(count)


class CentreCrops(Dataset):
    """The centre squares (3, s, s) of photos, uint8."""

    def __init__(self, photos: Dataset, size_px: int) -> None:
        self.photos, self.size_px = photos, size_px

    def __len__(self) -> int:
        return len(self.photos)

    def __getitem__(self, index: int) -> Tensor:
        photo = self.photos[index]
        top, left = ((side - self.size_px) // 2 for side in photo.shape[1:])
        return photo[:, top : top + self.size_px, left : left + self.size_px].clone()
