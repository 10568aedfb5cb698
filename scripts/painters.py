"""Where scripts get the painting of a photo: from a model, or from a folder of pictures."""

from collections.abc import Callable, Sequence
from pathlib import Path

from torch import Tensor

from fst.errors import FstError
from fst.io import images
from fst.stylize.stylizer import Stylizer

# Gives the painting (3, H, W) of a photo: takes its file, its pixels and the name of the style.
Painter = Callable[[Path, Tensor, str], Tensor]


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
