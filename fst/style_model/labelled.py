"""Pictures side by side, each under its name: sheets, and the picture of a model card."""

from collections.abc import Callable, Sequence

from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from fst.io import images

GAP_PX, CAPTION_PX, FONT_PX = 6, 22, 14
INK = (40, 40, 40)
# Of a card: photos on top, below them a row for each style.
MAX_PHOTOS, MAX_STYLES = 4, 24
MAX_ROWS = 6  # of styles one below the other; more go into two columns, with smaller cells
CELL_PX, SMALL_CELL_PX, CARD_CAPTION_PX = 176, 128, 24
# (3, s, s) in [0, 1] and a style id to the painting of the same size.
Painter = Callable[[Tensor, int], Tensor]


def labelled_sheet(cells: Sequence[tuple[str, Image.Image | None]], columns: int) -> Image.Image:
    """Rows of pictures of one size, RGB, on white.

    Args:
        cells: Row by row what stands above each picture, and the picture; None leaves one out. A
            row whose cells all have no text takes no room for it.
        columns: Cells of a row.
    """
    width, height = next(picture.size for _, picture in cells if picture is not None)
    rows = [cells[at : at + columns] for at in range(0, len(cells), columns)]
    above = [CAPTION_PX if any(text for text, _ in row) else GAP_PX for row in rows]
    size = GAP_PX + columns * (width + GAP_PX), sum(above) + len(rows) * height + GAP_PX
    sheet, top = Image.new("RGB", size, "white"), 0
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=FONT_PX)
    for row, room in zip(rows, above, strict=True):
        top += room
        for column, (text, picture) in enumerate(row):
            left = GAP_PX + column * (width + GAP_PX)
            draw.text((left, top - 5), _fitting(text, font, width), INK, font, anchor="ls")
            if picture is not None:
                sheet.paste(picture, (left, top))
        top += height
    return sheet


def label(style_id: int, name: str) -> str:
    """Id and name of a style, as far as the font that comes with Pillow has its letters."""
    return f"{style_id}  {name}" if name.isascii() and name.isprintable() else str(style_id)


def _fitting(text: str, font: ImageFont.FreeTypeFont, width_px: int) -> str:
    """The text, its end left out where it is wider than its picture."""
    shown = text
    while shown and font.getlength(shown) > width_px:
        text = text[:-1]
        shown = f"{text}..." if text else ""
    return shown


# ---- a card ------------------------------------------------------------------------------------


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
        style_names: In order of id; the first 24 are painted.
        pictures: For each style a picture (3, h, w) that shows it, put left of its row, or None.
    """
    photos = [middle_square(photo) for photo in photos[:MAX_PHOTOS]]
    names = style_names[:MAX_STYLES]
    across = 1 if len(names) <= MAX_ROWS else 2
    cell_px = CELL_PX if across == 1 else SMALL_CELL_PX
    rows = -(-len(names) // across)
    shown = any(picture is not None for picture in pictures)
    column_px = (shown + len(photos)) * (cell_px + GAP_PX)
    row_px = CARD_CAPTION_PX + cell_px
    size = across * (column_px + GAP_PX), (rows + 1) * row_px + 2 * GAP_PX
    sheet = Image.new("RGB", size, "white")
    for column in range(across):
        left = GAP_PX + column * (column_px + GAP_PX)
        _lay(sheet, (left, GAP_PX), "unpainted", [None] * shown + photos, cell_px)
        for row, style_id in enumerate(range(len(names))[column * rows : (column + 1) * rows]):
            picture = pictures[style_id] if style_id < len(pictures) else None
            cells = [picture] * shown + [paint(photo, style_id) for photo in photos]
            place = left, GAP_PX + (row + 1) * row_px
            _lay(sheet, place, label(style_id, names[style_id][:40]), cells, cell_px)
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
    font = ImageFont.load_default(size=FONT_PX)
    first = next(number for number, cell in enumerate(cells) if cell is not None)
    text = left + first * (cell_px + GAP_PX), top + CARD_CAPTION_PX - 5
    ImageDraw.Draw(sheet).text(text, caption, INK, font, anchor="ls")
    for number, cell in enumerate(cells):
        if cell is not None:
            picture = images.to_picture(middle_square(cell))
            picture = images.resize_shorter_side(picture, cell_px, enlarge=True)
            sheet.paste(picture, (left + number * (cell_px + GAP_PX), top + CARD_CAPTION_PX))


def middle_square(image: Tensor) -> Tensor:
    """The middle square of an image (C, H, W)."""
    side = min(image.shape[1:])
    top, left = ((length - side) // 2 for length in image.shape[1:])
    return image[:, top : top + side, left : left + side]
