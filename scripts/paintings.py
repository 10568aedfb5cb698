"""Which pictures show which style, for the scripts: --styles-dir and --style."""

from collections.abc import Sequence
from pathlib import Path

from fst.data.styles import Style
from fst.errors import FstError
from fst.io import images
from fst.stylize.stylizer import Stylizer


def chosen_names(stylizer: Stylizer, only: Sequence[str] | None) -> list[str]:
    """The styles to measure, of the model's."""
    return [stylizer.style_names[stylizer.style_id(name)] for name in only or stylizer.style_names]


def style_files(folder: Path | None) -> list[tuple[str, Path]]:
    """Style name and path of each picture and folder in a folder."""
    if folder is None:
        return []
    if not folder.is_dir():
        raise FstError(f"--styles-dir {folder}: no such folder")
    return [
        (path.name if path.is_dir() else path.stem, path)
        for path in sorted(folder.iterdir())
        if path.is_dir() or path.suffix.lower() in images.IMAGE_SUFFIXES
    ]


def find_styles(
    names: Sequence[str], folder: Path | None, overrides: dict[str, Path]
) -> list[Style]:
    """The pictures that show each style.

    Raises:
        FstError: Names every style without a picture, with more than one, and every name in
            `overrides` that is no style.
    """
    files = style_files(folder)
    styles, problems = [], [f"--style {n}: no such style" for n in overrides if n not in names]
    for name in names:
        found = [path for stem, path in files if stem == name]
        found = [overrides[name]] if name in overrides else found
        if len(found) != 1:
            what = "no picture" if not found else f"{len(found)} pictures"
            problems.append(
                f"style {name!r}: {what} of that name in {folder or '--styles-dir'}; "
                f"give --style {name}=PATH"
            )
            continue
        try:
            styles.append(Style(name, tuple(str(path) for path in images.find(found))))
        except FstError as error:
            problems.append(f"style {name!r}: {error}")
    if problems:
        raise FstError("; ".join(problems))
    return styles


def other_styles(
    names: Sequence[str], folder: Path | None, overrides: dict[str, Path]
) -> list[Style]:
    """The styles given that are not measured, for a picture to be taken for."""
    given = [name for name, _ in style_files(folder)] + list(overrides)
    others = [name for name in dict.fromkeys(given) if name not in names]
    return find_styles(others, folder, {n: overrides[n] for n in others if n in overrides})
