"""SIGTERM and Ctrl-C: the run ends after a whole step, in all its processes, and can be resumed."""

import os
import signal
import sys
import threading
from types import FrameType
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback

from fst.runtime.processes import all_equal, any_process, several

CAUGHT = (signal.SIGINT, signal.SIGTERM)


class Terminated(SystemExit):
    """The run was told to end by SIGTERM.

    The first process ends with the code that shells give for it, 143. The others end with 0:
    Lightning kills the first process where another of its machine fails.
    """

    def __init__(self, first: bool) -> None:
        super().__init__(128 + signal.SIGTERM if first else 0)


class Stopping(Callback):
    """Takes SIGTERM and SIGINT while Lightning works and raises `Terminated` or KeyboardInterrupt.

    `RunSaver.on_exception` then stores the run. Lightning's own handler of SIGTERM communicates
    within the handler, which deadlocks when the signal comes during a gradient reduction, and
    stores nothing. Here the handler only takes note, and the run stops after the batch, several
    processes by agreement: an exception out of a handler may leave a lock locked that saving waits
    for, TensorBoard's queue for one.
    """

    def __init__(self) -> None:
        self.signal: int | None = None  # that was received
        self._in_step = True
        self._trainer: pl.Trainer | None = None
        self._before: dict[int, Any] = {}

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Take over the signals from Lightning, which took them a moment ago."""
        self._trainer = trainer
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in CAUGHT}
        if trainer.received_sigterm:
            self.signal = signal.SIGTERM

    def on_validation_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """See whether the processes can agree on the way: not with unequal numbers of photos."""
        batches = sum(trainer.num_val_batches)
        self._in_step = all_equal(batches, trainer.strategy.root_device)

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx) -> None:
        """A whole step was taken: stop if told to.

        Raises:
            Terminated: After SIGTERM.
            KeyboardInterrupt: After SIGINT.
        """
        self._stop_if_told(trainer)

    def on_validation_batch_end(self, trainer, module, *_: Any, **__: Any) -> None:
        """Reviews take long: stop within them, too."""
        if self._in_step:
            self._stop_if_told(trainer)

    def teardown(self, trainer: pl.Trainer, module: pl.LightningModule, stage: str) -> None:
        """Give the signals back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def _note(self, number: int, frame: FrameType | None) -> None:
        again, self.signal = self.signal is not None, number
        if again and number == signal.SIGINT:  # pressed twice: at once, whatever is lost
            if several():
                os._exit(128 + signal.SIGINT)  # to save, all would have to be at one point
            raise KeyboardInterrupt

    def _stop_if_told(self, trainer: pl.Trainer) -> None:
        device = trainer.strategy.root_device
        if any_process(self.signal is not None, device):
            if any_process(self.signal == signal.SIGTERM, device):
                self.signal = signal.SIGTERM
            self._raise()

    def _raise(self) -> None:
        if self.signal != signal.SIGTERM:
            raise KeyboardInterrupt
        if self._trainer.is_global_zero:
            print(f"\nfst-train: SIGTERM after step {self._trainer.global_step}", file=sys.stderr)
        raise Terminated(self._trainer.is_global_zero)
