"""Train the style model that ships with the package (fst/assets/gallery.safetensors).

    python scripts/train_gallery.py --paintings paintings/ --photos photos/ \
        --loss-weights VGG16.safetensors -o checkpoints/gallery

Three runs of fst-train by the real VGG-16, one after the other; called again, it goes on where it
was stopped:

1. from scratch, 7,000 steps of 16 crops, on a GPU (six minutes on an H200; days on two cores):
   strokes, but in some styles faces dissolve;
2. from 1, 600 steps of 4, most styles at less weight (12 minutes on two cores): the subjects come
   back;
3. from 2, 250 steps of 4 at a lower rate (4 minutes): other weights for five styles, after a blind
   comparison of their pictures.

The model.safetensors of the third run is what is shipped. The first was stopped at step 6,300, its
rate down to a fortieth; in the first two the term against checkerboards saw a period of 4 px alone.
"""

import argparse
import sys
from pathlib import Path

from fst.cli.train import main as fst_train
from fst.style_model.format import load_style_model

OURS = Path(__file__).parents[1] / "datasets" / "samples" / "styles"
# Public-domain works and drawings of our own, in order of id: shorter side in px that each is
# learned at, and its style weight, in each run; the third has those of the second where none are
# given. Signac and van_gogh are five paintings each.
STYLES = {
    "the_scream": ((640, 16), (640, 8), (640, 6.5)),
    "udnie": ((512, 11), (512, 9), (512, 8)),
    "wave": ((512, 11), (512, 4.5), (512, 4)),
    "shipwreck": ((512, 20), (512, 11), (512, 9)),
    "starry_night": ((576, 12), (400, 14)),
    "composition_vii": ((512, 16), (512, 14)),
    "edtaonisl": ((512, 10), (512, 10)),
    "robert_delaunay_portrait": ((512, 16), (512, 12)),
    "signac": ((512, 13), (400, 16)),
    "pointillism": ((512, 22), (512, 9), (512, 11)),
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
FOLDERS = "strokes", "subjects", "."  # of the runs
STEPS = 7000, 600, 250
RATES, BATCHES = ("0.002", "0.001", "0.0007"), ("16", "4", "4")


def main() -> int:
    """Call fst-train with the gallery's recipe; returns its exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    add = parser.add_argument
    add("--paintings", type=Path, required=True, help="folder of NAME.jpg and NAME/")
    add("--photos", required=True, help="folder of training photos")
    add("--loss-weights", required=True, metavar="FILE", help="a real VGG-16")
    add("--steps", type=int, nargs=3, default=STEPS, metavar="N", help=f"of each run {STEPS}")
    add("-o", "--output", type=Path, default=Path("checkpoints/gallery"))
    args, more = parser.parse_known_args()
    models = [args.output / folder / "model.safetensors" for folder in FOLDERS]
    for place, model in enumerate(models):
        checkpoint = model.with_name("last.ckpt")
        if is_done(model, args.steps[place]):
            continue
        if checkpoint.exists():
            beginning = ["--resume", str(checkpoint)]
        elif place:
            beginning = ["--warm-start", str(models[place - 1]), "--rows-first", "0"]
        else:
            beginning = ["--from-scratch"]
        argv = [*of_run(args, place), *beginning, "-o", str(model.parent), *more]
        if code := fst_train(argv):
            return code
    return 0


def of_run(args: argparse.Namespace, place: int) -> list[str]:
    """The flags of a run but for where its weights come from and go to."""
    sizes, weights = zip(*((*runs, runs[-1])[place] for runs in STYLES.values()), strict=True)
    return [
        *("--styles", *(picture(name, args.paintings) for name in STYLES)),
        *("--style-weight", *map(str, weights), "--style-size", *map(str, sizes)),
        *("--grid-weight", GRID_WEIGHT, "--content", args.photos),
        *("--loss-weights", args.loss_weights, "--steps", str(args.steps[place])),
        *("--lr", RATES[place], "--batch-size", BATCHES[place], "--seed", str(place)),
    ]


def is_done(model: Path, steps: int) -> bool:
    """Whether a run has been trained to its end."""
    return model.exists() and load_style_model(model)[1]["training"]["step"] >= steps


def picture(name: str, paintings: Path) -> str:
    """File or folder of a style."""
    found = [paintings / name, paintings / f"{name}.jpg", OURS / f"{name}.jpg"]
    return str(next((path for path in found if path.exists()), found[1]))


if __name__ == "__main__":
    sys.exit(main())
