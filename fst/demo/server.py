"""Serve the page: on this machine alone unless asked, without a word to other hosts.

Its files lie in a temporary folder that is gone when it ends, whatever ends it.
"""

import contextlib
import os
import shutil
import socket
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fst.errors import FstError

JSON_BYTES = 4_000_000  # what a browser may send at once beside files: masks are the largest
MULTIPART_BYTES = 100_000  # names and boundaries around a file
# The browser asks no other host, whatever the page holds. 'unsafe-inline' and 'unsafe-eval' are
# what gradio's own page and its HTML templates need.
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; "
    "worker-src 'self' blob:; connect-src 'self'; object-src 'none'; frame-ancestors 'self'"
)
_CLOSED = ("/gradio_api/process_recording", "/gradio_api/deep_link", "/monitoring")
PREFIX = "fst-demo-"
_LOCK, _STARTING = ".running", ".starting"


def settle_environment(folder: Path) -> None:
    """What gradio reads from the environment on import: files in `folder`, no telemetry."""
    os.environ["GRADIO_TEMP_DIR"] = str(folder)
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    for name in ("GRADIO_SHARE", "GRADIO_ALLOWED_PATHS", "GRADIO_MCP_SERVER", "GRADIO_ROOT_PATH"):
        os.environ.pop(name, None)


class Guard:
    """ASGI middleware: sizes of what comes in, closed doors, headers of what goes out."""

    def __init__(self, app: Any, upload_bytes: int) -> None:
        self.app, self.upload_bytes = app, upload_bytes

    async def __call__(self, scope: dict, receive: Any, send: Any) -> None:
        """Pass a request on, or answer it."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        path, headers = scope["path"], dict(scope["headers"])
        is_upload = path.rstrip("/").endswith("/upload")
        most = self.upload_bytes + MULTIPART_BYTES if is_upload else JSON_BYTES
        if path.startswith(_CLOSED):
            return await _answer(send, 404, "not found")
        if scope["method"] in ("POST", "PUT", "PATCH"):
            if headers.get(b"sec-fetch-site") == b"cross-site":  # browsers say it of themselves
                return await _answer(send, 403, "this page alone sends to it, no other site's")
            length = headers.get(b"content-length", b"")
            if not length.isdigit():
                return await _answer(send, 411, "say how long it is")
            if int(length) > most:
                limit = f"{self.upload_bytes / 2**20:.3g} MiB"
                return await _answer(send, 413, f"files of more than {limit} are not taken")

        async def with_headers(message: dict) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *_HEADERS]
            await send(message)

        await self.app(scope, receive, with_headers)


_HEADERS = [
    (b"content-security-policy", POLICY.encode()),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
]


async def _answer(send: Any, status: int, text: str) -> None:
    headers = [(b"content-type", b"text/plain; charset=utf-8"), *_HEADERS]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": text.encode()})


def refuse_urls() -> None:
    """Keep gradio from fetching what a visitor names by a URL in the place of a file."""
    from gradio import processing_utils

    async def refused(url: str, *args: Any, **options: Any) -> str:
        raise ValueError("files are taken from visitors, not from other hosts")

    processing_utils.async_ssrf_protected_download = refused


def launch(page: Any, host: str, port: int | None, upload_bytes: int) -> str:
    """Start serving; returns the URL.

    Raises:
        FstError: The port is taken, or the host is no address of this machine.
    """
    from starlette.middleware import Middleware

    from fst.demo.parts import THEME, web

    refuse_urls()
    host = host.strip("[]")
    try:
        _check_address(host, port)
        _, url, _ = page.launch(
            server_name=f"[{host}]" if ":" in host else host,
            server_port=port,
            share=False,
            prevent_thread_lock=True,
            quiet=True,
            show_error=False,
            max_file_size=upload_bytes,
            footer_links=[],
            run_history=False,
            enable_monitoring=False,
            ssr_mode=False,
            pwa=False,
            mcp_server=False,
            state_session_capacity=200,
            app_kwargs={"middleware": [Middleware(Guard, upload_bytes=upload_bytes)]},
            theme=THEME,
            css=web("page.css"),
        )
    except (OSError, UnicodeError):  # gradio's message tells of its own environment variables
        where = f"{host}:{port}" if port else host
        raise FstError(
            f"cannot listen on {where}: the port is taken, or the address is not this machine's; "
            "choose another port or host"
        ) from None
    return url


def _check_address(host: str, port: int | None) -> None:
    """Listen there for a moment: gradio's server tells in lines of its own what is not possible."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    socket.create_server((host, port or 0), family=family).close()


# ---- the folder of its files -------------------------------------------------------------------


@contextlib.contextmanager
def temporary_folder() -> Iterator[Path]:
    """A new folder that only this user reads; removes those that killed pages have left, too.

    A page that is killed (SIGKILL, power) cannot tidy up: its folder is told by its lock, which the
    system lets go of with the process.
    """
    for old in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        _remove_abandoned(old)
    folder = Path(tempfile.mkdtemp(prefix=PREFIX))
    try:
        with open(folder / _STARTING, "w") as lock:
            _try_lock(lock)
            # Only now under its name: another page that starts would take it for abandoned.
            with contextlib.suppress(PermissionError):  # Windows, where nobody looks for it
                os.replace(folder / _STARTING, folder / _LOCK)
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def new_folder(within: Path) -> Path:
    """An empty folder with a name that nobody guesses."""
    folder = within / uuid.uuid4().hex
    folder.mkdir()
    return folder


def _remove_abandoned(folder: Path) -> None:
    with contextlib.suppress(OSError):  # another user's, or no longer there
        if os.path.islink(folder) or folder.stat().st_uid != getattr(os, "getuid", int)():
            return
        with open(folder / _LOCK, "r+") as lock:
            if _try_lock(lock):
                shutil.rmtree(folder, ignore_errors=True)


def _try_lock(file) -> bool:
    """Whether no other process has it; without fcntl (Windows) nobody is asked."""
    try:
        import fcntl
    except ImportError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
