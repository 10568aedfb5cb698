"""Small paintings of the sample photo, one a style: drawn when the page is first looked at."""

import base64
import io
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING

from PIL import Image

from fst.assets import SAMPLE_PHOTO
from fst.errors import FstError
from fst.io import images

if TYPE_CHECKING:
    from fst.stylize.stylizer import Stylizer

PAINTED_PX = 224  # shorter side: strokes as large as they look in a preview, seen from afar
SHOWN_PX = 132
QUALITY = 82
MOST = 60  # styles that get one; those after them are known by name


class Thumbnails:
    """JPEG pictures by style id, kept in memory; painted by one thread, for all visitors."""

    def __init__(self, stylizer: "Stylizer", style_ids: list[int]) -> None:
        self.stylizer, self.style_ids = stylizer, style_ids[:MOST]
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
                painting = images.to_picture(self.stylizer.stylize(photo, style_id))
                url = jpeg_url(cropped(painting, SHOWN_PX))
                with self._news:
                    self._painted[style_id] = url
                    self._news.notify_all()
        except FstError:  # damaged weights: the preview says so
            pass
        finally:
            with self._news:
                self._ended = True
                self._news.notify_all()


def cropped(picture: Image.Image, side_px: int) -> Image.Image:
    """The square in the middle, so large."""
    side = min(picture.size)
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    square = picture.crop((left, top, left + side, top + side))
    return square.resize((side_px, side_px), Image.Resampling.LANCZOS)


def jpeg_url(picture: Image.Image) -> str:
    """A picture as text that a page can hold."""
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()
