"""fst-infer --devices, --num-nodes and --resume: each process paints every so-many-th picture.

The processes speak with one another when they begin and when they end, never between: one that
dies does not stop the others. Only these flags lead here.
"""

import argparse
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from lightning_fabric.plugins.environments import (
    LightningEnvironment,
    SLURMEnvironment,
    TorchElasticEnvironment,
)

from fst.errors import FstError
from fst.io.paths import remove_abandoned
from fst.runtime.console import tell
from fst.runtime.memory import taken_bytes
from fst.runtime.processes import FIRST, WATCH_S, follow_first, from_first
from fst.stylize.bands.memory_plan import memory_left
from fst.stylize.folder.naming import Plan, output_folder
from fst.stylize.folder.painter import PROGRAM, Painter
from fst.stylize.folder.record import (
    Jobs,
    Record,
    content_key,
    painting_key,
    read_records,
    settings_key,
    settle_names,
    unfinished,
)
from fst.stylize.options import PaintOptions
from fst.stylize.stylizer import Stylizer

# One process may be done long before another; that one is still alive is seen otherwise.
PATIENCE = timedelta(days=30)
GRACE_S = 30  # in which an interrupted process writes the painting it has


class Team:
    """The processes that paint together: `size` of them, this one of a `rank`, on a `device`."""

    def __init__(self, args: argparse.Namespace, device: str) -> None:
        """Find out which process this is; an FstError where there are not so many devices, or from
        here no processes can be started."""
        kind, _, index = device.partition(":")
        self.here, nodes = args.devices or 1, args.num_nodes or 1
        self.size, self.rank, self.device = self.here * nodes, 0, device
        self.children: list[subprocess.Popen] = []
        self.is_child, self.met = False, False
        if self.size == 1:
            return
        if index:
            raise FstError(
                f"--device {device} is one GPU: with --devices {self.here} name {kind} alone"
            )
        if kind == "cuda" and self.here > torch.cuda.device_count():
            raise FstError(f"--devices {self.here}: there are {torch.cuda.device_count()} GPUs")
        environments = (TorchElasticEnvironment, SLURMEnvironment, LightningEnvironment)
        try:
            self.environment = next(each for each in environments if each.detect())()
            self.environment.validate_settings(self.here, nodes)
        except (ValueError, RuntimeError) as error:  # what a launcher has set does not fit
            raise FstError(f"--devices {self.here}: {' '.join(str(error).split())}") from None
        local = self.environment.local_rank()
        if isinstance(self.environment, LightningEnvironment):  # neither torchrun nor SLURM
            self.environment.set_world_size(self.size)
            self.environment.set_global_rank(self.environment.node_rank() * self.here + local)
            self.is_child = local > 0
        self.rank = self.environment.global_rank()
        self.device = f"cuda:{local}" if kind == "cuda" else kind
        if self.is_child:
            follow_first()
        elif self._starts() and not args.from_command_line:
            raise FstError(
                f"--devices {self.here} starts this command again: call fst-infer as a program"
            )

    def _starts(self) -> bool:
        """Whether this process has others to start."""
        return self.here > 1 and not self.environment.creates_processes_externally

    def meet(self) -> None:
        """Start the others of this machine, if nobody else does, and find all."""
        if self.size == 1:
            return
        os.environ["MASTER_ADDR"] = self.environment.main_address
        os.environ["MASTER_PORT"] = str(self.environment.main_port)
        if self._starts():
            os.environ[FIRST] = str(os.getpid())
            command = [sys.executable, "-m", "fst.cli.infer", *sys.argv[1:]]
            for local in range(1, self.here):
                environment = os.environ | {"LOCAL_RANK": str(local)}
                self.children.append(subprocess.Popen(command, env=environment))
            threading.Thread(target=self._watch, daemon=True).start()
        # gloo on GPUs too: processes exchange lists of files, no pictures.
        dist.init_process_group("gloo", rank=self.rank, world_size=self.size, timeout=PATIENCE)
        self.met = True

    def _watch(self) -> None:
        """End all if one ends before they have met: the others would wait for it."""
        while not self.met:
            if any(child.poll() is not None for child in self.children):
                for child in self.children:
                    child.kill()
                os._exit(1)
            time.sleep(WATCH_S)

    def gathered(self, mine: Any) -> list[Any]:
        """What each process has, in order of rank; a RuntimeError where one has ended."""
        everyone = [mine] * self.size
        if self.size > 1:
            dist.all_gather_object(everyone, mine)
        return everyone

    def interrupt(self) -> None:
        """End those that this process has started, with the painting that each one has."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the end has begun
        self._leave()
        for child in self.children:
            child.send_signal(signal.SIGINT)
        for child in self.children:
            try:
                child.wait(GRACE_S)
            except subprocess.TimeoutExpired:
                child.kill()

    def _leave(self) -> None:
        """Close the connections: none waits for this one, and no thread of them aborts its end."""
        if dist.is_initialized():
            dist.destroy_process_group()

    def end(self, exit_code: int) -> int:
        """Wait for the others; returns the exit code of all together."""
        try:
            codes = self.gathered(exit_code)
        except RuntimeError:  # the connection to one is closed
            codes = [1]
        self._leave()
        lost = any([child.wait() for child in self.children])
        complete = len(codes) == self.size
        if self.rank == 0 and (lost or not complete):
            tell(PROGRAM, "a process ended before its work; run again with --resume for the rest")
        # Of a process that the first one has started only an early end is an error.
        return 0 if complete and self.is_child else int(lost or any(codes))


def paint_shared(
    stylizer: Stylizer, plan: Plan, args: argparse.Namespace, options: PaintOptions, team: Team
) -> int:
    """Paint every picture in its styles, by the plan of the first process; returns the exit
    code."""
    folder, records = output_folder(args.output), {}
    problems: list[str] = []
    if args.resume and team.rank == 0:
        records = read_records(folder)
        remove_abandoned({path.parent for _, targets in plan for _, path in targets})
    jobs = settle_names(plan, folder, args.overwrite, records, problems)
    for problem in problems:
        tell(PROGRAM, f"error: {problem}")
    if problems:
        return 2
    team.meet()
    if team.here > 1 and args.max_memory is None:  # the half of what is free is for all
        share = memory_left(None, torch.device("cpu")) // team.here
        share = min(share, memory_left(None, stylizer.device))  # a GPU each
        args.max_memory = taken_bytes(stylizer.device) + share
    try:
        settings = settings_key(stylizer, args, options)
        jobs = _share(team, jobs, settings, args.resume)
        with closing(Record(folder, team.rank)) as record:
            painter = RecordingPainter(stylizer, jobs, args, options, settings, record)
            exit_code = painter.paint(show_progress=False)
    except FstError as problem:
        tell(PROGRAM, str(problem))
        exit_code = 1
    except KeyboardInterrupt:
        team.interrupt()
        if team.rank:
            sys.exit(130)
        raise
    return team.end(exit_code)


def _share(team: Team, jobs: Jobs, settings: str, resume: bool) -> Jobs:
    """What this process paints: by the plan of the first one, of what is left, its share."""
    jobs = from_first(lambda: jobs)
    if len(set(team.gathered(settings))) > 1:
        raise FstError("processes differ in model or version of fst: give --model, one of all")
    if resume:
        planned, mine = sum(len(targets) for _, targets in jobs), slice(team.rank, None, team.size)
        parts = team.gathered([unfinished(*job, settings) for job in jobs[mine]])
        left = [parts[n % team.size][n // team.size] for n in range(len(jobs))]
        jobs = [(photo, to_do) for (photo, _), to_do in zip(jobs, left, strict=True) if to_do]
        if team.rank == 0:
            finished = planned - sum(map(len, left))
            tell(PROGRAM, f"{finished} of {planned} paintings were finished before")
    return jobs[team.rank :: team.size]


class RecordingPainter(Painter):
    """A painter of settled names that notes what it has done."""

    def __init__(
        self,
        stylizer: Stylizer,
        jobs: Jobs,
        args: argparse.Namespace,
        options: PaintOptions,
        settings: str,
        record: Record,
    ) -> None:
        plan = [(photo, [(t.style_id, t.path) for t in targets]) for photo, targets in jobs]
        super().__init__(stylizer, plan, args, options)
        self.settings, self.targets, self.record = settings, dict(plan), record
        self.keys: dict[Path, str] = {}  # of paintings, by their paths
        self.ours = {t.path for _, targets in jobs for t in targets if t.done is not None}

    def read(self, photo: Path) -> torch.Tensor | None:
        """As `Painter.read`; notes what the paintings will be made of."""
        content = content_key(photo)  # first: what changes meanwhile is painted again
        for style_id, path in self.targets[photo]:
            self.keys[path] = painting_key(self.settings, style_id, content)
        return super().read(photo)

    def _write(self, path: Path, write: Any) -> Path:
        is_ours = self.args.overwrite or path in self.ours
        if is_ours or not os.path.lexists(path):  # else another took the name
            self.record.begin(path)
        written = super()._write(path, write)
        if written in self.keys:
            self.record.done(written, self.keys.pop(written))
        return written
