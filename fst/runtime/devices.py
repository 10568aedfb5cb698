"""Which device a command computes on, and which precision trains fastest there."""

from fst.errors import FstError


def usable_device(name: str | None) -> str:
    """The device named, or a GPU if there is one, else the CPU.

    Raises:
        FstError: This machine does not have it.
    """
    import torch

    if name is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(1, device=name)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).partition("\n")[0].partition(". ")[0]
        raise FstError(f"device {name} cannot be used ({reason}); try --device cpu") from None
    return name


def best_precision(accelerator: str = "auto") -> str:
    """Lightning's name of it: "bf16-mixed" where the processor multiplies bf16, else "32-true".

    bf16 has the range of fp32, so nothing overflows; statistics and losses are kept in fp32.
    Where it is only emulated it is slower than fp32.

    Args:
        accelerator: Lightning's name: "auto", "cpu", "gpu", "cuda", "mps", ...
    """
    import torch

    if accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        return (
            "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "32-true"
        )
    if accelerator in ("auto", "cpu") and not torch.backends.mps.is_available():
        return "bf16-mixed" if _cpu_multiplies_bf16() else "32-true"
    return "32-true"


def _cpu_multiplies_bf16() -> bool:
    try:
        with open("/proc/cpuinfo") as file:
            flags = next((line for line in file if line.startswith("flags")), "")
    except OSError:
        return False  # not Linux: fp32 is right everywhere
    return "avx512_bf16" in flags or "amx_bf16" in flags
