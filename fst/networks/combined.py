"""Several loss networks read as one."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from torch import Tensor, nn

from fst.errors import FstError
from fst.networks.loss_network import LossNetwork, load_loss_network, require_layers


class CombinedLossNetwork(nn.Module):
    """Takes each layer from the first network that has it.

    A real VGG cut at relu3_1 before a distilled one, say, judges fine texture with real features
    and large forms with small ones. Reads like a `LossNetwork` whose layers are those of both.
    """

    def __init__(self, networks: Sequence[LossNetwork]) -> None:
        """Combine networks of one topology.

        Raises:
            FstError: They are VGGs of different topologies.
        """
        super().__init__()
        topologies = {network.topology for network in networks}
        if len(topologies) != 1:
            raise FstError(
                f"loss networks of different topologies ({', '.join(sorted(topologies))}) "
                "cannot be combined; where a file was taken for the wrong one, name its topology "
                "in the metadata of a safetensors file"
            )
        self.networks = nn.ModuleList(networks)
        self.topology = networks[0].topology
        self._sources: dict[str, int] = {}
        for place, network in enumerate(networks):
            for layer in network.layers:
                self._sources.setdefault(layer, place)

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of all layers that some network reaches, shallow to deep."""
        return tuple(sorted(self._sources))  # relu1_1 ... relu5_4: at most one digit each

    @property
    def mean(self) -> Tensor:
        """ImageNet mean, as in `LossNetwork`; tells the device."""
        return self.networks[0].mean

    def require(self, layers: Iterable[str]) -> None:
        """Check that every one of `layers` is there.

        Raises:
            FstError: Names the missing layers and those that can be had.
        """
        require_layers(layers, self.layers)

    def forward(self, images: Tensor, layers: Iterable[str]) -> dict[str, Tensor]:
        """Features of the images (B, 3, H, W) at the named layers; see `LossNetwork.forward`.

        Raises:
            FstError: A layer is in none of the networks.
        """
        wanted = sorted(set(layers))
        self.require(wanted)
        features = {}
        for place, network in enumerate(self.networks):
            own = [layer for layer in wanted if self._sources[layer] == place]
            if own:
                features |= network(images, own)
        return features


def load_loss_networks(
    names_or_files: str | Path | Sequence[str | Path],
    pooling: str | None = None,
    padding: str | None = None,
) -> LossNetwork | CombinedLossNetwork:
    """One loss network, or several combined; each as `load_loss_network` takes it.

    Raises:
        FstError: One cannot be read, or they do not fit together.
    """
    if isinstance(names_or_files, str | Path):
        return load_loss_network(names_or_files, pooling, padding)
    networks = [load_loss_network(name, pooling, padding) for name in names_or_files]
    return networks[0] if len(networks) == 1 else CombinedLossNetwork(networks)
