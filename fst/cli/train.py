"""`fst-train`: one network, many styles."""

import os
import re
import signal
import sys
from contextlib import ExitStack, nullcontext, redirect_stdout
from functools import partial
from pathlib import Path
from typing import Any

from fst.cli.loss_arguments import statistic
from fst.cli.messages import Problems, told, tried, with_flags
from fst.cli.train_arguments import parse
from fst.errors import FstError
from fst.runtime.console import tell
from fst.training.checks import (
    check_counts,
    check_loss_network,
    check_numbers,
    check_pictures,
    check_sizes,
    check_statistics,
)
from fst.training.run_folder import RunFolder, as_disk_error, asked_folder, check_writable
from fst.training.start import (
    begin,
    beginning,
    check_names,
    check_resume,
    finished,
    kept_styles,
)

PROGRAM = "fst-train"


def main(argv: list[str] | None = None) -> int:
    """Run fst-train; returns the exit code: 0 done, 1 failed on the way, 2 wrong arguments."""
    with ExitStack() as held:
        return _run(sys.argv[1:] if argv is None else argv, held)


def _run(argv: list[str], held: ExitStack) -> int:
    try:
        settings, trainer_settings = parse(argv)
        run = prepare(settings, trainer_settings, held)
    except FstError as error:
        return told(PROGRAM, error)
    try:
        done = finished(settings)
        if done:  # a job that is put in the queue once more has not failed
            tell(PROGRAM, with_flags(done))
        else:
            # For programs, stdout has results alone.
            with redirect_stdout(sys.stderr) if settings.json else nullcontext():
                train(settings, *run)
    except FstError as error:
        return told(PROGRAM, error, 2 if isinstance(error, Refused) else 1)
    except OSError as error:
        problem = as_disk_error(error, run[-1].folder)
        if problem is None:
            raise
        return told(PROGRAM, problem, 1)
    return 0


class Refused(FstError):
    """Lightning has found what is wrong with its flags when it began."""


def prepare(settings: Any, trainer_settings: dict[str, Any], held: ExitStack) -> tuple:
    """Check everything, and make module, data, trainer and saver; the folder is `held`."""
    problems: list[str] = []
    attempt = partial(tried, problems)
    styles = _styles(settings, problems)
    network = attempt(check_loss_network, settings)
    if network is not None:
        attempt(check_statistics, settings, styles or [], statistic(settings), network)
    attempt(check_sizes, settings)
    attempt(check_numbers, settings)
    if styles:
        attempt(check_pictures, styles)
        attempt(check_counts, settings, len(styles))
    data = attempt(_data, settings, len(styles or [0]), flag="--content")
    attempt(asked_folder, settings)
    kept = attempt(kept_styles, settings, flag="--add-to") or []
    attempt(check_names, settings, styles or [], kept, flag="--add-to")
    attempt(check_resume, settings, styles, kept, flag="--resume")
    if problems:
        raise Problems(problems)
    module = _module(settings, styles, kept)
    module.objective.loss_network = network  # read already
    begin(settings, module)
    folder = held.enter_context(RunFolder(settings))
    trainer, saver = _trainer(settings, trainer_settings, folder.path)
    if not trainer.fast_dev_run:  # which writes nothing
        folder.hold(saver) if trainer.is_global_zero else check_writable(folder.path)
    return module, data, trainer, saver


def train(settings: Any, module, data, trainer, saver) -> None:
    """Fit; the callbacks do the rest."""
    from fst.runtime.processes import follow_first, noted_as_first
    from fst.training.report import announce

    if trainer.local_rank:
        follow_first()
    if trainer.is_global_zero:
        announce(settings, module, data, trainer)
        if not trainer.fast_dev_run:
            saver.remove_orphans()
            settings.save(saver.folder)
    with nullcontext() if trainer.local_rank else noted_as_first():
        _fit(settings, module, data, trainer, saver)


def _fit(settings: Any, module, data, trainer, saver) -> None:
    """Train; what a checkpoint to resume breaks before the first batch is through is its fault."""
    from lightning_fabric.utilities.exceptions import MisconfigurationException
    from torch.multiprocessing.spawn import ProcessException

    from fst.training.checkpoint import CheckpointError

    try:
        trainer.fit(module, datamodule=data, ckpt_path=settings.resume)
    except CheckpointError as error:
        raise FstError(f"--resume: {settings.resume}: {error}") from None
    except FstError:
        raise
    except ProcessException as error:
        raise _of_spawned(error) from None
    except MisconfigurationException as error:
        raise Refused(f"--trainer: {' '.join(str(error).split())}") from None
    except Exception as error:  # the file may hold anything in any place
        if not settings.resume or saver.has_stepped:
            raise
        reason = " ".join(str(error).split())[:160]
        raise FstError(
            f"--resume: {settings.resume} cannot be resumed ({type(error).__name__}: "
            f"{reason}): begin a new run with --warm-start {settings.resume}"
        ) from error


def _of_spawned(error: Exception) -> BaseException:
    """What ended a process that this one has spawned, which knows its traceback alone."""
    if getattr(error, "exit_code", None) == 128 + signal.SIGTERM:
        return SystemExit(error.exit_code)
    told = re.findall(r"^fst\.[\w.]+Error: (.*)$", str(error), re.MULTILINE)
    return FstError(told[-1]) if told else error


def _styles(settings: Any, problems: list[str]) -> list | None:
    from fst.data.styles import read_styles

    if settings.resume and not settings.styles and os.path.isfile(settings.resume):
        problems.append(
            f"--resume: {settings.resume} holds no settings, and no config.yaml is beside it: give "
            "--styles, --content and the other flags that the run began with"
        )
        return None
    return tried(problems, read_styles, settings.styles or [], flag="--styles")


def _one_or_each(values: list | None) -> Any:
    """A list of one as its value."""
    return values[0] if values and len(values) == 1 else values


def _data(settings: Any, num_styles: int):
    from fst.data.datamodule import ContentDataModule

    return ContentDataModule(
        settings.content or None,
        size_px=settings.size,
        batch_size=settings.batch_size,
        num_styles=num_styles,
        seed=settings.seed,
        held_out=settings.held_out,
        num_workers=settings.num_workers,
    )


def _module(settings: Any, styles: list, kept: list[dict[str, Any]]):
    from fst.training.module import StyleTransferModule
    from fst.training.settings import Architecture, Objective

    objective = Objective(
        loss_network=_one_or_each(settings.loss_weights) or settings.loss_network,
        content_layer=settings.content_layer,
        style_layers=settings.style_layers,
        content_weight=settings.content_weight,
        style_weight=_one_or_each(settings.style_weight),
        tv_weight=settings.tv_weight,
        grid_weight=settings.grid_weight,
        consistency_weight=settings.consistency_weight,
        classic_weights=settings.classic_weights,
        style_loss=statistic(settings),
        style_size_px=_one_or_each(settings.style_size),
    )
    architecture = Architecture(settings.width, settings.num_blocks)
    began = beginning(settings, kept)
    return StyleTransferModule(styles, architecture, objective, *began, seed=settings.seed)


def _trainer(settings: Any, flags: dict[str, Any], folder: Path) -> tuple:
    from fst.training.trainer import make_trainer  # it takes seconds

    return make_trainer(settings, flags, folder)


if __name__ == "__main__":
    sys.exit(main())
