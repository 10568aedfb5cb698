"""Which files fst-infer writes: their names and folders, and that none replaces an input."""

import os
import re
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path

from fst.assets import SAMPLE_PHOTO
from fst.errors import FstError
from fst.io.paths import IMAGE_SUFFIXES, check_place, clip, expand

MAX_STYLE_CHARS = 80
MAX_NAME_BYTES = 240  # file systems stop at 255; the rest is for the suffix and a number

BLEND_ID = -1  # takes the place of a style id where several are blended

FileId = tuple[int, int]
# Each picture to read with what is to be written of it: style ids and paths.
Plan = list[tuple[Path, list[tuple[int, Path]]]]


def is_output_file(output: str | None) -> bool:
    """Whether -o names a picture file to write."""
    # os.path.splitext, not Path.suffix: "out.png/" is a folder.
    is_picture = os.path.splitext(output or "")[1].lower() in IMAGE_SUFFIXES
    return is_picture and not os.path.isdir(output or "")


def check_output(
    output: str | None, overwrite: bool, photos: dict[Path, Path], count: int, bits: int
) -> None:
    """Refuse, with an FstError, an -o that cannot take `count` pictures of so many bits, being of
    the wrong kind, there, or an input."""
    is_file = is_output_file(output)
    if not os.path.exists(output or ""):
        check_place(output if is_file else Path(output or "", "picture.png"))
    if not output or os.path.isdir(output):
        return
    check_can_take(output, is_file, count, "pictures", "picture file")
    if not is_file:
        return check_folder_name(output, IMAGE_SUFFIXES, "picture") if count == 1 else None
    from fst.io.images import check_target

    check_target(output, bits)
    if identity(Path(output)) in {identity(photo) for photo in photos} - {None}:
        raise FstError(clash(Path(output)))
    check_free(output, overwrite)


def check_free(output: str | Path, overwrite: bool) -> None:
    """Refuse, with an FstError, to write where something is, unless it is to be replaced."""
    if os.path.lexists(output) and not overwrite:
        raise FstError(f"{output} exists; name another file with -o or add --overwrite")


def check_can_take(output: str, is_file: bool, count: int, kind: str, example: str) -> None:
    """Refuse, with an FstError, an -o, no folder that is there, which cannot take so many files."""
    if not is_file and os.path.lexists(output):
        raise FstError(f"-o {output} is a file; name a folder or a new {example}")
    if is_file and count > 1:
        raise FstError(
            f"-o {output} is one file, but {count} {kind} are to be written; name a folder"
        )


def check_folder_name(output: str, known: Sequence[str], what: str) -> None:
    """Refuse, with an FstError, an -o, neither a folder that is there nor of the `known` suffixes,
    that looks like a file of another kind than `what`: it would become a folder."""
    suffix = os.path.splitext(output)[1]  # "out.xyz/" has none; "out.v2" is no kind of file
    if re.fullmatch(r"\.[A-Za-z]{2}[A-Za-z0-9]{0,10}", suffix) and not os.path.isdir(output):
        raise FstError(
            f"-o {output}: {suffix} is no {what} (those are {' '.join(known)}); for a folder of "
            f"that name write {output}/"
        )


def output_folder(output: str | None) -> Path:
    """The folder that -o names, or its file is in."""
    path = Path(output or "")
    return path.parent if is_output_file(output) else path


def identity(path: Path) -> FileId | None:
    """Tells one file from another, whatever names and links lead to it; None where none is."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):  # the latter of a NUL
        return None
    return status.st_dev, status.st_ino


def find_photos(inputs: list[str], problems: list[str]) -> dict[Path, Path]:
    """The pictures to paint, each with the folder it gets below the output folder; the sample that
    ships where there are no inputs. Each that gives no picture adds a line to the problems."""
    if not inputs:
        if not SAMPLE_PHOTO.is_file():
            problems.append("no picture given; name files, folders or patterns")
        return {SAMPLE_PHOTO: Path()}
    photos: dict[Path, Path] = {}
    seen: set[Path] = set()
    for given in inputs:
        try:
            found = expand(given)
        except FstError as problem:
            problems.append(str(problem))
            continue
        for photo in found:
            if photo.absolute() not in seen:
                seen.add(photo.absolute())
                photos[photo] = _folder_below(given, photo)
    return photos


def _folder_below(given: str, photo: Path) -> Path:
    """A found picture's folder relative to the folder or the fixed part of the pattern given."""
    path = Path(given if os.path.lexists(given) else os.path.expanduser(given))
    if os.path.isfile(path):
        return Path()
    if not os.path.isdir(path):
        path = Path(*takewhile(lambda part: not set(part) & set("*?["), path.parts))
    below = photo.relative_to(path).parent
    return Path() if ".." in below.parts else below


def make_plan(
    photos: dict[Path, Path], styles: dict[int, str], output: str | None, bits: int
) -> Plan:
    """What to write of each photo; folders given keep their structure below the output folder."""
    if output and is_output_file(output):
        return [(photo, [(style_id, Path(output)) for style_id in styles]) for photo in photos]
    plan: Plan = []
    for photo, below in photos.items():
        folder = Path(output, below) if output else Path()
        suffix = ".jpg" if photo.suffix.lower() in (".jpg", ".jpeg") and bits == 8 else ".png"
        targets = []
        for style_id, style_name in styles.items():
            style = safe_name(style_name) or f"style{style_id}"
            stem = clip(photo.stem, MAX_NAME_BYTES - len(style.encode()))
            targets.append((style_id, folder / f"{stem}_{style}{suffix}"))
        plan.append((photo, targets))
    return plan


def safe_name(name: str) -> str:
    """A style name fit for a file name: it comes from a file that anyone may have written."""
    safe = "".join(c if c.isprintable() and c not in '/\\:*?"<>|' else "_" for c in name)
    return clip(safe.strip(". ")[:MAX_STYLE_CHARS], MAX_NAME_BYTES // 2)


def clash(path: Path) -> str:
    """What is said of an output that would replace an input."""
    return f"output {path} is an input picture and stays; name another output with -o"


def input_clashes(plan: Plan) -> list[str]:
    """Outputs that would replace an input."""
    inputs = {identity(photo) for photo, _ in plan} - {None}
    return [clash(path) for _, targets in plan for _, path in targets if identity(path) in inputs]


def blend_name(shares: dict[str, float]) -> str:
    """What files of a blend are called: wave70_udnie30."""
    total = sum(shares.values())
    return "_".join(f"{name}{round(100 * share / total)}" for name, share in shares.items())
