"""Train the style model that ships with the package (fst/assets/gallery.safetensors).

    python scripts/train_gallery.py --paintings paintings/ --photos photos/ \
        --loss-weights VGG16.safetensors -o checkpoints/gallery

One run of fst-train from scratch by the real VGG-16; called again, it goes on where it was stopped.
It is meant for a GPU: 112,000 crops, minutes there and days on two cores. The
model.safetensors of the run is what is shipped.
"""

import argparse
import sys
from pathlib import Path

from fst.cli.train import main as fst_train

OURS = Path(__file__).parents[1] / "datasets" / "samples" / "styles"
# Public-domain works and drawings of our own, in order of id: shorter side in px that each is
# learned at, and its style weight. Signac and van_gogh are five paintings each.
STYLES = {
    "the_scream": (640, 16),
    "udnie": (512, 11),
    "wave": (512, 11),
    "shipwreck": (512, 20),
    "starry_night": (576, 12),
    "composition_vii": (512, 16),
    "edtaonisl": (512, 10),
    "robert_delaunay_portrait": (512, 16),
    "signac": (512, 13),
    "pointillism": (512, 22),
    "cubist_shards": (512, 12),
    "gauguin_tahiti": (512, 16),
    "renoir_moulin": (512, 14),
    "monet_parasol": (512, 22),
    "derain_matisse": (400, 20),
    "mona_lisa": (512, 12),
    "sorolla_beach": (512, 14),
    "van_gogh": (512, 14),
    "stained_glass": (512, 10),
    "woodblock_waves": (512, 14),
    "impasto_swirls": (512, 14),
}
GRID_WEIGHT = "800"  # against a lattice on flat ground
STEPS, BATCH_SIZE, LEARNING_RATE = 7000, 16, "0.002"


def main() -> int:
    """Call fst-train with the gallery's recipe; returns its exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    add = parser.add_argument
    add("--paintings", type=Path, required=True, help="folder of NAME.jpg and NAME/")
    add("--photos", required=True, help="folder of training photos")
    add("--loss-weights", required=True, metavar="FILE", help="a real VGG-16")
    add("--steps", type=int, default=STEPS, metavar="N", help=f"({STEPS})")
    add("--batch-size", type=int, default=BATCH_SIZE, metavar="N", help=f"({BATCH_SIZE})")
    add("-o", "--output", type=Path, default=Path("checkpoints/gallery"))
    args, more = parser.parse_known_args()
    sizes, weights = zip(*STYLES.values(), strict=True)
    checkpoint = args.output / "last.ckpt"
    beginning = ["--resume", str(checkpoint)] if checkpoint.exists() else ["--from-scratch"]
    return fst_train(
        [
            *("--styles", *(picture(name, args.paintings) for name in STYLES)),
            *("--style-weight", *map(str, weights), "--style-size", *map(str, sizes)),
            *("--grid-weight", GRID_WEIGHT, "--content", args.photos),
            *("--loss-weights", args.loss_weights, "--lr", LEARNING_RATE),
            *("--steps", str(args.steps), "--batch-size", str(args.batch_size)),
            *(*beginning, "-o", str(args.output), *more),
        ]
    )


def picture(name: str, paintings: Path) -> str:
    """File or folder of a style."""
    found = [paintings / name, paintings / f"{name}.jpg", OURS / f"{name}.jpg"]
    return str(next((path for path in found if path.exists()), found[1]))


if __name__ == "__main__":
    sys.exit(main())
