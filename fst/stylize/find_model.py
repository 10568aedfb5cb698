"""Which style model fst-infer paints with."""

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from fst.assets import GALLERY
from fst.errors import FstError
from fst.runtime.console import tell
from fst.style_model.names import SHIPPED

if TYPE_CHECKING:
    from fst.stylize.stylizer import Stylizer

PROGRAM = "fst-infer"


def open_model(
    model: str | None, device: str, precision: str, wanted: list, program: str = PROGRAM
) -> "Stylizer":
    """The model named, the shipped one as "gallery"; else the newest that has all styles wanted.

    Those wanted by name alone: an id means a style of the newest.
    """
    from fst.runtime.memory import keep_freed_memory
    from fst.stylize.stylizer import Stylizer

    keep_freed_memory()
    if model is not None:
        return Stylizer(model, device, precision)
    newest = chosen = None
    wanted = [style for style in wanted if isinstance(style, str)]
    for path in [*newest_models(Path("checkpoints")), *[GALLERY] * GALLERY.is_file()]:
        try:
            stylizer = Stylizer(path, device, precision)
        except FstError as problem:
            tell(program, f"skipped {problem}")
            continue
        newest = newest or stylizer
        with suppress(FstError):  # it has not all of them
            for style in wanted:
                stylizer.style_id(style)
            chosen = stylizer
            break
    if newest is None:
        raise FstError("no style model below checkpoints; train one with fst-train or give --model")
    if chosen not in (None, newest):
        tell(program, f"{shown_name(newest.path)} has no style {' '.join(wanted)}")
    chosen = chosen or newest  # whose lack of the style is told with what it has
    tell(program, f"model {shown_name(chosen.path)}")
    return chosen


def shown_name(path: Path) -> str:
    """A model as it is told, and can be given: the shipped one is "gallery"."""
    return SHIPPED if path == GALLERY else str(path)


def newest_model() -> Path:
    """The model that is taken where none is named."""
    return next(iter(newest_models(Path("checkpoints"))), GALLERY)


def newest_models(folder: Path) -> list[Path]:
    """Style models below a folder, the newest first."""
    files = [
        Path(parent, name)
        for parent, _, names in os.walk(folder)
        for name in names
        if name.endswith(".safetensors")
        and not name.endswith(".style.safetensors")
        and os.path.isfile(os.path.join(parent, name))
    ]
    return sorted(files, key=lambda file: (os.path.getmtime(file), file), reverse=True)
