"""All that is wrong with the arguments, told at once."""

from collections.abc import Iterator
from contextlib import contextmanager

from fst.errors import FstError


class Problems(FstError):
    """All that is wrong with the arguments: a line each."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__("; ".join(lines))
        self.lines = lines


@contextmanager
def noting(problems: list[str]) -> Iterator[None]:
    """Collects an FstError, so that all problems with the arguments are told at once."""
    try:
        yield
    except FstError as problem:
        problems += lines_of(problem)


def lines_of(problem: FstError) -> list[str]:
    """What to tell of a problem: one line, or several of which each is a problem."""
    return problem.lines if isinstance(problem, Problems) else [str(problem)]
