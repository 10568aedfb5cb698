"""Who writes where: of two commands that want one file or folder, the second is told.

The system's own file locks: that of a command that was killed is free, so none is ever stale.
"""

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from fst.errors import FstError
from fst.io.paths import clip, numbered, printable

IN_FOLDER = "running.lock"


class Claimed(FstError):
    """Another command is writing there."""


@contextmanager
def claimed_folder(folder: Path) -> Iterator[None]:
    """Hold a folder for one command; makes it, and takes it away if it is empty at the end.

    Raises:
        Claimed: Another command holds it.
        FstError: It cannot be made or written.
    """
    with _held(folder / IN_FOLDER, f"-o {folder}"):
        yield


@contextmanager
def claimed_file(path: Path, is_numbered: bool, flag: str = "-o") -> Iterator[Path]:
    """Hold the name of a file to be written, or with `is_numbered` the next number that is free;
    its folder and errors as in `claimed_folder`. `flag` is what it was given with, for messages."""
    for candidate in numbered(path) if is_numbered else [path]:
        with ExitStack() as held:
            lock_file = candidate.with_name(f".{clip(candidate.name, 240)}.lock")
            try:
                held.enter_context(_held(lock_file, f"{flag} {candidate}"))
            except Claimed:
                if is_numbered:
                    continue
                raise
            if not (is_numbered and os.path.lexists(candidate)):
                yield candidate
                return


@contextmanager
def _held(lock_file: Path, told: str) -> Iterator[None]:
    from fst.io.atomic import unwritable

    missing = [folder for folder in lock_file.absolute().parents if not os.path.exists(folder)]
    lock = FileLock(lock_file, timeout=0)
    try:
        lock_file.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        raise Claimed(
            f"{printable(told)} is being written by another command ({_holder(lock_file)}): "
            "wait for its end, or name another"
        ) from None
    except (OSError, ValueError, NotImplementedError) as error:  # a NUL; no locks there
        raise FstError(f"{printable(told)}: {unwritable(error)}") from None
    try:
        _note_holder(lock_file)
        yield
    finally:
        with suppress(OSError):  # while it is held: who waits for it sees that it is gone
            lock_file.unlink()
        lock.release()
        for folder in missing:
            with suppress(OSError):  # something was written
                folder.rmdir()


def _note_holder(lock_file: Path) -> None:
    # On Windows a lock shuts out its own process too; without locks in a file system, filelock
    # writes what it needs there.
    with suppress(OSError):
        if not lock_file.stat().st_size:
            lock_file.write_text(f"process {os.getpid()} on {socket.gethostname()}")


def _holder(lock_file: Path) -> str:
    with suppress(OSError):
        return printable(" ".join(lock_file.read_text("utf-8", "replace").split())[:100])
    return "unknown"
