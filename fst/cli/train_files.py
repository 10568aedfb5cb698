"""The settings files of fst-train: `--config FILE`, and the config.yaml of a run that is resumed.

Such a file comes with a run or a project, from anyone. It may set numbers, names and paths; classes
and functions by their import path it may not: naming one runs its code.
"""

import os
from pathlib import Path
from typing import Any

import yaml

from fst.cli.train_problems import TRAINER, settled
from fst.errors import FstError
from fst.runtime.console import tell

CONFIG_NAME = "config.yaml"
LIST_FLAGS = ("styles", "content", "held_out", "style_size", "style_weight", "loss_weights",
    "style_layers", "style_loss")  # fmt: skip
FORMER = {"review_every": "val_every"}  # names of settings in files of before
MAX_FILE_BYTES = 1_000_000  # of YAML, which takes seconds a megabyte to read
# Settings of Lightning's Trainer that are objects, but for the values that say no more than how.
OBJECTS = {
    "callbacks": (),
    "plugins": (),
    "logger": (True, False),
    "profiler": ("simple", "advanced", "pytorch"),
}


def with_stored_settings(argv: list[str]) -> list[str]:
    """With --resume, put the run's own settings before the other arguments: those of its
    config.yaml, which can be edited; where that is gone, those in the checkpoint."""
    for place, argument in enumerate(argv):
        name, _, value = argument.partition("=")
        if name == "--resume":
            path = Path(value or (argv[place + 1] if place + 1 < len(argv) else ""))
            config = path.parent / CONFIG_NAME
            if os.path.isfile(config) and os.path.isfile(path):
                return ["--config", str(config), *argv]
            text = _settings_in(path)
            return ["--config", text, *argv] if text else argv
    return argv


def _settings_in(checkpoint: Path) -> str | None:
    """The settings that a checkpoint holds, as YAML; None where there are none."""
    from fst.training.checkpoint import SETTINGS, read_checkpoint

    try:
        text = read_checkpoint(checkpoint).get(SETTINGS)
    except FstError:  # told of with all else that is wrong
        return None
    return yaml.safe_dump(_listed(_settings(text, f"--resume {checkpoint}"))) if text else None


def with_lists(argv: list[str]) -> list[str]:
    """Single values in YAML files, where lists are expected, as lists of one."""
    argv = [_renamed(a) for a in argv]
    argv = [part for a in argv for part in (a.split("=", 1) if a.startswith("--config=") else [a])]
    for place, argument in enumerate(argv[:-1]):
        if argument == "--config" and os.path.isfile(argv[place + 1]):
            content = read_settings(argv[place + 1])
            if (listed := _listed(content)) != content:
                argv[place + 1] = yaml.safe_dump(listed)
    return argv


def _renamed(argument: str) -> str:
    """A flag by its present name; that of before goes on for a version."""
    former = argument.partition("=")[0]
    name = FORMER.get(former.removeprefix("--").replace("-", "_")) if former[:2] == "--" else None
    if name is None:
        return argument
    now = f"--{name.replace('_', '-')}"
    tell("fst-train", f"warning: {former} is called {now} from now on")
    return now + argument[len(former) :]


def _listed(content: dict[str, Any]) -> dict[str, Any]:
    """Settings by their present names, with single values made lists."""
    content = {FORMER.get(key, key): value for key, value in content.items()}
    values = {key: content[key] for key in LIST_FLAGS if content.get(key) is not None}
    single = {key: [value] for key, value in values.items() if not isinstance(value, list)}
    return content | single


def read_settings(path: str | Path) -> dict[str, Any]:
    """The settings of a YAML file, refused where it is no mapping, grows, or names classes."""
    told = f"--config {path}"
    try:
        if os.path.getsize(path) > MAX_FILE_BYTES:
            raise FstError(f"{told}: is larger than settings are")
        return _settings(Path(path).read_text("utf-8"), told)
    except (OSError, UnicodeError) as error:
        raise _unreadable(told, error) from None


def _settings(text: Any, told: str) -> dict[str, Any]:
    """The settings in YAML text; `told` is where it is from."""
    from fst.io.torch_files import plain_yaml

    try:
        if not isinstance(text, str) or len(text) > MAX_FILE_BYTES:
            raise FstError("holds no settings, or more than settings are")
        content = plain_yaml(text)
        if not isinstance(content, dict):
            raise FstError("is no list of names and values")
        _check_plain_trainer(content)
    except FstError as error:
        raise FstError(f"{told}: {error}") from None
    except Exception as error:  # YAMLError, RecursionError
        raise _unreadable(told, error) from None
    return content


def _unreadable(told: str, error: Exception) -> FstError:
    return FstError(f"{told}: cannot be read ({' '.join(str(error).split())[:200]})")


def _check_plain_trainer(content: dict[str, Any]) -> None:
    if "config" in content:
        raise FstError("names another file under config: give both with --config")
    trainer = content.get("trainer") or {}
    if not isinstance(trainer, dict):
        raise FstError("trainer is no list of names and values")
    trainer = trainer | {
        key.removeprefix("trainer."): content[key] for key in content if key.startswith("trainer.")
    }
    for name, value in trainer.items():
        if value is not None and (told := settled(TRAINER + name)):
            raise FstError(told.removeprefix("--"))
        if value is not None and not is_plain(name, value):
            raise FstError(
                f"trainer.{name.partition('.')[0]} names a class or a file: only the command "
                "line may"
            )


def is_plain(name: str, value: Any) -> bool:
    """Whether a setting of the Trainer is a value that makes nothing run."""
    name, _, deeper = name.partition(".")
    if not name.isidentifier():  # "callbacks+" adds to the list of that name
        return False
    if name in OBJECTS:
        return not deeper and (value is None or value in OBJECTS[name])
    values = value if isinstance(value, list) else [value]
    plain = all(v is None or isinstance(v, bool | int | float | str) for v in values)
    # The parser takes the name of a file for what the file says.
    return plain and not deeper and not any(isinstance(v, str) and os.path.isfile(v)
                                            for v in values)  # fmt: skip
