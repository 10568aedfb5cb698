"""Make the README's picture: sample photos painted in the styles of a model, with captions.

    python scripts/paint_samples.py --model fst/assets/gallery.safetensors \
        -o datasets/samples/painted.jpg
"""

import argparse
import sys
from pathlib import Path

from frame import parser_of, run_script
from PIL import Image, ImageDraw, ImageFont

from fst import Stylizer
from fst.io import images

GAP_PX, CAPTION_PX = 4, 22


def main() -> int:
    """Run the script; returns its exit code."""
    parser = parser_of(__doc__)
    add = parser.add_argument
    add("--model", default="fst/assets/gallery.safetensors", help="style model")
    add("--photos", nargs="+", default=["datasets/samples/content"], help="files or folders")
    add("--styles", nargs="+", help="names (all)")
    add("--columns", type=int, default=11, help="pictures beside each other (11)")
    add("--size", type=int, default=512, help="shorter side while painting, in px (512)")
    add("--cell", type=int, default=220, help="width of each picture in the sheet, in px (220)")
    add("-o", "--output", type=Path, default=Path("datasets/samples/painted.jpg"))
    return run_script(__file__, parser, paint)


def paint(args: argparse.Namespace) -> None:
    """Paint every photo in every style and write the sheet."""
    stylizer = Stylizer(args.model)
    styles = args.styles or stylizer.style_names
    cells = []
    for photo in images.find(args.photos):
        content = images.load(photo, args.size)
        cells.append(cell(content, "photo", args.cell))
        cells += [cell(stylizer.stylize(content, style), style, args.cell) for style in styles]
    images.save(
        images.to_tensor(sheet(cells, args.columns)), args.output, overwrite=True, quality=88
    )


def cell(image, caption: str, width_px: int) -> Image.Image:
    """A painting, shrunk, with its name below."""
    picture = images.to_picture(image)
    height = round(picture.height * width_px / picture.width)
    framed = Image.new("RGB", (width_px, height + CAPTION_PX), "white")
    framed.paste(picture.resize((width_px, height), Image.Resampling.LANCZOS))
    font = ImageFont.load_default(14)
    ImageDraw.Draw(framed).text((2, height + 2), caption.replace("_", " "), "black", font)
    return framed


def sheet(cells: list[Image.Image], columns: int) -> Image.Image:
    """Cells of one width, row by row."""
    rows = [cells[start : start + columns] for start in range(0, len(cells), columns)]
    heights = [max(picture.height for picture in row) + GAP_PX for row in rows]
    width = columns * (cells[0].width + GAP_PX)
    result = Image.new("RGB", (width, sum(heights)), "white")
    top = 0
    for row, height in zip(rows, heights, strict=True):
        for column, picture in enumerate(row):
            result.paste(picture, (column * (cells[0].width + GAP_PX), top))
        top += height
    return result


if __name__ == "__main__":
    sys.exit(main())
