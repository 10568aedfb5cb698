"""Section "machine" of check_gpu.py: what the GPU and its host can do at most."""

import os
import platform

from check_gpu_measure import asked, bf16_flops, each_ms, in_a_row_ms, row


def machine() -> None:
    """Ceilings of arithmetic, memory and kernel launches."""
    import torch

    from fst.runtime.memory import best_precision, readable_bytes, resident_bytes

    row("torch", torch.__version__, f"Python {platform.python_version()}, {os.cpu_count()} cores")
    row("TFLOP/s, bf16 product of 8192 x 8192", f"{bf16_flops() / 1e12:.0f}")
    row("precision of fst-train", best_precision("gpu" if asked.on_gpu else "cpu"))
    if not asked.on_gpu:
        return
    major, minor = torch.cuda.get_device_capability()
    row("GPU", torch.cuda.get_device_name(), f"sm_{major}{minor}, CUDA {torch.version.cuda}, "
        f"cuDNN {torch.backends.cudnn.version()}, "
        f"{readable_bytes(torch.cuda.get_device_properties(0).total_memory)}")  # fmt: skip
    numbers = torch.randn(2**28, device=asked.device)
    copy = torch.empty_like(numbers)
    row("TB/s, copy", f"{2 * numbers.nbytes / each_ms(lambda: copy.copy_(numbers)) / 1e9:.2f}")
    small = torch.zeros(8, device=asked.device)
    row(
        "us a small kernel, many in a row",
        f"{1e3 * in_a_row_ms(lambda: small.add_(1), 100, 2000):.1f}",
    )
    host = torch.randn(2**24)
    pinned = host.pin_memory()
    for name, source in (("pageable", host), ("pinned", pinned)):
        ms = each_ms(lambda s=source: s.to(asked.device, non_blocking=True))
        row(f"GB/s to the GPU, {name}", f"{host.nbytes / ms / 1e6:.1f}")
    row("resident memory with CUDA", readable_bytes(resident_bytes()))
