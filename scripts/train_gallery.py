"""Train the style model that ships with the package (fst/assets/gallery.safetensors).

    python scripts/train_gallery.py --paintings paintings/ --photos photos/ -o checkpoints/gallery

Any flag of fst-train may follow, such as --steps, --warm-start or --resume.

The shipped file grew out of that of version 0.1.0, which painted palettes and grain (recipe: this
file there), by the objective of `fst/losses/objective.py`, 4 x 256 px a step and vgg19-lite,
on a processor with bf16 products, beside other work. Style weights are in order of id:

1. 1,500 steps, --style-weight 40, --seed 0 (24 minutes on one core): strokes, but faces dissolve;
2. from 1: 500 steps, --seed 1, 20 20 20 20 12 20 15 15 20 20 20 (8 minutes on one core);
3. from 2: 300 steps, --seed 2, --grid-weight 800, 8 10 10 15 12 18 15 12 15 10 15 (3 minutes on two
   cores): of 16 pictures of stage 2, 8 had been chosen, blind, before those of version 0.1.0;
   the others lost for the subjects that they lost;
4. from 3: 200 steps, --seed 3, --grid-weight 800, 8 10 10 6 12 10 15 6 10 10 15 (2 minutes): of
   stage 3, 8 of 14 had been chosen, but none of shipwreck and robert_delaunay_portrait;
5. from 4: 1,500 steps of 2 images, --seed 4, --grid-weight 800, the weights below, by vgg16-lite
   and with style pictures at 512 px, not 640 (8 minutes on one core).
"""

import argparse
import sys
from pathlib import Path

from fst.cli.train import main as fst_train

OURS = Path(__file__).parents[1] / "datasets" / "samples" / "styles"
# Public-domain works and drawings of our own, in order of id, each with its style weight and the
# shorter side in px that it is learned at. Signac and van_gogh are five paintings each.
STYLES = {
    "the_scream": (20, 640),
    "udnie": (15, 512),
    "wave": (15, 512),
    "shipwreck": (15, 512),
    "starry_night": (15, 576),
    "composition_vii": (20, 512),
    "edtaonisl": (12, 512),
    "robert_delaunay_portrait": (20, 512),
    "signac": (15, 512),
    "pointillism": (20, 512),
    "cubist_shards": (15, 512),
    "gauguin_tahiti": (20, 512),
    "renoir_moulin": (20, 512),
    "monet_parasol": (20, 512),
    "derain_matisse": (20, 400),
    "mona_lisa": (20, 512),
    "sorolla_beach": (20, 512),
    "van_gogh": (15, 512),
    "stained_glass": (15, 512),
    "woodblock_waves": (15, 512),
    "impasto_swirls": (15, 512),
}


def main() -> int:
    """Call fst-train with the gallery's recipe; returns its exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    add = parser.add_argument
    add("--paintings", type=Path, required=True, help="folder of NAME.jpg and NAME/")
    add("--photos", required=True, help="folder of training photos")
    add("-o", "--output", default="checkpoints/gallery")
    args, more = parser.parse_known_args()
    argv = ["--styles", *(picture(name, args.paintings) for name in STYLES)]
    weights, sizes = zip(*STYLES.values(), strict=True)
    argv += ["--style-weight", *map(str, weights), "--style-size", *map(str, sizes)]
    argv += ["--content", args.photos, "-o", args.output]
    return fst_train([*argv, *more])


def picture(name: str, paintings: Path) -> str:
    """File or folder of a style."""
    found = [paintings / name, paintings / f"{name}.jpg", OURS / f"{name}.jpg"]
    return str(next((path for path in found if path.exists()), found[1]))


if __name__ == "__main__":
    sys.exit(main())
