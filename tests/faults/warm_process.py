"""fst-train in children of a process that has imported everything, so that a run starts in no time.

The children of pytest itself cannot train: torch refuses to differentiate in a child of a process
that has done so before. Run as a program this file is that process; it reads requests as lines of
JSON and answers each with a line.
"""

import hashlib
import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
IMPORTS = (
    "pytorch_lightning.loggers",
    "torch.utils.tensorboard",
    "fst.cli.train_arguments",
    "fst.data.datamodule",
    "fst.training.checkpoint",
    "fst.training.module",
    "fst.training.curves",
)


class WarmProcess:
    """Starts runs and tells how they ended."""

    def __init__(self) -> None:
        environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
            cwd=REPOSITORY,
        )
        assert self._ask({}) == "ready"

    def start(self, argv, output, trace, variables=None, **faults) -> int:
        """Begin a run of fst-train; returns its process id.

        Args:
            argv: Arguments of fst-train.
            output: File that takes what it writes to stdout and stderr.
            trace: File to which each step and each save adds a line.
            variables: Added to the environment.
            faults: die_at=N, the run kills itself (SIGKILL) when it has done N steps; nan_at=N, its
                loss becomes NaN then; die_in_save=(N, S), it kills itself S seconds after the
                beginning of its Nth save.
        """
        request = {"argv": [str(a) for a in argv], "output": str(output), "trace": str(trace)}
        request |= {"variables": variables or {}, "faults": faults}
        return int(self._ask(request))

    def wait(self, pid) -> int:
        """Exit code of a run; of a killed one the negative signal."""
        return os.waitstatus_to_exitcode(int(self._ask({"wait": pid})))

    def run(self, argv, output, trace, **options) -> int:
        """Begin a run and wait for its end."""
        return self.wait(self.start(argv, output, trace, **options))

    def run_ranks(self, argv, output, trace, options_of_rank=lambda rank: {}) -> list[int]:
        """A run of two processes, as torchrun starts them; returns their exit codes."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        flags = ["--trainer.devices", 2, "--trainer.strategy", "ddp"]
        pids = []
        for rank in range(2):
            variables = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": 2}
            variables |= {"RANK": rank, "LOCAL_RANK": rank, "GROUP_RANK": 0, "LOCAL_WORLD_SIZE": 2}
            variables |= {"TORCHELASTIC_RUN_ID": "test", "TORCHELASTIC_USE_AGENT_STORE": "False"}
            variables = {name: str(value) for name, value in variables.items()}
            files = f"{output}.{rank}", f"{trace}.{rank}"
            options = options_of_rank(rank)
            pids.append(self.start([*argv, *flags], *files, variables=variables, **options))
        return [self.wait(pid) for pid in pids]

    def close(self) -> None:
        """End the process."""
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()

    def _ask(self, request) -> str:
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()


def read_trace(path) -> list[list[str]]:
    """The lines of a trace, split into words; the last may have been cut by a kill."""
    return [line.split() for line in Path(path).read_text().splitlines()]


def _traced(write, die_at=None, nan_at=None, die_in_save=(0, 0.0)) -> None:
    """Make the run tell what it does, and fail where it should."""
    saves = 0
    from fst.training.checkpoint import RunSaver
    from fst.training.module import StyleTransferModule

    genuine_step, genuine_save = StyleTransferModule.training_step, RunSaver.save

    def training_step(self, batch, batch_idx):
        if self.global_step == die_at:
            os.kill(os.getpid(), signal.SIGKILL)
        photos, style_index = batch
        content = photos.numpy().tobytes() + style_index.numpy().tobytes()
        number = self.trainer.fit_loop.epoch_loop.total_batch_idx
        write(f"begin {self.global_step} {number} {hashlib.sha256(content).hexdigest()}")
        if self.global_step == nan_at:
            photos = photos.float() * float("nan")
        return genuine_step(self, (photos, style_index), batch_idx)

    def save(self, trainer, module):
        nonlocal saves
        saves += 1
        write(f"saving {trainer.global_step} {time.monotonic()}")
        if saves == die_in_save[0]:
            threading.Timer(die_in_save[1], os.kill, (os.getpid(), signal.SIGKILL)).start()
        genuine_save(self, trainer, module)
        write(f"saved {trainer.global_step} {time.monotonic()}")

    StyleTransferModule.training_step, RunSaver.save = training_step, save


def _child(request) -> int:
    os.environ.update(request["variables"])
    output = os.open(request["output"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    trace = os.open(request["trace"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    from fst.cli.train import main

    _traced(lambda line: os.write(trace, f"{line}\n".encode()), **request["faults"])
    return main(request["argv"])


def _serve() -> None:
    # All that a run imports, though nothing of it is used here.
    for name in IMPORTS:
        importlib.import_module(name)
    import torch

    torch.set_num_threads(1)
    for line in sys.stdin:
        request = json.loads(line)
        if "wait" in request:
            answer = os.waitpid(request["wait"], 0)[1]
        elif request:
            answer = os.fork()
            if answer == 0:
                code = 70  # of a run that raised
                try:
                    code = _child(request)
                except SystemExit as stop:
                    code = stop.code if isinstance(stop.code, int) else 1
                except BaseException:
                    import traceback

                    traceback.print_exc()
                finally:
                    sys.stdout.flush()
                    sys.stderr.flush()
                    os._exit(code)
        else:
            answer = "ready"
        print(answer, flush=True)


if __name__ == "__main__":
    _serve()
