"""Measure paintings by the numbers that papers give: SSIM, LPIPS, SIFID, FID and ArtFID.

    python scripts/evaluate_npr.py MODEL --photos npr/ --styles-dir styles/ --networks
    python scripts/evaluate_npr.py --pictures painted/ --photos npr/ --styles-dir styles/

The protocol of the NPR benchmark: every photo (the 20 of Mould and Rosin's NPRgeneral) in every
style (ten of them; Ioannou and Maddock 2024, "Evaluation in Neural Style Transfer: A Review"). You
bring the photos and style pictures. Without `--networks` SSIM alone, which needs nothing; with it
the weights of AlexNet and Inception are downloaded once, and the extra `eval` must be installed.
`--pictures` reads what another program has painted, as scripts/evaluate.py does.

SSIM: of painting and photo (Wang et al. 2004). LPIPS: of the same, by AlexNet (Zhang et al. 2018).
SIFID: Fréchet distance of painting and style picture by Inception's 64 features after its first
pooling (Shaham et al. 2019); of several pictures the mean. FID: of all paintings and all style
pictures, 2,048 features (Heusel et al. 2017); of so few pictures it is biased, so compare equal
numbers of them alone. ArtFID: (1 + LPIPS) (1 + FID), the formula of Wright and Ommer 2022; they
use an Inception trained on art, so their numbers are others.
"""

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean

import torch
from evaluate import add_source, chosen_painter, photo_size
from frame import parser_of, run_script
from paintings import Painter, find_styles
from torch import Tensor, nn
from torchmetrics.functional.image import structural_similarity_index_measure
from tqdm import tqdm

from fst.data.styles import Style
from fst.errors import FstError
from fst.io import images
from fst.io.atomic import write_atomically

FID_FEATURES = 2048
Distance = Callable[[Tensor, Tensor], float]  # of two images (3, H, W) in [0, 1]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the script; returns its exit code."""
    return run_script(__file__, make_parser(), run, argv)


def make_parser() -> argparse.ArgumentParser:
    """Command line of this script."""
    parser = parser_of(__doc__)
    add = parser.add_argument
    add_source(parser)
    add("--photos", nargs="+", required=True, metavar="PATH", help="of the benchmark")
    add("--size", type=photo_size, default=512, metavar="PX", help="shorter side (512)")
    add("--networks", action="store_true", help="LPIPS, SIFID, FID and ArtFID, too")
    add("--device", default="cpu", metavar="NAME", help="cpu, cuda, ...")
    add("--json", type=Path, metavar="FILE", help="write the figures here too")
    parser.set_defaults(every=1)
    return parser


def run(args: argparse.Namespace) -> None:
    """Check everything, then measure, print and write."""
    photos, names, paint = chosen_painter(args)
    given = dict(args.style)
    styles = find_styles(names, args.styles_dir, {n: given[n] for n in given if n in names})
    networks = load_networks(args.device) if args.networks else None
    figures = measure(paint, photos, styles, args.size, networks)
    print(markdown(figures, len(photos)))
    if args.json:
        made = {"photos": len(photos), "size_px": args.size, "figures": figures}
        write_atomically(args.json, f"{json.dumps(made, indent=2)}\n".encode())


def measure(
    paint: Painter, photos: Sequence[Path], styles: Sequence[Style], size_px: int,
    networks: tuple[Distance, nn.Module] | None,
) -> dict[str, dict[str, float]]:  # fmt: skip
    """Paint every photo in every style: means by style, and over all of them under "all"."""
    pictures = {style.name: [images.load(p, size_px) for p in style.images] for style in styles}
    pairs: dict[str, list[dict[str, float]]] = defaultdict(list)
    for path in tqdm(photos, unit="photo", disable=None):
        photo = images.load(path, size_px)
        for style in styles:
            painting = paint(path, photo, style.name).clamp(0, 1)
            found = {"SSIM": ssim(painting, photo)}
            if networks is not None:
                lpips, fid = networks
                found["LPIPS"] = lpips(painting, photo)
                found["SIFID"] = fmean(sifid(fid, painting, p) for p in pictures[style.name])
                fid.update(painting[None].to(fid.device), real=False)
            pairs[style.name].append(found)
    figures = {name: means(found) for name, found in pairs.items()}
    figures["all"] = means([found for style in pairs.values() for found in style])
    everything = [picture for shown in pictures.values() for picture in shown]
    if networks is not None and len(everything) > 1:  # of one there is no covariance
        for picture in everything:
            fid.update(picture[None].to(fid.device), real=True)
        figures["all"]["FID"] = fid.compute().item()
        figures["all"]["ArtFID"] = (1 + figures["all"]["LPIPS"]) * (1 + figures["all"]["FID"])
    return figures


def ssim(painting: Tensor, photo: Tensor) -> float:
    """Structural similarity of two images (3, H, W) in [0, 1]; of equal ones 1."""
    return structural_similarity_index_measure(painting[None], photo[None], data_range=1.0).item()


@torch.no_grad()
def sifid(fid: nn.Module, painting: Tensor, picture: Tensor) -> float:
    """Single-image Fréchet distance of two images (3, H, W) of any sizes; of equal ones 0."""
    net = fid.inception
    first = nn.Sequential(net.Conv2d_1a_3x3, net.Conv2d_2a_3x3, net.Conv2d_2b_3x3, net.MaxPool_1)
    moments = []
    for image in (painting, picture):
        # Inception sees levels of 8 bits, less 128, in 128ths.
        features = first((image[None].to(fid.device) * 255 - 128) / 128)[0].flatten(1).double()
        moments.append((features.mean(1), features.cov()))
    (mean, covariance), (other_mean, other) = moments
    # The eigenvalues of S T are those of S^1/2 T S^1/2: real, and not below 0 but for rounding.
    cross = torch.linalg.eigvals(covariance @ other).real.clamp_min(0).sqrt().sum()
    return (
        (mean - other_mean).square().sum() + covariance.trace() + other.trace() - 2 * cross
    ).item()


def load_networks(device: str) -> tuple[Distance, nn.Module]:
    """LPIPS as a function, and the metric FID with its Inception.

    Raises:
        FstError: The extra is not installed, or weights cannot be had.
    """
    try:
        import torch_fidelity  # noqa: F401
    except ImportError:
        raise FstError("--networks needs torch-fidelity: pip install 'fst[eval]'") from None
    from torchmetrics.image import FrechetInceptionDistance, LearnedPerceptualImagePatchSimilarity

    made = []
    for name, make in {
        "AlexNet": lambda: LearnedPerceptualImagePatchSimilarity("alex", normalize=True),
        "Inception": lambda: FrechetInceptionDistance(FID_FEATURES, normalize=True),
    }.items():
        try:
            made.append(make().to(device))
        except Exception as error:  # no connection, a wrong hash, a full disk, no such device
            reason = " ".join(str(error).split())[:160] or type(error).__name__
            raise FstError(
                f"could not load the weights of {name} ({reason}): connect once, torch keeps them; "
                "or leave --networks out"
            ) from None
    lpips, fid = made

    @torch.no_grad()
    def distance(painting: Tensor, photo: Tensor) -> float:
        return lpips(painting[None].to(device), photo[None].to(device)).item()

    return distance, fid


def means(found: Sequence[dict[str, float]]) -> dict[str, float]:
    """Of each figure."""
    return {name: fmean(figures[name] for figures in found) for name in found[0]}


def markdown(figures: dict[str, dict[str, float]], photos: int) -> str:
    """A table, a row for each style and one for all."""
    columns = list(figures["all"])
    lines = [f"| style, {photos} photos | {' | '.join(columns)} |"]
    lines.append("| --- |" + " ---: |" * len(columns))
    for name, row in figures.items():
        cells = [f"{row[c]:.4g}" if c in row else "" for c in columns]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
