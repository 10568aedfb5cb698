"""Show what instance normalisation does to light: halos, and colours that drift on flat ground.

    python scripts/norm_statistics.py --style starry_night --typical photos/ \
        --photos bear.jpg statue.jpg -o norms.jpg

Paints photos three times with one model: normalised by their own means and variances, as the
network does; by the average of their own and the typical ones (of the photos of --typical, in the
same style); and by the typical ones alone. Writes a sheet, a row a photo, and prints flat, halo and
tone (`fst.metrics`) of each column.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from frame import parser_of, run_script
from torch import Tensor
from tqdm import tqdm

from fst import Stylizer
from fst.io import images
from fst.metrics import Flat, Halo, Tone
from fst.networks.conditional import ConditionalInstanceNorm2d
from fst.stylize.blend_grid import table_of

SHARES = {"own statistics": 1.0, "half and half": 0.5, "typical statistics": 0.0}


class Norms:
    """Takes the place of a network's norms, and mixes typical statistics into those of a picture.

    Attributes:
        share: Of a picture's own statistics.
        seen: While statistics are gathered, a list for each norm; else None.
    """

    def __init__(self, network: torch.nn.Module) -> None:
        self.share = 1.0
        self.seen: dict[int, list[tuple[Tensor, Tensor]]] | None = None
        self.typical: dict[int, tuple[Tensor, Tensor]] = {}
        norms = [m for m in network.modules() if isinstance(m, ConditionalInstanceNorm2d)]
        for place, norm in enumerate(norms):
            norm.forward = self._forward_of(place, norm)

    def gather(self, paint) -> None:
        """Make the statistics of what `paint` paints the typical ones."""
        self.seen = {}
        paint()
        for place, rows in self.seen.items():
            means, variances = (torch.stack(column) for column in zip(*rows, strict=True))
            spread = variances.mean(0) + means.var(0, correction=0)  # of all pixels together
            self.typical[place] = means.mean(0), spread
        self.seen = None

    def _forward_of(self, place: int, norm: ConditionalInstanceNorm2d):
        def forward(x: Tensor, style_weights: Tensor) -> Tensor:
            variance, mean = torch.var_mean(x, dim=(2, 3), correction=0)  # (1, C)
            if self.seen is not None:
                self.seen.setdefault(place, []).append((mean, variance))
            elif self.share < 1:
                mean, variance = (
                    torch.lerp(typical, own, self.share)
                    for typical, own in zip(self.typical[place], (mean, variance), strict=True)
                )
            scale = style_weights @ norm.gamma * torch.rsqrt(variance + norm.eps)
            shift = style_weights @ norm.beta - mean * scale
            return x * scale[:, :, None, None] + shift[:, :, None, None]

        return forward


def main(argv: Sequence[str] | None = None) -> int:
    """Run the script; returns its exit code."""
    return run_script(__file__, make_parser(), run, argv)


def make_parser() -> argparse.ArgumentParser:
    """Command line of this script."""
    parser = parser_of(__doc__)
    add = parser.add_argument
    add("--model", default="gallery", metavar="MODEL", help="a style model (gallery)")
    add("--style", default="0", metavar="STYLE", help="id or name (0)")
    add("--photos", nargs="+", required=True, metavar="PATH", help="what is painted")
    add("--typical", nargs="+", required=True, metavar="PATH", help="whose statistics are typical")
    add("--size", type=int, default=320, metavar="PX", help="shorter side (320)")
    add("-o", "--output", type=Path, required=True, metavar="FILE", help="the sheet")
    return parser


@torch.inference_mode()
def run(args: argparse.Namespace) -> None:
    """Paint, print and write."""
    stylizer = Stylizer(args.model)
    style = int(args.style) if args.style.isdecimal() else args.style
    norms = Norms(stylizer.network)
    typical = [images.load(path, args.size) for path in images.find(args.typical)]
    norms.gather(lambda: [stylizer.stylize(photo, style) for photo in tqdm(typical, disable=None)])
    photos = [images.load(path, args.size) for path in images.find(args.photos)]
    rows = [[photo] for photo in photos]
    print("| | flat | halo | tone |\n|---|---:|---:|---:|")
    for name, norms.share in SHARES.items():
        for row in rows:
            row.append(stylizer.stylize(row[0], style).clamp(0, 1))
        metrics = Flat(torch.zeros(1)), Halo(1), Tone(1)
        for row in rows:
            pair = row[-1][None], row[0][None], torch.zeros(1, dtype=torch.long)
            for metric in metrics:
                metric.update(*pair)
        figures = " | ".join(f"{metric.compute().item():.3f}" for metric in metrics)
        print(f"| {name} | {figures} |")
    images.save(table_of(rows, args.size), args.output, overwrite=True)


if __name__ == "__main__":
    sys.exit(main())
