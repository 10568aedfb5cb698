"""Names of picture files: `find` those given, `unused_path` for a new one; decodes nothing."""

import fnmatch
import os
import re
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path

from fst.errors import FstError

# Suffix to format, for finding and for writing; reading goes by the content.
FORMATS = {
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".png": "PNG",
    ".webp": "WEBP",
    ".bmp": "BMP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
}
IMAGE_SUFFIXES = tuple(FORMATS)
VIDEO_SUFFIXES = (".mp4", ".mov", ".m4v", ".mkv", ".webm")  # that can be written
READ_SUFFIXES = (*VIDEO_SUFFIXES, ".avi", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts", ".wmv", ".flv",
                 ".3gp", ".ogv")  # fmt: skip
GIF_SUFFIX = ".gif"
CLIP_SUFFIXES = (*READ_SUFFIXES, GIF_SUFFIX)
MAX_PART_BYTES = 255  # of a file's or folder's name, on all file systems in use
ABANDONED_AFTER_S = 3600  # no encoder writes nothing for so long


def printable(text: object) -> str:
    """Text fit for one line of a message: line breaks and other unprintables are escaped."""
    shown = (c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text))
    return "".join(shown)


def is_clip(path: str | Path) -> bool:
    """Whether the name is that of a video or GIF."""
    return os.path.splitext(path)[1].lower() in CLIP_SUFFIXES


def clip(text: str, max_bytes: int) -> str:
    """Text cut to so many bytes of a file name."""
    encoded = text.encode("utf-8", "surrogateescape")
    return text if len(encoded) <= max_bytes else encoded[:max_bytes].decode("utf-8", "ignore")


def check_place(path: str | Path) -> None:
    """Refuse a file name to write that no file can have, before the work; makes no folder.

    Raises:
        FstError: It is too long, leads through a file, or into a folder that is read-only.
    """
    path, reason = Path(path), None
    above = next((folder for folder in path.absolute().parents if os.path.lexists(folder)), path)
    if "\0" in str(path):
        reason = "its name holds a NUL"
    elif any(len(os.fsencode(part)) > MAX_PART_BYTES for part in path.parts):
        reason = f"a part of its name is longer than {MAX_PART_BYTES} bytes"
    elif not os.path.isdir(above):
        reason = f"{above} is a file"
    elif not os.access(above, os.W_OK):
        reason = f"{above} is read-only"
    if reason:
        raise FstError(f"cannot write {printable(path)}: {printable(reason)}; name another")


def numbered(path: Path) -> Iterator[Path]:
    """The path itself, name-1.png, name-2.png and so on, without end."""
    yield path
    for number in count(1):
        yield path.with_name(f"{path.stem}-{number}{path.suffix}")


def unused_path(path: str | Path) -> Path:
    """The first of `numbered` where nothing is."""
    return next(name for name in numbered(Path(path)) if not os.path.lexists(name))


def remove_abandoned(folders: Iterable[Path]) -> None:
    """Remove what calls of `fst.io.atomic.publish` that were killed have left."""
    for folder in folders:
        for name in os.listdir(folder) if folder.is_dir() else []:
            if re.fullmatch(r"\.[0-9a-f]{32}\.tmp", name):
                with suppress(OSError):  # another process has removed it
                    if time.time() - os.path.getmtime(folder / name) > ABANDONED_AFTER_S:
                        (folder / name).unlink()


def find(paths: str | Path | Iterable[str | Path]) -> list[Path]:
    """Expand files, folders and patterns to a list of picture files.

    A file is returned whatever its suffix. A folder gives all files below it with one of
    IMAGE_SUFFIXES, sorted; what starts with a dot is skipped. A pattern (`*`, `?`, `[...]`, and
    `**` for any depth) gives such files and folders' contents, sorted; a path that exists
    literally is not read as a pattern. Duplicates are removed, the first one stays.

    Raises:
        FstError: naming every path that is missing or gives no picture, in one line.
    """
    found: dict[Path, Path] = {}
    problems = []
    for given in [paths] if isinstance(paths, (str, os.PathLike)) else paths:
        try:
            for file in expand(os.fspath(given)):
                found.setdefault(file.absolute(), file)
        except FstError as problem:
            problems.append(str(problem))
    if problems:
        raise FstError("; ".join(problems))
    return list(found.values())


def expand(given: str) -> list[Path]:
    """The picture files of one file, folder or pattern, sorted; an FstError as `find`."""
    if not given:
        raise FstError("an empty path was given; name a picture, a folder or a pattern")
    path = Path(given if os.path.lexists(given) else os.path.expanduser(given))
    if os.path.isfile(path):
        return [path]
    if os.path.isdir(path):
        files = _pictures_under(path)
        problem = f"no picture ({' '.join(IMAGE_SUFFIXES)}) in folder"
    elif not os.path.lexists(path) and any(c in given for c in "*?["):
        matches = _match(Path(path.anchor), path.parts[1 if path.anchor else 0 :])
        files = [file for match in matches for file in _pictures_under(match)]
        problem = "no picture matches"
    else:
        raise FstError(f"no such file or folder: {printable(given)}")
    if not files:
        raise FstError(f"{problem}: {printable(given)}")
    return sorted(files)


def _is_picture_name(name: str) -> bool:
    return not name.startswith(".") and os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES


def _pictures_under(path: Path) -> list[Path]:
    """A picture file itself, or all those in a folder."""
    if not os.path.isdir(path):
        return [path] if _is_picture_name(path.name) and os.path.isfile(path) else []
    return [
        folder / name
        for folder, names in _walk(path)
        for name in names
        if _is_picture_name(name) and os.path.isfile(folder / name)
    ]


def _walk(top: Path) -> Iterator[tuple[Path, list[str]]]:
    """Each folder from `top` down with its file names; links are followed, each target once."""
    real = Path(os.path.realpath(top))
    seen = {str(real), *map(str, real.parents)}  # a link to a parent would leave the folder
    for folder, subfolders, names in os.walk(top, followlinks=True):
        yield Path(folder), names
        targets = {name: os.path.realpath(os.path.join(folder, name)) for name in subfolders}
        subfolders.clear()
        for name, target in sorted(targets.items()):
            if not name.startswith(".") and target not in seen:
                seen.add(target)
                subfolders.append(name)


def _match(folder: Path, parts: tuple[str, ...]) -> Iterator[Path]:
    """Paths below `folder` that match the pattern, one part a level.

    Own code because glob.glob hangs on two links to a parent and pathlib matches hidden files.
    """
    if not parts:
        yield folder
        return
    part, deeper = parts[0], parts[1:]
    if part == "**":
        for subfolder, _ in _walk(folder):
            for match in _match(subfolder, deeper or ("*",)):
                if not (os.path.islink(match) and os.path.isdir(match)):  # walked already
                    yield match
    elif os.path.lexists(folder / part):
        yield from _match(folder / part, deeper)
    elif os.path.isdir(folder):
        for name in os.listdir(folder):
            if fnmatch.fnmatch(name, part) and (part.startswith(".") or not name.startswith(".")):
                yield from _match(folder / name, deeper)
