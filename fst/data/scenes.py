"""Training scenes drawn by the program, for training without any photos."""

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from pathlib import Path
from threading import Thread, main_thread
from threading import enumerate as enumerate_threads
from typing import Any

import torch
from torch.utils.data import Dataset

from fst.data.scene_drawing import draw_scene, texture_tiles
from fst.errors import FstError

ASPECT_RATIO = 1.25


class Scenes(Dataset):
    """Scenes 0 to count - 1 of a seed, in place of a `PhotoFolder`."""

    def __init__(self, count: int, shorter_side_px: int, seed: int = 0) -> None:
        """Draw nothing yet.

        Args:
            count: Number of scenes, 1 or more.
            shorter_side_px: Height of every scene, 1 or more; the width is 1.25 times as much.
            seed: Another seed gives other scenes; 0 or more.

        Raises:
            FstError: A number is out of range.
        """
        given = {"count": (count, 1), "shorter_side_px": (shorter_side_px, 1), "seed": (seed, 0)}
        wrong = [
            f"{name} was {value}; expected {least} or more"
            for name, (value, least) in given.items()
            if value < least
        ]
        if wrong:
            raise FstError("; ".join(wrong))
        self.count, self.shorter_side_px, self.seed = count, shorter_side_px, seed
        self.bad_files: dict[Path, str] = {}  # a drawn scene cannot be damaged
        self._drawn: list[Future[torch.Tensor]] | None = None  # or being drawn, by index

    def __len__(self) -> int:
        """Number of scenes."""
        return self.count

    def __getitem__(self, index: int) -> torch.Tensor:
        """The scene of an index, (3,H,W) uint8; one that is being drawn is waited for.

        It is kept: copy it before writing into it.
        """
        if not -self.count <= index < self.count:
            raise IndexError(f"index {index} is out of range for {self.count} scenes")
        return self._drawn[index].result() if self._drawn else self._draw(index % self.count)

    def name(self, index: int) -> str:
        """What messages call a scene."""
        return f"scene {index}"

    def __getstate__(self) -> dict[str, Any]:
        """Everything but what is drawn: a spawned worker draws what it needs itself."""
        return {**self.__dict__, "_drawn": None}

    @property
    def all_cached(self) -> bool:
        """Whether every scene is in memory, or on its way there."""
        return self._drawn is not None

    def preload(
        self,
        max_workers: int | None = None,
        progress: Callable[[int, int], object] | None = None,
    ) -> None:
        """Draw all scenes into memory, once; 0.3 MB each at a height of 288.

        Args:
            max_workers: Number of threads; default one a processor.
            progress: Called as progress(scenes_done, count) after each scene.
        """
        self.begin(max_workers=max_workers)
        for index, scene in enumerate(self._drawn):
            scene.result()
            if progress is not None:
                progress(index + 1, self.count)

    def begin(self, order: Iterable[int] | None = None, max_workers: int | None = None) -> None:
        """As `preload`, but do not wait; `order` is that in which they will be asked for."""
        if self.all_cached:
            return
        texture_tiles()  # made once here instead of by every thread
        self._drawn = [Future() for _ in range(self.count)]
        waiting = iter(range(self.count) if order is None else order)
        for _ in range(max_workers or os.cpu_count() or 1):
            _Drawer(target=self._draw_all, args=(waiting, self._drawn)).start()

    def _draw_all(self, waiting: Iterator[int], drawn: list[Future]) -> None:
        for index in waiting:
            if _program_ends():
                return
            try:
                drawn[index].set_result(self._draw(index))
            except Exception as error:  # for whoever asks for it
                drawn[index].set_exception(error)

    def report(self) -> str:
        """One line: how many scenes there are."""
        return f"{self.count} scenes drawn by the program (seed {self.seed})"

    def _draw(self, index: int) -> torch.Tensor:
        size_px = self.shorter_side_px, round(ASPECT_RATIO * self.shorter_side_px)
        scene = draw_scene(self.seed, index, size_px)
        return torch.from_numpy(scene).permute(2, 0, 1).contiguous()  # (3,H,W)


class _Drawer(Thread):
    """No pool: at the end of an interrupted process it would draw all that is left. No daemon: the
    interpreter, when it ends, aborts where one of them is in torch."""


def _program_ends() -> bool:
    """Whether no thread is left that could ask for a scene."""
    if main_thread().is_alive():
        return False
    others = (t for t in enumerate_threads() if t is not main_thread() and not t.daemon)
    return all(isinstance(thread, _Drawer) for thread in others)
