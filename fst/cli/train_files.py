"""The settings files of fst-train: `--config FILE`, and the config.yaml of a run that is resumed.

Such a file comes with a run or a project, from anyone. It may set numbers, names and paths; classes
and functions by their import path it may not: naming one runs its code.
"""

import os
from pathlib import Path
from typing import Any

import yaml

from fst.errors import FstError

CONFIG_NAME = "config.yaml"
LIST_FLAGS = ("styles", "content", "held_out", "style_size", "style_weight", "loss_weights",
    "style_layers", "style_loss")  # fmt: skip
MAX_FILE_BYTES = 1_000_000  # of YAML, which takes seconds a megabyte to read
MAX_DEPTH = 20
MAX_VALUES = 20_000  # where a name stands for a list that is met again, as often as it is met
# Settings of Lightning's Trainer that are objects, but for the values that say no more than how.
OBJECTS = {
    "callbacks": (),
    "plugins": (),
    "logger": (True, False),
    "profiler": ("simple", "advanced", "pytorch"),
}


def with_stored_settings(argv: list[str]) -> list[str]:
    """With --resume, put the run's own config.yaml before the other arguments."""
    for place, argument in enumerate(argv):
        name, _, value = argument.partition("=")
        if name == "--resume":
            path = Path(value or (argv[place + 1] if place + 1 < len(argv) else ""))
            config = path.parent / CONFIG_NAME
            if os.path.isfile(config) and os.path.isfile(path):
                return ["--config", str(config), *argv]
    return argv


def with_lists(argv: list[str]) -> list[str]:
    """Single values in YAML files, where lists are expected, as lists of one.

    Raises:
        FstError: A file is refused, see `read_settings`.
    """
    argv = [part for a in argv for part in (a.split("=", 1) if a.startswith("--config=") else [a])]
    for place, argument in enumerate(argv[:-1]):
        if argument == "--config" and os.path.isfile(argv[place + 1]):
            argv[place + 1] = _listed(argv[place + 1])
    return argv


def _listed(path: str) -> str:
    """The path, or the YAML text with its single values made lists."""
    content = read_settings(path)
    values = {key: content[key] for key in LIST_FLAGS if content.get(key) is not None}
    single = {key: [value] for key, value in values.items() if not isinstance(value, list)}
    return yaml.safe_dump(content | single) if single else path


def read_settings(path: str | Path) -> dict[str, Any]:
    """The settings of a YAML file.

    Raises:
        FstError: It cannot be read, is no mapping, grows when read, or names classes.
    """
    from fst.torch_files import plain

    try:
        if os.path.getsize(path) > MAX_FILE_BYTES:
            raise FstError("is larger than settings are")
        content = plain(_loaded(Path(path).read_text("utf-8")) or {}, "the file", MAX_VALUES)
        if not isinstance(content, dict):
            raise FstError("is no list of names and values")
        _check_plain_trainer(content)
    except FstError as error:
        raise FstError(f"--config {path}: {error}") from None
    except Exception as error:  # OSError, UnicodeError, YAMLError, RecursionError
        reason = " ".join(str(error).split())[:200]
        raise FstError(f"--config {path}: cannot be read ({reason})") from None
    return content


def _loaded(text: str) -> Any:
    # In C where it can be: in Python, brackets within brackets take minutes.
    loader, depth = getattr(yaml, "CSafeLoader", yaml.SafeLoader), 0
    # Unlike `load`, this does not call itself.
    for count, event in enumerate(yaml.parse(text, Loader=loader)):
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise FstError("is nested too deep")
        if count > 2 * MAX_VALUES:
            raise FstError("holds too many values")
    return yaml.load(text, Loader=loader)


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
