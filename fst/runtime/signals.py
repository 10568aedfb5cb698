"""What signals do for a while. Without torch."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def on_signals(handler: Callable[[int, Any], Any], *numbers: int) -> Iterator[None]:
    """Have a handler take these signals; nothing changes in a thread, which cannot take any."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)
