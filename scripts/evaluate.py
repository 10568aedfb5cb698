"""Measure a style model, or ready-made pictures, on held-out photos.

    python scripts/evaluate.py MODEL --photos val/ --styles-dir paintings/ --loss-weights vgg16
    python scripts/evaluate.py --pictures painted/ --photos val/ --styles-dir paintings/ ...

Prints a Markdown table: per style the figures of `fst.metrics` and, for scale, those of the photos
themselves. A picture is *found* when its own style is the nearest of all that --styles-dir and
--style give, whether they are measured or not. `--pictures` reads files named as fst-infer writes
them, photo_style.png, or in a folder for each style, style/photo.png; painted with `--size` of the
same value.
"""

import argparse
import json
import platform
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import PIL
import torch
from frame import parser_of, run_script
from paintings import (
    Painter,
    chosen_names,
    find_styles,
    model_painter,
    other_styles,
    painted_files,
    picture_painter,
    style_files,
)
from torch import Tensor
from tqdm import tqdm

import fst
from fst.data.styles import Style
from fst.errors import FstError
from fst.io import images
from fst.io.atomic import write_atomically
from fst.metrics import (
    COLUMNS,
    ContentDistance,
    Ruler,
    StyleDistance,
    content_layer,
    load_views,
    measured_layers,
    style_grams,
)
from fst.metrics.brushwork import BRUSHWORK_LAYERS, BRUSHWORK_SCALES
from fst.metrics.distances import layers_of
from fst.metrics.ruler import VIEW_SIZES_PX
from fst.networks.loss_network import LossNetwork, load_loss_network
from fst.networks.sizes import MIN_VGG_PX
from fst.stylize.blend_grid import table_of
from fst.stylize.stylizer import Stylizer


def main(argv: Sequence[str] | None = None) -> int:
    """Run the script; returns its exit code."""
    return run_script(__file__, make_parser(), run, argv)


def make_parser() -> argparse.ArgumentParser:
    """Command line of this script."""
    parser = parser_of(__doc__)
    add = parser.add_argument
    add_source(parser)
    add("--same-hand", action="append", type=named_pair, default=[], metavar="NAME=OTHER",
        help="a picture in style NAME that is nearest to OTHER is found too")  # fmt: skip
    add("--json", type=Path, metavar="FILE", help="write the figures here too")
    add_protocol(parser)
    return parser


def add_source(parser: argparse.ArgumentParser) -> None:
    """What has painted, and the styles; see `chosen_painter`."""
    add = parser.add_argument
    add("model", nargs="?", metavar="MODEL", help="a .safetensors style model or a .ckpt")
    add("--pictures", type=Path, metavar="FOLDER", help="measure PHOTO_STYLE.png files instead")
    add("--styles-dir", type=Path, metavar="FOLDER", help="NAME.jpg, or a folder NAME, per style")
    add("--style", action="append", type=named_path, default=[], metavar="NAME=PATH",
        help="file or folder of one style, whatever --styles-dir holds")  # fmt: skip
    add("--only", nargs="+", metavar="NAME", help="measure these styles")


def add_protocol(parser: argparse.ArgumentParser) -> None:
    """The flags of everything that measures paintings of photos."""
    add = parser.add_argument
    add("--photos", nargs="+", required=True, metavar="PATH", help="held-out photos")
    add("--every", type=positive, default=1, metavar="N", help="take every N-th photo, sorted")
    add("--size", type=photo_size, default=320, metavar="PX", help="shorter side of the photos")
    add("--loss-weights", required=True, metavar="FILE", help="VGG weights, or vgg16 or vgg19")
    add("--device", default="cpu", metavar="NAME", help="cpu, cuda, ...")
    add("--grid", type=Path, metavar="FILE", help="write a picture of photos and paintings")
    add("--grid-photos", type=positive, default=4, metavar="N", help="photos in the grid")


def positive(text: str) -> int:
    """A whole number from 1 up."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 up")
    return int(text)


def photo_size(text: str) -> int:
    """A size that the deepest layers can measure."""
    if positive(text) < MIN_VGG_PX:
        raise argparse.ArgumentTypeError(f"{text} px is too small: at least {MIN_VGG_PX}")
    return int(text)


def named_path(text: str) -> tuple[str, Path]:
    """NAME=PATH as a pair."""
    name, path = named_pair(text, "NAME=PATH")
    return name, Path(path)


def named_pair(text: str, form: str = "NAME=OTHER") -> tuple[str, str]:
    """Two words around an equals sign."""
    name, equals, other = text.partition("=")
    if not (name and equals and other):
        raise argparse.ArgumentTypeError(f"{text!r} is not {form}")
    return name, other


def check_grid(file: Path | None) -> None:
    """Refuse a file that images cannot be saved to."""
    if file and file.suffix.lower() not in images.IMAGE_SUFFIXES:
        raise FstError(f"--grid {file}: its suffix must be one of {images.IMAGE_SUFFIXES}")


def run(args: argparse.Namespace) -> None:
    """Check everything, then measure, print and write."""
    check_grid(args.grid)
    photos, names, paint = chosen_painter(args)
    given = dict(args.style)
    styles = find_styles(names, args.styles_dir, {n: given[n] for n in given if n in names})
    others = other_styles(names, args.styles_dir, given)
    loss_network = open_loss_network(args.loss_weights, args.device)
    ruler = make_ruler(loss_network, styles, others, grouped(args.same_hand))
    figures, rows = measure(paint, photos, ruler, args.size, args.grid_photos if args.grid else 0)
    print(markdown(figures))
    if args.json:
        made = report(args, len(photos), figures, ruler, [style.name for style in others])
        write_atomically(args.json, f"{json.dumps(made, indent=2)}\n".encode())
    if args.grid:
        images.save(grid(rows, styles, args.size), args.grid, overwrite=True)


def chosen_painter(args: argparse.Namespace) -> tuple[list[Path], list[str], Painter]:
    """The photos, the names of the styles, and what gives their paintings."""
    if (args.model is None) == (args.pictures is None):
        raise FstError("give either a MODEL or --pictures FOLDER")
    photos = images.find(args.photos)[:: args.every]
    if args.model is not None:
        stylizer = Stylizer(args.model, args.device)
        return photos, chosen_names(stylizer, args.only), model_painter(stylizer)
    painted = painted_files(args.pictures)
    names = args.only or painted_names(args, photos, painted)
    return photos, names, picture_painter(args.pictures, painted, photos, names, args.size)


def grouped(pairs: Sequence[tuple[str, str]]) -> dict[str, list[str]]:
    """Pairs of --same-hand as a list for each name."""
    hands: dict[str, list[str]] = {}
    for name, other in pairs:
        hands.setdefault(name, []).append(other)
    return hands


def painted_names(
    args: argparse.Namespace, photos: Sequence[Path], painted: dict[str, Path]
) -> list[str]:
    """The given styles that some photo was painted in."""
    known = {name for name, _ in args.style} | {name for name, _ in style_files(args.styles_dir)}
    names = [n for n in sorted(known) if any(f"{photo.stem}_{n}" in painted for photo in photos)]
    if not names:
        raise FstError(
            f"--pictures {args.pictures}: no file is named PHOTO_STYLE.png or STYLE/PHOTO.png "
            "after a photo of --photos and a style of --styles-dir"
        )
    return names


# ---- figures ----------------------------------------------------------------------------------


def open_loss_network(name_or_file: str, device: str) -> LossNetwork:
    """The loss network on the device."""
    loss_network = load_loss_network(name_or_file)
    try:
        return loss_network.to(device)
    except (RuntimeError, AssertionError) as error:
        raise FstError(f"device {device}: {str(error).splitlines()[0]}") from None


def make_ruler(
    loss_network: LossNetwork,
    styles: Sequence[Style],
    others: Sequence[Style] = (),
    same_hand: dict[str, list[str]] | None = None,
) -> Ruler:
    """The ruler of these scripts, with a bar on a terminal: the paintings take a while."""
    return Ruler(loss_network, styles, others, same_hand, VIEW_SIZES_PX, progress=True)


def measure(
    paint: Painter, photos: Sequence[Path], ruler: Ruler, size_px: int, kept: int = 0
) -> tuple[dict[str, dict[str, float | None]], list[list[Tensor]]]:
    """Paint every photo in every style of the ruler, and measure.

    Returns:
        For each style the figures named in `COLUMNS`; and of the first `kept` photos a row
        each, the photo and its paintings, (3, H, W).
    """
    ruler.reset()
    rows: list[list[Tensor]] = []
    for path in tqdm(photos, unit="photo", disable=None):
        photo = images.load(path, size_px)
        ruler.see(photo)
        paintings = []
        for style_id, style in enumerate(ruler.styles):
            paintings.append(paint(path, photo, style.name))
            ruler.add(paintings[-1], style_id)
        rows += [[photo, *paintings]] * (len(rows) < kept)
    return ruler.figures(), rows


def make_judge(
    loss_network: LossNetwork, style: Style, photo: Tensor
) -> Callable[[Tensor], dict[str, float]]:
    """Measures style and content distance of paintings of one photo (3, H, W) in one style."""
    layers = measured_layers(loss_network)
    targets = [style_grams(loss_network, [load_views(style, px)]) for px in VIEW_SIZES_PX]
    style_metric = StyleDistance(targets)
    content_metric = ContentDistance(1, content_layer(loss_network))
    index = torch.zeros(1, dtype=torch.long)
    with torch.no_grad():
        seen = loss_network(photo[None], layers)

    @torch.no_grad()
    def judge(painting: Tensor) -> dict[str, float]:
        features = loss_network(painting[None], layers)
        return {
            "style": style_metric(features, index).item(),
            "content": content_metric(features, seen, index).item(),
        }

    return judge


def means(figures: dict[str, dict[str, float | None]]) -> dict[str, float | None]:
    """Mean of each figure over the styles that have it."""
    columns = {
        key: [row[key] for row in figures.values() if row[key] is not None] for key in COLUMNS
    }
    return {key: sum(values) / len(values) if values else None for key, values in columns.items()}


def markdown(figures: dict[str, dict[str, float | None]]) -> str:
    """The figures as a Markdown table, their mean in the last row; without columns all empty."""
    mean = means(figures)
    shown = {key: heading for key, heading in COLUMNS.items() if mean[key] is not None}
    lines = [f"| style | {' | '.join(shown.values())} |", "|---|" + "---:|" * len(shown)]
    for name, row in {**figures, "**mean**": mean}.items():
        cells = ("-" if row[key] is None else f"{row[key]:.4f}" for key in shown)
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def report(
    args: argparse.Namespace, num_photos: int, figures: dict, ruler: Ruler, others: Sequence[str]
) -> dict:
    """What the JSON file holds: figures and how they came about, file names without folders."""
    return {
        "model": Path(args.model).name if args.model else None,
        "pictures": args.pictures.name if args.pictures else None,
        "photos": num_photos,
        "protocol": {
            "every": args.every,
            "size_px": args.size,
            "loss_weights": Path(args.loss_weights).name,
            "layers": measured_layers(ruler.network),
            "content_layer": content_layer(ruler.network),
            "brushwork_layers": layers_of(ruler.network, BRUSHWORK_LAYERS),
            "brushwork_scales": [1 / scale for scale in BRUSHWORK_SCALES],
            "style_sizes_px": VIEW_SIZES_PX,
            "other_styles": others,
            "same_hand": grouped(args.same_hand),
        },
        "versions": {
            "fst": fst.__version__,
            "torch": torch.__version__,
            "pillow": PIL.__version__,
            "python": platform.python_version(),
        },
        "styles": figures,
        "mean": means(figures),
    }


def grid(rows: Sequence[Sequence[Tensor]], styles: Sequence[Style], cell_px: int) -> Tensor:
    """Style pictures on top, then a row for each photo: itself and its paintings; (3, H, W)."""
    header = [torch.ones(3, cell_px, cell_px)]
    header += [images.load(style.images[0], cell_px) for style in styles]
    return table_of([header, *rows], cell_px)


if __name__ == "__main__":
    sys.exit(main())
