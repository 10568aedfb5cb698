"""What a network takes over from another, what of it learns, and how it keeps earlier styles."""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fst.errors import FstError
from fst.networks.conditional import ConditionalInstanceNorm2d
from fst.networks.transformer import TransformerNet
from fst.style_model.format import load_style_model


class OtherArchitectureError(FstError):
    """A model to begin from whose network has another size."""


def trunk_size(model: str | Path) -> tuple[float, int]:
    """Width and number of residual blocks of a style model; FstError where it cannot be read."""
    network, _ = load_style_model(model)
    if network.shape != "fst":
        raise FstError(
            f"{model}: its network was imported and has the shape {network.shape!r}: fst-train "
            "trains networks of its own shape alone"
        )
    return network.width, network.num_blocks


@torch.no_grad()
def warm_start(network: TransformerNet, style_names: list[str], model: str | Path) -> list[str]:
    """Copy the convolutions of a trained network and give every style parameters to start from.

    A style that the model knows by name starts from its gamma and beta, the others from the mean of
    all the model's: a picture in no style in particular, nearer to any than noise is. (Dumoulin et
    al. 2017 add styles to a trained network by these parameters alone.)

    Args:
        network: Changed in place; its width and blocks must be those of the model.
        style_names: By style id of `network`.
        model: A .safetensors style model or a .ckpt.

    Returns:
        The names of the styles that started from parameters of their own.

    Raises:
        FstError: The model cannot be read or its architecture is another.
    """
    source, metadata = load_style_model(model)
    ours, theirs = ((n.width, n.num_blocks) for n in (network, source))
    if ours != theirs:
        raise OtherArchitectureError(
            f"{model}: it has width {theirs[0]} and {theirs[1]} blocks, this network {ours[0]} and "
            f"{ours[1]}: they must be the same"
        )
    known = {style["name"]: row for row, style in enumerate(metadata["styles"])}
    modules = dict(source.named_modules())
    for name, module in network.named_modules():
        if isinstance(module, ConditionalInstanceNorm2d):
            for table, old in zip(module.parameters(), modules[name].parameters(), strict=True):
                mean = old.mean(0)  # (C,)
                rows = [old[known[style]] if style in known else mean for style in style_names]
                table.copy_(torch.stack(rows))  # (S, C)
        elif isinstance(module, torch.nn.Conv2d):
            module.weight.copy_(modules[name].weight)
    return [name for name in style_names if name in known]


def convolution_weights(network: nn.Module) -> list[Tensor]:
    """What all styles share."""
    return [m.weight for m in network.modules() if isinstance(m, nn.Conv2d)]


def style_parameters(network: nn.Module) -> list[Tensor]:
    """Gamma and beta of every norm, (S, C) each."""
    norms = (m for m in network.modules() if isinstance(m, ConditionalInstanceNorm2d))
    return [parameter for norm in norms for parameter in norm.parameters()]


def hold_kept_styles(network: nn.Module, count: int) -> None:
    """Leave the first styles' gamma and beta as they are: their gradients become 0."""

    def without_kept(gradient: Tensor) -> Tensor:
        return torch.cat([torch.zeros_like(gradient[:count]), gradient[count:]])

    for parameter in style_parameters(network):
        parameter.register_hook(without_kept)


class Keeper(nn.Module):
    """A network as it was, and how far another one has moved from it in its styles.

    Distillation in the manner of "learning without forgetting" (Li & Hoiem 2016): the old network's
    paintings are the targets. It is saved with a checkpoint, so that a resumed run needs no other
    file.
    """

    def __init__(self, num_styles: int, width: float, num_blocks: int, margin: int = 0) -> None:
        """Make room for the weights of the network as it was: `network`."""
        super().__init__()
        network = TransformerNet(num_styles, width, num_blocks, margin=margin)
        network.requires_grad_(False)
        self.network = network.to(memory_format=torch.channels_last)

    def loss(
        self, student: TransformerNet, photos: Tensor, seed: int, rank: int = 0, world: int = 1
    ) -> Tensor:
        """Mean squared difference of paintings, each photo in one of the old styles.

        Args:
            student: Its first style ids are those of the old network.
            photos: (B, 3, H, W) in [0, 1].
            seed: Draws the styles of all processes.
            rank: Which of them this is.
            world: How many there are, each with as many photos.
        """
        generator = torch.Generator().manual_seed(seed)
        shape = world, len(photos)
        drawn = torch.randint(self.network.num_styles, shape, generator=generator)[rank]
        before, after = self._paintings(student, photos, drawn.to(photos.device, non_blocking=True))
        return F.mse_loss(after.float(), before.float())

    @torch.no_grad()
    def drift(self, student: TransformerNet, photos: Tensor) -> Tensor:
        """Mean absolute difference in each old style, in 1/255: (S,)."""
        differences = []
        for style_id in range(self.network.num_styles):
            index = torch.full((len(photos),), style_id, device=photos.device)
            before, after = self._paintings(student, photos, index)
            differences.append(255 * (after - before).abs().mean())
        return torch.stack(differences)

    def _paintings(
        self, student: TransformerNet, photos: Tensor, style_index: Tensor
    ) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            before = self.network(photos, self.network.one_hot(style_index))
        return before, student(photos, student.one_hot(style_index))
