"""The loss network: a frozen VGG whose features measure content and style, or several as one."""

import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fst.assets import VGG16_LITE
from fst.errors import FstError
from fst.io.torch_files import check_tensor, read_torch_file
from fst.networks.frozen import FrozenConv

# Convolutions per stage of the two topologies (Simonyan & Zisserman 2015, table 1, D and E).
CONVS_PER_STAGE = {"vgg16": (2, 2, 3, 3, 3), "vgg19": (2, 2, 4, 4, 4)}
VGG_CHANNELS = (64, 128, 256, 512, 512)  # per stage, ibid.
MAX_CHANNELS = 2048  # of a file, in one layer
LITE = "vgg16-lite"  # ours, distilled from VGG-16
FORMER_LITE = "vgg19-lite"
LOSS_NETWORKS = (LITE, *CONVS_PER_STAGE)
OPTIONS = tuple(CONVS_PER_STAGE), ("zeros", "reflect"), ("max", "avg")
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def layer_names(topology: str) -> dict[str, int]:
    """Names of the rectified layers of a VGG, with torchvision's index of their convolution.

    Examples:
        >>> list(layer_names("vgg16").items())[:3]
        [('relu1_1', 0), ('relu1_2', 2), ('relu2_1', 5)]
    """
    names, index = {}, 0
    for stage, convs in enumerate(CONVS_PER_STAGE[topology], start=1):
        for conv in range(1, convs + 1):
            names[f"relu{stage}_{conv}"] = index
            index += 2  # the convolution and its ReLU
        index += 1  # the pooling
    return names


class LossWeightsError(FstError):
    """Weights that cannot be had, or not to the depth that is asked for."""


class LossNetwork(nn.Module):
    """Frozen VGG features by layer name, computed no deeper than asked.

    Takes RGB images in [0, 1]; the ImageNet normalisation is inside. Always in eval mode and never
    trained. `PerceptualLoss` holds it outside its module tree, so it is neither stored in
    checkpoints nor wrapped by distributed strategies.
    """

    def __init__(
        self,
        state_dict: dict[str, Tensor],
        topology: str = "vgg19",
        padding: str = "zeros",
        pooling: str = "max",
    ) -> None:
        """Build the network around the weights.

        Args:
            state_dict: Torchvision's `features.<index>.weight` and `.bias`, of full width or
                slimmer, to any depth; other entries (a classifier, say) are ignored.
            topology: "vgg16" or "vgg19".
            padding: "zeros" or "reflect".
            pooling: "max" or "avg" (Gatys et al. 2016 found average pooling smoother).

        Raises:
            FstError: The weights do not chain up, or an option is unknown.
        """
        super().__init__()
        for given, known in zip((topology, padding, pooling), OPTIONS, strict=True):
            if given not in known:
                raise FstError(
                    f"loss network option {given!r} is unknown: use {' or '.join(known)}"
                )
        self.topology, self.padding, self.pooling = topology, padding, pooling
        self.convs = nn.ModuleDict()
        channels = 3
        for name, index in layer_names(topology).items():
            weight = state_dict.get(f"features.{index}.weight")
            if weight is None:
                break  # a truncated file: the layers so far
            bias = state_dict.get(f"features.{index}.bias")
            self.convs[name] = _frozen_conv(name, weight, bias, channels, padding)
            channels = weight.shape[0]
        if not self.convs:
            raise FstError(
                "the loss weights hold no VGG convolution: expected torchvision's names "
                f"(features.0.weight, ...), found {', '.join(list(state_dict)[:3]) or 'nothing'}"
            )
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(1, 3, 1, 1))
        self.eval().requires_grad_(False)

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the layers these weights reach, shallow to deep."""
        return tuple(self.convs)

    def require(self, layers: Iterable[str]) -> None:
        """Raise an FstError that names the layers that are missing and those that can be had."""
        missing = [layer for layer in layers if layer not in self.layers]
        if missing:
            raise LossWeightsError(
                f"the loss network has no layer {', '.join(missing)}: choose among "
                f"{', '.join(self.layers)}, or give other weights"
            )

    def channels(self, layers: Iterable[str]) -> dict[str, int]:
        """How many channels some layers have; raises as `require` does."""
        self.require(layers)
        return {layer: self.convs[layer].out_channels for layer in layers}

    def forward(self, images: Tensor, layers: Iterable[str]) -> dict[str, Tensor]:
        """Features of the images at the named layers.

        Args:
            images: (B, 3, H, W) RGB in [0, 1].
            layers: Names such as "relu3_1"; the run stops at the deepest.

        Returns:
            Layer name to (B, C, H / 2^(stage-1), W / 2^(stage-1)), in the order of the network.

        Raises:
            FstError: A layer is not in these weights.
        """
        wanted = set(layers)
        self.require(sorted(wanted))
        features, x, stage = {}, (images - self.mean) / self.std, "1"
        for name, conv in self.convs.items():
            if len(features) == len(wanted):
                break
            if name[4] != stage:  # "relu3_1": stage 3 begins with a pooling
                stage, x = name[4], self._pool(x)
            x = F.relu(conv(x))
            if name in wanted:
                features[name] = x
        return features

    def train(self, mode: bool = True) -> "LossNetwork":
        """Stay in eval mode whatever the surrounding module does."""
        return super().train(False)

    def _pool(self, x: Tensor) -> Tensor:
        return F.max_pool2d(x, 2) if self.pooling == "max" else F.avg_pool2d(x, 2)


class CombinedLossNetwork(nn.Module):
    """Takes each layer from the first network that has it.

    A real VGG cut at relu3_1 before a distilled one, say, judges fine texture with real features
    and large forms with small ones. Reads like a `LossNetwork` whose layers are those of both.
    """

    def __init__(self, networks: Sequence[LossNetwork]) -> None:
        """Combine networks; raises an FstError where their topologies are different."""
        super().__init__()
        topologies = sorted({network.topology for network in networks})
        if len(topologies) != 1:
            raise FstError(
                f"loss networks of different topologies ({', '.join(topologies)}) do not combine; "
                "a file that was taken for the wrong one can name its own in its metadata"
            )
        self.networks, self.topology = nn.ModuleList(networks), topologies[0]
        self._sources = {layer: n for n in reversed(networks) for layer in n.layers}
        self.convs = {layer: network.convs[layer] for layer, network in self._sources.items()}

    require, channels = LossNetwork.require, LossNetwork.channels

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of all layers that some network reaches, shallow to deep."""
        return tuple(sorted(self._sources))  # relu1_1 ... relu5_4: at most one digit each

    @property
    def padding(self) -> str:
        """That of all networks, or "zeros" where one of them pads with zeros."""
        kinds = {network.padding for network in self.networks}
        return "zeros" if "zeros" in kinds else kinds.pop()

    @property
    def mean(self) -> Tensor:
        """ImageNet mean, as in `LossNetwork`; tells the device."""
        return self.networks[0].mean

    def forward(self, images: Tensor, layers: Iterable[str]) -> dict[str, Tensor]:
        """Features of the images (B, 3, H, W) at the named layers; see `LossNetwork.forward`."""
        wanted = sorted(set(layers))
        self.require(wanted)
        features = {}
        for network in self.networks:
            if own := [layer for layer in wanted if self._sources[layer] is network]:
                features |= network(images, own)
        return features


def load_loss_network(
    name_or_file: str | Path, pooling: str | None = None, padding: str | None = None
) -> LossNetwork:
    """Make a loss network: the shipped one, torchvision's pretrained ones, or a file.

    Args:
        name_or_file: "vgg16-lite" (shipped with the package, nothing to download); "vgg16" or
            "vgg19" (torchvision's ImageNet weights out of the hub cache, or downloaded there with
            the hash checked); or a safetensors file or torch state_dict with torchvision's names.
            A safetensors file may say `topology`, `padding` and `pooling` in its metadata.
        pooling: "max" or "avg", whatever the file says.
        padding: "zeros" or "reflect", likewise.

    Raises:
        FstError: The file is missing, broken or no VGG; or the download failed.
    """
    name = str(name_or_file)
    if name in CONVS_PER_STAGE:
        return LossNetwork(_pretrained(name), name, padding or "zeros", pooling or "max")
    state_dict, metadata = _read_weights(VGG16_LITE if name == LITE else Path(name))
    try:
        return LossNetwork(
            state_dict,
            topology=metadata.get("topology") or _guess_topology(state_dict),
            padding=padding or metadata.get("padding", "zeros"),
            pooling=pooling or metadata.get("pooling", "max"),
        )
    except FstError as error:
        raise FstError(f"{name_or_file}: {error}") from None


def load_loss_networks(
    names_or_files: str | Path | Sequence[str | Path], *options: str | None
) -> LossNetwork | CombinedLossNetwork:
    """One loss network, or several combined; arguments and errors as of `load_loss_network`."""
    if isinstance(names_or_files, str | Path):
        return load_loss_network(names_or_files, *options)
    networks = [load_loss_network(name, *options) for name in names_or_files]
    return networks[0] if len(networks) == 1 else CombinedLossNetwork(networks)


def _frozen_conv(
    name: str, weight: Tensor, bias: Tensor | None, channels_in: int, padding: str
) -> FrozenConv:
    if weight.dim() != 4 or tuple(weight.shape[1:]) != (channels_in, 3, 3):
        raise FstError(
            f"{name} has a weight of shape {tuple(weight.shape)}, "
            f"expected (any, {channels_in}, 3, 3) after the layers before it"
        )
    if not 0 < len(weight) <= MAX_CHANNELS:
        raise FstError(f"{name} has {len(weight)} channels, expected 1 to {MAX_CHANNELS}")
    if bias is None or tuple(bias.shape) != tuple(weight.shape[:1]):
        raise FstError(f"{name} has no bias that fits its weight of shape {tuple(weight.shape)}")
    check_tensor(weight)
    check_tensor(bias)
    weight, bias = weight.float(), bias.float()
    if not (weight.isfinite().all() and bias.isfinite().all()):
        raise FstError(f"{name} holds NaN or infinite weights: get the file again")
    conv = FrozenConv(channels_in, len(weight), padding=1, padding_mode=padding)
    conv.weight.data.copy_(weight)
    conv.bias.data.copy_(bias)
    return conv


def _pretrained(name: str) -> dict[str, Tensor]:
    # torchvision takes a second to import, and only this path needs it.
    import torchvision

    weights = torchvision.models.get_weight(f"{name.upper()}_Weights.IMAGENET1K_V1")
    try:
        return weights.get_state_dict(progress=True, check_hash=True, weights_only=True)
    except Exception as error:  # URLError, timeouts, a wrong hash (RuntimeError), a full disk
        reason = " ".join(str(error).split()) or type(error).__name__
        raise LossWeightsError(
            f"could not download the {name} weights ({reason}): connect once, or give a file"
        ) from None


def _read_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """State dict and metadata of a safetensors or torch file."""
    if str(path) == FORMER_LITE:
        raise FstError(
            f"{FORMER_LITE} is no longer shipped: use {LITE}; to resume a run that had it, install "
            "the fst that began it"
        )
    if not os.path.isfile(path):  # unlike Path.is_file, also of names that no file can have
        raise FstError(
            f"{path}: no such loss network; give {', '.join(LOSS_NETWORKS)} or a weights file"
        )
    try:
        if path.suffix == ".safetensors":
            from safetensors import safe_open

            with safe_open(path, framework="pt") as file:
                keys = file.keys()  # the file itself cannot be iterated over
                return {key: file.get_tensor(key) for key in keys}, file.metadata() or {}
        state_dict = read_torch_file(path)
    except Exception as error:  # each format raises its own kinds for broken bytes
        reason = " ".join(str(error).split())[:120]
        raise FstError(f"{path}: not a readable weights file ({reason})") from None
    if not isinstance(state_dict, dict):
        raise FstError(f"{path}: expected a state_dict, found {type(state_dict).__name__}")
    named = {k: v for k, v in state_dict.items() if isinstance(k, str) and isinstance(v, Tensor)}
    return named, {}


def _guess_topology(state_dict: dict[str, Tensor]) -> str:
    """Tell VGG-16 and VGG-19 apart by the indices; files cut before relu3_4 fit both."""
    names = {key for key in state_dict if re.fullmatch(r"features\.[0-9]{1,3}\.weight", key)}
    of_vgg16 = {f"features.{index}.weight" for index in layer_names("vgg16").values()}
    return "vgg16" if names <= of_vgg16 and "features.17.weight" in names else "vgg19"
