"""YAML that anyone may have written, as plain values, within bounds of time and memory."""

from typing import Any

import yaml

from fst.errors import FstError
from fst.io.torch_files import plain

MAX_DEPTH = 20
MAX_VALUES = 20_000  # where a name stands for a list that is met again, as often as it is met


def plain_yaml(text: str) -> Any:
    """The values in YAML text: dicts, lists, strings and numbers; {} of an empty one.

    Raises:
        FstError: It is nested too deep, holds too many values, or others than plain ones.
        yaml.YAMLError: It is no YAML.
    """
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
    return plain(yaml.load(text, Loader=loader) or {}, "the file", MAX_VALUES)
