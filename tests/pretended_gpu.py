"""A pretended GPU: tensors that say they are elsewhere, with their numbers in ordinary memory.

Each operation is computed by the CPU, so that results can be held against its own, but goes the way
that fst takes on a GPU. One that mixes devices raises, as CUDA's does; one for which the host would
wait for the GPU is noted, with the line of fst, or else of Lightning, that it came from.

It is called "meta", because torch's gradients work without a driver on no other device but the CPU.
There is no autocast for it: all is computed in fp32.
"""

import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten

GPU = torch.device("meta")
PACKAGES = (str(Path(__file__).parents[1] / "fst"), "pytorch_lightning", "torch/optim")
# What makes the host wait: numbers are read, or shapes depend on them.
READS = {"_local_scalar_dense", "equal", "nonzero", "is_nonzero", "masked_select", "_unique2"}
READS |= {"repeat_interleave", "_linalg_eigh", "linalg_eigh"}
VIEWS = {"view", "_unsafe_view", "permute", "transpose", "t", "expand", "unsqueeze", "squeeze"}
VIEWS |= {"slice", "select", "detach", "alias", "as_strided", "split", "unbind", "unfold", "empty"}
VIEWS |= {"diagonal", "_reshape_alias", "empty_like", "new_empty", "split_with_sizes", "lift_fresh"}
COPIES = {"_to_copy", "copy_"}


class OnGpu(torch.Tensor):
    """A tensor of the pretended GPU."""

    numbers: Tensor  # on the CPU

    @staticmethod
    def __new__(cls, numbers: Tensor) -> "OnGpu":
        made = torch.Tensor._make_wrapper_subclass(
            cls,
            numbers.shape,
            strides=numbers.stride(),
            storage_offset=numbers.storage_offset(),
            dtype=numbers.dtype,
            device=GPU,
        )
        made.numbers = numbers
        return made

    def __repr__(self, **_: Any) -> str:
        return f"OnGpu({tuple(self.shape)}, {self.dtype})"

    def tolist(self) -> list:
        """Reads the numbers, as `torch.Tensor.tolist` does beside all operations."""
        return self.cpu().tolist()

    def __reduce_ex__(self, protocol: int) -> tuple:
        """In a file it is a tensor as others are."""
        return self.numbers.__reduce_ex__(protocol)

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        raise RuntimeError(f"{func}: outside of `pretended_gpu`")


class PretendedGpu(TorchDispatchMode):
    """Computes what is on the GPU; `waits` counts by place what the host has waited for."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: Counter[str] = Counter()
        self.kernels: Counter[str] = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        leaves, form = tree_flatten((args, kwargs or {}))
        there = [leaf for leaf in leaves if isinstance(leaf, OnGpu)]
        device = (kwargs or {}).get("device")
        to_gpu = device is not None and torch.device(device).type == GPU.type
        if not there and not to_gpu:
            return func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        self._check(func, name, leaves, args)
        self._note(name, args, device, to_gpu)
        inner = [leaf.numbers if isinstance(leaf, OnGpu) else leaf for leaf in leaves]
        given, options = tree_unflatten(inner, form)
        lands_there = to_gpu if device is not None else bool(there)
        if name == "copy_":
            lands_there = isinstance(args[0], OnGpu)
        if device is not None:
            options["device"] = torch.device("cpu")
        if options.get("pin_memory"):
            options["pin_memory"] = False
        return self._landed(func(*given, **options), leaves, lands_there)

    def launches(self) -> int:
        """Kernels that a GPU would have been given, without views of what is there."""
        return sum(count for name, count in self.kernels.items() if name not in VIEWS)

    @staticmethod
    def _landed(found: Any, leaves: list, lands_there: bool) -> Any:
        """What came out, on its device; what was changed in place stays the tensor that it was."""
        known = {id(leaf.numbers): leaf for leaf in leaves if isinstance(leaf, OnGpu)}
        known |= {id(leaf): leaf for leaf in leaves if type(leaf) is Tensor}

        def landed(value: Any) -> Any:
            if not isinstance(value, Tensor):
                return value
            return known.get(id(value), OnGpu(value) if lands_there else value)

        return tree_map(landed, found)

    @staticmethod
    def _check(func: Any, name: str, leaves: list, args: tuple) -> None:
        """Refuse tensors of both devices: CUDA takes single numbers of the CPU, and indices."""
        tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
        strange = [t for t in tensors if not isinstance(t, OnGpu) and t.dim()]
        if not strange or len(strange) == len(tensors) or name in COPIES:
            return
        if name in ("index", "index_put", "index_put_", "_index_put_impl_"):
            values = args[0], *(args[2:3])
            if all(isinstance(value, OnGpu) or not value.dim() for value in values):
                return
        shapes = [(tuple(t.shape), str(t.device)) for t in tensors]
        raise RuntimeError(f"{func}: expected all tensors to be on the same device: {shapes}")

    def _note(self, name: str, args: tuple, device: Any, to_gpu: bool) -> None:
        self.kernels[name] += 1
        read = name in READS
        if name in ("index", "index_put", "index_put_", "_index_put_impl_"):
            read = any(isinstance(i, Tensor) and i.dtype == torch.bool for i in args[1])
        if name == "_to_copy":
            read = isinstance(args[0], OnGpu) and device is not None and not to_gpu
        if name == "copy_":
            read = isinstance(args[1], OnGpu) and not isinstance(args[0], OnGpu)
        if read:
            self.waits[f"{name} in {_place()}"] += 1


def _place() -> str:
    """The innermost line of the first of `PACKAGES` that is being run."""
    stack = traceback.extract_stack()
    for package in PACKAGES:
        found = [frame for frame in stack if package in frame.filename]
        if found:
            path = Path(found[-1].filename)
            return f"{path.parent.name}/{path.name}:{found[-1].lineno}"
    return "?"


def _without_gradients(mode: torch.inference_mode) -> None:
    """What inference mode does, but for tensors of its own kind, which wrappers cannot be."""
    mode._inference_mode_context = torch.set_grad_enabled(torch.is_grad_enabled() and not mode.mode)
    mode._inference_mode_context.__enter__()


@contextmanager
def pretended_gpu() -> Iterator[PretendedGpu]:
    """Within it `GPU` computes."""
    autocast, tensor = torch.autocast, torch.tensor

    def of_cpu(device_type: str, *args: Any, **options: Any) -> Any:
        return autocast("cpu" if device_type == GPU.type else device_type, *args, **options)

    def on_device(data: Any, *, device: Any = None, **options: Any) -> Tensor:
        made = tensor(data, **options)
        return made if device is None else made.to(device)

    is_enabled = torch.is_autocast_enabled
    with pytest.MonkeyPatch.context() as patch, PretendedGpu() as gpu:
        patch.setattr(torch, "autocast", of_cpu)
        patch.setattr(
            torch, "is_autocast_enabled", lambda kind="cpu": kind != GPU.type and is_enabled(kind)
        )
        patch.setattr(torch, "tensor", on_device)
        patch.setattr(
            import_module("torch.optim.optimizer"),
            "_get_fused_kernels_supported_devices",
            lambda: ["cpu", GPU.type],
        )
        patch.setattr(torch.inference_mode, "__enter__", _without_gradients)
        # Else `module.to` would keep the parameter, which is an ordinary tensor.
        torch.__future__.set_overwrite_module_params_on_conversion(True)
        try:
            yield gpu
        finally:
            torch.__future__.set_overwrite_module_params_on_conversion(False)
