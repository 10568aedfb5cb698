"""A folder of training photos: damaged files replaced and counted, decoded photos cached."""

import os
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset, get_worker_info

from fst.errors import FstError
from fst.io import images
from fst.runtime.memory import available_bytes

# Longer panoramas are cut: at 4:1 the largest photo takes four times the room of a square one.
MAX_ASPECT_RATIO = 4
MAX_BAD_SHARE = 1 / 20
MAX_BAD_IN_A_ROW = 50

# What torchrun, srun and Lightning tell each process of how many share its machine, or all do.
PROCESSES = ("LOCAL_WORLD_SIZE", "SLURM_NTASKS_PER_NODE", "WORLD_SIZE")


def read_photo(path: Path, shorter_side_px: int) -> torch.Tensor:
    """Decode one photo as (3,H,W) uint8 with min(H,W) = `shorter_side_px`, enlarged if need be.

    The longer side is at most four times the shorter: the rest is cut off evenly at both ends.

    Raises:
        ImageError: The file cannot be read.
    """
    picture = images.decode(path, shorter_side_px)
    width, height = picture.size
    longest = MAX_ASPECT_RATIO * min(width, height)
    if max(width, height) > longest:  # before enlarging: a 1x100000 strip must not grow
        left, top = max(0, width - longest) // 2, max(0, height - longest) // 2
        picture = picture.crop((left, top, left + min(width, longest), top + min(height, longest)))
    picture = images.resize_shorter_side(picture, shorter_side_px, enlarge=True)
    return images.to_uint8_tensor(picture)


def default_cache_bytes() -> int:
    """A quarter of the memory available now, shared by the processes of a distributed run."""
    budget = available_bytes(torch.device("cpu")) // 4
    processes = next((os.environ[name] for name in PROCESSES if os.environ.get(name)), "1")
    return budget // max(1, int(processes)) if processes.isdigit() else budget


class PhotoFolder(Dataset):
    """Photos as (3,H,W) uint8 tensors with one shorter side, see `read_photo`.

    A file that cannot be read is replaced by the next good one, in file order and from the
    start after the last, so index i always gives the same photo. It is counted and named in
    `bad_files` and `report`. More bad files than 5 % of the folder (one is always allowed), or
    50 in a row, raise FstError instead: then the folder is wrong, not a file.

    Photos stay in memory, decoded, until `cache_bytes` are used. DataLoader workers read the
    cache filled before they were forked and add nothing to it; spawned workers start without
    it. Each worker keeps its own count of bad files and warns about each.

    Args:
        paths: Files, folders or patterns as `images.find` takes them.
        shorter_side_px: Shorter side of every photo, 1 or more.
        cache_bytes: The most the cache may hold; default `default_cache_bytes()`.

    Raises:
        FstError: A path is missing, there is no photo, or a number is out of range.
    """

    def __init__(
        self,
        paths: str | Path | Iterable[str | Path],
        shorter_side_px: int,
        cache_bytes: int | None = None,
    ) -> None:
        if shorter_side_px < 1:
            raise FstError(f"shorter_side_px was {shorter_side_px}; expected 1 pixel or more")
        if cache_bytes is not None and cache_bytes < 0:
            raise FstError(f"cache_bytes was {cache_bytes}; expected 0 (no cache) or more")
        self.files = images.find(paths)
        if not self.files:
            raise FstError("no photos given; name a folder with pictures")
        self.shorter_side_px = shorter_side_px
        self.cache_bytes = default_cache_bytes() if cache_bytes is None else cache_bytes
        self.bad_files: dict[Path, str] = {}
        self._good_indices: set[int] = set()
        self._cache: dict[int, torch.Tensor] = {}
        self._cached_bytes = 0
        self._allowed_bad = max(1, int(MAX_BAD_SHARE * len(self.files)))

    def __len__(self) -> int:
        """Number of files found, bad ones included."""
        return len(self.files)

    def __getitem__(self, index: int) -> torch.Tensor:
        """The photo of an index, or the next good one where its file is bad: (3,H,W) uint8.

        It may be the cache's own tensor: copy it before writing into it.

        Raises:
            FstError: Too many files are bad.
        """
        if not -len(self) <= index < len(self):
            raise IndexError(f"index {index} is out of range for {len(self)} photos")
        for step in range(min(len(self), MAX_BAD_IN_A_ROW)):
            photo = self._read((index + step) % len(self))
            if photo is not None:
                return photo
        raise self._too_many_bad()

    def name(self, index: int) -> str:
        """File name of the photo of an index; of the next good one where its file is known bad."""
        files = (*self.files[index:], *self.files[:index])
        return next((path for path in files if path not in self.bad_files), files[0]).name

    def __getstate__(self) -> dict[str, Any]:
        """Everything but the cache, which as one file handle per photo would break spawning."""
        return {**self.__dict__, "_cache": {}, "_cached_bytes": 0}

    @property
    def all_cached(self) -> bool:
        """Whether every good photo is in memory and every bad file is known."""
        return len(self._cache) + len(self.bad_files) == len(self)

    def preload(
        self,
        max_workers: int | None = None,
        progress: Callable[[int, int], object] | None = None,
    ) -> None:
        """Decode photos in threads, in file order, until the cache is full.

        Where all photos fit, every bad file is known afterwards.

        Args:
            max_workers: Number of threads; default one a processor, at most 16.
            progress: Called as progress(files_done, files_found) after each file.

        Raises:
            FstError: Too many files are bad.
        """
        bad_in_a_row = 0
        threads = max_workers or min(16, os.cpu_count() or 1)
        with ThreadPoolExecutor(threads) as pool:
            for index, future in self._decoded_in_order(pool, ahead=2 * threads):
                photo = self._read(index, future)
                if progress is not None:
                    progress(index + 1, len(self))
                bad_in_a_row = bad_in_a_row + 1 if photo is None else 0
                if bad_in_a_row >= MAX_BAD_IN_A_ROW:
                    raise self._too_many_bad()
                if photo is not None and index not in self._cache:  # full
                    return
        if len(self.bad_files) == len(self):
            raise self._too_many_bad()

    def report(self) -> str:
        """One line: how many photos were read so far, which files were skipped and why."""
        skipped = len(self.bad_files)
        line = f"{len(self._good_indices)} photos read, {skipped} skipped"
        return f"{line}: {self._named_bad_files(10)}" if skipped else line

    def _decoded_in_order(
        self, pool: ThreadPoolExecutor, ahead: int
    ) -> Iterator[tuple[int, Future[torch.Tensor] | None]]:
        """Each index with its decoding, begun few files ahead; None where cached or known bad."""
        pending: deque[tuple[int, Future[torch.Tensor] | None]] = deque()
        for index, path in enumerate(self.files):
            known = index in self._cache or path in self.bad_files
            future = None if known else pool.submit(read_photo, path, self.shorter_side_px)
            pending.append((index, future))
            if len(pending) > ahead:
                yield pending.popleft()
        yield from pending

    def _read(self, index: int, future: Future[torch.Tensor] | None = None) -> torch.Tensor | None:
        """One file's photo from the cache, the future or the file; None where it is bad."""
        path = self.files[index]
        if index in self._cache:
            return self._cache[index]
        if path not in self.bad_files:
            try:
                photo = future.result() if future else read_photo(path, self.shorter_side_px)
            except images.ImageError as error:
                self.bad_files[path] = error.reason
                if get_worker_info() is not None:  # whose count the main process cannot see
                    warnings.warn(f"skipped {images.printable(path)}: {error.reason}", stacklevel=2)
            else:
                self._good_indices.add(index)
                self._keep(index, photo)
                return photo
        if len(self.bad_files) > self._allowed_bad:
            raise self._too_many_bad()
        return None

    def _keep(self, index: int, photo: torch.Tensor) -> None:
        # A worker's additions would be lost to the others and multiply the memory used.
        if get_worker_info() is None and self._cached_bytes + photo.nbytes <= self.cache_bytes:
            self._cache[index] = photo
            self._cached_bytes += photo.nbytes

    def _named_bad_files(self, limit: int) -> str:
        named = [f"{images.printable(path.name)} ({why})" for path, why in self.bad_files.items()]
        more = f" and {len(named) - limit} more" if len(named) > limit else ""
        return ", ".join(named[:limit]) + more

    def _too_many_bad(self) -> FstError:
        return FstError(
            f"{len(self.bad_files)} of {len(self)} photos cannot be read (at most "
            f"{MAX_BAD_SHARE:.0%}, here {self._allowed_bad}, and never {MAX_BAD_IN_A_ROW} in a row "
            f"are skipped): {self._named_bad_files(3)}; repair or remove them, or name another "
            "folder"
        )
