"""Whether an exported model paints what the network paints: measured on the sample photo."""

import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from fst.assets import SAMPLE_PHOTO
from fst.errors import FstError
from fst.io import images
from fst.networks.sizes import MIN_SIZE_PX
from fst.networks.transformer import TransformerNet
from fst.stylize.stylizer import Stylizer

# Takes an image (B, 3, H, W) and style weights (B, S), gives the stylized image, all NumPy fp32.
Painter = Callable[[np.ndarray, np.ndarray], np.ndarray]
TOLERANCE = 1e-4  # of fp32; a level of 8 bits is 4e-3
MAX_FP16 = 0.1  # of fp16, where rounding grows with each layer; beyond, something has overflowed
# Height and width in px: the least there may be, odd ones, both ways round, one without padding.
SIZES = ((MIN_SIZE_PX, MIN_SIZE_PX), (37, 50), (101, 64), (96, 128), (255, 257))
MAX_BATCH = 16  # of the second size, where as many styles as there are in it are tried


@dataclass(frozen=True)
class Difference:
    """How far the exported model's image and the network's are apart, in [0, 1]."""

    batch: int
    height_px: int
    width_px: int
    largest: float  # NaN where either image holds one
    mean: float


@torch.no_grad()
def differences(network: TransformerNet, paint: Painter) -> list[Difference]:
    """Compare `paint` with the network at each of `SIZES`: single styles, and a blend of all."""
    photo = images.load(SAMPLE_PHOTO, max(max(size) for size in SIZES))
    found = []
    for place, (height, width) in enumerate(SIZES):
        weights = _weights(network.num_styles, place)
        crop = photo[:, :height, :width]
        views = [crop, crop.flip(2), crop.flip(1)]
        image = torch.stack([views[i % 3] for i in range(len(weights))])
        expected = network(image, weights).numpy()
        apart = np.abs(paint(image.numpy(), weights.numpy()) - expected)
        largest, mean = float(apart.max()), float(apart.mean())
        found.append(Difference(len(image), height, width, largest, mean))
    return found


def _weights(num_styles: int, place: int) -> Tensor:
    """(B, S) for a size: a style; at the second as many as there are; at the last a blend, too."""
    if place == 1:
        return F.one_hot(torch.arange(min(MAX_BATCH, num_styles)), num_styles).float()
    one = F.one_hot(torch.tensor([place % num_styles]), num_styles).float()
    blend = torch.full((1, num_styles), 1 / num_styles)
    return torch.cat([one, blend]) if place == len(SIZES) - 1 else one


def onnx_painter(content: bytes) -> Painter:
    """Paints with an ONNX file by onnxruntime, on one thread of the CPU.

    Raises:
        ImportError: onnxruntime is not installed.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3  # errors
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])

    def paint(image: np.ndarray, style_weights: np.ndarray) -> np.ndarray:
        return session.run(None, {"image": image, "style_weights": style_weights})[0]

    return paint


def program_painter(content: bytes) -> Painter:
    """Paints with a .pt2 file as it was read back."""
    module = torch.export.load(io.BytesIO(content)).module()

    def paint(image: np.ndarray, style_weights: np.ndarray) -> np.ndarray:
        return module(torch.from_numpy(image), torch.from_numpy(style_weights)).numpy()

    return paint


def compared(stylizer: Stylizer, paint: Painter, fp16: bool) -> str:
    """By how much the paintings of an exported file differ, in one line.

    Raises:
        FstError: By more than rounding.
    """
    found = differences(stylizer.network, paint)
    worst = max(found, key=lambda d: (d.largest != d.largest, d.largest))
    most = MAX_FP16 if fp16 else TOLERANCE
    if not worst.largest <= most:
        raise FstError(
            f"{stylizer.path}: exported, it paints otherwise by {worst.largest:.2g} of 1 at "
            f"{worst.width_px}x{worst.height_px} px, more than {most:g}; "
            + ("leave `fp16` out" if fp16 else "please report it with the model")
        )
    sizes = ", ".join(f"{d.batch} of {d.width_px}x{d.height_px}" for d in found)
    mean = sum(d.mean for d in found) / len(found)
    return (
        f"differs from fst by up to {worst.largest:.1e} (range 0 to 1), {mean:.1e} on average; an "
        f"8-bit step is 3.9e-03 ({sizes} px)"
    )
