"""Paint a photo with an ONNX file of fst-export: onnxruntime, NumPy and Pillow are all it takes.

python scripts/paint_with_onnx.py model.onnx photo.jpg painting.png wave
python scripts/paint_with_onnx.py model.onnx photo.jpg painting.png wave=0.7 udnie=0.3
"""

import argparse
import json
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
for name in ("model", "photo", "painting"):
    parser.add_argument(name, type=Path)
parser.add_argument("styles", nargs="*", metavar="NAME[=SHARE]", help="the first if none is given")
parser.add_argument(
    "--size", type=int, default=768, metavar="PX",
    help="shrink shorter sides to at most PX pixels: strokes are finer in larger photos (768)",
)  # fmt: skip
args = parser.parse_intermixed_args()
Image.init()
if args.painting.exists():
    parser.error(f"{args.painting} exists; name another file")
if Image.EXTENSION.get(args.painting.suffix.lower()) not in Image.SAVE:
    parser.error(f"{args.painting}: not a format to write; name it {args.painting.stem}.png")
if not args.painting.parent.is_dir():
    parser.error(f"{args.painting.parent}: no such folder")
for file in (args.model, args.photo):
    if not file.is_file():
        parser.error(f"{file}: no such file")

try:
    session = onnxruntime.InferenceSession(args.model, providers=["CPUExecutionProvider"])
    about = session.get_modelmeta().custom_metadata_map
    names, least = json.loads(about["styles"]), int(about["min_size_px"])
except Exception:  # onnxruntime has several kinds
    parser.error(f"{args.model} is no ONNX file of fst-export")
if args.size < least:
    parser.error(f"--size {args.size}: must be at least {least}")
try:
    picture = ImageOps.exif_transpose(Image.open(args.photo)).convert("RGB")
except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
    parser.error(f"cannot read {args.photo}: {error}")
if min(picture.size) < least:
    parser.error(f"{args.photo}: sides must be at least {least} px")
scale = min(1, args.size / min(picture.size))
picture = picture.resize([round(side * scale) for side in picture.size], Image.Resampling.LANCZOS)

weights = np.zeros((1, len(names)))  # (batch, styles)
for style in args.styles or names[:1]:
    name, _, share = style.partition("=")
    if name not in names:
        parser.error(f"no style {name}; there are {', '.join(names)}")
    try:
        weights[0, names.index(name)] += float(share or 1)
    except ValueError:
        parser.error(f"{style}: {share} is not a number")
if not (weights >= 0).all() or not 0 < weights.sum() < np.inf:
    parser.error("shares must be 0 or more, one above 0")
weights = (weights / weights.sum()).astype(np.float32)

image = np.asarray(picture, np.float32).transpose(2, 0, 1)[None] / 255  # (batch, 3, H, W)
painted = session.run(["painting"], {"image": image, "style_weights": weights})[0][0]
levels = (painted.transpose(1, 2, 0) * 255).round().astype(np.uint8)
Image.fromarray(levels).save(args.painting)
