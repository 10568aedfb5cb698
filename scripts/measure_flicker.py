"""Measure how much the paintings of a clip flicker, frame by frame and steadied.

    python scripts/measure_flicker.py --styles wave starry_night udnie signac --scenes 2
    python scripts/measure_flicker.py --photos val/ --count 3 --parts

Each picture becomes clips whose motion is known exactly: a camera that pans by 1.3 px and 0.6 px
a frame, one that zooms in by 1 % a frame, one that stands still, and a disc, cut out of another
picture, that comes in by 5 px a frame over a still ground. All have camera noise, 3/255. Flicker
is the mean difference of a painting and that of the frame before, moved as the camera moved, in
1/255 of the range; of the clip with the disc it is that of the ground, 24 px away from the disc.
"Off" is the mean difference of steadied and frame-by-frame paintings of the same frame; "behind"
the same where the disc was up to four frames ago, by that of the rest of the ground: above 1 would
tell of ghosts. The first four frames are left out.
"""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median

import torch
import torch.nn.functional as F
from frame import parser_of, run_script
from torch import Tensor
from tqdm import tqdm

from fst import Stylizer
from fst.assets import GALLERY
from fst.data.scenes import Scenes
from fst.io import images
from fst.stylize.video.steady import DEFAULT, PARTS, SteadyStylizer

NOISE = 3 / 255
MARGIN_PX = 16  # left out at the borders, where what comes into view has no frame before
SETTLED = 4  # frames until averages have settled
RADIUS, DISC_STEP_PX, AWAY_PX, BEHIND = 0.25, 5, 24, 4  # of the disc; in heights; px; px; frames
PAN_PX, ZOOM = (1.3, 0.6), 1.01


@dataclass
class Clip:
    """Frames (3, H, W), each with where it looks at the picture, and where the disc is."""

    frames: list[Tensor]
    views: list[tuple[float, float, float]]  # left, top, pixels of the picture for one of a frame
    discs: list[Tensor] = field(default_factory=list)  # (H, W)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the script; returns its exit code."""
    return run_script(__file__, make_parser(), run, argv)


def make_parser() -> argparse.ArgumentParser:
    """Command line of this script."""
    parser = parser_of(__doc__)
    add = parser.add_argument
    add("--model", default=GALLERY, help="style model (the shipped gallery)")
    add("--styles", nargs="+", default=["wave", "starry_night", "udnie", "signac"], metavar="NAME")
    add("--photos", help="a folder of pictures, instead of drawn scenes")
    add("--count", type=int, default=2, help="of pictures (2)")
    add("--height", type=int, default=160, help="of frames, in px (160); 1.5 times as wide")
    add("--frames", type=int, default=12, help="of each clip (12)")
    add("--steady", type=float, nargs="+", default=[DEFAULT], help="steadiness to measure")
    add("--parts", action="store_true", help="measure each part of the method alone, too")
    add("--cuts", action="store_true", help="measure how scenes are told apart instead")
    add("--jump", action="store_true", help="measure what a sudden light does to the rest instead")
    add("--speed", action="store_true", help="measure the time a frame takes instead")
    return parser


def run(args: argparse.Namespace) -> None:
    """Measure what was asked for, and print the table."""
    torch.manual_seed(0)
    pictures = _pictures(args)
    if args.jump:
        print(_jump_table(pictures[0], args))
    elif args.speed:
        print(_speeds(pictures[0], args))
    else:
        print((_cut_table if args.cuts else _flicker_table)(pictures, args))


def _pictures(args: argparse.Namespace) -> list[Tensor]:
    """Pictures (3, h, w) twice as high as the frames."""
    if args.photos is None:
        scenes = Scenes(args.count, 2 * args.height, seed=7)
        return [scenes[index].float() / 255 for index in range(args.count)]
    files = images.find(args.photos)
    loaded = (images.load(file) for file in files[:: max(1, len(files) // args.count)])
    wanted = 2 * args.height
    pictures = []
    for picture in loaded:
        scale = max(wanted / picture.shape[1], 1.6 * wanted / picture.shape[2])
        size = [round(scale * side) for side in picture.shape[1:]]
        larger = F.interpolate(picture[None], size, mode="bicubic", antialias=True)[0]
        pictures.append(larger.clamp(0, 1))
    return pictures[: args.count]


def make_clip(picture: Tensor, other: Tensor, kind: str, count: int, height: int) -> Clip:
    """A clip of one of the four kinds."""
    width = 3 * height // 2
    left, top = height / 4, height / 4
    clip = Clip([], [])
    for number in range(count):
        view = (left, top, 1.0)
        if kind == "pan":
            view = (left + number * PAN_PX[0], top + number * PAN_PX[1], 1.0)
        elif kind == "zoom":
            scale = ZOOM**-number
            view = (left + (1 - scale) * width / 2, top + (1 - scale) * height / 2, scale)
        frame = seen(picture, view, (height, width))
        if kind == "disc":
            texture = seen(other, view, (height, width))
            disc, inside = _disc(number, height, width, texture)
            frame = torch.lerp(frame, disc, inside)
            clip.discs.append(inside)
        frame = (frame + NOISE * torch.randn_like(frame)).clamp(0, 1)
        clip.frames.append(frame.mul(255).round().div(255))
        clip.views.append(view)
    return clip


def seen(picture: Tensor, view: tuple[float, float, float], size: tuple[int, int]) -> Tensor:
    """What a camera sees of a picture: (3, H, W)."""
    left, top, scale = view
    across = (left + scale * (torch.arange(size[1]) + 0.5)) * (2 / picture.shape[2]) - 1
    down = (top + scale * (torch.arange(size[0])[:, None] + 0.5)) * (2 / picture.shape[1]) - 1
    grid = torch.stack(torch.broadcast_tensors(across, down), -1)[None]
    image = F.grid_sample(picture[None], grid, "bicubic", "border", align_corners=False)[0]
    return image.clamp(0, 1)


def _disc(number: int, height: int, width: int, texture: Tensor) -> tuple[Tensor, Tensor]:
    """The texture moved with the disc, and where the disc is, with a soft border."""
    shift = DISC_STEP_PX * number
    x = torch.arange(width) - shift  # it comes in from the left
    y = torch.arange(height)[:, None] - height / 2
    inside = (RADIUS * height - (x**2 + y**2).sqrt() + 0.5).clamp(0, 1)
    return torch.roll(texture, shift, 2), inside


def moved(painting: Tensor, before: tuple, now: tuple) -> Tensor:
    """The painting of the view before as the view now would show it."""
    scale = now[2] / before[2]
    left, top = ((n - b) / before[2] for n, b in zip(now[:2], before[:2], strict=True))
    if (left, top, scale) == (0, 0, 1):
        return painting
    return seen(painting, (left, top, scale), tuple(painting.shape[1:]))


def flicker(paintings: list[Tensor], clip: Clip) -> float:
    """In 1/255."""
    values = []
    for number in range(SETTLED, len(paintings)):
        before = moved(paintings[number - 1], clip.views[number - 1], clip.views[number])
        difference = (paintings[number] - before).abs().mean(0)
        inner = torch.zeros_like(difference)
        inner[MARGIN_PX:-MARGIN_PX, MARGIN_PX:-MARGIN_PX] = 1
        if clip.discs:
            inner *= _far_from(clip.discs[number].maximum(clip.discs[number - 1]))
        values.append((difference * inner).sum() / inner.sum())
    return 255 * torch.stack(values).mean().item()


def _far_from(disc: Tensor) -> Tensor:
    return 1 - F.max_pool2d(disc[None], 2 * AWAY_PX + 1, 1, AWAY_PX)[0].ceil()


def off(paintings: list[Tensor], plain: list[Tensor]) -> float:
    """How far they are from paintings frame by frame, in 1/255."""
    pairs = list(zip(paintings, plain, strict=True))[SETTLED:]
    return 255 * torch.stack([(a - b).abs().mean() for a, b in pairs]).mean().item()


def behind(paintings: list[Tensor], plain: list[Tensor], clip: Clip) -> float:
    """How far where the disc has just been, by how far on the rest of the ground."""
    here, rest = [], []
    for number in range(SETTLED, len(paintings)):
        difference = (paintings[number] - plain[number]).abs().mean(0)
        recent = torch.stack(clip.discs[number - BEHIND : number]).amax(0) > 0
        here.append(difference[recent & (clip.discs[number] == 0)].mean())
        rest.append(difference[_far_from(torch.stack(clip.discs).amax(0)) > 0].mean())
    return (torch.stack(here).mean() / torch.stack(rest).mean()).item()


def _ways(stylizer: Stylizer, args: argparse.Namespace) -> dict[str, Callable[[], Stylizer]]:
    """What makes a painter for a clip, by what it is called."""
    ways: dict[str, Callable[[], Stylizer]] = {"frame by frame": lambda: stylizer}
    if args.parts:
        for part in PARTS:
            ways[f"{part} alone"] = lambda p=part: SteadyStylizer(stylizer, args.steady[0], [p])
    for steadiness in args.steady:
        ways[f"steady {steadiness:g}"] = lambda s=steadiness: SteadyStylizer(stylizer, s)
    return ways


def _flicker_table(pictures: list[Tensor], args: argparse.Namespace) -> str:
    stylizer = Stylizer(args.model)
    ways = _ways(stylizer, args)
    kinds = ("pan", "zoom", "still", "disc")
    rows: dict[tuple, list] = {}
    progress = tqdm(total=len(args.styles) * len(pictures) * len(kinds) * len(ways), unit="clip")
    for style in args.styles:
        for index, picture in enumerate(pictures):
            other = pictures[(index + 1) % len(pictures)]
            if other is picture:
                other = picture.flip(2)
            for kind in kinds:
                clip = make_clip(picture, other, kind, args.frames, args.height)
                plain: list[Tensor] = []
                for way, make in ways.items():
                    painter = make()
                    paintings = [painter.stylize(frame, style) for frame in clip.frames]
                    plain = plain or paintings
                    values = [flicker(paintings, clip), off(paintings, plain)]
                    if kind == "disc" and paintings is not plain:
                        values.append(behind(paintings, plain, clip))
                    rows.setdefault((style, way), {}).setdefault(kind, []).append(values)
                    progress.update()
    progress.close()
    return _markdown(rows, kinds)


def _markdown(rows: dict, kinds: Sequence[str]) -> str:
    lines = ["| style | painted | " + " | ".join(f"{k}: flicker | off" for k in kinds)
             + " | behind |", "| --- | --- |" + " ---: |" * (2 * len(kinds) + 1)]  # fmt: skip
    for (style, way), found in rows.items():
        cells = [style, way]
        for kind in kinds:
            values = [sum(column) / len(column) for column in zip(*found[kind], strict=True)]
            first = [sum(v[0] for v in rows[style, "frame by frame"][kind]) / len(found[kind])]
            times = f" ({first[0] / values[0]:.1f}x)" if way != "frame by frame" else ""
            cells += [f"{values[0]:.2f}{times}", f"{values[1]:.1f}" if times else ""]
        told = len(values) > 2 and values[2] == values[2]  # not where both paintings are the same
        cells.append(f"{values[2]:.2f}" if told else "")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cut_table(pictures: list[Tensor], args: argparse.Namespace) -> str:
    """Shares of a frame that are where they were, but for motion, within and between scenes."""
    from fst.stylize.video import motion

    def share(before: Tensor, now: Tensor) -> float:
        found = motion.motion_between(before, now)
        return motion.confidence(motion.moved(before, found).clamp(0, 1), now, found).mean().item()

    size = (args.height, 3 * args.height // 2)
    start = (args.height / 4, args.height / 4, 1.0)
    shots = {
        "pan 2 px": (start[0] + 2, start[1] + 1, 1.0),
        "pan 15 px": (start[0] + 15, start[1], 1.0),
        "pan 40 px": (start[0] + 40, start[1], 1.0),
        "zoom 3 %": (start[0] + 0.015 * size[1], start[1] + 0.015 * size[0], 0.97),
    }
    firsts = [_noisy(seen(picture, start, size)) for picture in pictures]
    found = {
        name: [share(firsts[i], _noisy(seen(p, view, size))) for i, p in enumerate(pictures)]
        for name, view in shots.items()
    }
    found["another picture"] = [
        share(first, second) for first in firsts for second in firsts if first is not second
    ]
    lines = ["| from a frame to the next | least | median | most |", "| --- | ---: | ---: | ---: |"]
    for name, values in found.items():
        values = sorted(values)
        cells = (values[0], values[len(values) // 2], values[-1])
        lines.append(f"| {name} | " + " | ".join(f"{value:.3f}" for value in cells) + " |")
    return "\n".join(lines)


def _jump_table(picture: Tensor, args: argparse.Namespace) -> str:
    """Changes of the still ground, far from a disc of light, when it appears; in 1/255."""
    stylizer, height, width = Stylizer(args.model), args.height, 3 * args.height // 2
    x, y = torch.arange(width) - width / 4, torch.arange(height)[:, None] - height / 2
    disc = (RADIUS * height - (x**2 + y**2).sqrt() + 0.5).clamp(0, 1)
    far = _far_from(disc)
    frames = make_clip(picture, picture, "still", 8, height).frames
    frames[4:] = [torch.lerp(frame, torch.ones(()), disc) for frame in frames[4:]]
    ways = {
        "frame by frame": lambda: stylizer,
        "without statistics": lambda: SteadyStylizer(stylizer, args.steady[0], PARTS[1:]),
        "steady": lambda: SteadyStylizer(stylizer, args.steady[0]),
    }
    heading = "| style | painted | before | as it appears | 1 frame later | 2 | 3 |"
    lines = [heading, "|" + " --- |" * 7]
    for style in args.styles:
        for name, make in ways.items():
            painter = make()
            paintings = [painter.stylize(frame, style) for frame in frames]
            changes = [(b - a).abs().mean(0) for a, b in pairwise(paintings)][2:]
            values = [255 * (change * far).sum().item() / far.sum().item() for change in changes]
            cells = [style, name, *(f"{value:.1f}" for value in values)]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _speeds(picture: Tensor, args: argparse.Namespace) -> str:
    """Milliseconds a frame of a pan, the two ways by turns; medians."""
    stylizer = Stylizer(args.model)
    clip = make_clip(picture, picture, "pan", args.frames, args.height)
    painters = {"frame by frame": stylizer, "steady": SteadyStylizer(stylizer, args.steady[0])}
    times: dict[str, list[float]] = {name: [] for name in painters}
    for frame in clip.frames:
        for name, painter in painters.items():
            start = time.perf_counter()
            painter.stylize(frame, args.styles[0])
            times[name].append(time.perf_counter() - start)
    size = f"{3 * args.height // 2}x{args.height}"
    medians = {name: 1000 * median(found[1:]) for name, found in times.items()}
    return "\n".join(
        f"{name}: {value:.0f} ms per frame of {size} px" for name, value in medians.items()
    )


def _noisy(frame: Tensor) -> Tensor:
    return (frame + NOISE * torch.randn_like(frame)).clamp(0, 1)


if __name__ == "__main__":
    sys.exit(main())
