"""Keep freed memory for the next step instead of giving it back to the system."""

import ctypes
import sys

# glibc's numbers for mallopt (malloc.h).
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4


def keep_freed_memory() -> bool:
    """Have glibc reuse large blocks.

    By default it maps each large tensor afresh and unmaps it when freed, so that the kernel faults
    in and zeroes every page again, step after step. Only its peak matters to a training run:
    nothing is lost by keeping what it has had once. CONTRIBUTING.md holds the measurement.

    Returns:
        Whether it was done: on Linux with glibc only; elsewhere nothing changes.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return False  # another C library
    return all(
        mallopt(option, value)
        for option, value in ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, -1), (M_TOP_PAD, 2**28))
    )
