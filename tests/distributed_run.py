"""One process of a distributed run as the tests start it: fst-train, and what it has seen.

    python tests/distributed_run.py FOLDER ARGUMENTS OF FST-TRAIN ...

Lightning starts its other processes by the same command. Each writes FOLDER/seen-RANK.pt.
"""

import os
import signal
import sys
from pathlib import Path

import torch
from pytorch_lightning.callbacks import Callback

from fst.cli import train
from fst.training import held_out

FAULT = "FST_TEST_FAULT"  # "RANK STEP raise|kill|nan|sigterm|sigint": what happens in which process


class Witness(Callback):
    """Notes what a process does; makes the fault that the environment asks for."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.seen = folder, {"batches": [], "gradients": {}, "targets_computed": 0}

    def on_train_batch_start(self, trainer, module, batch, batch_idx) -> None:
        """Keep the batch."""
        if not self.seen["batches"]:
            print("training begins", flush=True)
        self.seen["batches"].append([part.clone() for part in batch])
        self.seen["wrapped"] = [type(part).__name__ for part in trainer.strategy.model.modules()]
        rank, step, fault = (os.environ.get(FAULT) or "-1 0 none").split()
        if trainer.global_rank == int(rank) and trainer.global_step == int(step):
            self._fail(fault, module)

    def on_after_backward(self, trainer, module) -> None:
        """Keep the gradients of the first step, which are those of all processes together."""
        if not self.seen["gradients"]:
            named = module.network.named_parameters()
            self.seen["gradients"] = {n: p.grad.clone() for n, p in named if p.grad is not None}

    def on_train_end(self, trainer, module) -> None:
        """Write what was seen."""
        self.seen["weights"] = module.network.state_dict()
        self.seen["targets"] = [group.targets for group in module.perceptual.groups]
        torch.save(self.seen, self.folder / f"seen-{trainer.global_rank}.pt")

    def _fail(self, fault: str, module) -> None:
        if fault == "raise":
            raise ArithmeticError("made by the test")
        if fault == "nan":
            module.perceptual.weights = (float("nan"), 1.0, 0.0)
        for name in ("kill", "sigterm", "sigint"):
            if fault == name:
                os.kill(os.getpid(), getattr(signal, name.upper().replace("KILL", "SIGKILL")))


def main() -> int:
    """Run fst-train with a witness beside its callbacks."""
    witness = Witness(Path(sys.argv[1]))
    genuine_trainer, genuine_targets = train._trainer, held_out.compute_targets

    def with_witness(*args):
        trainer, saver = genuine_trainer(*args)
        trainer.callbacks.insert(0, witness)
        return trainer, saver

    def counted(*args):
        witness.seen["targets_computed"] += 1
        return genuine_targets(*args)

    train._trainer, held_out.compute_targets = with_witness, counted
    return train.main(sys.argv[2:])


if __name__ == "__main__":
    sys.exit(main())
