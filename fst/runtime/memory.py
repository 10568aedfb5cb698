"""How much memory there is, and how users write amounts of it."""

import os
import re
from pathlib import Path

import torch

from fst.errors import FstError

_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


def parse_bytes(text: str) -> int:
    """An amount of memory such as "800M" or "2.5G" in bytes; units are powers of 1024.

    Raises:
        FstError: It is none.

    >>> parse_bytes("2G")
    2147483648
    """
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)([KMGT]?)I?B?", text.strip().upper())
    if not match or not float(match[1]):
        raise FstError(f"{text!r} is no amount of memory: write 800M or 2.5G")
    return round(float(match[1]) * _UNITS[match[2]])


def readable_bytes(count: float) -> str:
    """Bytes as users read them.

    >>> readable_bytes(2.5 * 2**30)
    '2.5 GiB'
    """
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"


def available_bytes(device: torch.device) -> int:
    """Memory that can be had on a device now: of a GPU its free part, else the system's."""
    if device.type == "cuda":  # what torch keeps of freed memory can be had, too
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + kept
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        left = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvail"))
    except (OSError, StopIteration, ValueError):  # not Linux: half of all there is
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    return min([left, *_left_in_container()])


def resident_bytes() -> int:
    """Memory of this process that is resident now; 0 where the system does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, ValueError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def taken_bytes(device: torch.device) -> int:
    """Memory of a device that this process has taken: of a GPU what its tensors take there, for the
    libraries alone make more resident than a painting takes; else what is resident."""
    return torch.cuda.memory_allocated(device) if device.type == "cuda" else resident_bytes()


def _left_in_container() -> list[int]:
    """What control groups, v2 and v1, leave this process: /proc/meminfo shows the whole machine."""
    root = Path("/sys/fs/cgroup")
    names = [("memory.max", "memory.current")]
    names += [("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes")]
    limits = []
    for limit, used in names:
        try:
            left = int((root / limit).read_text()) - int((root / used).read_text())
        except (OSError, ValueError):  # no such file, or "max"
            continue
        limits.append(max(0, left))
    return limits
