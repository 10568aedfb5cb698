"""fst-infer --devices, --num-nodes and --resume: a folder painted by Lightning's predict.

Each process paints its share as `painter` does. They speak with one another when they begin
and when they end, never between: one that dies does not stop the others.
"""

import argparse
import os
import signal
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytorch_lightning as pl
import torch.distributed as dist
from lightning_fabric.plugins.environments import LightningEnvironment, TorchElasticEnvironment
from pytorch_lightning.plugins.environments import SLURMEnvironment
from pytorch_lightning.strategies import DDPStrategy

from fst.errors import FstError
from fst.io.paths import remove_abandoned
from fst.runtime.console import quieten_lightning, tell
from fst.runtime.processes import FIRST, follow_first
from fst.stylize.folder.naming import Plan, output_folder
from fst.stylize.folder.painter import PROGRAM
from fst.stylize.folder.predict import FolderData, PaintingModule, PaintingWriter
from fst.stylize.folder.record import read_records, settings_key, settle_names
from fst.stylize.options import PaintOptions
from fst.stylize.stylizer import Stylizer

PLANNED_IN = timedelta(hours=6)  # by the first process, while the others wait for it
GRACE_S = 30  # in which an interrupted process writes the painting it has


def make_trainer(args: argparse.Namespace, device: str) -> pl.Trainer:
    """The Trainer for --devices and --num-nodes; it knows which process this is.

    Raises:
        FstError: There are not so many devices, or this is no place to start processes from.
    """
    quieten_lightning()
    kind, _, index = device.partition(":")
    count, nodes = args.devices or 1, args.num_nodes or 1
    many = count * nodes > 1
    if index and many:
        raise FstError(f"--device {device} is one GPU: with --devices {count} name {kind} alone")
    slurm = SLURMEnvironment.detect() and not TorchElasticEnvironment.detect()
    try:
        trainer = pl.Trainer(
            accelerator=kind,
            devices=[int(index)] if index else count,
            num_nodes=nodes,
            # gloo on GPUs too: processes exchange lists of files, no pictures.
            strategy=DDPStrategy(process_group_backend="gloo", timeout=PLANNED_IN)
            if many
            else "auto",
            # Requeueing would save a checkpoint: the record of what is painted is enough.
            plugins=[SLURMEnvironment(auto_requeue=False)] if slurm else [],
            callbacks=[PaintingWriter(), Company()],
            use_distributed_sampler=False,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
    except Exception as error:  # Lightning checks its flags with many kinds of exceptions
        raise FstError(f"--devices {count}: {' '.join(str(error).split())}") from None
    started = "LOCAL_RANK" in os.environ  # by the first process, or by hand
    if _lightning_starts(trainer) and trainer.local_rank:
        follow_first()
    elif _lightning_starts(trainer) and count > 1 and not started:
        if not args.from_command_line:
            raise FstError(
                f"--devices {count} starts this command again: call fst-infer as a program"
            )
        os.environ[FIRST] = str(os.getpid())
    return trainer


def _lightning_starts(trainer: pl.Trainer) -> bool:
    """Whether Lightning starts processes here, neither torchrun nor SLURM."""
    environment = getattr(trainer.strategy, "cluster_environment", None)
    return isinstance(environment, LightningEnvironment)


class Company(pl.Callback):
    """The other processes of this machine, where Lightning starts them from this one."""

    def __init__(self) -> None:
        self.children: list[subprocess.Popen] = []

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Take over the care for them: all are there and know their work."""
        if _lightning_starts(trainer) and not trainer.local_rank:
            procs = trainer.strategy.launcher.procs
            self.children = list(procs)
            procs.clear()  # or Lightning would kill all as soon as one ends with an error

    def on_predict_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Let SIGTERM end this process: what is written is whole at any moment."""
        # Lightning's handler, restored by it in the end, goes on painting, or waits for the others.
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, signal.SIG_DFL)

    def stop(self) -> None:
        """End them, with the painting that each one has."""
        for child in self.children:
            child.send_signal(signal.SIGINT)
        for child in self.children:
            try:
                child.wait(GRACE_S)
            except subprocess.TimeoutExpired:
                child.kill()

    def wait(self) -> int:
        """Wait for their ends; returns how many did not come to the end of their work."""
        return sum(child.wait() != 0 for child in self.children)


def paint_many(
    stylizer: Stylizer,
    plan: Plan,
    args: argparse.Namespace,
    options: PaintOptions,
    trainer: pl.Trainer,
) -> int:
    """Paint every picture of the plan in its styles; returns the exit code.

    Args:
        stylizer: Paints; Lightning moves it to the device of this process.
        plan: What to write of each photo; that of the first process counts.
        args: The command line.
        options: How.
        trainer: As `make_trainer` makes it.
    """
    folder, records = output_folder(args.output), {}
    problems: list[str] = []
    if args.resume and trainer.is_global_zero:
        records = read_records(folder)
        remove_abandoned({path.parent for _, targets in plan for _, path in targets})
    jobs = settle_names(plan, folder, args.overwrite, records, problems)
    for problem in problems:
        tell(PROGRAM, f"error: {problem}")
    if problems:
        return 2
    data = FolderData(jobs, settings_key(stylizer, args, options), args.resume)
    with ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(1) as writer:
        module = PaintingModule(stylizer, args, options, folder, (reader, writer))
        exit_code = _end(trainer, data, module, _predict(trainer, data, module))
    if module.painter is not None:
        module.painter.record.close()
    return exit_code


def _predict(trainer: pl.Trainer, data: FolderData, module: PaintingModule) -> int:
    """Paint the share of this process; returns its exit code."""
    try:
        trainer.predict(module, datamodule=data, return_predictions=False)
    except FstError as problem:
        if module.painter is not None:
            return module.painter.stop(problem)
        tell(PROGRAM, str(problem))
        return 1
    except SystemExit:  # Lightning makes one of KeyboardInterrupt
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the end has begun
        _leave()
        _company(trainer).stop()
        if trainer.global_rank:
            raise
        raise KeyboardInterrupt from None
    return 0


def _leave() -> None:
    """Close the connections, so that no process waits for this one."""
    if dist.is_initialized():
        dist.destroy_process_group()


def _company(trainer: pl.Trainer) -> Company:
    return next(callback for callback in trainer.callbacks if isinstance(callback, Company))


def _end(trainer: pl.Trainer, data: FolderData, module: PaintingModule, exit_code: int) -> int:
    """Wait for the others, tell what all have done; returns the exit code."""
    painter = module.painter
    mine = (painter.written, painter.broken) if painter is not None else (0, 0)
    try:
        ended = data.gathered((*mine, exit_code))
    except RuntimeError:  # the connection to one is closed
        ended = [(*mine, 1)]
    _leave()  # before the end: threads of the connection that are still there then abort a process
    lost = _company(trainer).wait()
    exit_code = max(int(lost > 0), *(int(broken > 0 or code > 0) for _, broken, code in ended))
    complete = len(ended) == trainer.world_size
    if trainer.is_global_zero and (lost or not complete):
        tell(PROGRAM, "a process ended before its work; run again with --resume for the rest")
    # Of a process that Lightning started only an early end is an error, see `Company.wait`.
    return 0 if complete and trainer.local_rank and _lightning_starts(trainer) else exit_code
