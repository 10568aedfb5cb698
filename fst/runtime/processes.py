"""What the processes of one run agree on, and how none of them outlives the others."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
import torch.distributed as dist

from fst.errors import FstError

Value = TypeVar("Value")
FIRST = "FST_FIRST"  # holds the id of the process that starts the others of a machine
WATCH_S = 0.5  # how often a process looks whether its parent is there


def several() -> bool:
    """Whether this process is one of several that have found each other."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def from_first(make: Callable[[], Value]) -> Value:
    """What `make` gives in the first process, in all of them: picklable, tensors on the CPU.

    Raises:
        FstError: As raised by `make`, in every process, so that none waits for the others.
    """
    if not several():
        return make()
    outcome: list = [None, None]
    if dist.get_rank() == 0:
        try:
            outcome = [make(), None]
        except FstError as error:
            outcome = [None, str(error)]
        except Exception as error:
            told = [None, f"the first process failed ({type(error).__name__})"]
            dist.broadcast_object_list(told, src=0)
            raise
    dist.broadcast_object_list(outcome, src=0)
    if outcome[1] is not None:
        raise FstError(outcome[1])
    return outcome[0]


def any_process(flag: bool, device: torch.device) -> bool:
    """Whether `flag` is true in any of the processes; all have to ask at the same point."""
    if not several():
        return flag
    flags = torch.tensor(int(flag), device=device)
    dist.all_reduce(flags, dist.ReduceOp.MAX)
    return bool(flags.item())


def all_equal(number: int, device: torch.device) -> bool:
    """Whether `number` is the same in all processes; all have to ask at the same point."""
    if not several():
        return True
    ends = torch.tensor([number, -number], device=device)
    dist.all_reduce(ends, dist.ReduceOp.MAX)
    return ends[0].item() == -ends[1].item()


@contextmanager
def noted_as_first() -> Iterator[None]:
    """Tell the processes that this one will start who it is."""
    os.environ[FIRST] = str(os.getpid())
    try:
        yield
    finally:
        os.environ.pop(FIRST, None)


def follow_first() -> None:
    """End this process when the one that started it is gone, be it already now.

    Lightning's first process starts the others of its machine. Killed, it cannot tell them, and
    over NCCL they would wait for it until a time limit of many minutes. Those that torchrun, srun
    or a person has started are left to them.
    """
    first = os.environ.get(FIRST)
    if first is None:
        return

    def watch() -> None:
        while str(os.getppid()) == first:
            time.sleep(WATCH_S)
        os._exit(1)  # the main thread may hang in a collective call; what is written is whole

    threading.Thread(target=watch, name="follow-first", daemon=True).start()
