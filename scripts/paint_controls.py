"""Make the pictures of docs/control.md: sample photos under each control of a style model.

python scripts/paint_controls.py --model fst/assets/gallery.safetensors -o docs/pictures
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from frame import parser_of, run_script
from paint_samples import cell, sheet
from torch import Tensor
from tqdm import tqdm

from fst import Stylizer
from fst.io import images
from fst.stylize.blend_grid import blend_grid
from fst.stylize.controls.masks import soften

HORIZON = 0.515  # of the height of the sample landscape: above are sky and mountains
CELL_PX = 300
QUALITY = 85


def main() -> int:
    """Run the script; returns its exit code."""
    parser = parser_of(__doc__)
    add = parser.add_argument
    add("--model", default="fst/assets/gallery.safetensors", help="style model")
    add("--photos", type=Path, default=Path("datasets/samples/content"), help="sample folder")
    add("--size", type=int, default=448, help="shorter side of the photos, in px (448)")
    add("-o", "--output", type=Path, default=Path("docs/pictures"), help="folder")
    return run_script(__file__, parser, run)


def run(args: argparse.Namespace) -> None:
    """Paint and write all sheets."""
    stylizer = Stylizer(args.model)
    photos = {
        name: images.load(args.photos / f"{name}.jpg", args.size)
        for name in ("landscape", "portrait", "still_life")
    }
    for name, make in tqdm(SHEETS.items(), unit="sheet"):
        path = args.output / f"{name}.jpg"
        images.save(make(stylizer, photos), path, overwrite=True, quality=QUALITY)


def row_of(photo: Tensor, paintings: dict[str, Tensor], columns: int = 0) -> Tensor:
    """The photo and paintings with captions, beside each other."""
    cells = [cell(image, name, CELL_PX) for name, image in {"photo": photo, **paintings}.items()]
    return images.to_tensor(sheet(cells, columns or len(cells)))


def varied(
    stylizer: Stylizer, photo: Tensor, style: str, control: str, values: Sequence[float]
) -> Tensor:
    """The photo, and its paintings at values of one control."""
    paintings = {
        f"{control} {value:g}": stylizer.stylize(photo, style, **{control: value})
        for value in values
    }
    return row_of(photo, paintings, 3)


def blends(stylizer: Stylizer, photos: dict[str, Tensor]) -> Tensor:
    """A square of blends between four styles."""
    styles = ["wave", "udnie", "the_scream", "signac"]
    return blend_grid(stylizer, photos["portrait"], styles, cell_px=180)


def strengths(stylizer: Stylizer, photos: dict[str, Tensor]) -> Tensor:
    """From the photo to beyond the painting."""
    return varied(
        stylizer, photos["landscape"], "the_scream", "strength", (0.25, 0.5, 0.75, 1, 1.5)
    )


def masks(stylizer: Stylizer, photos: dict[str, Tensor]) -> Tensor:
    """Two styles in one picture, and a photo painted in part."""
    photo = photos["landscape"]
    sky = torch.zeros(photo.shape[1:])
    sky[: round(HORIZON * len(sky))] = 1
    paintings = {
        "mask (borders softened)": soften(sky).expand(3, -1, -1),
        "wave, mask the scream": stylizer.stylize(photo, "wave", masks={"the_scream": sky}),
        "signac, mask alone": stylizer.stylize(photo, "signac", where=sky),
    }
    return row_of(photo, paintings, 2)


def colors(stylizer: Stylizer, photos: dict[str, Tensor]) -> Tensor:
    """The painting's own colours and the two ways to keep the photo's."""
    photo = photos["still_life"]
    ways = {"wave": None, "luminance": "luminance", "histogram": "histogram"}
    return row_of(
        photo, {name: stylizer.stylize(photo, "wave", keep_colors=w) for name, w in ways.items()}, 2
    )


def texture_sizes(stylizer: Stylizer, photos: dict[str, Tensor]) -> Tensor:
    """Strokes from half to three times the size."""
    return varied(stylizer, photos["landscape"], "signac", "texture_size", (0.5, 1, 1.5, 2, 3))


def alpha(stylizer: Stylizer, photos: dict[str, Tensor]) -> Tensor:
    """A cut-out, laid on grey."""
    photo = photos["portrait"]
    down, across = (torch.linspace(-1, 1, n) for n in photo.shape[1:])
    oval = 20 * (1 - (across[None] / 0.55) ** 2 - (down[:, None] / 0.9) ** 2)
    cutout = torch.cat([photo, oval.clamp(0, 1)[None]])
    paintings = {style: stylizer.stylize(cutout, style) for style in ("wave", "udnie")}
    return row_of(on_grey(cutout), {k: on_grey(v) for k, v in paintings.items()})


def on_grey(image: Tensor) -> Tensor:
    """(4, H, W) on a grey ground."""
    return torch.lerp(torch.tensor(0.35), image[:3], image[3])


SHEETS: dict[str, Callable[[Stylizer, dict[str, Tensor]], Tensor]] = {
    "blends": blends,
    "strength": strengths,
    "masks": masks,
    "colors": colors,
    "texture_size": texture_sizes,
    "alpha": alpha,
}

if __name__ == "__main__":
    sys.exit(main())
