"""Large images and features by their rows, in memory or in a temporary file."""

import errno
import os
import shutil
import tempfile
from contextlib import ExitStack, closing

import numpy as np

from fst.errors import FstError
from fst.runtime.memory import readable_bytes


class RowStore:
    """Room for (H, W, C) numbers, written and read by bands of rows.

    A temporary file has no name once it is open (on POSIX), so that nothing is left of it however
    the process ends. It is read and written, not mapped: mapped pages would count as resident.
    """

    def __init__(
        self, shape: tuple[int, int, int], dtype: np.dtype | type, *, in_memory: bool
    ) -> None:
        """Take the room in memory, or in the folder for temporary files (TMPDIR).

        Raises:
            FstError: The folder has too little room.
        """
        self.shape, self.dtype = shape, np.dtype(dtype)
        self._row_bytes = shape[1] * shape[2] * self.dtype.itemsize
        self._array = np.empty(shape, dtype) if in_memory else None
        self._file = None if in_memory else _file_of(shape[0] * self._row_bytes)

    def read(self, low: int, high: int) -> np.ndarray:
        """Rows from `low` to `high` exclusive, (high - low, W, C); a copy."""
        if self._array is not None:
            return self._array[low:high].copy()
        rows = np.empty((high - low, *self.shape[1:]), self.dtype)
        self._file.seek(low * self._row_bytes)
        left = memoryview(rows).cast("B")
        while len(left):  # one call of the system moves at most 2 GiB
            left = left[self._file.readinto(left) :]
        return rows

    def write(self, low: int, rows: np.ndarray) -> None:
        """Put rows (h, W, C) at `low`."""
        if self._array is not None:
            self._array[low : low + len(rows)] = rows
            return
        self._file.seek(low * self._row_bytes)
        left = memoryview(np.ascontiguousarray(rows, self.dtype)).cast("B")
        while len(left):
            left = left[self._file.write(left) :]

    def mapped(self) -> np.ndarray:
        """All of it, (H, W, C): the array itself, or the file mapped for reading."""
        if self._array is not None:
            return self._array
        return np.memmap(self._file, self.dtype, "r", shape=self.shape)

    def close(self) -> None:
        """Give the room back."""
        self._array = None
        if self._file is not None:
            self._file.close()


class RowStores(ExitStack):
    """Stores of one painting, closed together."""

    def __init__(self, in_memory: bool) -> None:
        super().__init__()
        self.in_memory = in_memory

    def new(self, shape: tuple[int, int, int], dtype: type) -> RowStore:
        """Room for (H, W, C) numbers; arguments and errors as of `RowStore`."""
        return self.enter_context(closing(RowStore(shape, dtype, in_memory=self.in_memory)))


def check_room(size: int) -> None:
    """Refuse to begin what needs more bytes of temporary files than there is room.

    Raises:
        FstError: Names the folder.
    """
    try:
        folder = tempfile.gettempdir()
        free = shutil.disk_usage(folder).free
    except OSError as error:
        raise _unusable(error) from None
    if size > free:
        raise _no_room(folder, size)


def _file_of(size: int):
    try:
        file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115
    except OSError as error:
        raise _unusable(error) from None
    try:
        if hasattr(os, "posix_fallocate"):  # now, rather than failing on the way
            os.posix_fallocate(file.fileno(), 0, size)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            file.close()
            raise _no_room(tempfile.gettempdir(), size) from None
    return file


def _unusable(error: OSError) -> FstError:
    return FstError(
        f"temporary files cannot be made ({error.strerror or error}): set TMPDIR to a folder that "
        "can be written, or give more --max-memory"
    )


def _no_room(folder: str, size: int) -> FstError:
    return FstError(
        f"{folder}: no room for {readable_bytes(size)} of temporary files: set TMPDIR to a folder "
        "on a larger disk, or give more --max-memory"
    )
