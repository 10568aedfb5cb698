"""Files get their names when they are whole, and never one that is taken."""

import errno
import os
import re
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from fst.errors import FstError
from fst.io.paths import printable, temporary_beside, unused_path

ORPHAN_END = ".tmp"  # how the name ends of a file that is being written


class Taken(FstError):
    """Something has the name that a file was to get."""


def exists(path: Path) -> Taken:
    """What is told of a name that is taken."""
    return Taken(f"{printable(path)} exists; name another file or ask to overwrite it")


def publish(path: Path, encode: Callable, overwrite: bool, numbered: bool = False) -> Path:
    """Have a file written by `encode(file)` so that the path never holds a part of it.

    Returns:
        The path, or with `numbered` and where it is taken the first free number of that name.

    Raises:
        FstError: existing path, or a failed write.
    """
    try:
        if not (overwrite or numbered) and os.path.lexists(path):
            raise exists(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        return _write(encode, path, overwrite, numbered)
    except FstError:
        raise
    except Exception as error:  # encoders raise struct.error and SystemError as well as OSError
        text = str(getattr(error, "strerror", None) or error or type(error).__name__)
        reason = printable(" ".join(text.split()))
        raise FstError(
            f"cannot write {printable(path)}: {reason}; name another folder or format"
        ) from error


def _write(encode: Callable, path: Path, overwrite: bool, numbered: bool) -> Path:
    temporary = temporary_beside(path)
    try:
        with open(temporary, "xb") as file:  # not tempfile, for umask rights
            encode(file)
        if numbered and not overwrite:
            return publish_numbered(temporary, path)
        if overwrite:
            os.replace(temporary, path)
        else:
            publish_new(temporary, path)
        return path
    finally:
        temporary.unlink(missing_ok=True)


def publish_numbered(temporary: Path, path: Path) -> Path:
    """Give a finished file its name, or the first free number of it; returns which."""
    while True:
        free = unused_path(path)
        with suppress(Taken):  # by another process, since the look
            publish_new(temporary, free)
            return free


def publish_new(temporary: Path, path: Path) -> None:
    """Give a finished file its name unless something has taken the name meanwhile."""
    try:
        os.link(temporary, path)  # unlike a rename, fails where the name is taken
    except FileExistsError:
        raise exists(path) from None
    except (OSError, NotImplementedError):  # FAT and some network mounts have no hard links
        try:
            open(path, "xb").close()  # claims the name, or fails
        except FileExistsError:
            raise exists(path) from None
        try:
            os.replace(temporary, path)
        except OSError:
            path.unlink()
            raise


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
    """Delete what writes of these files that were killed have left; nothing else.

    Args:
        folder: Where the files lie.
        names: Of the files that `write_atomically` was writing.

    Returns:
        What was deleted.
    """
    starts = "|".join(re.escape(f".{name}.") for name in names)
    orphan = re.compile(f"({starts})[a-z0-9_]{{8}}{re.escape(ORPHAN_END)}")  # as mkstemp names
    found = [path for path in Path(folder).glob(".*") if orphan.fullmatch(path.name)]
    found = [path for path in found if path.is_file() and not path.is_symlink()]
    for path in found:
        path.unlink(missing_ok=True)
    return found
