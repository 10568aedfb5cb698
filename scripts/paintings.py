"""Which pictures show which style (--styles-dir and --style), and what paints a photo in it."""

from collections.abc import Callable, Sequence
from pathlib import Path

from torch import Tensor

from fst.data.styles import Style
from fst.errors import FstError
from fst.io import images
from fst.stylize.stylizer import Stylizer

# Gives the painting (3, H, W) of a photo: takes its file, its pixels and the name of the style.
Painter = Callable[[Path, Tensor, str], Tensor]


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


# ---- what paints -------------------------------------------------------------------------------


def model_painter(stylizer: Stylizer) -> Painter:
    """Paints with a model."""
    return lambda path, photo, style: stylizer.stylize(photo, style)


def picture_painter(
    folder: Path, painted: dict[str, Path], photos: Sequence[Path], names: Sequence[str],
    size_px: int,
) -> Painter:  # fmt: skip
    """Reads pictures that were painted before.

    Raises:
        FstError: Some are missing; later, when one is read, it is not of its photo's size.
    """
    missing = [s for p in photos for n in names if (s := f"{p.stem}_{n}") not in painted]
    if missing:
        raise FstError(
            f"--pictures {folder} lacks {', '.join(missing[:5])}"
            f"{f' and {len(missing) - 5} more' if len(missing) > 5 else ''}"
        )

    def read(path: Path, photo: Tensor, style: str) -> Tensor:
        file = painted[f"{path.stem}_{style}"]
        painting = images.load(file)
        if painting.shape != photo.shape:
            sizes = ["x".join(map(str, image.shape[:0:-1])) for image in (painting, photo)]
            raise FstError(f"{file} is {sizes[0]} px, expected {sizes[1]}: paint at {size_px} px")
        return painting

    return read


def painted_files(folder: Path) -> dict[str, Path]:
    """Files of --pictures as PHOTO_STYLE to path: PHOTO_STYLE.png, or STYLE/PHOTO.png."""
    files = [*sorted(folder.glob("*")), *sorted(folder.glob("*/*"))]
    painted = {
        file.stem if file.parent == folder else f"{file.stem}_{file.parent.name}": file
        for file in files
        if file.suffix.lower() in images.IMAGE_SUFFIXES
    }
    # Where there are none, `find` says what is wrong with the folder.
    return painted or {file.stem: file for file in images.find(folder)}
