"""Downloads of many gigabytes: continued where they stopped, and held against size and hash."""

import hashlib
import http.client
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from fst.errors import FstError

CHUNK_BYTES = 1 << 20
TIMEOUT_S = 60  # without a byte
ATTEMPTS = 5  # in a row that bring nothing new


class Download(NamedTuple):
    """What is to be had, and how it is known to be that.

    Attributes:
        url: http or https.
        size_bytes: Of the file.
        sha256: Its hash, in hexadecimal digits.
    """

    url: str
    size_bytes: int
    sha256: str


def fetch(
    download: Download,
    path: Path,
    on_bytes: Callable[[int], object] = lambda count: None,
    pause_s: float = 2.0,
) -> Path:
    """Download into a file, beside which `.part` holds what has come so far.

    A file of that size that is there already is taken for the download. A `.part` is continued.

    Args:
        download: What to fetch.
        path: Where it goes; the file appears when it is whole and its hash is right.
        on_bytes: Told of every so many bytes, those of a `.part` that was there included.
        pause_s: Between attempts, doubled each time.

    Raises:
        FstError: The server does not answer, sends another file, or the disk is full.
    """
    if path.is_file() and path.stat().st_size == download.size_bytes:
        on_bytes(download.size_bytes)
        return path
    part = path.with_name(f"{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        held = part.stat().st_size if part.exists() else 0
        if held > download.size_bytes:
            part.unlink()
            held = 0
        on_bytes(held)
        _complete(download, part, on_bytes, pause_s)
        _check(download, part)
        os.replace(part, path)
    except OSError as error:
        raise FstError(f"cannot write {part}: {error.strerror or error}") from error
    return path


def _complete(download: Download, part: Path, on_bytes: Callable, pause_s: float) -> None:
    """Ask for the rest until it is there.

    Raises:
        FstError: Several attempts in a row brought nothing.
    """
    failures = 0
    while (held := part.stat().st_size if part.exists() else 0) < download.size_bytes:
        reason = "the connection was closed"
        try:
            _receive(download, part, held, on_bytes)
        except urllib.error.HTTPError as error:
            raise FstError(f"{download.url}: the server answers {error.code}") from None
        except (urllib.error.URLError, http.client.HTTPException, TimeoutError) as error:
            reason = str(getattr(error, "reason", error)) or type(error).__name__
        except ConnectionError as error:
            reason = str(error)
        grown = part.exists() and part.stat().st_size > held
        failures = 0 if grown else failures + 1
        if failures == ATTEMPTS:
            raise FstError(f"{download.url}: {reason}; run again to go on where it stopped")
        if failures:
            time.sleep(pause_s * 2 ** (failures - 1))


def _receive(download: Download, part: Path, held: int, on_bytes: Callable) -> None:
    """Append what one answer brings."""
    # Not the default opener: that follows redirections to ftp and reads file addresses.
    opener = urllib.request.OpenerDirector()
    names = ["HTTP", "HTTPS", "Proxy", "HTTPRedirect", "HTTPDefaultError", "Unknown"]
    for name in names:
        opener.add_handler(getattr(urllib.request, f"{name}Handler")())
    opener.add_handler(urllib.request.HTTPErrorProcessor())
    request = urllib.request.Request(download.url, headers={"User-Agent": "fst"})
    if held:
        request.add_header("Range", f"bytes={held}-")
    with opener.open(request, timeout=TIMEOUT_S) as answer:
        continued = answer.status == 206
        if continued and not answer.headers.get("Content-Range", "").startswith(f"bytes {held}-"):
            raise FstError(f"{download.url}: the server sends another part than asked for")
        if held and not continued:  # all of it: what was there is of no use
            on_bytes(-held)
            held = 0
        with open(part, "ab" if held else "wb") as file:
            while chunk := answer.read(CHUNK_BYTES):
                held += len(chunk)
                if held > download.size_bytes:
                    raise FstError(f"{download.url}: more than {download.size_bytes:,} bytes come")
                file.write(chunk)
                on_bytes(len(chunk))


def _check(download: Download, part: Path) -> None:
    """Hold a whole file against its hash; one of another hash is removed.

    Raises:
        FstError: It is another file.
    """
    digest = hashlib.sha256()
    with open(part, "rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    if digest.hexdigest() != download.sha256:
        part.unlink()
        raise FstError(f"{download.url}: not the file expected (its SHA-256 differs); removed")
