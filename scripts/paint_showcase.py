"""Paint the photographs at the top of the README.

    python scripts/paint_showcase.py -o docs/pictures

They come with scikit-image (the extra `docs`), and are free of rights: Eileen Collins (NASA, public
domain); Chelsea the cat (Stefan van der Walt), a cup of coffee (Rachel Michetti) and the start of a
rocket (SpaceX), all CC0. Only our paintings of them are kept.
"""

import argparse
import sys
from pathlib import Path

import torch
from frame import parser_of, run_script
from torch import Tensor

from fst import Stylizer
from fst.assets import GALLERY
from fst.io import images

# Name in `skimage.data` to the style that it is shown in.
SHOWN = {
    "astronaut": "gauguin_tahiti",
    "cat": "wave",
    "coffee": "composition_vii",
    "rocket": "starry_night",
}
QUALITY = 88


def main() -> int:
    """Run the script; returns its exit code."""
    parser = parser_of(__doc__)
    add = parser.add_argument
    add("--model", default=GALLERY, help="style model (the gallery)")
    add("-o", "--output", type=Path, default=Path("docs/pictures"), help="folder")
    return run_script(__file__, parser, run)


def run(args: argparse.Namespace) -> None:
    """Paint each photo in its style."""
    stylizer = Stylizer(args.model)
    for name, style in SHOWN.items():
        path = args.output / f"showcase_{name}.jpg"
        images.save(stylizer.stylize(photo(name), style), path, overwrite=True, quality=QUALITY)


def photo(name: str) -> Tensor:
    """A photograph of scikit-image, (3, H, W) in [0, 1]."""
    from skimage import data

    return torch.from_numpy(getattr(data, name)()).permute(2, 0, 1).float() / 255


if __name__ == "__main__":
    sys.exit(main())
