"""The one error class for what a user can mend, and near matches for its messages."""

import difflib
from collections.abc import Iterable

# Share of letters in common. Below, words match that nobody took for one another: "monet" and
# "udnie" have 0.4.
ALIKE = 0.6


class FstError(Exception):
    """A mistake in files, flags or settings that the user can mend.

    The message is one line that names what was given, what was expected and the way out.
    Command lines print it without a traceback and exit with code 2.
    """


def near_matches(word: str, known: Iterable[str]) -> str:
    """The words that come near, as the end of a message; "" where none does.

    Examples:
        >>> near_matches("Wafe", ["wave", "udnie"])
        'did you mean wave?'
    """
    by_case = {name.casefold(): name for name in known}
    near = difflib.get_close_matches(word.casefold(), by_case, n=3, cutoff=ALIKE)
    return f"did you mean {' or '.join(by_case[name] for name in near)}?" if near else ""
