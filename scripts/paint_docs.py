"""Make pictures of the documentation that are not of single controls (see paint_controls.py).

python scripts/paint_docs.py quick-start
fst-train --add-to gallery --styles linocut.jpg -o ADDED
fst-train --styles linocut.jpg --steps 400 -o RUN
python scripts/paint_docs.py trained --models ADDED/model.safetensors RUN/model.safetensors
python scripts/reproduce_thesis.py --style starry_night.jpg --instances signac/ -o THESIS
python scripts/paint_docs.py thesis --folder THESIS --style starry_night.jpg
fst-gram PICTURE ... -o REPORT; fst-gram starry_night.jpg --synthesize -o TEXTURES
python scripts/paint_docs.py gram --folder REPORT --textures TEXTURES
"""

import argparse
import sys
from pathlib import Path

from frame import parser_of, run_script
from paint_controls import row_of
from paint_samples import CAPTION_PX, cell, sheet
from PIL import Image
from reproduce_thesis import PARTS, centered_form, picture_path
from torch import Tensor

from fst import Stylizer
from fst.assets import GALLERY, SAMPLE_PHOTO
from fst.io import images
from fst.style_model.format import load_style_model
from fst.style_model.labelled import middle_square

SAMPLES = Path(__file__).parents[1] / "datasets" / "samples"
QUALITY = 85
LEARNED = "linocut"  # a drawing that the gallery does not have
SMALL_PX = 220  # of a result of reproduce_thesis.py
# Sheet to the parts of reproduce_thesis.py that it shows, and its columns.
THESIS = {
    "top": ("a", 4),
    "slices": ("c", 6),
    "projected": ("de", 4),
    "instances": ("f", 4),
    "others": ("go", 4),
}


def main() -> int:
    """Run the script; returns its exit code."""
    parser = parser_of(__doc__)
    add = parser.add_argument
    add("what", choices=KINDS)
    add("--model", default=GALLERY, help="style model (the gallery)")
    add("--models", nargs="+", default=[], metavar="FILE", help="style models, for trained")
    add("--folder", type=Path, help="of reproduce_thesis.py, or of fst-gram")
    add("--textures", type=Path, help="of fst-gram --synthesize")
    add("--style", type=Path, help="the painting of the experiment")
    add("-o", "--output", type=Path, default=Path("docs/pictures"), help="folder")
    return run_script(__file__, parser, lambda args: KINDS[args.what](args))


def write(args: argparse.Namespace, name: str, picture: Tensor | Image.Image) -> None:
    """One picture of the documentation."""
    image = picture if isinstance(picture, Tensor) else images.to_tensor(picture)
    images.save(image, args.output / name, overwrite=True, quality=QUALITY)


def quick_start(args: argparse.Namespace) -> None:
    """A photo in three styles."""
    stylizer, photo = Stylizer(args.model), images.load(SAMPLE_PHOTO, 512)
    styles = ("wave", "the_scream", "shipwreck")
    paintings = {style: stylizer.stylize(photo, style) for style in styles}
    write(args, "quick_start.jpg", row_of(photo, paintings, 2))


def trained(args: argparse.Namespace) -> None:
    """A drawing, and the sample photos painted by models that have learned it, a row each."""
    shown = middle_square(images.load(SAMPLES / "styles" / f"{LEARNED}.jpg", 448))
    cells = []
    for model in args.models:
        stylizer, metadata = Stylizer(model), load_style_model(model)[1]
        way = "added to the gallery" if len(stylizer.style_names) > 1 else "all weights learn"
        cells.append(cell(shown, f"{metadata['training']['step']:,} steps, {way}", 260))
        for name in ("landscape", "portrait", "still_life"):
            photo = images.load(SAMPLES / "content" / f"{name}.jpg", 448)
            cells.append(cell(middle_square(stylizer.stylize(photo, LEARNED)), name, 260))
    write(args, "trained.jpg", sheet(cells, 4))


def thesis(args: argparse.Namespace) -> None:
    """The thesis' experiment, part by part, with what was matched below each: of the uncentred
    matrix, then of the centred one."""
    for name, (letters, columns) in THESIS.items():
        parts = {part: texts for part, texts in PARTS.items() if part[0] in letters}
        source = "signac" if name == "instances" else args.style.stem
        texts = dict.fromkeys(text for texts in parts.values() for text in texts)
        texts |= dict.fromkeys(filter(None, map(centered_form, texts)))
        cells = [cell(images.load(SAMPLE_PHOTO, 256), "photo", SMALL_PX)]
        if name != "instances":
            shown = fitted(
                images.load(args.style, 256), cells[0].width, cells[0].height - CAPTION_PX
            )
            cells.append(cell(shown, "painting", SMALL_PX))
        for text in texts:
            image = images.load(picture_path(args.folder, f"{source}, {text}"))
            cells.append(cell(image, caption(text), SMALL_PX))
        write(args, f"thesis_{name}.jpg", sheet(cells, columns))


def caption(text: str) -> str:
    """A statistic in the width of a cell."""
    text = text.replace("instances=", "")
    return text if len(text) < 24 else text.replace("patches=", "").replace("rank=", "")


def fitted(image: Tensor, width_px: int, height_px: int) -> Tensor:
    """Cut at the sides, or above and below, to the shape of a cell."""
    height, width = image.shape[1:]
    wide = min(width, height * width_px // height_px)
    high = min(height, width * height_px // width_px)
    top, left = (height - high) // 2, (width - wide) // 2
    return image[:, top : top + high, left : left + wide]


def gram(args: argparse.Namespace) -> None:
    """Figures of fst-gram, with a palette: they are drawings."""
    for name in ("spectra_log", "reconstruction", "similarity"):
        picture = Image.open(args.folder / "figures" / f"{name}.png").convert("RGB")
        target = args.output / f"gram_{name.removesuffix('_log')}.png"
        images.publish(
            target,
            lambda file, p=picture: p.quantize(64, dither=Image.Dither.NONE).save(
                file, "PNG", optimize=True
            ),
            True,
        )
    write(args, "gram_textures.jpg", images.load(args.textures / "figures" / "textures.png", 780))


KINDS = {"quick-start": quick_start, "trained": trained, "thesis": thesis, "gram": gram}

if __name__ == "__main__":
    sys.exit(main())
