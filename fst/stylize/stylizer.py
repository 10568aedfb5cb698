"""Paint images with a trained style model."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fst import images
from fst.errors import FstError
from fst.networks.transformer import MIN_SIZE_PX
from fst.stylize.style_model import load_style_model
from fst.stylize.style_names import find_style

PRECISIONS = ("fp32", "bf16")


class Stylizer:
    """A trained network, ready to paint.

    Example:
        >>> from fst import Stylizer
        >>> stylizer = Stylizer("checkpoints/run/model.safetensors")  # doctest: +SKIP
        >>> painting = stylizer.stylize("photo.jpg", style="wave")  # doctest: +SKIP
        >>> stylizer.save(painting, "painting.png")  # doctest: +SKIP
    """

    def __init__(
        self, model: str | Path, device: str | torch.device = "cpu", precision: str = "fp32"
    ) -> None:
        """Load a style model.

        Args:
            model: A .safetensors style model, or a .ckpt of fst-train.
            device: Where to compute, such as "cpu" or "cuda".
            precision: "fp32", or "bf16" for convolutions in bfloat16: faster where the processor
                has it, and on trained networks mostly within 2/255 of fp32.

        Raises:
            FstError: The file cannot be read, the device is not there, or the precision unknown.
        """
        if precision not in PRECISIONS:
            raise FstError(f"precision {precision!r} is unknown: use {' or '.join(PRECISIONS)}")
        self.precision = precision
        network, self.metadata = load_style_model(model)
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
        """The id of a style given by id or by name.

        Raises:
            FstError: There is no such style; names those that come near.
        """
        return find_style(self.style_names, style)

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

    def style_weights(self, style: int | str, texture: float | None = None) -> Tensor:
        """How much of each style is in a painting, (1, S), adding up to 1.

        Args:
            style: Id or name.
            texture: Place on the style's `texture_line`, from 0 (its first id) to 1 (its last);
                between two ids their rows are blended (Dumoulin et al. 2017, section 3.3). None
                paints in the style itself.

        Raises:
            FstError: There is no such style, or no line; or the place is not within [0, 1].
        """
        style_id = self.style_id(style)
        if texture is None:
            return self.network.one_hot(torch.tensor([style_id], device=self.device))
        if not 0 <= texture <= 1:
            raise FstError(f"texture {texture:g}: expected a number from 0 to 1")
        line = self.texture_line(style_id)
        if len(line) < 2:
            raise FstError(
                f"style {self.style_names[style_id]!r} has no texture to choose: train its picture "
                "several times in one model, with different statistics"
            )
        place = texture * (len(line) - 1)
        low = min(int(place), len(line) - 2)
        weights = torch.zeros(1, self.network.num_styles, device=self.device)
        weights[0, line[low]], weights[0, line[low + 1]] = low + 1 - place, place - low
        return weights

    @torch.inference_mode()
    def stylize(
        self, image: Tensor | str | Path, style: int | str = 0, *, texture: float | None = None
    ) -> Tensor:
        """Paint one image.

        Args:
            image: (3, H, W) RGB in [0, 1], or a file.
            style: Id or name.
            texture: How much of the style's texture, see `style_weights`.

        Returns:
            (3, H, W) in [0, 1] on the CPU, fp32, of the size of `image`.

        Raises:
            FstError: The file cannot be read, the image is too small, or there is no such style or
                texture.
        """
        weights = self.style_weights(style, texture)
        content = image if isinstance(image, Tensor) else images.load(image)
        if content.dim() != 3 or content.shape[0] != 3 or min(content.shape[1:]) < MIN_SIZE_PX:
            raise FstError(
                f"an image of shape {tuple(content.shape)}: expected (3, H, W) "
                f"of at least {MIN_SIZE_PX} px a side"
            )
        batch = content[None].to(self.device, torch.float32)
        batch = batch.contiguous(memory_format=torch.channels_last)
        bf16 = self.precision == "bf16"
        with torch.autocast(self.device.type, torch.bfloat16, enabled=bf16):
            painting = self.network(batch, weights)[0]
        return painting.contiguous().cpu()

    @staticmethod
    def save(image: Tensor, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write a painted image (3, H, W); see `fst.images.save`."""
        return images.save(image, path, overwrite=overwrite)
