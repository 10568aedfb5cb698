"""Paint a photo with an ONNX file of fst-export: onnxruntime, NumPy and Pillow are all it takes.

python scripts/paint_with_onnx.py model.onnx photo.jpg painting.png wave
python scripts/paint_with_onnx.py model.onnx photo.jpg painting.png wave=0.7 udnie=0.3
"""

import argparse
import json
import os

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
for name in ("model", "photo", "painting"):
    parser.add_argument(name)
parser.add_argument("styles", nargs="*", metavar="NAME[=SHARE]", help="the first if none is given")
parser.add_argument(
    "--size", type=int, default=768, metavar="PX",
    help="shrink shorter sides to at most PX pixels: strokes are finer in larger photos (768)",
)  # fmt: skip
args = parser.parse_args()
if os.path.exists(args.painting):
    parser.error(f"{args.painting} exists; name another file")
try:
    session = onnxruntime.InferenceSession(args.model, providers=["CPUExecutionProvider"])
    about = session.get_modelmeta().custom_metadata_map
    names = json.loads(about["styles"])
except Exception as error:  # onnxruntime has several kinds
    parser.error(f"{args.model} is no ONNX file of fst-export: {error}")
try:
    picture = ImageOps.exif_transpose(Image.open(args.photo)).convert("RGB")
except OSError as error:
    parser.error(f"cannot read {args.photo}: {error}")
scale = min(1, args.size / min(picture.size))
size = [max(1, round(side * scale)) for side in picture.size]
picture = picture.resize(size, Image.Resampling.LANCZOS)
if min(size) < int(about["min_size_px"]):
    parser.error(f"{args.photo}: sides must be at least {about['min_size_px']} px")

weights = np.zeros((1, len(names)), np.float32)  # (batch, styles)
for style in args.styles or names[:1]:
    name, _, share = style.partition("=")
    try:
        weights[0, names.index(name)] = float(share or 1)
    except ValueError:
        parser.error(f"{style}: expected NAME or NAME=SHARE, a name of {', '.join(names)}")
if not (weights >= 0).all() or not 0 < weights.sum() < np.inf:
    parser.error("shares must be numbers from 0, at least one above it")
weights /= weights.sum()

image = np.asarray(picture, np.float32).transpose(2, 0, 1)[None] / 255  # (batch, 3, H, W)
painted = session.run(["painting"], {"image": image, "style_weights": weights})[0][0]
levels = (painted.transpose(1, 2, 0) * 255).round().astype(np.uint8)
try:
    Image.fromarray(levels).save(args.painting)
except (OSError, ValueError) as error:
    parser.error(f"cannot write {args.painting}: {error}")
