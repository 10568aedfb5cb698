"""Files that are read once, however often what they hold is asked for."""

import io
import os
import tempfile
from typing import BinaryIO


class KeptFile(str):
    """The path of a file whose contents are kept from its first reading on.

    Whatever becomes of the file then, `fst.io.images` decodes what it held. Copies and pickles take
    the contents along.
    """

    kept: bytes | None = None

    def contents(self) -> bytes:
        """All bytes of the file.

        Raises:
            OSError: It cannot be read.
        """
        if self.kept is None:
            with open(self, "rb") as file:
                self.kept = file.read()
        return self.kept

    def open(self) -> BinaryIO:
        """A file without a name that holds the same, at its beginning."""
        if hasattr(os, "memfd_create"):
            file = os.fdopen(os.memfd_create("kept"), "w+b", buffering=0)
        else:
            file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115
        file.write(self.contents())
        file.seek(0)
        file.name = str(self)  # for messages
        return io.BufferedReader(file)  # to be read alone: closed, it need not know its place
