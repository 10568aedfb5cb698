"""The files that come with the package, so that nothing has to be downloaded."""

from pathlib import Path

_ASSETS = Path(__file__).resolve().parent
# Made by scripts/draw_samples.py.
SAMPLE_PHOTO = _ASSETS / "sample.jpg"
# A style model of many styles, made by scripts/train_gallery.py: what fst-infer paints with when no
# run is there, and what fst-train begins from.
GALLERY = _ASSETS / "gallery.safetensors"
# The default loss network, made by scripts/distill_loss_network.py.
VGG16_LITE = _ASSETS / "vgg16_lite.safetensors"
