"""Draw the sample pictures: generative art of our own, free to ship under the project's licence.

    python scripts/draw_samples.py -o datasets/samples --seed 7

The painters are in sample_styles.py, sample_waves.py, sample_linocut.py and sample_contents.py, the
training scenes in fst.data.scene_drawing.
"""

import argparse
import zlib
from pathlib import Path

import numpy as np
from PIL import Image
from sample_contents import CONTENT_SHAPE, landscape, portrait, still_life
from sample_linocut import linocut
from sample_styles import STYLE_SHAPE, cubist_shards, impasto_swirls, pointillism, stained_glass
from sample_waves import woodblock_waves

from fst.data.scene_drawing import draw_scene

SCENE_SHAPE = (256, 320)
OVERSAMPLE = 2  # drawn this much larger, then shrunk: Pillow's shapes have no anti-aliasing
JPEG_QUALITY = 90

STYLES = {
    f.__name__: f
    for f in (stained_glass, pointillism, woodblock_waves, cubist_shards, impasto_swirls, linocut)
}
CONTENTS = {f.__name__: f for f in (landscape, still_life, portrait)}


def draw_picture(name, seed, scale=1.0):
    """Draw one named picture as uint8 RGB (H, W, 3)."""
    painter = {**STYLES, **CONTENTS}[name]
    height, width = STYLE_SHAPE if name in STYLES else CONTENT_SHAPE
    height, width = round(height * scale), round(width * scale)
    rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
    image = quantised(painter(rng, (height * OVERSAMPLE, width * OVERSAMPLE)))
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BOX))


def quantised(image):
    """Float RGB in [0, 1] as uint8, clipped and rounded."""
    return (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)


def write(image, path):
    """Save uint8 RGB (H, W, 3) as a JPEG and say so."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path, quality=JPEG_QUALITY)
    print(f"{path}  {path.stat().st_size / 1024:.0f} KiB")


def write_scenes(count, seed, folder):
    """Draw training scenes into a folder."""
    for index in range(count):
        write(draw_scene(seed, index, SCENE_SHAPE), folder / f"scene_{index:05d}.jpg")


def main(arguments=None):
    """Draw what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, default=Path("datasets/samples"))
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--scenes", type=int, default=0, help="also draw this many training scenes")
    parser.add_argument(
        "--only", nargs="+", choices=[*STYLES, *CONTENTS], help="just these pictures"
    )
    options = parser.parse_args(arguments)
    for folder, pictures in (("styles", STYLES), ("content", CONTENTS)):
        for name in options.only or pictures:
            if name in pictures:
                write(draw_picture(name, options.seed), options.output / folder / f"{name}.jpg")
    if options.scenes:
        write_scenes(options.scenes, options.seed, options.output / "scenes")


if __name__ == "__main__":
    main()
