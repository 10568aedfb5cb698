"""Paint a photo with an ONNX file of fst-export: onnxruntime, NumPy and Pillow are all it takes.

python scripts/paint_with_onnx.py model.onnx photo.jpg painting.png wave
python scripts/paint_with_onnx.py model.onnx photo.jpg painting.png wave=0.7 udnie=0.3
"""

import json
import os
import sys

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

model, photo, painting, *styles = sys.argv[1:]
if os.path.exists(painting):
    sys.exit(f"{painting} exists; name another file")
session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
names = json.loads(session.get_modelmeta().custom_metadata_map["styles"])
weights = np.zeros((1, len(names)), np.float32)  # (batch, styles)
for style in styles or names[:1]:
    name, _, share = style.partition("=")
    weights[0, names.index(name)] = float(share or 1)
weights /= weights.sum()
picture = ImageOps.exif_transpose(Image.open(photo)).convert("RGB")
image = np.asarray(picture, np.float32).transpose(2, 0, 1)[None] / 255  # (batch, 3, H, W)
painted = session.run(["painting"], {"image": image, "style_weights": weights})[0][0]
levels = (painted.transpose(1, 2, 0) * 255).round().astype(np.uint8)
Image.fromarray(levels).save(painting)
