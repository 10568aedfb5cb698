"""Which precision trains fastest without losing pictures."""


def exact_fp32() -> None:
    """Have GPUs compute in fp32 what is asked for in fp32, for the rest of the process.

    torch by itself takes the factors of convolutions, though not of other products, in TF32, which
    has 10 of the 23 bits. Who wants speed for bits has bf16, which is faster than that.
    """
    import torch

    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False


def best_precision(accelerator: str = "auto") -> str:
    """Lightning's name of it: "bf16-mixed" where the processor multiplies bf16, else "32-true".

    bf16 has the range of fp32, so nothing overflows; statistics and losses are kept in fp32.
    Where it is only emulated it is slower than fp32. Older GPUs (Volta, Turing) have fp16 alone,
    which is left to those who ask for "16-mixed": its scaler may leave out steps.

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
