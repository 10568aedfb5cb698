"""Style models on the Hugging Face Hub, by huggingface_hub's own mixin (extra `hub`).

Imported by nothing else in fst: huggingface_hub takes its time.
"""

import os
from pathlib import Path
from typing import Any

import torch

from fst.errors import FstError
from fst.io.atomic import write_atomically
from fst.style_model.card import jpeg_bytes, picture_of, text_of
from fst.style_model.format import save_style_model
from fst.style_model.names import MODEL_NAME
from fst.stylize.stylizer import Stylizer

try:
    from huggingface_hub import ModelCard, ModelHubMixin, hf_hub_download
except ImportError as error:
    raise ImportError(
        f"fst.stylize.hub needs huggingface_hub: pip install 'fst[hub]' ({error})"
    ) from None

PICTURE_NAME = "model.jpg"


class HubStylizer(Stylizer, ModelHubMixin, library_name="fst"):
    """A `Stylizer` that can be pushed to the Hub and fetched from it.

    A repository holds the style model `model.safetensors`, the card `README.md`, and the card's
    picture `model.jpg`, painted from the sample photo of fst: no photo or style picture of yours.

    Example:
        >>> from fst.stylize.hub import HubStylizer
        >>> stylizer = HubStylizer("checkpoints/run-1/model.safetensors")  # doctest: +SKIP
        >>> stylizer.push_to_hub("me/my-styles", private=True)  # doctest: +SKIP
        >>> stylizer = HubStylizer.from_pretrained("me/my-styles")  # doctest: +SKIP
    """

    def __init__(
        self, model: str | Path, device: str | torch.device = "cpu", precision: str = "fp32"
    ) -> None:
        """Load a style model; arguments and errors as of `Stylizer`."""
        super().__init__(model, device, precision)
        # What the mixin would put into a config.json: these arguments, with a path of this machine.
        self._hub_mixin_config = None

    def _save_pretrained(self, save_directory: Path) -> None:
        """Write model and picture; the mixin's `save_pretrained` writes the card.

        Raises:
            FstError: One is there already, or the folder cannot be written.
        """
        for name in (MODEL_NAME, PICTURE_NAME):
            if os.path.lexists(save_directory / name):
                raise FstError(f"{save_directory / name} exists: name another folder")
        write_atomically(save_directory / PICTURE_NAME, jpeg_bytes(picture_of(self)))
        save_style_model(save_directory / MODEL_NAME, self.network, self.metadata)

    def generate_model_card(self, license: str | None = None) -> ModelCard:
        """The card; the mixin's methods pass `model_card_kwargs={"license": "cc-by-4.0"}` on."""
        return ModelCard(text_of(self, PICTURE_NAME, license, MODEL_NAME))

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | Path,
        *,
        device: str | torch.device = "cpu",
        precision: str = "fp32",
        **download: Any,
    ) -> "HubStylizer":
        """Fetch a style model and load it; it is checked like any file that anyone may have made.

        Differs from the mixin's: a repository's config.json is not read, so it sets nothing.

        Args:
            pretrained_model_name_or_path: A repository such as "me/my-styles", or a folder.
            device: See `Stylizer`; so `precision`.
            precision: "fp32" or "bf16".
            download: Of huggingface_hub's `hf_hub_download`: `revision` (branch, tag or commit),
                `token`, `cache_dir`, `force_download`, `local_files_only`.

        Raises:
            FstError: It cannot be fetched, or is no style model.
        """
        name = str(pretrained_model_name_or_path)
        if os.path.isdir(name):
            return cls(Path(name) / MODEL_NAME, device, precision)
        try:
            path = hf_hub_download(name, MODEL_NAME, **download)
        except (OSError, ValueError) as error:  # of the network, the disk, or a name that is none
            reason = " ".join(str(error).split())[:200]
            raise FstError(f"{name}: cannot fetch its {MODEL_NAME} ({reason})") from None
        return cls(path, device, precision)
