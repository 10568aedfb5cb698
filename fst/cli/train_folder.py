"""Where a run of fst-train writes: which folder, whether it can, and what to say when it fails."""

import errno
import os
import tempfile
from pathlib import Path
from typing import Any

from fst.errors import FstError

FOLDER_VARIABLE = "FST_RUN_FOLDER"  # tells the other processes of a run its folder
PROCESSES = ("WORLD_SIZE", "SLURM_NTASKS")  # what torchrun and srun tell each of them
# Of a disk that is full, broken or turned read-only; other errors are not about writing.
DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS)


def run_folder(settings: Any) -> Path:
    """The folder of the run; it holds no other run.

    Raises:
        FstError: It does, or processes that are started from outside would each choose their own.
    """
    from fst.training.checkpoint import CHECKPOINT_NAME

    if settings.output:
        folder = Path(settings.output)
    elif settings.resume:
        folder = Path(settings.resume).parent
    elif FOLDER_VARIABLE not in os.environ and _started_with_others():
        raise FstError("several processes are started from outside: give them one folder with -o")
    else:
        root, number = Path("checkpoints"), 1
        while (root / f"run-{number}").exists():
            number += 1
        # Lightning starts the other processes of a run by this same command line.
        folder = Path(os.environ.setdefault(FOLDER_VARIABLE, str(root / f"run-{number}")))
    if not settings.resume and os.path.exists(folder / CHECKPOINT_NAME):
        raise FstError(
            f"{folder} holds a run already: continue it with --resume {folder / CHECKPOINT_NAME}, "
            "or choose another -o"
        )
    return folder


def _started_with_others() -> bool:
    counts = (os.environ.get(name, "1") for name in PROCESSES)
    return any(count.isdecimal() and int(count) > 1 for count in counts)


def check_writable(folder: Path) -> None:
    """Make the folder, and try to make a file in it.

    Raises:
        FstError: It cannot be made or written.
    """
    from fst.stylize.style_model import unwritable

    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):  # of every process its own
            pass
    except (OSError, ValueError) as error:  # the latter of a NUL
        raise FstError(f"-o {folder}: {unwritable(error)}") from None


def as_disk_error(error: OSError, folder: Path) -> FstError | None:
    """What to tell of a disk's error on the way, most often by TensorBoard; None of another."""
    from fst.stylize.style_model import unwritable

    earlier: BaseException = error
    while earlier := earlier.__context__:
        # Lightning closes TensorBoard's file after a save that failed, and fails at that again.
        if isinstance(earlier, FstError):
            return earlier
    if error.errno not in DISK_ERRORS:
        return None
    return FstError(f"{error.filename or folder}: {unwritable(error)}")
