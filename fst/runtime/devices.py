"""Which device a command computes on."""

from typing import TYPE_CHECKING

from fst.errors import FstError
from fst.runtime.precision import exact_fp32

if TYPE_CHECKING:
    import torch


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
