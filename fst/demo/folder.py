"""The temporary folder of a running page: gone when it ends, whatever ends it."""

import contextlib
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

PREFIX = "fst-demo-"
_LOCK, _STARTING = ".running", ".starting"


@contextlib.contextmanager
def temporary_folder() -> Iterator[Path]:
    """A new folder that only this user reads; removes those that killed pages have left, too.

    A page that is killed (SIGKILL, power) cannot tidy up: its folder is told by its lock, which the
    system lets go of with the process.
    """
    for old in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        _remove_abandoned(old)
    folder = Path(tempfile.mkdtemp(prefix=PREFIX))
    try:
        with open(folder / _STARTING, "w") as lock:
            _try_lock(lock)
            # Only now under its name: another page that starts would take it for abandoned.
            with contextlib.suppress(PermissionError):  # Windows, where nobody looks for it
                os.replace(folder / _STARTING, folder / _LOCK)
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def new_folder(within: Path) -> Path:
    """An empty folder with a name that nobody guesses."""
    folder = within / uuid.uuid4().hex
    folder.mkdir()
    return folder


def _remove_abandoned(folder: Path) -> None:
    with contextlib.suppress(OSError):  # another user's, or no longer there
        if os.path.islink(folder) or folder.stat().st_uid != getattr(os, "getuid", int)():
            return
        with open(folder / _LOCK, "r+") as lock:
            if _try_lock(lock):
                shutil.rmtree(folder, ignore_errors=True)


def _try_lock(file) -> bool:
    """Whether no other process has it; without fcntl (Windows) nobody is asked."""
    try:
        import fcntl
    except ImportError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
