"""What scripts/benchmark.py measures of growth: cost with pixels, with styles, with images."""

import argparse
import os
import tempfile
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

import torch
from benchmark_networks import SHIPPED_BLOCKS, SHIPPED_WIDTH
from benchmark_timing import Case, Rows, interleaved

from fst import Stylizer
from fst.assets import GALLERY, SAMPLE_PHOTO
from fst.cli import infer
from fst.io import images
from fst.networks.transformer import TransformerNet
from fst.runtime.memory import keep_freed_memory
from fst.style_model.format import describe, save_style_model
from fst.training.settings import Architecture

PIXELS = [128, 256, 512, 1024]
STYLES = [1, 16, 256]
IMAGES = [1, 4, 16]
FILES, STYLE = 8, "wave"


def run_growth(args: argparse.Namespace) -> Rows:
    """Paintings of more pixels, styles and images, at the shipped width."""
    keep_freed_memory()
    cases: dict[str, Case] = {}
    about: dict[str, tuple[float, int]] = {}
    for size_px in PIXELS:
        add(cases, about, f"1 image of {size_px} px, 1 style", 1, 1, size_px)
    for styles in STYLES[1:]:
        add(cases, about, f"1 image of 256 px, {styles} styles", 1, styles, 256)
    for count in IMAGES[1:]:
        add(cases, about, f"{count} images of 256 px, 1 style", count, 1, 256)
    medians = interleaved(cases, args.repeats)
    rows = [
        {
            "case": name,
            "ms": 1e3 * seconds,
            "ms a megapixel": 1e3 * seconds / about[name][0],
            "model file KB": about[name][1] / 1e3,
        }
        for name, seconds in medians.items()
    ]
    rows += folder_rows(args)
    keep_freed_memory(False)
    return rows


def folder_rows(args: argparse.Namespace) -> list[dict[str, object]]:
    """Files painted one after the other, and as fst-infer does it: read ahead, written behind."""
    with tempfile.TemporaryDirectory() as folder:
        photos = []
        for number in range(FILES):
            photos.append(str(Path(folder) / f"photo{number}.png"))
            images.decode(SAMPLE_PHOTO).save(photos[-1])
        stylizer, megapixels = Stylizer(GALLERY), FILES * images.load(SAMPLE_PHOTO)[0].numel() / 1e6

        def one_by_one() -> None:
            for photo in photos:
                stylizer.save(stylizer.stylize(photo, STYLE), f"{photo}.out.png", overwrite=True)

        def piped() -> None:
            words = [*photos, "--style", STYLE, "--model", str(GALLERY), "--overwrite"]
            with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
                infer.main([*words, "--device", "cpu", "-o", str(Path(folder) / "out")])

        cases = {f"{FILES} files, one after the other": one_by_one, f"{FILES} files": piped}
        medians = interleaved(cases, args.repeats, warmup=1)
    return [
        {"case": n, "ms": 1e3 * s, "ms a megapixel": 1e3 * s / megapixels, "model file KB": ""}
        for n, s in medians.items()
    ]


def add(cases: dict, about: dict, name: str, count: int, styles: int, size_px: int) -> None:
    """Put one case in, with its megapixels and the size of its model file."""
    shape = SHIPPED_WIDTH, SHIPPED_BLOCKS
    network = TransformerNet(styles, *shape, margin=Architecture.margin)
    network.eval().requires_grad_(False)
    metadata = describe(network, [{"name": f"style{i}"} for i in range(styles)], {})
    with tempfile.TemporaryDirectory() as folder:
        size = os.path.getsize(save_style_model(Path(folder) / "m.safetensors", network, metadata))
    network.to(memory_format=torch.channels_last)
    photos = torch.rand(count, 3, size_px, size_px)
    weights = network.one_hot(torch.arange(count) % styles)

    def paint() -> None:
        with torch.inference_mode():
            network(photos, weights)

    cases[name] = paint
    about[name] = (count * size_px**2 / 1e6, size)
