"""Checks the style statistics of a run before work begins: names, options, ranks and patches."""

from collections.abc import Sequence
from typing import Any

from fst.cli.loss_arguments import statistic
from fst.errors import FstError

PROBE_PX = 32  # of the picture that tells the channels of the layers


def check_statistics(settings: Any, styles: Sequence) -> None:
    """Check the statistic of the run and those of single styles against layers and pictures.

    Raises:
        FstError: Lists what does not fit.
    """
    run_wide = statistic(settings)
    problems: list[str] = []
    texts = {run_wide: "--style-loss"}
    for style in styles:
        texts.setdefault(style.statistic or run_wide, f"style {style.name}")
    channels = _channels(settings)
    for text, where in texts.items():
        try:
            check_statistic(text, channels, settings.classic_weights)
        except FstError as error:
            problems.append(f"{where}: {error}")
    if not problems:
        problems = _too_small(settings, styles, run_wide)
    if problems:
        raise FstError("; ".join(problems))


def check_statistic(text: str, channels: dict[str, int], classic: bool = False) -> None:
    """Compute targets of noise with so many channels at each layer.

    Raises:
        FstError: The text is wrong, or asks for more than a layer has.
    """
    import torch

    from fst.losses.statistic import read_statistic

    statistic = read_statistic(text)
    if classic and not statistic.has_classic_form:
        raise FstError(f"style loss {statistic.text!r} has no classic form: use gram")
    for layer, count in channels.items():
        try:
            statistic.loss.target([torch.rand(1, count, 4, 4)])
        except FstError as error:
            raise FstError(f"style loss {statistic.text}, {layer}: {error}") from None


def _channels(settings: Any) -> dict[str, int]:
    """Channels of the style layers; of networks that may have to be downloaded, VGG's."""
    from fst.losses.objective import STYLE_LAYERS
    from fst.networks.combined import load_loss_networks
    from fst.networks.vgg import CONVS_PER_STAGE, VGG_CHANNELS

    names = settings.loss_weights or [settings.loss_network]
    known = [name for name in names if name in CONVS_PER_STAGE]
    if known:
        layers = settings.style_layers or STYLE_LAYERS
        stages = {layer: layer[4:5] for layer in layers}
        return {n: VGG_CHANNELS[int(s) - 1] for n, s in stages.items() if s in "12345"}
    network = load_loss_networks(names)
    return network_channels(network, settings.style_layers or STYLE_LAYERS)


def network_channels(network: Any, layers: Sequence[str]) -> dict[str, int]:
    """Channels of a loss network at some layers.

    Raises:
        FstError: It lacks one.
    """
    import torch

    noise = torch.rand(1, 3, PROBE_PX, PROBE_PX, device=network.mean.device)
    with torch.no_grad():
        return {name: features.shape[1] for name, features in network(noise, layers).items()}


def _too_small(settings: Any, styles: Sequence, run_wide: str) -> list[str]:
    """Styles whose pictures cannot be cut in the patches wanted."""
    from fst.losses.statistic import read_statistic
    from fst.styles import load_pictures

    problems = []
    sizes = settings.style_size * (len(styles) if len(settings.style_size) == 1 else 1)
    for style, size in zip(styles, sizes, strict=False):
        statistic = read_statistic(style.statistic or run_wide)
        if statistic.patches is None:
            continue
        try:
            for picture in load_pictures([style], style.size_px or size)[0]:
                statistic.pictures(picture)
        except FstError as error:
            problems.append(f"style {style.name}: {error}")
    return problems
