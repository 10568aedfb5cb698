"""Train the style model that ships with the package (fst/assets/gallery.safetensors).

    python scripts/train_gallery.py --paintings paintings/ --photos photos/ --held-out val/ \
        --shallow VGG19_TO_RELU3_1.safetensors --deep VGG19_16X.safetensors -o checkpoints/gallery
"""

import argparse
import sys
from pathlib import Path

from fst.cli.train import main as fst_train

# Public-domain works; the order is the order of the style ids. Signac is five of his paintings.
# Each with its style weight and the shorter side of its pictures.
STYLES = {
    "the_scream": (8, 384),
    "udnie": (12, 384),
    "wave": (20, 384),
    "shipwreck": (8, 384),
    "starry_night": (8, 384),
    "composition_vii": (8, 384),
    "edtaonisl": (8, 384),
    "robert_delaunay_portrait": (8, 384),
    "signac": (8, 384),
}


def main() -> int:
    """Call fst-train with the gallery's recipe; returns its exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--paintings", type=Path, required=True, help="folder of NAME.jpg and NAME/"
    )
    parser.add_argument("--photos", required=True, help="folder of training photos")
    parser.add_argument("--held-out", required=True, help="folder of photos for review")
    parser.add_argument("--shallow", required=True, help="VGG-19 weights to relu3_1 or deeper")
    parser.add_argument("--deep", required=True, help="VGG-19 weights of the deeper layers")
    parser.add_argument("-o", "--output", default="checkpoints/gallery")
    args, more = parser.parse_known_args()  # more: flags of fst-train, such as --resume
    paths = [args.paintings / name for name in STYLES]
    argv = ["--styles", *(str(p if p.is_dir() else p.with_suffix(".jpg")) for p in paths)]
    argv += ["--style-weight", *(str(weight) for weight, _ in STYLES.values())]
    argv += ["--style-size", *(str(size) for _, size in STYLES.values())]
    argv += ["--loss-weights", args.shallow, args.deep, "--content-layer", "relu3_1"]
    argv += ["--content", args.photos, "--held-out", args.held_out]
    return fst_train([*argv, "-o", args.output, "--seed", "0", *more])


if __name__ == "__main__":
    sys.exit(main())
