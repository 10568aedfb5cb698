"""Files of `torch.save` and YAML, read as what anyone may have made: plain values and tensors only.

`weights_only=True` runs no code. It does allow what costs far more memory than the file is large:
packed records, tensors of many numbers that share one place in memory, shared lists that grow when
they are copied. None of them is in a file that fst or torchvision wrote, so they are refused.
"""

import os
import pickle
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fst.errors import FstError

MAX_YAML_DEPTH = 20
MAX_YAML_VALUES = 20_000  # where a name stands for a list met again, as often as it is met
MAX_DEPTH, MAX_VALUES = 64, 1_000_000  # of plain values; 100,000 styles have half a million


def read_torch_file(path: str | Path, map_location: Any = "cpu", archive: bool = False) -> Any:
    """What a file of `torch.save` holds, weights only.

    Args:
        path: An existing file.
        map_location: As of `torch.load`.
        archive: Refuse the format of before 2020, which is no zip archive.

    Raises:
        FstError: It is broken, holds code, or more than its size; the file is not named.
    """
    try:
        is_archive = zipfile.is_zipfile(path)
        if is_archive:
            _check_stored(path)
        elif archive:
            raise FstError("not a readable checkpoint (no zip archive of torch)")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about pickles that torch did not write
            content = torch.load(path, map_location=map_location, weights_only=True)
    except FstError:
        raise
    except pickle.UnpicklingError:  # torch's own text advises to run whatever the file holds
        raise FstError("damaged, or holds more than tensors and plain values") from None
    except Exception as error:  # a damaged zip or pickle fails in many ways
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise FstError(f"not a readable checkpoint ({reason})") from None
    for tensor in tensors_in(content):
        check_tensor(tensor)
    return content


def _check_stored(path: str | Path) -> None:
    """torch stores its records as they are, one after the other."""
    with zipfile.ZipFile(path) as archive:
        records = archive.infolist()
    packed = any(record.compress_type != zipfile.ZIP_STORED for record in records)
    if packed or sum(record.file_size for record in records) > os.path.getsize(path):
        raise FstError("its records are packed, as torch never does: made to fill memory?")


def check_tensor(tensor: Tensor) -> None:
    """Refuse a tensor that is not a plain block of real numbers, all of them in the file.

    Raises:
        FstError: Says what it is.
    """
    if tensor.layout != torch.strided or tensor.is_quantized or tensor.device.type == "meta":
        raise FstError("holds a tensor that is sparse, quantized or without values")
    if tensor.is_complex():
        raise FstError("holds complex numbers")
    stored = tensor.untyped_storage().nbytes() // tensor.element_size()
    if tensor.storage_offset() + tensor.numel() > stored:
        raise FstError(f"holds a tensor of {tensor.numel()} numbers, of which {stored} are there")


def tensors_in(content: Any) -> Iterator[Tensor]:
    """All tensors below a value, each container entered once: they can hold themselves."""
    seen: set[int] = set()
    waiting = [content]
    while waiting:
        value = waiting.pop()
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, dict | list | tuple | set) and id(value) not in seen:
            seen.add(id(value))
            waiting += [*value, *value.values()] if isinstance(value, dict) else value


def plain(value: Any, what: str, most: int = MAX_VALUES) -> Any:
    """A copy of plain values as JSON has them: dict, list, str, int, float, bool, None.

    Raises:
        FstError: `what` holds others, more than `most`, or too deep.
    """
    left = most

    def copied(value: Any, depth: int) -> Any:
        nonlocal left
        left -= 1
        if left < 0 or depth > MAX_DEPTH:  # lists that are shared count as often as they are met
            raise FstError(f"{what} holds too many values")
        if value is None or type(value) in (str, int, float, bool):
            return value
        if isinstance(value, list | tuple):
            return [copied(entry, depth + 1) for entry in value]
        if isinstance(value, dict) and all(isinstance(key, str) for key in value):
            return {key: copied(entry, depth + 1) for key, entry in value.items()}
        raise FstError(f"{what} holds a {type(value).__name__}, which is no plain value")

    return copied(value, 0)


def plain_yaml(text: str) -> Any:
    """The values in YAML text: dicts, lists, strings and numbers; {} of an empty one.

    Raises:
        FstError: It is nested too deep, holds too many values, or others than plain ones.
        yaml.YAMLError: It is no YAML.
    """
    import yaml

    # In C where it can be: in Python, brackets within brackets take minutes.
    loader, depth = getattr(yaml, "CSafeLoader", yaml.SafeLoader), 0
    # Unlike `load`, this does not call itself.
    for count, event in enumerate(yaml.parse(text, Loader=loader)):
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_YAML_DEPTH:
            raise FstError("is nested too deep")
        if count > 2 * MAX_YAML_VALUES:
            raise FstError("holds too many values")
    return plain(yaml.load(text, Loader=loader) or {}, "the file", MAX_YAML_VALUES)
