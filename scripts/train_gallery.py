"""Train the style model that ships with the package (fst/assets/gallery.safetensors).

    python scripts/train_gallery.py --paintings paintings/ --photos photos/ \
        --loss-weights VGG16.safetensors -o checkpoints/gallery

Two runs of fst-train by the real VGG-16, one after the other; called again, it goes on where it was
stopped:

1. from scratch, 7,000 steps of 16 crops, on a GPU (six minutes on an H200; days on two cores):
   strokes, but in some styles faces dissolve;
2. from 1, 600 steps of 4, most styles at less weight (13 minutes on two cores): the subjects come
   back.

The model.safetensors of the second run is what is shipped.
"""

import argparse
import sys
from pathlib import Path

from fst.cli.train import main as fst_train
from fst.style_model.format import load_style_model

OURS = Path(__file__).parents[1] / "datasets" / "samples" / "styles"
# Public-domain works and drawings of our own, in order of id: shorter side in px that each is
# learned at, and its style weight, in each of the two runs. Signac and van_gogh are five paintings.
STYLES = {
    "the_scream": ((640, 16), (640, 8)),
    "udnie": ((512, 11), (512, 9)),
    "wave": ((512, 11), (512, 4.5)),
    "shipwreck": ((512, 20), (512, 11)),
    "starry_night": ((576, 12), (400, 14)),
    "composition_vii": ((512, 16), (512, 14)),
    "edtaonisl": ((512, 10), (512, 10)),
    "robert_delaunay_portrait": ((512, 16), (512, 12)),
    "signac": ((512, 13), (400, 16)),
    "pointillism": ((512, 22), (512, 9)),
    "cubist_shards": ((512, 12), (512, 9)),
    "gauguin_tahiti": ((512, 16), (512, 13)),
    "renoir_moulin": ((512, 14), (512, 11)),
    "monet_parasol": ((512, 22), (360, 18)),
    "derain_matisse": ((400, 20), (640, 18)),
    "mona_lisa": ((512, 12), (512, 5)),
    "sorolla_beach": ((512, 14), (512, 6)),
    "van_gogh": ((512, 14), (512, 14)),
    "stained_glass": ((512, 10), (512, 10)),
    "woodblock_waves": ((512, 14), (512, 9)),
    "impasto_swirls": ((512, 14), (512, 7)),
}
GRID_WEIGHT = "800"  # against a lattice on flat ground
STEPS = 7000, 600


def main() -> int:
    """Call fst-train with the gallery's recipe; returns its exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    add = parser.add_argument
    add("--paintings", type=Path, required=True, help="folder of NAME.jpg and NAME/")
    add("--photos", required=True, help="folder of training photos")
    add("--loss-weights", required=True, metavar="FILE", help="a real VGG-16")
    add("--steps", type=int, nargs=2, default=STEPS, metavar="N", help="of each run (7000 600)")
    add("-o", "--output", type=Path, default=Path("checkpoints/gallery"))
    args, more = parser.parse_known_args()
    first = args.output / "strokes"
    from_first = ["--warm-start", str(first / "model.safetensors"), "--rows-first", "0"]
    # Folder, where the weights come from, how they are learned.
    runs = [
        (first, ["--from-scratch"], ["--batch-size", "16", "--lr", "0.002", "--seed", "0"]),
        (args.output, from_first, ["--batch-size", "4", "--lr", "0.001", "--seed", "1"]),
    ]
    for place, (folder, beginning, learning) in enumerate(runs):
        if is_done(folder, args.steps[place]):
            continue
        if (folder / "last.ckpt").exists():
            beginning = ["--resume", str(folder / "last.ckpt")]
        argv = [*of_all(args, place), *beginning, *learning, "--steps", str(args.steps[place])]
        if code := fst_train([*argv, "-o", str(folder), *more]):
            return code
    return 0


def of_all(args: argparse.Namespace, place: int) -> list[str]:
    """The flags that both runs have; `place` is 0 or 1."""
    sizes, weights = zip(*(runs[place] for runs in STYLES.values()), strict=True)
    return [
        *("--styles", *(picture(name, args.paintings) for name in STYLES)),
        *("--style-weight", *map(str, weights), "--style-size", *map(str, sizes)),
        *("--grid-weight", GRID_WEIGHT, "--content", args.photos),
        *("--loss-weights", args.loss_weights),
    ]


def is_done(folder: Path, steps: int) -> bool:
    """Whether a run has been trained to its end."""
    model = folder / "model.safetensors"
    return model.exists() and load_style_model(model)[1]["training"]["step"] >= steps


def picture(name: str, paintings: Path) -> str:
    """File or folder of a style."""
    found = [paintings / name, paintings / f"{name}.jpg", OURS / f"{name}.jpg"]
    return str(next((path for path in found if path.exists()), found[1]))


if __name__ == "__main__":
    sys.exit(main())
