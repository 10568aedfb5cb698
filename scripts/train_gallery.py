"""Train the style model that ships with the package (fst/assets/gallery.safetensors).

    python scripts/train_gallery.py --paintings paintings/ --photos photos/ \
        --loss-weights VGG16.safetensors -o checkpoints/gallery

Fourteen runs of fst-train by the real VGG-16, one after the other; called again, it goes on where
it was stopped:

1. from scratch, 7,000 steps of 16 crops, on a GPU (six minutes on an H200; days on two cores):
   strokes, but in some styles faces dissolve;
2. from 1, 600 steps of 4, most styles at less weight (12 minutes on two cores): the subjects come
   back;
3. from 2, 250 steps of 4 at a lower rate (4 minutes): other weights for five styles, after a blind
   comparison of their pictures;
4. from 3, 1,500 steps of 4 (40 minutes beside other work): the first run with
   `fst.networks.phases.EvenConv`; after it the dots and black blobs in dark places are gone;
5. from 4, 700 steps of 4 at a lower rate (11 minutes): more weight for styles that lost strokes;
6. from 5, 600 steps of 4 at a lower rate still (10 minutes): more weight for wave, which was pale;
7. from 6, 1,200 steps of 4 (17 minutes): the first run with `fst.losses.consistency`, and more
   weight for all styles, since it keeps the subjects;
8. from 7, 1,600 steps of 4, stopped at step 879 (14 minutes): the first run with
   `fst.losses.grey`: strokes, but subjects dissolve;
9. from 8, 1,100 steps of 4 (17 minutes): less weight for all styles, since in grey less is needed;
   the subjects come back;
10. from 9, 1,500 steps of 4 (22 minutes): less weight again where faces dissolved;
11. from the mean of the weights of 7, 9 and 10 (.3, .3, .4), 700 steps of 4 at a low rate (27
    minutes);
12. from the mean of that and of 11, its colours matched (`match_colours`), one step at a rate that
    changes nothing: it measures what the card tells;
13. from 12, 800 steps of 4 at a low rate (30 minutes): the first run with `fst.losses.grain`,
    `fst.losses.colour` and `fst.losses.tone`; fewer coloured fringes;
14. from the mean of 12 and 13, its last kernels smoothed in colour (`smooth_colours`) and its
    colours matched, one step as in 12.

The clean/model.safetensors of the last run is what is shipped. The first was stopped at step
6,300, its rate down to a fortieth, and the eighth with its rate at two fifths; in the first two the
term against checkerboards saw a period of 4 px alone; in the seventh, twins were always the last of
four images. In all of them the loss network padded with zeros, not by reflection, and networks had
no margin; the shipped file was given its margin afterwards.
"""

import argparse
import sys
from pathlib import Path
from typing import NamedTuple

from gallery_colours import match_colours, smooth_colours

from fst.cli.train import main as fst_train
from fst.io import images
from fst.style_model.format import load_style_model, save_style_model

OURS = Path(__file__).parents[1] / "datasets" / "samples" / "styles"
# Public-domain works and drawings of our own, in order of id: the shorter side in px that each is
# learned at and its style weight, from which run on. Signac and van_gogh are five paintings each.
# fmt: off
STYLES = {
    "the_scream": {1: (640, 16), 2: (640, 8), 3: (640, 6.5), 5: (640, 7), 7: (640, 8),
                   8: (640, 9), 9: (640, 6.5), 13: (640, 7)},
    "udnie": {1: (512, 11), 2: (512, 9), 3: (512, 8), 6: (512, 8.5), 7: (512, 10),
              8: (512, 11), 9: (512, 9), 10: (512, 9.5), 13: (512, 12.5)},
    "wave": {1: (512, 11), 2: (512, 4.5), 3: (512, 4), 5: (512, 5), 6: (512, 8), 7: (512, 9),
             8: (512, 10), 9: (512, 8.5), 10: (512, 8), 11: (512, 7)},
    "shipwreck": {1: (512, 20), 2: (512, 11), 3: (512, 9), 5: (512, 12), 6: (512, 13),
                  7: (512, 15), 8: (512, 19), 9: (512, 11), 10: (512, 10), 13: (512, 10.5)},
    "starry_night": {1: (576, 12), 2: (400, 14), 5: (400, 16), 6: (400, 17), 7: (400, 22),
                     8: (400, 26), 9: (400, 16), 10: (400, 12), 13: (400, 14)},
    "composition_vii": {1: (512, 16), 2: (512, 14), 5: (512, 16), 7: (512, 19),
                        8: (512, 21), 9: (512, 16), 10: (512, 13.5), 13: (512, 16)},
    "edtaonisl": {1: (512, 10), 7: (512, 11), 8: (512, 12), 9: (512, 10), 10: (512, 8.5),
                  13: (512, 10)},
    "robert_delaunay_portrait": {1: (512, 16), 2: (512, 12), 5: (512, 13), 7: (512, 15),
                                 8: (512, 17), 9: (512, 13.5), 10: (512, 11.5), 13: (512, 14)},
    "signac": {1: (512, 13), 2: (400, 16), 5: (400, 18), 7: (400, 22), 8: (400, 24),
               9: (400, 17), 10: (400, 14.5), 13: (400, 18)},
    "pointillism": {1: (512, 22), 2: (512, 9), 3: (512, 11), 4: (400, 13), 7: (400, 18),
                    8: (400, 21), 9: (400, 14), 10: (400, 12), 13: (400, 13.5)},
    "cubist_shards": {1: (512, 12), 2: (512, 9), 7: (512, 10), 8: (512, 11),
                      9: (512, 9.5), 10: (512, 8.5), 13: (512, 10.5)},
    "gauguin_tahiti": {1: (512, 16), 2: (512, 13), 6: (512, 15), 7: (512, 17),
                       8: (512, 19), 9: (512, 14), 10: (512, 12.5), 13: (512, 15)},
    "renoir_moulin": {1: (512, 14), 2: (512, 11), 7: (512, 12), 8: (512, 13),
                      9: (512, 11), 10: (512, 10), 13: (512, 12.5)},
    "monet_parasol": {1: (512, 22), 2: (360, 18), 5: (480, 20), 6: (480, 22), 7: (400, 34),
                      8: (400, 36), 9: (400, 17), 10: (400, 14), 13: (400, 16.5)},
    "derain_matisse": {1: (400, 20), 2: (640, 18), 5: (512, 18), 6: (512, 20), 7: (512, 30),
                       8: (512, 33), 9: (512, 19), 10: (512, 16), 13: (512, 19)},
    "mona_lisa": {1: (512, 12), 2: (512, 5), 6: (512, 6), 7: (512, 7), 8: (512, 8),
                  9: (512, 3.5), 10: (512, 3), 13: (512, 3.5)},
    "sorolla_beach": {1: (512, 14), 2: (512, 6), 6: (512, 6.5), 7: (512, 7.5),
                      8: (512, 9), 9: (512, 6.5), 10: (512, 6), 13: (512, 7.5)},
    "van_gogh": {1: (512, 14), 4: (480, 15), 6: (480, 16), 7: (480, 22),
                 8: (480, 25), 9: (480, 16), 10: (480, 13), 13: (480, 16)},
    "stained_glass": {1: (512, 10), 7: (512, 11), 9: (512, 10), 10: (512, 7.5), 13: (512, 9)},
    "woodblock_waves": {1: (512, 14), 2: (512, 9), 7: (512, 10), 8: (512, 12.5),
                        9: (512, 10.5), 10: (512, 9.5), 13: (512, 11.5)},
    "impasto_swirls": {1: (512, 14), 2: (512, 7), 7: (512, 11), 8: (512, 14),
                       9: (512, 8), 10: (512, 7), 13: (512, 9)},
}
# fmt: on
GRID_WEIGHT = "800"  # against a lattice on flat ground
MATCHED_EVERY = 60  # colours are matched on one photo of so many


class Run(NamedTuple):
    """What the runs differ in, beside the styles' settings."""

    folder: str
    steps: int
    batch_size: int
    rate: str
    seed: int
    consistency: str = "0"
    colour: str = "0"
    grain: str = "0"
    tone: str = "0"
    grey_every: str = "0"
    mean_of: dict[str, float] | None = None  # shares of the runs it begins from; None: the last
    matched: bool = False  # in colours, before it begins
    smoothed: bool = False  # in colours, before that


RUNS = (
    Run("strokes", 7000, 16, "0.002", 0),
    Run("subjects", 600, 4, "0.001", 1),
    Run("balanced", 250, 4, "0.0007", 2),
    Run("even", 1500, 4, "0.001", 4),
    Run("weighed", 700, 4, "0.0006", 5),
    Run("wave", 600, 4, "0.0005", 6),
    Run("consistent", 1200, 4, "0.0007", 7, consistency="30"),
    Run("strong", 1600, 4, "0.001", 8, consistency="30", grey_every="2"),
    Run("clearer", 1100, 4, "0.0008", 9, consistency="30", grey_every="2"),
    Run("lighter", 1500, 4, "0.0008", 10, consistency="30", grey_every="2"),
    Run("settled", 700, 4, "0.0005", 11, consistency="30", grey_every="2",
        mean_of={"consistent": 0.3, "clearer": 0.3, "lighter": 0.4}),
    Run("matched", 1, 4, "1e-9", 12, consistency="30", grey_every="2", matched=True,
        mean_of={"consistent": 0.15, "clearer": 0.15, "lighter": 0.2, "settled": 0.5}),
    Run("toned", 800, 4, "0.0006", 13, consistency="30", grey_every="2", colour="10", grain="0.1",
        tone="0.5"),
    Run("clean", 1, 4, "1e-9", 14, consistency="30", grey_every="2", colour="10", grain="0.1",
        tone="0.5", matched=True, smoothed=True, mean_of={"matched": 0.5, "toned": 0.5}),
)  # fmt: skip


def main() -> int:
    """Call fst-train with the gallery's recipe; returns its exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    add = parser.add_argument
    add("--paintings", type=Path, required=True, help="folder of NAME.jpg and NAME/")
    add("--photos", required=True, help="folder of training photos")
    add("--loss-weights", required=True, metavar="FILE", help="a real VGG-16")
    steps = [run.steps for run in RUNS]
    add("--steps", type=int, nargs=len(RUNS), default=steps, metavar="N", help=f"of each {steps}")
    add("-o", "--output", type=Path, default=Path("checkpoints/gallery"))
    args, more = parser.parse_known_args()
    models = [args.output / run.folder / "model.safetensors" for run in RUNS]
    for place, model in enumerate(models):
        if is_done(model, args.steps[place]):
            continue
        checkpoint = model.with_name("last.ckpt")
        if checkpoint.exists():
            beginning = ["--resume", str(checkpoint)]
        elif place:
            beginning = ["--warm-start", str(parent(args, models, place)), "--rows-first", "0"]
        else:
            beginning = ["--from-scratch"]
        argv = [*of_run(args, place), *beginning, "-o", str(model.parent), *more]
        if code := fst_train(argv):
            return code
    return 0


def of_run(args: argparse.Namespace, place: int) -> list[str]:
    """The flags of a run but for where its weights come from and go to."""
    run, number = RUNS[place], place + 1
    settings = [runs[max(r for r in runs if r <= number)] for runs in STYLES.values()]
    sizes, weights = zip(*settings, strict=True)
    return [
        *("--styles", *(picture(name, args.paintings) for name in STYLES)),
        *("--style-weight", *map(str, weights), "--style-size", *map(str, sizes)),
        *("--grid-weight", GRID_WEIGHT, "--consistency-weight", run.consistency),
        *("--grey-every", run.grey_every, "--colour-weight", run.colour),
        *("--grain-weight", run.grain, "--tone-weight", run.tone),
        *("--content", args.photos),
        *("--loss-weights", args.loss_weights, "--steps", str(args.steps[place])),
        *("--lr", run.rate, "--batch-size", str(run.batch_size), "--seed", str(run.seed)),
    ]


def parent(args: argparse.Namespace, models: list[Path], place: int) -> Path:
    """The style model that a run begins from; a mean of several is written as mean.safetensors."""
    run = RUNS[place]
    if not run.mean_of:
        return models[place - 1]
    of_folder = {run.folder: model for run, model in zip(RUNS, models, strict=True)}
    loaded = [load_style_model(of_folder[folder]) for folder in run.mean_of]
    states = [network.state_dict() for network, _ in loaded]
    shares = run.mean_of.values()
    mean = {
        name: sum(share * state[name] for share, state in zip(shares, states, strict=True))
        for name in states[0]
    }
    network, metadata = loaded[-1]
    network.load_state_dict(mean)
    if run.smoothed:
        smooth_colours(network.conv_out.conv)
    if run.matched:
        styles = [picture(name, args.paintings) for name in STYLES]
        match_colours(network, styles, images.find([args.photos])[::MATCHED_EVERY])
    return save_style_model(models[place].with_name("mean.safetensors"), network, metadata)


def is_done(model: Path, steps: int) -> bool:
    """Whether a run has been trained to its end."""
    return model.exists() and load_style_model(model)[1]["training"]["step"] >= steps


def picture(name: str, paintings: Path) -> str:
    """File or folder of a style."""
    found = [paintings / name, paintings / f"{name}.jpg", OURS / f"{name}.jpg"]
    return str(next((path for path in found if path.exists()), found[1]))


if __name__ == "__main__":
    sys.exit(main())
