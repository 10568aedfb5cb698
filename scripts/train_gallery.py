"""Train the style model that ships with the package (fst/assets/gallery.safetensors).

    python scripts/train_gallery.py --paintings paintings/ --photos photos/ --held-out val/ \
        --loss-weights VGG19.safetensors -o checkpoints/gallery

The shipped file: seed 0, 4,500 steps of 4 x 256 px on 1,300 photos with a quarter-width VGG-19
as loss network, 28 minutes on two cores; its settings and held-out figures are in its metadata.
"""

import argparse
import sys
from pathlib import Path

from fst.cli.train import main as fst_train

# Public-domain works; the order is the order of the style ids.
STYLES = ("the_scream", "udnie", "wave", "shipwreck", "starry_night", "composition_vii")


def main() -> int:
    """Call fst-train with the gallery's recipe; returns its exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--paintings", type=Path, required=True, help="folder of NAME.jpg")
    parser.add_argument("--photos", required=True, help="folder of training photos")
    parser.add_argument("--held-out", required=True, help="folder of photos for review")
    parser.add_argument("--loss-weights", required=True, help="VGG-19 weights file")
    parser.add_argument("--steps", default="4500")
    parser.add_argument("-o", "--output", default="checkpoints/gallery")
    args = parser.parse_args()
    argv = ["--styles", *(str(args.paintings / f"{name}.jpg") for name in STYLES)]
    argv += ["--content", args.photos, "--held-out", args.held_out]
    argv += ["--loss-weights", args.loss_weights, "--steps", args.steps, "--seed", "0"]
    return fst_train([*argv, "-o", args.output])


if __name__ == "__main__":
    sys.exit(main())
