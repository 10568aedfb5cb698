"""Which device is taken, and what is said of it, on machines with GPUs and without."""

import pytest
import torch

from fst.errors import FstError
from fst.runtime.memory import available_bytes, exact_fp32, taken_bytes, usable_device
from fst.stylize.bands.memory_plan import memory_left

GPU = torch.device("cuda", 0)


@pytest.fixture
def two_gpus(monkeypatch):
    """A machine that says it has two; to compute on one fails, as nothing may."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)


def test_a_gpu_is_found_without_taking_memory_of_it(two_gpus):
    """`torch.empty` on it would, and here it would raise: there is none."""
    assert [usable_device(name) for name in (None, "cuda", "cuda:1")] == ["cuda", "cuda", "cuda:1"]


@pytest.mark.parametrize("name", ["cuda:2", "cudb", "xpu"])
def test_a_device_that_is_not_there_is_refused(two_gpus, name):
    with pytest.raises(FstError, match=f"device {name} cannot be used .*; try --device cpu"):
        usable_device(name)


def test_fp32_is_fp32():
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = True
    exact_fp32()
    assert not torch.backends.cudnn.allow_tf32 and not torch.backends.cuda.matmul.allow_tf32


def test_the_limit_of_a_gpu_is_of_what_its_tensors_take(monkeypatch):
    """What the process has resident is larger than 2G once the libraries of a GPU are loaded."""
    monkeypatch.setattr("fst.runtime.memory.resident_bytes", lambda: 3 * 2**30)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (8 * 2**30, 16 * 2**30))
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 2**29)
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 2**30)
    assert taken_bytes(GPU) == 2**29 and taken_bytes(torch.device("cpu")) == 3 * 2**30
    assert available_bytes(GPU) == 8 * 2**30 + 2**29  # torch has half a GiB that is free
    assert memory_left(2**31, GPU) == 2**31 - 2**29
    assert memory_left(2**40, GPU) == available_bytes(GPU)
    assert memory_left(2**31, torch.device("cpu")) == 0
