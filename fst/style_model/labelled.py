"""Pictures side by side, each under its name."""

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

GAP_PX, CAPTION_PX, FONT_PX = 6, 22, 14
INK = (40, 40, 40)


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
