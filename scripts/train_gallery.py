"""Train the style model that ships with the package (fst/assets/gallery.safetensors).

    python scripts/train_gallery.py --paintings paintings/ --photos photos/ --held-out val/ \
        --shallow VGG19_TO_RELU3_1.safetensors --deep VGG19_16X.safetensors -o checkpoints/gallery

Fine texture is judged by a real VGG-19 down to relu3_1, large forms by a small one: a network that
learns from a small VGG alone finds hatchings that please it and no one else. Any flag of fst-train
may follow, such as --steps, --warm-start or --resume.

The shipped file grew in stages on two CPU cores, all with seed 0, 4 x 256 px a step and (from 2 on)
rows learning at twice the rate of the convolutions:

1. 4,500 steps, six styles, the small VGG alone, style weight 5, from random weights (28 minutes);
2. from 1: 300 steps, nine styles, the networks below, style weights
   8 12 20 8 8 8 8 8 8 in order of id (14 minutes);
3. from 2: all eleven, --steps 2200 --rows-first 0, style weights
   10 25 40 8 8 10 12 10 8 8 8, until step 800 (44 minutes on one core beside other work);
4. resumed with --steps 2000 and 6 18 60 4 8 8 10 10 8 8 8, until step 1400 (25 minutes): on
   held-out photos some styles had more style than they needed and less photo, one the reverse;
5. resumed with the weights below and --grid-weight 800: a 4 px pattern showed on flat ground
   (25 minutes).
"""

import argparse
import sys
from pathlib import Path

from fst.cli.train import main as fst_train

OURS = Path(__file__).parents[1] / "datasets" / "samples" / "styles"
# Public-domain works and two drawings of our own, in order of id: style weight, shorter side of
# the pictures. Signac is five of his paintings. The weights place each style between photo and
# painting; those of the first four were set by measuring against single-style networks.
STYLES = {
    "the_scream": (5, 384),
    "udnie": (12, 384),
    "wave": (60, 384),
    "shipwreck": (3.2, 384),
    "starry_night": (8, 384),
    "composition_vii": (8, 384),
    "edtaonisl": (10, 384),
    "robert_delaunay_portrait": (10, 384),
    "signac": (8, 384),
    "pointillism": (8, 384),
    "cubist_shards": (8, 384),
}


def main() -> int:
    """Call fst-train with the gallery's recipe; returns its exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    add = parser.add_argument
    add("--paintings", type=Path, required=True, help="folder of NAME.jpg and NAME/")
    add("--photos", required=True, help="folder of training photos")
    add("--held-out", required=True, help="folder of photos for review")
    add("--shallow", required=True, help="VGG-19 weights to relu3_1 or deeper")
    add("--deep", required=True, help="VGG-19 weights of the deeper layers")
    add("-o", "--output", default="checkpoints/gallery")
    args, more = parser.parse_known_args()
    argv = ["--styles", *(picture(name, args.paintings) for name in STYLES)]
    argv += ["--style-weight", *(str(weight) for weight, _ in STYLES.values())]
    argv += ["--style-size", *(str(size) for _, size in STYLES.values())]
    argv += ["--loss-weights", args.shallow, args.deep, "--content-layer", "relu3_1"]
    argv += ["--content", args.photos, "--held-out", args.held_out]
    return fst_train([*argv, "-o", args.output, "--seed", "0", *more])


def picture(name: str, paintings: Path) -> str:
    """File or folder of a style."""
    found = [paintings / name, paintings / f"{name}.jpg", OURS / f"{name}.jpg"]
    return str(next((path for path in found if path.exists()), found[1]))


if __name__ == "__main__":
    sys.exit(main())
