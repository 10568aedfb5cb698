"""Files get their names when they are whole, and never one that is taken."""

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from fst.errors import FstError
from fst.picture_files import printable, temporary_beside, unused_path


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
