"""The arguments of fst-train: flags, YAML files and Lightning's own, checked together."""

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from jsonargparse import ActionConfigFile, ArgumentParser, Namespace
from jsonargparse.typing import (
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
)

from fst.cli.commands import COMPLETING, finish, new_parser
from fst.cli.loss_arguments import add_loss
from fst.cli.messages import Problems
from fst.cli.train_files import CONFIG_NAME, is_plain, with_lists, with_stored_settings
from fst.cli.train_problems import SETTLED, TRAINER, all_problems
from fst.errors import FstError
from fst.losses import objective
from fst.training.start import (
    ADD_STEPS,
    CUDA_BATCH,
    CUDA_LEARNING_RATE,
    LEARNING_RATE,
    MOST,
    SCRATCH_STEPS,
    SCRATCH_TRUNK,
    WARM_STEPS,
    settle,
)

ABOUT = "Train one network to paint in many styles. Lightning's flags: see --trainer.help."
BEGINNINGS = ("add_to", "from_scratch", "warm_start")


def parse(argv: list[str]) -> tuple[Any, dict[str, Any]]:
    """The settings of our flags, which can store themselves, and those of Lightning's Trainer (None
    where not given), classes instantiated."""
    if {"-h", "--help", "--version"} & set(argv) or COMPLETING in os.environ:
        _answer(argv)
    if "--trainer.help" in argv:
        _trainer_help()
    parser = _parser()
    given, argv = argv, with_lists(with_stored_settings(argv))
    try:
        config = parser.parse_args(argv)
    except Exception as error:
        raise Problems(all_problems(parser, argv, given, error)) from None
    _one_beginning(config, {argument.partition("=")[0] for argument in argv})
    settle(config)
    trainer = parser.instantiate(config).trainer
    return _Stored(parser, config), dict(vars(trainer))


def _one_beginning(config: Namespace, flags: set[str]) -> None:
    """Leave one of the settings that a run begins by; a flag outweighs what a file says."""
    from fst.style_model.names import SHIPPED, model_path

    given = [name for name in BEGINNINGS if _flag(name) in flags]
    shown = " and ".join(map(_flag, given))
    if config.resume and given:
        raise FstError(f"--resume continues a run as it began: leave out {shown}")
    if len(given) > 1:
        raise FstError(f"{shown}: give one of them")
    for name in set(BEGINNINGS) - set(given) if given else ():
        config[name] = None
        if name == "add_to":
            config.tune_trunk = "--tune-trunk" in flags
    for name in ("resume", "warm_start", "add_to"):
        if config[name] == "":
            raise FstError(f"{_flag(name)}: an empty path was given; name a file")
    chosen = [name for name in BEGINNINGS if config[name]]
    if len(chosen) > 1:
        raise FstError(f"{' and '.join(chosen)} in the file: give one of them")
    if config.tune_trunk and not config.add_to:
        raise FstError("--tune-trunk goes with --add-to MODEL")
    for name in ("warm_start", "add_to"):
        if config[name] == SHIPPED:
            config[name] = str(model_path(SHIPPED))


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


class _Stored:
    """Settings by attribute; knows how to store the whole configuration."""

    def __init__(self, parser: ArgumentParser, config: Namespace) -> None:
        self._parser, self._config = parser, config

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._config, name)
        return [_plain(item) for item in value] if isinstance(value, list) else _plain(value)

    def save(self, folder: Path) -> None:
        """Write config.yaml for `--resume` and for `--config` of another run."""
        from fst.io.atomic import write_atomically

        if lost := [f"{TRAINER}{name}" for name in self._classes()]:
            verb = "is" if len(lost) == 1 else "are"
            print(f"{', '.join(lost)} {verb} not stored: to be given again with --resume")
        write_atomically(Path(folder) / CONFIG_NAME, self.text().encode())

    def text(self, *left_out: str) -> str:
        """The configuration as YAML, without the settings named."""
        config = self._config.clone()
        config.resume = config.output = None  # they belong to one call, not to the run
        for name in ("config", "json", *left_out):
            config.pop(name, None)
        for name in self._classes():  # the file would be refused
            config.trainer[name] = None
        return self._parser.dump(config, skip_unset=True)

    def _classes(self) -> list[str]:
        """The Trainer's settings that are no plain values, but make something run."""
        given = vars(self._config.trainer)
        return [name for name, value in given.items() if not is_plain(name, value)]


def _plain(value: Any) -> Any:
    # PositiveInt and its like are classes of their own, which weights-only loading refuses.
    for plain in (int, float):
        if isinstance(value, plain) and not isinstance(value, bool):
            return plain(value)
    return value


def _parser() -> ArgumentParser:
    # Imported here: it takes seconds, and --help does without.
    import pytorch_lightning as pl

    parser = ArgumentParser(prog="fst-train", exit_on_error=False, default_env=False)
    parser.add_argument("--config", action=ActionConfigFile)
    _add_arguments(parser)
    parser.add_class_arguments(pl.Trainer, "trainer", instantiate=False, skip=set(SETTLED))
    parser.set_defaults({f"trainer.{name}": None for name in _trainer_names(pl.Trainer)})
    return parser


def _answer(argv: list[str]) -> None:
    """Show our flags alone, on one screen; or complete them, or show the version."""
    usage = "fst-train --styles a.jpg b.jpg [--content photos/] [options]"
    parser = new_parser("fst-train", ABOUT, usage=usage, add_help=False)
    parser.add_argument("-h", "--help", action="help", help=argparse.SUPPRESS)
    _add_arguments(parser)
    parser.add_argument("--config", metavar="YAML",
        help="read settings from a file, such as --print_config prints")  # fmt: skip
    parser.add_argument("--print_config", action="store_true", help=argparse.SUPPRESS)
    finish(parser, shown=False)
    parser.parse_args(["--version" if "--version" in argv else "--help"])


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    _add_data(parser)
    _add_run(parser)
    _add_loss(parser)


def _trainer_names(trainer_class: type) -> list[str]:
    from inspect import signature

    names = set(signature(trainer_class.__init__).parameters) - {"self"} - set(SETTLED)
    return sorted(names)


def _add_data(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    # YAML files may specify a style; the parser of --help knows only types that can be called.
    style = str if type(parser) is argparse.ArgumentParser else str | dict
    add("--styles", type=style, nargs="+", metavar="FILE",
        help="one picture per style, or a folder of its pictures")  # fmt: skip
    add("--content", type=str, nargs="+", metavar="DIR",
        help="photos to train on (default: drawn scenes)")  # fmt: skip
    add("--held-out", type=str, nargs="+", metavar="DIR", help="photos for validation only")
    add("--size", type=PositiveInt, metavar="PX",
        help="side of the crops (default: 256; 192 with --add-to)")  # fmt: skip
    size = objective.STYLE_SIZE_PX
    add("--style-size", type=PositiveInt, nargs="+", default=[size], metavar="PX",
        help="of style pictures; larger: larger strokes; one, or one per style")  # fmt: skip
    add("--batch-size", type=PositiveInt, metavar="N",
        help=f"images per step (default: 4; 2 with --add-to; {CUDA_BATCH} on a GPU)"
    )  # fmt: skip
    add("--num-workers", type=NonNegativeInt, metavar="N",
        help="reader processes (default: 0 or 4)")  # fmt: skip


def _add_run(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--steps", type=PositiveInt, metavar="N",
        help=f"(default: {WARM_STEPS}; {ADD_STEPS} with --add-to, {SCRATCH_STEPS} from scratch)"
    )  # fmt: skip
    add("--until", choices=("plateau",),
        help=f"end at the plateau, or after {MOST} times the usual steps")  # fmt: skip
    add("--warm-start", metavar="MODEL",
        help="style model to start from (default: the shipped gallery)")  # fmt: skip
    add("--from-scratch", action="store_true", help="start from random weights instead")
    add("--add-to", metavar="MODEL",
        help="append the styles to a model, whose own stay unchanged")  # fmt: skip
    add("--tune-trunk", action="store_true", help="with --add-to: its styles may change a little")
    add("--rows-first", type=NonNegativeInt, metavar="N",
        help="steps for gamma and beta alone (default: a quarter, or 0)")  # fmt: skip
    add("--width", type=PositiveFloat, metavar="W",
        help=f"scales the channels (default: {SCRATCH_TRUNK[0]})")  # fmt: skip
    add("--num-blocks", type=NonNegativeInt, metavar="N",
        help=f"residual blocks (default: {SCRATCH_TRUNK[1]})")  # fmt: skip
    add("--lr", type=PositiveFloat, metavar="R",
        help=f"Adam's peak rate ({LEARNING_RATE}; {CUDA_LEARNING_RATE} on a GPU for {CUDA_BATCH} "
        "images or more)")  # fmt: skip
    add("--scale-lr", action="store_true",
        help="multiply it by the square root of the number of processes")  # fmt: skip
    add("--seed", type=NonNegativeInt, default=0, metavar="N",
        help="of weights, crops and scenes (default: 0)")  # fmt: skip
    add("-o", "--output", metavar="DIR", help="folder of the run (default: checkpoints/run-N)")
    add("--json", action="store_true", help="print validations and the end as JSON, a line each")
    add("--resume", metavar="CKPT", help="continue a run, with its settings")
    add("--save-every", type=PositiveInt, metavar="N",
        help="steps between saves (default: a 20th of the run)")  # fmt: skip
    add("--val-every", type=PositiveInt, metavar="N",
        help="steps between validations (default: a 10th of the run, or 100)")  # fmt: skip


def _add_loss(parser: argparse.ArgumentParser) -> None:
    add_loss(parser)
    purposes = {
        "grid_weight": "against patterns of the pixel grid",
        "grain_weight": "against more fine texture than the style's",
        "colour_weight": "against less contrast than the style's",
        "tone_weight": "against light and dark unlike the photo's",
        "consistency_weight": "of painting shifted photos alike",
    }
    style, grey = objective.WEIGHTS[1], objective.GREY_EVERY
    add = parser.add_argument
    add("--content-weight", type=NonNegativeFloat, metavar="W",
        help="weight of content (default: 1)")  # fmt: skip
    add("--style-weight", type=NonNegativeFloat, nargs="+", metavar="W",
        help=f"weight of style (default: {style:g}); one, or one per style")  # fmt: skip
    add("--tv-weight", type=NonNegativeFloat, metavar="W",
        help="weight of total variation (default: 0)")  # fmt: skip
    for name, weight in objective.TRAINING_WEIGHTS.items():
        add(_flag(name), type=NonNegativeFloat, metavar="W",
            help=f"weight {purposes[name]} (default: {weight:g})")  # fmt: skip
    add("--grey-every", type=NonNegativeInt, metavar="N",
        help=f"one image in N is compared in grey (default: {grey}; 0: none)")  # fmt: skip


def _trainer_help() -> None:
    import pytorch_lightning as pl

    for name in _trainer_names(pl.Trainer):
        print(f"{TRAINER}{name}")
    print("\nfst-train sets these itself:")
    for name, way_out in SETTLED.items():
        print(f"{TRAINER}{name}: {way_out}")
    print("\nsee docs/trainer_flags.md, and the Trainer page of pytorch-lightning's documentation")
    sys.exit(0)
