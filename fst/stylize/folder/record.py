"""What fst-infer remembers of a folder painted with --devices, to go on with later (--resume).

Each process appends lines of JSON to a file of its own in `.fst-infer` of the output folder: one
when it begins to write a painting, one when the painting is there, with its size and a key to all
that it was made of. A painting is finished if its last line says so, the file has that size, and
the key is the one that the photo, the model and the controls give now.
"""

import argparse
import hashlib
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from fst.errors import FstError
from fst.io.paths import numbered
from fst.stylize.folder.naming import Plan, clash, identity
from fst.stylize.options import PaintOptions

if TYPE_CHECKING:
    from fst.stylize.stylizer import Stylizer

FOLDER = ".fst-infer"
_CHUNK_BYTES = 1 << 20
# Flags that are no field of PaintOptions. Memory and device change nothing but rounding.
_FLAGS = ("blend", "blend_grid", "sheet", "size", "bits", "precision", "fast_statistics")


class Done(NamedTuple):
    """The last that is known of a painting: its key, None when it was only begun, and its size."""

    key: str | None
    size_bytes: int


class Target(NamedTuple):
    """One painting to make; `done` is what an earlier run, which owns the name then, says of it."""

    style_id: int
    path: Path
    done: Done | None


Jobs = list[tuple[Path, list[Target]]]


class Record:
    """The lines that one process appends."""

    def __init__(self, folder: Path, rank: int) -> None:
        self.folder = folder
        file = folder / FOLDER / f"process{rank}.jsonl"
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            self.file = os.open(file, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        except OSError as error:
            raise FstError(
                f"cannot write {file}: {error.strerror}; name another folder with -o"
            ) from None
        end = os.lseek(self.file, 0, os.SEEK_END)
        if end and os.pread(self.file, 1, end - 1) != b"\n":
            os.write(self.file, b"\n")  # a power cut left part of a line

    def begin(self, path: Path) -> None:
        """Note that the file at this path is ours from now on, whatever it holds."""
        self._append(path, None, 0)

    def done(self, path: Path, key: str) -> None:
        """Note that it holds the painting with this key."""
        self._append(path, key, os.path.getsize(path))

    def close(self) -> None:
        os.close(self.file)

    def _append(self, path: Path, key: str | None, size_bytes: int) -> None:
        line = [time.time(), _name(path, self.folder), key, size_bytes]
        try:
            os.write(self.file, json.dumps(line).encode() + b"\n")  # whole, or not at all
        except OSError as error:
            raise FstError(f"cannot write {self.folder / FOLDER}: {error.strerror}") from None


def read_records(folder: Path) -> dict[str, Done]:
    """The last line about each painting, of all processes, by its path below the folder."""
    files = sorted((folder / FOLDER).glob("process*.jsonl"))
    lines = sorted((line for file in files for line in read_lines(file)), key=lambda line: line[0])
    return {name: Done(key, size_bytes) for _, name, key, size_bytes in lines}


def read_lines(file: Path) -> Iterator[tuple[float, str, str | None, int]]:
    """The lines of one process: time, path below the folder, key or None, size in bytes."""
    for text in file.read_bytes().splitlines():
        try:
            at, name, key, size_bytes = json.loads(text)
            yield float(at), str(name), key, int(size_bytes)
        except (ValueError, TypeError, OverflowError, RecursionError):  # part of a line, or worse
            continue


def _name(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix()


def settle_names(
    plan: Plan, folder: Path, overwrite: bool, records: dict[str, Done], problems: list[str]
) -> Jobs:
    """Give each painting its final name, so that processes need not ask one another.

    The names are those that one process gives one by one: numbered where something is there, or
    where two pictures have one name. What an earlier run made, by `records`, is not in the way.
    """
    inputs = {identity(photo) for photo, _ in plan} - {None}
    given: set[Path] = set()

    def is_free(path: Path) -> bool:
        if path in given:
            return False
        if _name(path, folder) in records or not os.path.lexists(path):
            return True
        return overwrite and identity(path) not in inputs

    def settled(style_id: int, path: Path) -> Target:
        name = next(filter(is_free, numbered(path)))
        given.add(name)
        done = records.get(_name(name, folder))
        if done is not None and identity(name) in inputs:
            problems.append(clash(name))
        return Target(style_id, name, done)

    return [(photo, [settled(*target) for target in targets]) for photo, targets in plan]


def settings_key(stylizer: "Stylizer", args: argparse.Namespace, options: PaintOptions) -> str:
    """A key to all that makes a painting beside the photo and the style id."""
    from fst import __version__

    told = {flag: getattr(args, flag) for flag in _FLAGS} | {"version": __version__}
    for name, value in vars(options).items():
        if name == "masks":
            value = [(style, _tensor_key(mask)) for style, mask in value.items()]
        told[name] = value if name != "where" or value is None else _tensor_key(value)
    weights = stylizer.network.state_dict()
    told["model"] = [(name, _tensor_key(weights[name])) for name in sorted(weights)]
    return _key(json.dumps(told, sort_keys=True))


def _tensor_key(tensor: Any) -> str:
    numbers = tensor.detach().float().cpu().contiguous().numpy()
    return _key(f"{numbers.shape} ", numbers.tobytes())


def _key(text: str, data: bytes = b"") -> str:
    return hashlib.blake2b(text.encode() + data, digest_size=16).hexdigest()


def content_key(photo: Path) -> str:
    """A key to what a file holds; "" where it cannot be read, which its decoder will tell."""
    digest = hashlib.blake2b(digest_size=16)
    try:
        with open(photo, "rb") as file:
            while chunk := file.read(_CHUNK_BYTES):
                digest.update(chunk)
    except OSError:
        return ""
    return digest.hexdigest()


def painting_key(settings: str, style_id: int, content: str) -> str:
    """A key to all that a painting is made of."""
    return _key(f"{settings} {style_id} {content}")


def unfinished(photo: Path, targets: list[Target], settings: str) -> list[Target]:
    """Which of a photo's paintings are still to be made."""
    there = [target for target in targets if target.done is not None and target.path.is_file()]
    content = content_key(photo) if there else ""

    def finished(target: Target) -> bool:
        key = painting_key(settings, target.style_id, content)
        return target.done == Done(key, target.path.stat().st_size)

    return [t for t in targets if not (t in there and content and finished(t))]
