"""What the commands say to their users: everything but the paths written goes to stderr."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from fst.errors import FstError


@contextmanager
def noting(problems: list[str]) -> Iterator[None]:
    """Collects an FstError, so that all problems with the arguments are told at once."""
    try:
        yield
    except FstError as problem:
        problems.append(str(problem))


def tell(program: str, text: str) -> None:
    """One line to stderr, the program's name before it."""
    from fst.images import printable

    print(f"{program}: {printable(text)}", file=sys.stderr)
