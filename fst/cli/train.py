"""`fst-train`: one network, many styles."""

import os
import sys
from contextlib import ExitStack, nullcontext, redirect_stdout
from functools import partial
from pathlib import Path
from typing import Any

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
    Refused,
    check_names,
    check_resume,
    finished,
    kept_styles,
    make_module,
)

PROGRAM = "fst-train"


def main(argv: list[str] | None = None) -> int:
    """Run fst-train; returns the exit code: 0 done, 1 failed on the way, 2 wrong arguments."""
    try:
        with ExitStack() as held:
            return _run(sys.argv[1:] if argv is None else argv, held)
    except KeyboardInterrupt:  # later ones end the run after a whole step
        if os.environ.get("LOCAL_RANK", "0") == "0":  # one of the processes of a machine says so
            tell(PROGRAM, "interrupted")
        return 130


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
            from fst.training.trainer import train

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


def prepare(settings: Any, trainer_settings: dict[str, Any], held: ExitStack) -> tuple:
    """Check everything, and make module, data, trainer and saver; the folder is `held`."""
    problems: list[str] = []
    attempt = partial(tried, problems)
    styles = _styles(settings, problems)
    network = attempt(check_loss_network, settings)
    if network is not None:
        attempt(check_statistics, settings, styles or [], network)
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
    module = make_module(settings, styles, kept, network)
    folder = held.enter_context(RunFolder(settings))
    trainer, saver = _trainer(settings, trainer_settings, folder.path)
    if not trainer.fast_dev_run:  # which writes nothing
        folder.hold(saver) if trainer.is_global_zero else check_writable(folder.path)
    return module, data, trainer, saver


def _styles(settings: Any, problems: list[str]) -> list | None:
    from fst.data.styles import read_styles

    if settings.resume and not settings.styles:
        if not os.path.isfile(settings.resume):
            return None  # which is told with all else that is wrong
        problems.append(
            f"--resume: {settings.resume} holds no settings, and no config.yaml is beside it: give "
            "--styles, --content and the other flags that the run began with"
        )
        return None
    return tried(problems, read_styles, settings.styles or [], flag="--styles")


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


def _trainer(settings: Any, flags: dict[str, Any], folder: Path) -> tuple:
    from fst.training.trainer import make_trainer  # it takes seconds

    return make_trainer(settings, flags, folder)


if __name__ == "__main__":
    sys.exit(main())
