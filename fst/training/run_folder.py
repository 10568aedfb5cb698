"""Where a run of fst-train writes: which folder, whether it can, and what to say when it fails."""

import errno
import os
import signal
import tempfile
from contextlib import ExitStack, suppress
from itertools import count
from pathlib import Path
from typing import Any

from fst.errors import FstError
from fst.io.atomic import unwritable
from fst.runtime.console import on_signals

RUNS = Path("checkpoints")
# What a run writes before it has learned anything.
OF_BEGINNING = ("config.yaml", "hparams.yaml", "events.out.tfevents.*")
FOLDER_VARIABLE = "FST_RUN_FOLDER"  # tells the other processes of a run its folder
PROCESSES = ("WORLD_SIZE", "SLURM_NTASKS")  # what torchrun and srun tell each of them
# Of a disk that is full, broken or turned read-only; other errors are not about writing.
DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS)


class RunFolder:
    """The folder of a run, held by its first process: no other command writes there meanwhile.

    A run that ends before it has stored or learned anything leaves the folder as it was.
    """

    def __init__(self, settings: Any) -> None:
        """Take the folder that is asked for, or make the next `checkpoints/run-N`.

        Raises:
            FstError: That folder cannot be made.
        """
        self._is_resumed, self._held = bool(settings.resume), ExitStack()
        path = asked_folder(settings)
        if path is None:
            is_first = not RUNS.exists()
            path = _next_folder()
            self._held.callback(_remove_empty, [path, RUNS] if is_first else [path])
            # Lightning starts the other processes of a run by this same command line.
            os.environ[FOLDER_VARIABLE] = str(path)
            self._held.callback(os.environ.pop, FOLDER_VARIABLE, None)
        self.path = path

    def __enter__(self) -> "RunFolder":
        return self

    def __exit__(self, *_: Any) -> None:
        self._held.close()

    def hold(self, saver: Any) -> None:
        """Make sure, in the first process, that nobody else writes here until the end.

        The run's `RunSaver` knows whether it has learned anything.

        Raises:
            FstError: Another does, or has, or the folder cannot be written.
        """
        from fst.io.atomic import claimed_folder

        self._held.enter_context(claimed_folder(self.path))
        refuse_other_run(self.path, self._is_resumed)  # it may have come to its end meanwhile
        check_writable(self.path)
        if signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:  # else it is handled already
            # Ends the process by an exception until `Stopping` takes it over: things are tidied.
            self._held.enter_context(on_signals(_stop, signal.SIGTERM))
        there = set(os.listdir(self.path))
        self._held.callback(_remove_untrained, saver, there)


def asked_folder(settings: Any) -> Path | None:
    """The folder that is asked for, which holds no other run; None for the next `run-N`.

    Raises:
        FstError: It does, or processes that are started from outside would each choose their own.
    """
    if settings.output:
        folder = Path(settings.output)
        if folder.suffix in (".safetensors", ".ckpt") and not os.path.isdir(folder):
            raise FstError(
                f"`output` {folder}: name a folder; the model in it is model.safetensors"
            )
    elif settings.resume:
        folder = Path(settings.resume).parent
    elif FOLDER_VARIABLE in os.environ:
        folder = Path(os.environ[FOLDER_VARIABLE])
    elif _started_with_others():
        raise FstError(
            "several processes are started from outside: give them one folder with `output`"
        )
    else:
        return None
    refuse_other_run(folder, bool(settings.resume))
    return folder


def refuse_other_run(folder: Path, is_resumed: bool) -> None:
    """Refuse a folder that holds a run, but for the one to go on with."""
    from fst.training.checkpoint import CHECKPOINT_NAME

    if not is_resumed and os.path.exists(folder / CHECKPOINT_NAME):
        raise FstError(
            f"{folder} holds a run already: continue it with `resume` {folder / CHECKPOINT_NAME}, "
            "or choose another `output`"
        )


def _next_folder() -> Path:
    for number in count(1):
        folder = RUNS / f"run-{number}"
        try:
            folder.mkdir(parents=True)  # unlike a look, tells two runs that begin together apart
            return folder
        except FileExistsError:
            continue
        except OSError as error:
            raise FstError(f"`output` {folder}: {unwritable(error)}") from None


def _remove_empty(folders: list[Path]) -> None:
    for folder in folders:
        with suppress(OSError):  # something was written
            folder.rmdir()


def _remove_untrained(saver: Any, there: set[str]) -> None:
    """What a run that has neither stored nor learned anything has put beside what was there."""
    from fst.training.checkpoint import CHECKPOINT_NAME

    if saver.has_stepped or os.path.exists(saver.folder / CHECKPOINT_NAME):
        return
    for path in (path for name in OF_BEGINNING for path in saver.folder.glob(name)):
        if path.name not in there:
            path.unlink()


def _stop(number: int, frame: Any) -> None:
    raise SystemExit(128 + number)


def _started_with_others() -> bool:
    counts = (os.environ.get(name, "1") for name in PROCESSES)
    return any(count.isdecimal() and int(count) > 1 for count in counts)


def check_writable(folder: Path) -> None:
    """Make the folder, and try to make a file in it; FstError where that cannot be done."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):  # of every process its own
            pass
    except (OSError, ValueError) as error:  # the latter of a NUL
        raise FstError(f"`output` {folder}: {unwritable(error)}") from None


def as_disk_error(error: OSError, folder: Path) -> FstError | None:
    """What to tell of a disk's error on the way, most often by TensorBoard; None of another."""
    earlier: BaseException = error
    while earlier := earlier.__context__:
        # Lightning closes TensorBoard's file after a save that failed, and fails at that again.
        if isinstance(earlier, FstError):
            return earlier
    if error.errno not in DISK_ERRORS:
        return None
    return FstError(f"{error.filename or folder}: {unwritable(error)}")
