"""Measure a style model, or ready-made pictures, on held-out photos.

    python scripts/evaluate.py MODEL --photos val/ --styles-dir paintings/ --loss-weights vgg19
    python scripts/evaluate.py --pictures painted/ --photos val/ --styles-dir paintings/ ...

Prints a Markdown table: per style the style and content distance of `fst.metrics` and, for scale,
the style distance of the photos themselves. `--pictures` reads files named as fst-infer writes
them, photo_style.png, painted with `--size` of the same value.
"""

import argparse
import json
import platform
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import PIL
import torch
from torch import Tensor
from torchmetrics import Metric
from tqdm import tqdm

import fst
from fst import images
from fst.errors import FstError
from fst.metrics import (
    CONTENT_LAYER,
    STYLE_LAYERS,
    STYLE_SIZES_PX,
    ContentDistance,
    StyleDistance,
    style_grams,
)
from fst.networks.transformer import MIN_SIZE_PX
from fst.networks.vgg import LossNetwork, load_loss_network
from fst.sheets import table_of
from fst.styles import Style, load_pictures
from fst.stylize.style_model import write_atomically
from fst.stylize.stylizer import Stylizer

# Gives the painting (3, H, W) of a photo: takes its file, its pixels and the name of the style.
Painter = Callable[[Path, Tensor, str], Tensor]
COLUMNS = {  # key in the JSON: heading of the table
    "style": "style distance",
    "content": "content distance",
    "unstylised_style": "unstylised photo's style distance",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the script; returns its exit code."""
    args = make_parser().parse_args(argv)
    try:
        run(args)
    except FstError as error:
        print(f"evaluate: {images.printable(error)}", file=sys.stderr)
        return 2
    return 0


def make_parser() -> argparse.ArgumentParser:
    """Command line of this script."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    add = parser.add_argument
    add("model", nargs="?", metavar="MODEL", help="a .safetensors style model or a .ckpt")
    add("--pictures", type=Path, metavar="FOLDER", help="measure PHOTO_STYLE.png files instead")
    add("--styles-dir", type=Path, metavar="FOLDER", help="NAME.jpg, or a folder NAME, per style")
    add("--style", action="append", type=named_path, default=[], metavar="NAME=PATH",
        help="file or folder of one style, whatever --styles-dir holds")  # fmt: skip
    add("--only", nargs="+", metavar="NAME", help="measure these styles")
    add("--json", type=Path, metavar="FILE", help="write the figures here too")
    add_protocol(parser)
    return parser


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
    """A size that the network can paint."""
    if positive(text) < MIN_SIZE_PX:
        raise argparse.ArgumentTypeError(f"{text} px is too small: at least {MIN_SIZE_PX}")
    return int(text)


def named_path(text: str) -> tuple[str, Path]:
    """NAME=PATH as a pair."""
    name, equals, path = text.partition("=")
    if not (name and equals and path):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=PATH")
    return name, Path(path)


def check_grid(file: Path | None) -> None:
    """Refuse a file that images cannot be saved to."""
    if file and file.suffix.lower() not in images.IMAGE_SUFFIXES:
        raise FstError(f"--grid {file}: its suffix must be one of {images.IMAGE_SUFFIXES}")


def run(args: argparse.Namespace) -> None:
    """Check everything, then measure, print and write."""
    if (args.model is None) == (args.pictures is None):
        raise FstError("give either a MODEL or --pictures FOLDER")
    check_grid(args.grid)
    photos = images.find(args.photos)[:: args.every]
    if args.model is not None:
        stylizer = Stylizer(args.model, args.device)
        styles = find_styles(chosen_names(stylizer, args.only), args.styles_dir, dict(args.style))
        paint = model_painter(stylizer)
    else:
        names = args.only or painted_names(args, photos)
        styles = find_styles(names, args.styles_dir, dict(args.style))
        paint = picture_painter(args.pictures, photos, names, args.size)
    loss_network = open_loss_network(args.loss_weights, args.device)
    kept = args.grid_photos if args.grid else 0
    figures, rows = measure(paint, photos, styles, loss_network, args.size, kept)
    print(markdown(figures))
    if args.json:
        text = json.dumps(report(args, len(photos), figures), indent=2)
        write_atomically(args.json, f"{text}\n".encode())
    if args.grid:
        images.save(grid(rows, styles, args.size), args.grid, overwrite=True)


# ---- styles and paintings ---------------------------------------------------------------------


def chosen_names(stylizer: Stylizer, only: Sequence[str] | None) -> list[str]:
    """The styles to measure, of the model's."""
    return [stylizer.style_names[stylizer.style_id(name)] for name in only or stylizer.style_names]


def painted_names(args: argparse.Namespace, photos: Sequence[Path]) -> list[str]:
    """The given styles that some photo was painted in."""
    known = {name for name, _ in args.style} | {name for name, _ in style_files(args.styles_dir)}
    painted = {file.stem for file in images.find(args.pictures)}
    names = [n for n in sorted(known) if any(f"{photo.stem}_{n}" in painted for photo in photos)]
    if not names:
        raise FstError(
            f"--pictures {args.pictures}: no file is named PHOTO_STYLE.png after a photo of "
            "--photos and a style of --styles-dir"
        )
    return names


def style_files(folder: Path | None) -> list[tuple[str, Path]]:
    """Style name and path of each picture and folder in a folder."""
    if folder is None:
        return []
    if not folder.is_dir():
        raise FstError(f"--styles-dir {folder}: no such folder")
    return [
        (path.name if path.is_dir() else path.stem, path)
        for path in sorted(folder.iterdir())
        if path.is_dir() or path.suffix.lower() in images.IMAGE_SUFFIXES
    ]


def find_styles(
    names: Sequence[str], folder: Path | None, overrides: dict[str, Path]
) -> list[Style]:
    """The pictures that show each style.

    Raises:
        FstError: Names every style without a picture, with more than one, and every name in
            `overrides` that is no style.
    """
    files = style_files(folder)
    styles, problems = [], [f"--style {n}: no such style" for n in overrides if n not in names]
    for name in names:
        found = [path for stem, path in files if stem == name]
        found = [overrides[name]] if name in overrides else found
        if len(found) != 1:
            what = "no picture" if not found else f"{len(found)} pictures"
            problems.append(
                f"style {name!r}: {what} of that name in {folder or '--styles-dir'}; "
                f"give --style {name}=PATH"
            )
            continue
        try:
            styles.append(Style(name, tuple(str(path) for path in images.find(found))))
        except FstError as error:
            problems.append(f"style {name!r}: {error}")
    if problems:
        raise FstError("; ".join(problems))
    return styles


def model_painter(stylizer: Stylizer) -> Painter:
    """Paints with a model."""
    return lambda path, photo, style: stylizer.stylize(photo, style)


def picture_painter(
    folder: Path, photos: Sequence[Path], names: Sequence[str], size_px: int
) -> Painter:
    """Reads pictures PHOTO_STYLE.png that were painted before.

    Raises:
        FstError: Some are missing; later, when one is read, it is not of its photo's size.
    """
    painted = {file.stem: file for file in images.find(folder)}
    missing = [s for p in photos for n in names if (s := f"{p.stem}_{n}") not in painted]
    if missing:
        raise FstError(
            f"--pictures {folder} lacks {', '.join(missing[:5])}"
            f"{f' and {len(missing) - 5} more' if len(missing) > 5 else ''}"
        )

    def read(path: Path, photo: Tensor, style: str) -> Tensor:
        file = painted[f"{path.stem}_{style}"]
        painting = images.load(file)
        if painting.shape != photo.shape:
            sizes = ["x".join(map(str, image.shape[:0:-1])) for image in (painting, photo)]
            raise FstError(f"{file} is {sizes[0]} px, expected {sizes[1]}: paint at {size_px} px")
        return painting

    return read


# ---- figures ----------------------------------------------------------------------------------


def open_loss_network(name_or_file: str, device: str) -> LossNetwork:
    """The loss network, with the layers of the metrics, on the device."""
    loss_network = load_loss_network(name_or_file)
    loss_network.require(STYLE_LAYERS)
    try:
        return loss_network.to(device)
    except (RuntimeError, AssertionError) as error:
        raise FstError(f"device {device}: {str(error).splitlines()[0]}") from None


@torch.no_grad()
def measure(
    paint: Painter,
    photos: Sequence[Path],
    styles: Sequence[Style],
    loss_network: LossNetwork,
    size_px: int,
    kept: int = 0,
) -> tuple[dict[str, dict[str, float]], list[list[Tensor]]]:
    """Paint every photo in every style and measure.

    Returns:
        For each style the figures named in `COLUMNS`; and of the first `kept` photos a row
        each, the photo and its paintings, (3, H, W).
    """
    device = loss_network.mean.device
    metrics = make_metrics(loss_network, styles)
    rows: list[list[Tensor]] = []
    for path in tqdm(photos, unit="photo", disable=None):
        photo = images.load(path, size_px)
        content = loss_network(photo[None].to(device), STYLE_LAYERS)
        paintings = []
        for style_id, style in enumerate(styles):
            index = torch.tensor([style_id], device=device)
            paintings.append(paint(path, photo, style.name))
            features = loss_network(paintings[-1][None].to(device), STYLE_LAYERS)
            metrics["style"].update(features, index)
            metrics["content"].update(features, content, index)
            metrics["unstylised_style"].update(content, index)
        rows += [[photo, *paintings]] * (len(rows) < kept)
    # torchmetrics makes a scalar of a single value.
    values = {key: metric.compute().reshape(-1).tolist() for key, metric in metrics.items()}
    figures = {s.name: {key: values[key][i] for key in COLUMNS} for i, s in enumerate(styles)}
    return figures, rows


def make_metrics(loss_network: LossNetwork, styles: Sequence[Style]) -> dict[str, Metric]:
    """An empty metric for each column, on the device of the loss network."""
    device = loss_network.mean.device

    def grams(size_px: int) -> dict[str, Tensor]:
        pictures = [[p.to(device) for p in group] for group in load_pictures(styles, size_px)]
        return style_grams(loss_network, pictures)

    targets = [grams(size_px) for size_px in STYLE_SIZES_PX]
    metrics = {
        "style": StyleDistance(targets),
        "content": ContentDistance(len(styles)),
        "unstylised_style": StyleDistance(targets),
    }
    return {key: metric.to(device) for key, metric in metrics.items()}


def means(figures: dict[str, dict[str, float]]) -> dict[str, float]:
    """Mean over the styles of each figure."""
    return {key: sum(row[key] for row in figures.values()) / len(figures) for key in COLUMNS}


def markdown(figures: dict[str, dict[str, float]]) -> str:
    """The figures as a Markdown table, their mean in the last row."""
    lines = [f"| style | {' | '.join(COLUMNS.values())} |", "|---|" + "---:|" * len(COLUMNS)]
    for name, row in {**figures, "**mean**": means(figures)}.items():
        lines.append(f"| {name} | {' | '.join(f'{row[key]:.4f}' for key in COLUMNS)} |")
    return "\n".join(lines)


def report(args: argparse.Namespace, num_photos: int, figures: dict) -> dict:
    """What the JSON file holds: figures and how they came about, file names without folders."""
    return {
        "model": Path(args.model).name if args.model else None,
        "pictures": args.pictures.name if args.pictures else None,
        "photos": num_photos,
        "protocol": {
            "every": args.every,
            "size_px": args.size,
            "loss_weights": Path(args.loss_weights).name,
            "style_layers": STYLE_LAYERS,
            "content_layer": CONTENT_LAYER,
            "style_sizes_px": STYLE_SIZES_PX,
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
