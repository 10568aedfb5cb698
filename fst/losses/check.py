"""Checks style statistics before work begins: names, options and ranks."""

from collections.abc import Sequence
from typing import Any

from fst.errors import FstError

PROBE_PX = 32  # of the picture that tells the channels of the layers


def check_statistic(text: str, channels: dict[str, int], classic: bool = False) -> None:
    """Compute targets of noise with so many channels at each layer.

    Raises:
        FstError: The text is wrong, or asks for more than a layer has.
    """
    import torch

    from fst.losses.parse import read_statistic

    statistic = read_statistic(text)
    if classic and not statistic.has_classic_form:
        raise FstError(f"style loss {statistic.text!r} has no classic form: use gram")
    for layer, count in channels.items():
        try:
            statistic.loss.target([torch.rand(1, count, 4, 4)])
        except FstError as error:
            raise FstError(f"style loss {statistic.text}, {layer}: {error}") from None


def network_channels(network: Any, layers: Sequence[str]) -> dict[str, int]:
    """Channels of a loss network at some layers.

    Raises:
        FstError: It lacks one.
    """
    import torch

    noise = torch.rand(1, 3, PROBE_PX, PROBE_PX, device=network.mean.device)
    with torch.no_grad():
        return {name: features.shape[1] for name, features in network(noise, layers).items()}
