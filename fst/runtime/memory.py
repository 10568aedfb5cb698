"""How much memory a device has, how users write amounts of it, whether freed memory is kept; which
device a command computes on, and which precision trains fastest there."""

import ctypes
import os
import re
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fst.errors import FstError

if TYPE_CHECKING:
    import torch

CGROUP = Path("/sys/fs/cgroup")
_LIMITS = (
    ("memory.max", "memory.current", "memory.stat"),
    ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat"),
)
# glibc's numbers for mallopt (malloc.h).
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4
_KEEP = {_MMAP_MAX: 0, _TRIM_THRESHOLD: -1, _TOP_PAD: 2**28}
_DEFAULTS = {_MMAP_MAX: 65536, _TRIM_THRESHOLD: 128 * 1024, _TOP_PAD: 128 * 1024}

try:
    _GLIBC: Any = ctypes.CDLL("libc.so.6")
    _GLIBC.mallopt  # noqa: B018 - another C library of that name has none
except (OSError, AttributeError):
    _GLIBC = None

_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


def usable_device(name: str | None) -> str:
    """The device named, or a GPU if there is one, else the CPU; what is fp32 there will be fp32.

    Raises:
        FstError: This machine does not have it.
    """
    import torch

    exact_fp32()
    if name is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        if device.type == "cuda" and torch.cuda.is_available():
            # Not tried: each process of several would take memory of the first GPU by it.
            if (device.index or 0) >= torch.cuda.device_count():
                raise RuntimeError(f"there are {torch.cuda.device_count()} of them, from cuda:0 on")
        else:
            torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).partition("\n")[0].partition(". ")[0]
        raise FstError(f"device {name} cannot be used ({reason}); try --device cpu") from None
    return name


def described(device: "torch.device") -> str:
    """A device for messages: of a GPU its name, too."""
    if device.type != "cuda":
        return str(device)
    import torch

    return f"{device} ({torch.cuda.get_device_name(device)})"


def exact_fp32() -> None:
    """Have GPUs compute in fp32 what is asked for in fp32, for the rest of the process.

    torch by itself takes the factors of convolutions, though not of other products, in TF32, which
    has 10 of the 23 bits. Who wants speed for bits has bf16, which is faster than that.
    """
    import torch

    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False


def takes_cuda(accelerator: str) -> bool:
    """Whether Lightning trains on a CUDA GPU where it is given this name of an accelerator."""
    import torch

    return accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available()


def best_precision(accelerator: str = "auto") -> str:
    """Lightning's name of it: "bf16-mixed" where bf16 is faster than fp32, else "32-true".

    bf16 has the range of fp32, so nothing overflows; statistics and losses are kept in fp32. Older
    GPUs (Volta, Turing) have fp16 alone, which is left to those who ask for "16-mixed": its scaler
    may leave out steps.

    Args:
        accelerator: Lightning's name: "auto", "cpu", "gpu", "cuda", "mps", ...
    """
    import torch

    if takes_cuda(accelerator):
        return (
            "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "32-true"
        )
    if accelerator in ("auto", "cpu") and not torch.backends.mps.is_available():
        return "bf16-mixed" if _bf16_is_faster_here() else "32-true"
    return "32-true"


def _bf16_is_faster_here() -> bool:
    try:
        with open("/proc/cpuinfo") as file:
            return bf16_is_faster(file.read().partition("\n\n")[0])
    except OSError:
        return False  # not Linux: fp32 is right everywhere


def bf16_is_faster(cpuinfo: str) -> bool:
    """Whether a CPU, as /proc/cpuinfo describes it, convolves faster in bf16 than in fp32.

    On AMD's, AVX512 is enough. Intel's need AMX: a Xeon whose virtual machine hid it was slower in
    bf16, although it has AVX512-bf16.
    """
    words = cpuinfo.split()
    return "amx_bf16" in words or ("avx512_bf16" in words and "GenuineIntel" not in words)


# ---- memory -------------------------------------------------------------------------------------


def is_out_of_memory(error: Exception) -> bool:
    """Whether an error says that memory did not suffice: Python's, torch's, or that of a process
    that this one has started, which brings its traceback as text."""
    told = "out of memory|allocate memory|enough memory|bad_alloc|ALLOC_FAILED|^MemoryError"
    return isinstance(error, MemoryError) or bool(re.search(told, str(error), re.MULTILINE))


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


def available_bytes(device: "torch.device") -> int:
    """Memory that can be had on a device now: of a GPU its free part, else the system's."""
    if device.type == "cuda":  # what torch keeps of freed memory can be had, too
        import torch

        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + kept
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        left = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvail"))
    except (OSError, StopIteration, ValueError):  # not Linux: half of all there is
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    # What control groups, v2 and v1, leave this process: /proc/meminfo shows the whole machine.
    for limit, used, parts in _LIMITS:
        try:
            left_here = int((CGROUP / limit).read_text()) - int((CGROUP / used).read_text())
        except (OSError, ValueError):  # no such file, or "max"
            continue
        with suppress(OSError):  # files read before are used memory that the system gives up
            found = re.search(r"^inactive_file (\d+)$", (CGROUP / parts).read_text(), re.MULTILINE)
            left_here += int(found[1]) if found else 0
        left = min(left, max(0, left_here))
    return left


def resident_bytes() -> int:
    """Memory of this process that is resident now; 0 where the system does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, ValueError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def taken_bytes(device: "torch.device") -> int:
    """Memory of a device that this process has taken: of a GPU what its tensors take there, for the
    libraries alone make more resident than a painting takes; else what is resident."""
    if device.type != "cuda":
        return resident_bytes()
    import torch

    return torch.cuda.memory_allocated(device)


def keep_freed_memory(keep: bool = True) -> None:
    """Have glibc reuse large blocks; nothing where the C library is another.

    By default it maps each large tensor afresh and unmaps it when freed, so that the kernel faults
    in and zeroes every page again, step after step: `scripts/benchmark.py train` shows what that
    costs. Only its peak matters to a training run: nothing is lost by keeping what it has had once.

    Args:
        keep: False goes back to glibc's defaults.
    """
    for option in (_KEEP if keep else _DEFAULTS).items() if _GLIBC else ():
        _GLIBC.mallopt(*option)
    if not keep:
        release_freed_memory()


def release_freed_memory() -> None:
    """Give back what `keep_freed_memory` has kept so far; nothing where glibc is not."""
    if _GLIBC:
        _GLIBC.malloc_trim(0)
