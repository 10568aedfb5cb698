"""Paint images with a trained style model."""

import math
from collections.abc import Mapping
from dataclasses import fields, replace
from operator import index
from pathlib import Path
from typing import Any, SupportsIndex

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from fst.errors import FstError
from fst.io import images
from fst.networks.sizes import MIN_SIZE_PX
from fst.style_model.format import load_style_model
from fst.style_model.names import find_style, model_path
from fst.stylize.controls import colors
from fst.stylize.controls.masks import exaggerated, layered, mixed, place
from fst.stylize.controls.texture_size import painted_at_size
from fst.stylize.options import PaintOptions, StyleChoice, check_range, work_size

PRECISIONS = ("fp32", "bf16")
FORMS = f"(3 or 4, H, W), or an array (H, W) or (H, W, 3 or 4), at least {MIN_SIZE_PX} px a side"


class Stylizer:
    """A trained network, ready to paint.

    Examples:
        >>> from PIL import Image, ImageOps
        >>> from fst import Stylizer
        >>> stylizer = Stylizer()  # the gallery; or Stylizer("checkpoints/run/model.safetensors")
        >>> painting = stylizer.stylize(Image.new("RGB", (64, 48), "teal"), style="wave")
        >>> painting.shape
        torch.Size([3, 48, 64])
        >>> stylizer.save(painting, "painting.png")  # doctest: +SKIP
    """

    def __init__(
        self,
        model: str | Path | torch.nn.Module = "gallery",
        device: str | torch.device = "cpu",
        precision: str = "fp32",
    ) -> None:
        """Load a style model.

        Args:
            model: A .safetensors style model, a .ckpt of fst-train, or "gallery", the model that
                comes with the package; or a `StyleTransferModule`, as it stands now.
            device: Where to compute, such as "cpu" or "cuda".
            precision: "fp32", or "bf16" for convolutions in bfloat16: faster where the processor
                has it, and on trained networks mostly within 2/255 of fp32.

        Raises:
            FstError: The file cannot be read, the device is not there, or the precision unknown.
        """
        if precision not in PRECISIONS:
            raise FstError(f"precision {precision!r} is unknown: use {' or '.join(PRECISIONS)}")
        self.precision = precision
        if isinstance(model, torch.nn.Module):
            self.path = Path(type(model).__name__)  # for messages
            network, self.metadata = model.style_model()
        else:
            self.path = model_path(model)
            network, self.metadata = load_style_model(self.path)
        try:
            # channels_last: the CPU's and the tensor cores' convolutions are faster in it.
            self.network = network.to(device).to(memory_format=torch.channels_last)
        except (RuntimeError, AssertionError) as error:
            raise FstError(f"device {device}: {str(error).splitlines()[0]}") from None
        self.device = torch.device(device)

    @property
    def style_names(self) -> list[str]:
        """Names of the styles, in order of id."""
        return [style["name"] for style in self.metadata["styles"]]

    @property
    def styles(self) -> list[dict[str, Any]]:
        """What the model says of each style, in order of id: name, images, how it was trained."""
        return list(self.metadata["styles"])

    def style_id(self, style: int | str) -> int:
        """The id of a style given by id (any whole number, NumPy's too) or by name.

        Raises:
            FstError: There is no such style; names those that come near.
        """
        if not isinstance(style, str | SupportsIndex):
            raise FstError(
                f"a style of type {type(style).__name__}: expected an id, a name, or a mapping of "
                "several to their shares"
            )
        return find_style(self.style_names, style if isinstance(style, str) else index(style))

    def texture_line(self, style: int | str) -> list[int]:
        """The neighbouring ids that show the same pictures as a style, itself among them.

        They are how one painting's texture grows, where it was trained several times with different
        statistics, sizes or weights. A style of other pictures between them ends the line.
        """
        style_id = self.style_id(style)
        shown = [other.get("fingerprint", i) for i, other in enumerate(self.styles)]
        first = last = style_id
        while first > 0 and shown[first - 1] == shown[style_id]:
            first -= 1
        while last + 1 < len(shown) and shown[last + 1] == shown[style_id]:
            last += 1
        return list(range(first, last + 1))

    def style_weights(self, style: StyleChoice, texture: float | None = None) -> Tensor:
        """How much of each style is in a painting, (1, S), adding up to 1.

        Args:
            style: Id or name; or a mapping of several to their shares, which need not add up to 1:
                their rows are blended (Dumoulin et al. 2017, section 3.3).
            texture: Place on the style's `texture_line`, from 0 (its first id) to 1 (its last);
                between two ids their rows are blended. None paints in the style itself.

        Raises:
            FstError: There is no such style, or no line; the place is not within [0, 1]; shares are
                negative or all zero, or go together with a texture.
        """
        if isinstance(style, Mapping):
            if texture is not None:
                raise FstError("a blend has no texture: name one style, or give up one of the two")
            return self._blend(style)
        style_id = self.style_id(style)
        if texture is None:
            return self.network.one_hot(torch.tensor([style_id], device=self.device))
        check_range("texture", texture, 0, 1)
        line = self.texture_line(style_id)
        if len(line) < 2:
            raise FstError(
                f"style {self.style_names[style_id]!r} has no texture to choose: train its picture "
                "several times in one model, with different statistics"
            )
        place = texture * (len(line) - 1)
        low = min(int(place), len(line) - 2)
        return self._blend({line[low]: low + 1 - place, line[low + 1]: place - low})

    def _blend(self, shares: Mapping[int | str, float]) -> Tensor:
        total = sum(shares.values())
        if not (0 < total < math.inf and all(share >= 0 for share in shares.values())):
            raise FstError(f"a blend of {dict(shares)}: shares must be 0 or more, one above 0")
        weights = torch.zeros(1, self.network.num_styles, device=self.device)
        for style, share in shares.items():
            weights[0, self.style_id(style)] += share / total
        return weights

    @torch.inference_mode()
    def stylize(
        self,
        image: Tensor | np.ndarray | Image.Image | str | Path,
        style: StyleChoice = 0,
        options: PaintOptions | None = None,
        **controls: Any,
    ) -> Tensor:
        """Paint one image.

        Args:
            image: (3, H, W) RGB in [0, 1], with alpha (4, H, W); an array (H, W, 3), (H, W, 4) or,
                grey, (H, W); a Pillow image; or a file, of which alpha and 16 bits a channel are
                read too.
            style: Id or name, or a blend such as {"wave": 0.7, "udnie": 0.3}.
            options: How; by default the painting at full strength.
            controls: Fields of `PaintOptions`, here without one: `strength=0.5`.

        Returns:
            (3, H, W) in [0, 1] on the CPU, fp32, of the size of `image`; with alpha (4, H, W),
            the alpha being that of `image`.

        Raises:
            FstError: A file cannot be read, the image is too small, there is no such style or
                texture, or a control is out of its range.
            TypeError: There is no such control.
        """
        options = options or PaintOptions()
        known = [field.name for field in fields(PaintOptions)]
        if unknown := sorted(controls.keys() - set(known)):
            raise TypeError(f"no control {', '.join(unknown)}: use {', '.join(known)}")
        options = replace(options, **controls) if controls else options
        weights = self.style_weights(style, options.texture)
        content, alpha = read_image(image), None
        if len(content) == 4:
            content, alpha = colors.split_alpha(content)
        size = tuple(content.shape[1:])
        work = work_size(size, options.texture_size)
        if options.masks:
            layers = [(self.style_weights(s), place(m, work)) for s, m in options.masks.items()]
            weights = layered(weights, layers)
        if options.strength > 1:
            weights = exaggerated(weights, options.strength)
        painting = self._painted(content, weights, work)
        self.check_finite(painting)
        if options.keep_colors is not None:
            painting = colors.keep_colors(painting, content, options.keep_colors)
        if options.strength < 1 or options.where is not None:
            where = None if options.where is None else place(options.where, size)
            painting = mixed(content, painting, options.strength, where)
        return painting if alpha is None else torch.cat([painting.clamp(0, 1), alpha])

    def check_finite(self, painting: Tensor) -> None:
        """Refuse what damaged weights paint, by an FstError that names the model."""
        if not painting.isfinite().all():
            raise FstError(
                f"{images.printable(self.path)}: the painting holds NaN or infinite values; try "
                "--precision fp32, or take an earlier file"
            )

    def _painted(self, content: Tensor, weights: Tensor, work: tuple[int, int]) -> Tensor:
        """The painting alone, before the photo's colours and the photo itself are mixed in."""
        if work == content.shape[1:]:
            return self._paint(content, weights)
        return painted_at_size(lambda x: self._paint(x, weights), content, work)

    def _paint(self, content: Tensor, weights: Tensor) -> Tensor:
        """The network's painting of (3, H, W), on the CPU."""
        batch = content[None].to(self.device)
        if self.device.type != "cpu":  # there the network takes planes as they are
            batch = batch.contiguous(memory_format=torch.channels_last)
        bf16 = self.precision == "bf16"
        with torch.autocast(self.device.type, torch.bfloat16, enabled=bf16):
            painting = self.network(batch, weights)[0]
        return painting.contiguous().cpu()

    @staticmethod
    def save(image: Tensor, path: str | Path, *, overwrite: bool = False, bits: int = 8) -> Path:
        """Write a painted image (3, H, W) or (4, H, W); see `fst.io.images.save`."""
        return images.save(image, path, overwrite=overwrite, bits=bits)


# ---- what may be given to be painted ------------------------------------------------------------


def check_size(photo: str | Path, size: tuple[int, int]) -> None:
    """Refuse a picture, (H, W), that the network cannot paint, by an ImageError that names it."""
    if min(size) < MIN_SIZE_PX:
        reason = f"{size[1]}x{size[0]} px is below {MIN_SIZE_PX} px a side"
        name = images.printable(photo)
        raise images.ImageError(f"cannot read {name}: {reason}; give a larger picture", reason)


def read_image(image: Tensor | np.ndarray | Image.Image | str | Path) -> Tensor:
    """An image as (3, H, W) or, with alpha, (4, H, W): fp32 in [0, 1], on the CPU.

    Args:
        image: A tensor (3 or 4, H, W), an array (H, W, 3 or 4) or, grey, (H, W), each in [0, 1] or
            of uint8 or uint16; a Pillow image, turned as its EXIF tag says; or a file.

    Raises:
        FstError: It is of another kind or shape, out of range, below 16 px a side, or the file
            cannot be read.
    """
    if isinstance(image, str | Path):
        file, image = image, images.load_full(image)
        check_size(file, tuple(image.shape[1:]))
        return image
    if isinstance(image, Image.Image):
        image = _levels(ImageOps.exif_transpose(image))
    if isinstance(image, np.ndarray):
        image = _from_array(image)
    if not isinstance(image, Tensor):
        raise FstError(
            f"an image of type {type(image).__name__}: expected a tensor {FORMS}; a Pillow image; "
            "or a file"
        )
    if image.dim() != 3 or image.shape[0] not in (3, 4) or min(image.shape[1:]) < MIN_SIZE_PX:
        raise FstError(f"an image of shape {tuple(image.shape)}: expected {FORMS}")
    return _in_unit_range(image.cpu())


def _levels(picture: Image.Image) -> np.ndarray:
    """(H, W, 3 or 4), uint8, or of a 16-bit picture uint16."""
    if picture.mode == "F":
        raise FstError("a Pillow image of mode F has no range of its own: give an array in [0, 1]")
    if picture.mode.startswith("I"):  # to RGB Pillow would cut them off at 255
        grey = np.asarray(picture).clip(0, 65535).astype(np.uint16)
        return np.repeat(grey[:, :, None], 3, axis=2)
    return np.array(picture.convert("RGBA" if picture.has_transparency_data else "RGB"))


def _from_array(array: np.ndarray) -> Tensor:
    """(H, W, C) as (C, H, W), grey (H, W) or (H, W, 1) as (3, H, W)."""
    with_channels = array[:, :, None] if array.ndim == 2 else array
    if with_channels.shape[2:] == (1,):
        array = np.repeat(with_channels, 3, axis=2)
    if array.ndim != 3 or array.shape[2] not in (3, 4):
        raise FstError(f"an array of shape {array.shape}: expected {FORMS}")
    native = array.astype(array.dtype.newbyteorder("="), copy=False)
    return torch.from_numpy(np.ascontiguousarray(native.transpose(2, 0, 1)))


def _in_unit_range(image: Tensor) -> Tensor:
    levels: dict[Any, int] = {torch.uint8: 255, torch.uint16: 65535}
    if image.dtype in levels:
        return image.float() / levels[image.dtype]
    if not image.is_floating_point():
        raise FstError(f"an image of {image.dtype}: expected uint8, uint16, or float in [0, 1]")
    image = image.float()
    low, high = (value.item() for value in image.aminmax())
    if not -0.5 <= low <= high <= 2:  # a little beyond is overshoot of resizing, and harmless
        raise FstError(
            f"a float image of values from {low:g} to {high:g}: expected [0, 1]"
            + ("; divide it by 255" if high > 2 else "")
        )
    return image
