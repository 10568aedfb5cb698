"""Keep freed memory for the next step instead of giving it back to the system."""

import ctypes
import sys

# glibc's numbers for mallopt (malloc.h).
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4
KEEP = {M_MMAP_MAX: 0, M_TRIM_THRESHOLD: -1, M_TOP_PAD: 2**28}
DEFAULTS = {M_MMAP_MAX: 65536, M_TRIM_THRESHOLD: 128 * 1024, M_TOP_PAD: 128 * 1024}


def keep_freed_memory(keep: bool = True) -> bool:
    """Have glibc reuse large blocks.

    By default it maps each large tensor afresh and unmaps it when freed, so that the kernel faults
    in and zeroes every page again, step after step: `scripts/benchmark.py train` shows what that
    costs. Only its peak matters to a training run: nothing is lost by keeping what it has had once.

    Args:
        keep: False goes back to glibc's defaults.

    Returns:
        Whether it was done: on Linux with glibc only; elsewhere nothing changes.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        libc = ctypes.CDLL("libc.so.6")
        mallopt, malloc_trim = libc.mallopt, libc.malloc_trim
    except (OSError, AttributeError):
        return False  # another C library
    options = KEEP if keep else DEFAULTS
    done = all(mallopt(option, value) for option, value in options.items())
    if not keep:
        malloc_trim(0)
    return done


def release_freed_memory() -> None:
    """Give back what `keep_freed_memory` has kept so far; nothing where glibc is not."""
    if sys.platform.startswith("linux"):
        try:
            ctypes.CDLL("libc.so.6").malloc_trim(0)
        except (OSError, AttributeError):
            return
