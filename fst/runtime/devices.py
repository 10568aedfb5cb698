"""Which device a command computes on."""

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
