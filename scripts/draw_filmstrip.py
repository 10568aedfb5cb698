"""Make docs/pictures/video.jpg: frames of a clip, their paintings, and how much those flicker.

python scripts/draw_filmstrip.py -o docs/pictures/video.jpg

The clip is a camera that pans over the sample landscape while a piece of the still life comes in
(`scripts/measure_flicker.py` makes it). Below the frames and both ways to paint them stand the
changes of the painting from one frame to the next, four times as strong, the motion taken out.
"""

import argparse
import sys
from pathlib import Path

import torch
from frame import parser_of, run_script
from measure_flicker import make_clip, moved, seen
from paint_samples import cell, sheet
from torch import Tensor

from fst import Stylizer
from fst.assets import GALLERY
from fst.io import images
from fst.stylize.video.steady import SteadyStylizer

HEIGHT_PX, CELL_PX, QUALITY = 200, 200, 58
FRAMES, SHOWN, GAIN = 14, (7, 10, 13), 4
DISC_PX, STEP_PX = 40, 6


def main() -> int:
    """Run the script; returns its exit code."""
    parser = parser_of(__doc__)
    parser.add_argument("--model", default=GALLERY, help="style model")
    parser.add_argument("--style", default="starry_night")
    parser.add_argument("--photos", type=Path, default=Path("datasets/samples/content"))
    parser.add_argument("-o", "--output", type=Path, default=Path("docs/pictures/video.jpg"))
    return run_script(__file__, parser, run)


def run(args: argparse.Namespace) -> None:
    """Paint and write the sheet."""
    torch.manual_seed(0)
    landscape = images.load(args.photos / "landscape.jpg")
    clip = make_clip(landscape, landscape, "pan", FRAMES, HEIGHT_PX)
    disc = images.load(args.photos / "still_life.jpg", 2 * HEIGHT_PX)
    frames = [_with_disc(frame, disc, number) for number, frame in enumerate(clip.frames)]
    stylizer = Stylizer(args.model)
    steady = SteadyStylizer(stylizer)
    plain = [stylizer.stylize(frame, args.style) for frame in frames]
    steadied = [steady.stylize(frame, args.style) for frame in frames]

    def changes(paintings: list[Tensor], number: int) -> Tensor:
        before = moved(paintings[number - 1], clip.views[number - 1], clip.views[number])
        return (GAIN * (paintings[number] - before).abs()).clamp(0, 1)

    rows = {
        "frame {}": lambda n: frames[n],
        "frame by frame": lambda n: plain[n],
        "steady": lambda n: steadied[n],
        "changes, frame by frame": lambda n: changes(plain, n),
        "changes, steady": lambda n: changes(steadied, n),
    }
    cells = [cell(make(n), name.format(n), CELL_PX) for name, make in rows.items() for n in SHOWN]
    picture = images.to_tensor(sheet(cells, len(SHOWN)))
    images.save(picture, args.output, overwrite=True, quality=QUALITY)


def _with_disc(frame: Tensor, texture: Tensor, number: int) -> Tensor:
    """A piece of another picture that moves across the frame."""
    height, width = frame.shape[1:]
    x = torch.arange(width) - DISC_PX - STEP_PX * number
    y = torch.arange(height)[:, None] - 0.62 * height
    inside = (DISC_PX - (x**2 + y**2).sqrt() + 0.5).clamp(0, 1)
    view = (240.0 - DISC_PX - STEP_PX * number, 220.0 - 0.62 * height, 1.0)
    return torch.lerp(frame, seen(texture, view, (height, width)), inside)


if __name__ == "__main__":
    sys.exit(main())
