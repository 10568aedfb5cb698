"""Where a run of fst-train writes: whether it can, and what to say when it could not."""

import errno
import tempfile
from pathlib import Path

from fst.errors import FstError

# Of a disk that is full, broken or turned read-only; other errors are not about writing.
DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS)


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
    except OSError as error:
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
