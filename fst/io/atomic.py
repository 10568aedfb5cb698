"""Files get their names when they are whole, and never one that is taken; of two commands that want
one file or folder, the second is told."""

import errno
import os
import re
import socket
import tempfile
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from fst.errors import FstError
from fst.io.paths import clip, printable
from fst.io.paths import numbered as with_numbers

IN_FOLDER = "running.lock"
ORPHAN_END = ".tmp"  # how the name ends of a file that is being written


def taken(path: Path) -> FstError:
    """What is told of a name that a file was to get and something has."""
    return FstError(f"{printable(path)} exists; name another file or ask to overwrite it")


def publish(path: Path, encode: Callable, overwrite: bool, numbered: bool = False) -> Path:
    """Have a file written by `encode(file)` so that the path never holds a part of it.

    Returns:
        The path, or with `numbered` and where it is taken the first free number of that name.

    Raises:
        FstError: existing path, or a failed write.
    """
    temporary = path.parent / f".{uuid.uuid4().hex}.tmp"  # hidden: `find` skips it
    try:
        if not (overwrite or numbered) and os.path.lexists(path):
            raise taken(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(temporary, "xb") as file:  # not tempfile, for umask rights
                encode(file)
            if not overwrite:
                return give_name(temporary, path, numbered)
            os.replace(temporary, path)
            return path
        finally:
            temporary.unlink(missing_ok=True)
    except FstError:
        raise
    except Exception as error:  # encoders raise struct.error and SystemError as well as OSError
        text = str(getattr(error, "strerror", None) or error or type(error).__name__)
        reason = printable(" ".join(text.split()))
        raise FstError(
            f"cannot write {printable(path)}: {reason}; name another folder or format"
        ) from error


def give_name(temporary: Path, path: Path, numbered: bool = False) -> Path:
    """Give a finished file its name, or with `numbered` the first free number of it; gives which.

    Raises:
        FstError: Something has the name, be it since a moment.
    """
    for name in with_numbers(path) if numbered else [path]:
        with suppress(FileExistsError):
            try:
                os.link(temporary, name)  # unlike a rename, fails where the name is taken
                return name
            except FileExistsError:
                raise
            except (OSError, NotImplementedError):  # FAT and some network mounts have no hard links
                open(name, "xb").close()  # claims the name, or fails
            try:
                os.replace(temporary, name)
                return name
            except OSError:
                name.unlink()
                raise
    raise taken(path)


def write_atomically(path: str | Path, content: bytes) -> None:
    """Write a file so that a reader sees the old content or the new, never a part.

    Raises:
        FstError: The folder cannot be made or written, or the disk is full.
    """
    path = Path(path)
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # In the target's own folder: os.replace is atomic only within one file system.
        handle, temporary = tempfile.mkstemp(ORPHAN_END, f".{path.name}.", path.parent)
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(temporary, 0o666 & ~mask)  # mkstemp makes files for the owner alone
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except (OSError, ValueError) as error:  # the latter of a NUL
        raise FstError(f"{path}: {unwritable(error)}") from None
    finally:
        if temporary and os.path.exists(temporary):
            os.unlink(temporary)


def unwritable(error: OSError | ValueError) -> str:
    """Why a file cannot be written, and the way out."""
    full = getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT)
    reason = getattr(error, "strerror", None) or error
    return f"cannot write it ({reason}): {'make room or ' if full else ''}name another folder"


def _sync_folder(folder: Path) -> None:
    """Put the new name on the disk too: without it a power cut can bring the old file back."""
    if os.name == "nt":  # folders cannot be opened there
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a file system that cannot
            raise
    finally:
        os.close(handle)


def remove_orphans(folder: str | Path, names: Sequence[str]) -> list[Path]:
    """Delete what writes of these files by `write_atomically` that were killed have left, nothing
    else; returns what was deleted."""
    starts = "|".join(re.escape(f".{name}.") for name in names)
    orphan = re.compile(f"({starts})[a-z0-9_]{{8}}{re.escape(ORPHAN_END)}")  # as mkstemp names
    found = [path for path in Path(folder).glob(".*") if orphan.fullmatch(path.name)]
    found = [path for path in found if path.is_file() and not path.is_symlink()]
    for path in found:
        path.unlink(missing_ok=True)
    return found


# ---- who writes where ---------------------------------------------------------------------------
# The system's own file locks: that of a command that was killed is free, so none is ever stale.


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
    for candidate in with_numbers(path) if is_numbered else [path]:
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
