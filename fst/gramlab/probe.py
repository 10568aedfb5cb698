"""What would fail after minutes of work, found before it."""

from collections.abc import Sequence

from torch import Tensor

from fst.errors import FstError
from fst.losses.check import check_statistic, network_channels
from fst.losses.patches import cut
from fst.networks.loss_network import LossNetwork


def probe(
    network: LossNetwork,
    layers: Sequence[str],
    pictures: Sequence[Tensor],
    statistics: Sequence[str],
    patches: tuple[int, int],
) -> list[str]:
    """What is wrong with statistics to synthesise and with the grid of patches, a line each."""
    channels = network_channels(network, layers)
    tries = [lambda s=s: check_statistic(s, channels) for s in statistics]
    tries += [lambda p=p: cut(p, patches) for p in pictures]
    problems: dict[str, None] = {}
    for attempt in tries:
        try:
            attempt()
        except FstError as problem:
            problems[str(problem)] = None
    return list(problems)
