"""What the page answers: values of its controls in, pictures, text and files out.

No gradio here: `page` turns the answers into components.
"""

import base64
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from PIL import Image

from fst.assets import SAMPLE_PHOTO
from fst.demo.controls import MAX_STYLES, Controls, Mask, arguments, choose, command, rounded
from fst.demo.painting import (
    Limits,
    Photo,
    in_bands,
    mask_bytes,
    open_photo,
    output_name,
    paint_file,
    read_mask,
)
from fst.demo.server import new_folder
from fst.errors import FstError
from fst.io import images
from fst.io.paths import clip, is_clip
from fst.style_model.card import jpeg_bytes
from fst.style_model.labelled import middle_square
from fst.stylize.options import AUTO, NATIVE, PaintOptions

if TYPE_CHECKING:
    from fst.stylize.stylizer import Stylizer

MAX_STEM_BYTES = 80  # of a photo's name, in that of its masks
# Shorter side of what thumbnails show: strokes as large as they look in a preview, seen from afar.
PAINTED_PX = 224
SHOWN_PX, THUMBNAIL_QUALITY = (132, 132), 82
MOST_THUMBNAILS = 60  # styles after those are known by name
KEEP_COLORS = {
    "The style's": None,
    "The photo's, place by place": "luminance",
    "The photo's, as a whole": "histogram",
}
# Which size strokes have; None is the one of the slider.
STROKES = {
    "Grow with the photo": AUTO,
    "Grow, of this size": None,
    "Of a fixed size": NATIVE,
}


class Values(NamedTuple):
    """What the page's controls hold, in their order there."""

    photo: Photo
    chosen: list[str]
    share1: float
    share2: float
    share3: float
    share4: float
    strength: float
    texture: float
    strokes: str  # which size they have
    texture_size: float
    colors: str
    other_style: str
    masks: dict[str, Mask]


class Preview(NamedTuple):
    """What is shown when a control has moved."""

    before: Image.Image
    after: Image.Image
    command: str
    output: str  # name of the file that the command writes
    mask_files: list[Path]


@dataclass
class Studio:
    """One running page: the model, the limits, and where files go."""

    stylizer: "Stylizer"
    limits: Limits
    folder: Path
    flags: list[str]  # of fst-infer, the model's and the device's

    def __post_init__(self) -> None:
        self.sample = open_photo(SAMPLE_PHOTO, None, self.limits)
        self._painting: dict[str, threading.Event] = {}  # visitors whose painting is under way

    @property
    def names(self) -> list[str]:
        """The styles that can be asked for by name."""
        return list(dict.fromkeys(self.stylizer.style_names))

    @property
    def maskable(self) -> list[str]:
        """Those that --mask NAME=FILE can name."""
        return [name for name in self.names if "=" not in name]

    def open(self, path: str, name: str) -> Photo:
        """A photo that was uploaded.

        Raises:
            FstError: It cannot be read, or has a name that fst-infer takes for a video's.
        """
        photo = open_photo(path, name, self.limits)
        if is_clip(name):
            name = images.printable(name)
            raise FstError(f"{name} is named as a video or GIF, but is a picture: rename it")
        return photo

    def texture_place(self, chosen: list[str]) -> float | None:
        """Where a single style is on its texture line; None where there is no line."""
        if len(chosen) != 1:
            return None
        line = self.stylizer.texture_line(chosen[0])
        place = line.index(self.stylizer.style_id(chosen[0]))
        return place / (len(line) - 1) if len(line) > 1 else None

    def masks(self, photo: Photo, drawn: dict[str, Any]) -> dict[str, Mask]:
        """The masks that the brush hands over, by "other" and "where", each written as a file."""
        folder, found = new_folder(self.folder), {}
        for kind, word in (("other", "style"), ("where", "paint")):
            data = mask_bytes(drawn.get(kind))
            name = f"{clip(Path(photo.title).stem, MAX_STEM_BYTES)}_{word}_mask.png"
            mask = read_mask(data, folder / name) if data else None
            found |= {kind: mask} if mask else {}
        return found

    def controls(self, values: Values) -> Controls:
        """Raises FstError where the values paint nothing."""
        masks, other = values.masks, values.other_style
        use_other = "other" in masks and other in self.maskable
        has_line = self.texture_place(values.chosen) is not None
        plain = PaintOptions(
            strength=rounded(values.strength),
            texture=rounded(values.texture) if has_line else None,
            texture_size=STROKES[values.strokes] or rounded(values.texture_size),
            keep_colors=KEEP_COLORS.get(values.colors),
        )
        return choose(
            values.chosen,
            list(values[2:6])[: len(values.chosen)],
            plain,
            other=(other, masks["other"]) if use_other else None,
            where=masks.get("where"),
        )

    def preview(self, values: Values) -> Preview:
        """The small painting beside the photo, and how to make the large one."""
        controls, photo = self.controls(values), values.photo
        painting = self.stylizer.stylize(photo.small, controls.style, controls.options)
        flags = list(self.flags)
        if in_bands(self.stylizer, photo, controls, self.limits):
            flags += ["--max-memory", f"{self.limits.memory_bytes // 2**20}M"]
        return Preview(
            photo.picture,
            images.to_picture(images.on_white(painting.clamp(0, 1))),
            command(arguments(controls, photo.name, flags)),
            output_name(self.stylizer, photo, controls),
            [mask.path for mask in controls.masks],
        )

    def paint(self, values: Values, visitor: str, progress: Callable[[float], None]) -> Path:
        """The painting at full size, in a file; ends with an FstError when the visitor has left."""
        controls = self.controls(values)
        left = self._painting[visitor] = threading.Event()

        def tell(share: float) -> None:
            if left.is_set():
                raise FstError("stopped: the visitor has left")
            progress(share)

        try:
            folder = new_folder(self.folder)
            return paint_file(self.stylizer, values.photo, controls, folder, self.limits, tell)
        finally:
            self._painting.pop(visitor, None)

    def leave(self, visitor: str) -> None:
        """Stop painting for somebody who has left."""
        if event := self._painting.get(visitor):
            event.set()


def reordered(
    before: list[str], shares: list[float], clicked: list[str]
) -> tuple[list[str], list[float]]:
    """Styles and shares after a click: in the order chosen, those that stay keep their shares.

    Raises:
        FstError: There are more than a blend may have.
    """
    if len(clicked) > MAX_STYLES:
        raise FstError(f"a blend has at most {MAX_STYLES} styles: click one away first")
    known = dict(zip(before, shares, strict=False))
    names = [name for name in before if name in clicked]
    names += [name for name in clicked if name not in names]
    found = [known.get(name, 0.5) for name in names]
    return names, found + [0.5] * (MAX_STYLES - len(found))


class Thumbnails:
    """Small paintings of the sample photo, by style id, for all visitors: one thread paints them,
    from when the page is first looked at."""

    def __init__(self, stylizer: "Stylizer", style_ids: list[int]) -> None:
        self.stylizer, self.style_ids = stylizer, style_ids[:MOST_THUMBNAILS]
        self._painted: dict[int, str] = {}
        self._ended = False
        self._news = threading.Condition()
        self._thread: threading.Thread | None = None

    def follow(self) -> Iterator[dict[int, str]]:
        """The thumbnails so far as data URLs, again whenever there are more, to the last."""
        with self._news:
            if self._thread is None:
                self._thread = threading.Thread(target=self._paint, daemon=True)
                self._thread.start()
        count, ended = -1, False
        while not ended:
            with self._news:
                self._news.wait_for(lambda seen=count: self._ended or len(self._painted) > seen)
                painted, ended = dict(self._painted), self._ended
            count = len(painted)
            yield painted

    def _paint(self) -> None:
        try:
            photo = images.load(SAMPLE_PHOTO, PAINTED_PX)
            for style_id in self.style_ids:
                painting = middle_square(self.stylizer.stylize(photo, style_id))
                picture = images.to_picture(painting)
                url = jpeg_url(picture.resize(SHOWN_PX, Image.Resampling.LANCZOS))
                with self._news:
                    self._painted[style_id] = url
                    self._news.notify_all()
        except FstError:  # damaged weights: the preview says so
            pass
        finally:
            with self._news:
                self._ended = True
                self._news.notify_all()


def jpeg_url(picture: Image.Image) -> str:
    """A picture as text that a page can hold."""
    content = jpeg_bytes(picture, THUMBNAIL_QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(content).decode()
