"""Text from anywhere, safe within Markdown."""

import re
from typing import Any
from urllib.parse import quote

from fst.io.paths import printable


def escaped(value: Any, most: int = 80) -> str:
    r"""Any text as plain text of Markdown: no markup, no HTML, no link, one line, not too long.

    Example:
        >>> print(escaped("wave | <b>*"))
        wave \| \<b\>\*
    """
    text = printable(value)
    text = text if len(text) <= most else f"{text[: most - 3]}..."
    text = re.sub(r"([\\`*\[\]<>#|!~&$@:])", r"\\\1", text)
    # Between letters an underscore is a letter; elsewhere it may open emphasis.
    text = re.sub(r"(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])", r"\\_", text)
    return re.sub(r"(?i)\bwww\.", r"www\\.", text)


def quoted(text: str) -> str:
    """A string of Python."""
    plain = text.isprintable() and not set(text) & set('"\\')
    return f'"{text}"' if plain else repr(text)


def url(file_name: str) -> str:
    """A file name as a relative link."""
    return quote(file_name)
