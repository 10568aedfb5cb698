"""All that is wrong with the arguments, told at once."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from fst.errors import FstError
from fst.runtime.console import tell

# The library knows no flags. What it calls a setting of fst-train, as `lr`, gets its flag by name;
# these are its errors, and the flags that change what they tell of.
FLAGS = {
    "ImageTooLargeError": "--size, --max-memory",
    "LossWeightsError": "--loss-weights",
    "NotFiniteError": "--resume, --lr, --loss-weights",
    "OtherArchitectureError": "leave --width and --num-blocks out, or give --from-scratch instead",
}
Made = TypeVar("Made")


class Problems(FstError):
    """All that is wrong with the arguments: a line each, none twice."""

    def __init__(self, lines: list[str]) -> None:
        self.lines = list(dict.fromkeys(lines))
        super().__init__("; ".join(self.lines))


@contextmanager
def noting(problems: list[str], flag: str | None = None) -> Iterator[None]:
    """Add what an FstError tells to the problems; `flag` is whose fault it is, for the library,
    which finds it, knows no flags."""
    try:
        yield
    except FstError as problem:
        problems += [f"{flag}: {line}" if flag else line for line in lines_of(problem)]


def tried(
    problems: list[str], make: Callable[..., Made], *args: Any, flag: str | None = None
) -> Made | None:
    """What `make` returns; None, and the problem noted as by `noting`, where it raises FstError."""
    with noting(problems, flag):
        return make(*args)
    return None


def lines_of(problem: FstError) -> list[str]:
    """What to tell of a problem: one line, or several of which each is a problem."""
    if isinstance(problem, Problems):
        return problem.lines
    flags = FLAGS.get(type(problem).__name__)
    text = with_flags(str(problem))
    return [f"{text} ({flags})" if flags else text]


def with_flags(text: str) -> str:
    """A text of the library with flags in place of settings.

    Examples:
        >>> with_flags("`style_size` 8: leave `trainer.max_time` out, or choose another `output`")
        '--style-size 8: leave --trainer.max_time out, or choose another -o'
        >>> with_flags("cannot read my`old`.jpg: no such file")
        'cannot read my`old`.jpg: no such file'
    """

    def flag(found: re.Match) -> str:
        name = found[1]
        if name == "output":
            return "-o"
        return f"--{name if name.startswith('trainer.') else name.replace('_', '-')}"

    # Words of their own alone: a file may be called my`old`.jpg.
    return re.sub(r"(?<![^\s(])`((?:trainer\.)?[a-z0-9_]+)`(?![\w.])", flag, text)


def told(program: str, problem: FstError, code: int = 2) -> int:
    """Tell it on stderr; returns the exit code."""
    for line in lines_of(problem):
        tell(program, f"error: {line}")
    return code
