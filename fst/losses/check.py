"""Checks style statistics before work begins: names, options and ranks."""

from collections.abc import Sequence
from typing import Any

PROBE_PX = 32  # of the picture that tells the channels of the layers


def check_statistic(text: str, channels: dict[str, int], classic: bool = False) -> None:
    """Compute targets of noise with so many channels at each layer.

    Raises:
        FstError: The text is wrong, or asks for more than a layer has.
    """
    import torch

    from fst.losses.parse import read_statistic

    statistic = read_statistic(text)
    statistic = statistic.classic() if classic else statistic
    for layer, count in channels.items():
        statistic.target(layer, [torch.rand(1, count, 4, 4)])


def network_channels(network: Any, layers: Sequence[str]) -> dict[str, int]:
    """Channels of a loss network at some layers.

    Raises:
        FstError: It lacks one.
    """
    import torch

    noise = torch.rand(1, 3, PROBE_PX, PROBE_PX, device=network.mean.device)
    with torch.no_grad():
        return {name: features.shape[1] for name, features in network(noise, layers).items()}
