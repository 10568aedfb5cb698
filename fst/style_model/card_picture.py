"""The picture of a model card: photos on top, below them a row for each style."""

from collections.abc import Callable, Sequence

from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from fst.io import images

MAX_PHOTOS, MAX_STYLES = 4, 24
MAX_ROWS = 6  # of styles one below the other; more go into two columns, with smaller cells
CELL_PX, SMALL_CELL_PX, GAP_PX, CAPTION_PX = 176, 128, 6, 24
# (3, s, s) in [0, 1] and a style id to the painting of the same size.
Painter = Callable[[Tensor, int], Tensor]


def card_picture(
    paint: Painter,
    photos: Sequence[Tensor],
    style_names: Sequence[str],
    pictures: Sequence[Tensor | None] = (),
) -> Image.Image:
    """Paint the photos in every style and lay it all out, with captions.

    Args:
        paint: Paints one photo.
        photos: (3, h, w) in [0, 1]; the first four are taken, their middle squares.
        style_names: In order of id; the first sixteen are painted.
        pictures: For each style a picture (3, h, w) that shows it, put left of its row, or None.
    """
    photos = [_square(photo) for photo in photos[:MAX_PHOTOS]]
    names = style_names[:MAX_STYLES]
    across = 1 if len(names) <= MAX_ROWS else 2
    cell_px = CELL_PX if across == 1 else SMALL_CELL_PX
    rows = -(-len(names) // across)
    shown = any(picture is not None for picture in pictures)
    column_px = (shown + len(photos)) * (cell_px + GAP_PX)
    row_px = CAPTION_PX + cell_px
    size = across * (column_px + GAP_PX), (rows + 1) * row_px + 2 * GAP_PX
    sheet = Image.new("RGB", size, "white")
    for column in range(across):
        left = GAP_PX + column * (column_px + GAP_PX)
        cells = [None] * shown + photos
        _lay(sheet, (left, GAP_PX), "unpainted", cells, cell_px)
        for row, style_id in enumerate(range(len(names))[column * rows : (column + 1) * rows]):
            picture = pictures[style_id] if style_id < len(pictures) else None
            cells = [picture] * shown + [paint(photo, style_id) for photo in photos]
            place = left, GAP_PX + (row + 1) * row_px
            _lay(sheet, place, _caption(style_id, names[style_id]), cells, cell_px)
    return sheet


def _lay(
    sheet: Image.Image,
    place: tuple[int, int],
    caption: str,
    cells: Sequence[Tensor | None],
    cell_px: int,
) -> None:
    """A caption, and below it squares beside each other; None leaves one out."""
    left, top = place
    font = ImageFont.load_default(size=14)
    first = next(number for number, cell in enumerate(cells) if cell is not None)
    text = left + first * (cell_px + GAP_PX), top + CAPTION_PX - 5
    ImageDraw.Draw(sheet).text(text, caption, fill=(40, 40, 40), font=font, anchor="ls")
    for number, cell in enumerate(cells):
        if cell is None:
            continue
        picture = images.to_picture(_square(cell))
        picture = images.resize_shorter_side(picture, cell_px, enlarge=True)
        sheet.paste(picture, (left + number * (cell_px + GAP_PX), top + CAPTION_PX))


def _square(image: Tensor) -> Tensor:
    """The middle square."""
    side = min(image.shape[1:])
    top, left = ((length - side) // 2 for length in image.shape[1:])
    return image[:, top : top + side, left : left + side]


def _caption(style_id: int, name: str) -> str:
    # The font that comes with Pillow has Latin letters; the card's table has every name.
    fits = name.isascii() and name.isprintable()
    return f"{style_id}  {name[:40]}" if fits else str(style_id)
