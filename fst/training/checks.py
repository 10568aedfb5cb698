"""Checks of fst-train's settings that need nothing but the settings.

Here and in the files beside it that know them, errors name settings in backquotes, as `lr`:
`fst.cli.messages` makes flags of these.
"""

import math
from collections.abc import Sequence
from typing import Any

from fst.errors import FstError
from fst.losses.objective import STYLE_LAYERS
from fst.losses.objective import statistic as statistic_asked_for

FLOATS = ("lr", "content_weight", "style_weight", "tv_weight", "grid_weight", "grain_weight",
    "colour_weight", "tone_weight", "consistency_weight")  # fmt: skip


def check_loss_network(settings: Any) -> Any:
    """The loss network, read before anything else starts; where it may have to be downloaded, the
    names, for later."""
    from fst.networks.loss_network import CONVS_PER_STAGE
    from fst.training.settings import read_loss_network

    names = settings.loss_weights or [settings.loss_network]
    files = [name for name in names if name not in CONVS_PER_STAGE]
    if len(files) < len(names):
        for file in files:
            read_loss_network(file)
        return names
    network = read_loss_network(names, settings.classic_weights)
    network.require([settings.content_layer, *(settings.style_layers or STYLE_LAYERS)])
    return network


def check_sizes(settings: Any) -> None:
    """Refuse crops and style pictures that the loss network cannot take."""
    if settings.size < 32:
        raise FstError(f"`size` {settings.size}: crops must be at least 32 px")
    if min(settings.style_size) < 32:
        raise FstError(f"`style_size` {min(settings.style_size)}: must be at least 32 px")


def check_pictures(styles: Sequence) -> None:
    """Refuse style pictures that are too small for the loss network; names each with its size."""
    from fst.data.styles import MIN_VGG_PX
    from fst.io.images import decode, printable

    small = []
    for picture in dict.fromkeys(picture for style in styles for picture in style.images):
        width, height = decode(picture, shorter_side_px=MIN_VGG_PX).size
        if min(width, height) < MIN_VGG_PX:
            small.append(f"{printable(picture)} has {width}x{height} px")
    if small:
        raise FstError(
            f"`styles`: {', '.join(small)}: a style picture needs {MIN_VGG_PX} px a side; leave "
            "it out, or give it larger"
        )


def check_numbers(settings: Any) -> None:
    """Refuse numbers without end, and networks larger than a style model may be."""
    from fst.style_model.format import MAX_BLOCKS, MAX_WIDTH

    wrong = []
    for name in FLOATS:
        values = getattr(settings, name)
        values = values if isinstance(values, list) else [values]
        wrong += [f"`{name}` {value}" for value in values if value == math.inf]
    if settings.width > MAX_WIDTH:
        wrong.append(f"`width` {settings.width:g} (at most {MAX_WIDTH:g})")
    if settings.num_blocks > MAX_BLOCKS:
        wrong.append(f"`num_blocks` {settings.num_blocks} (at most {MAX_BLOCKS})")
    if wrong:
        raise FstError(f"too large: {', '.join(wrong)}")


def check_counts(settings: Any, num_styles: int) -> None:
    """Refuse lists that have neither one number nor one a style."""
    wrong = [
        f"`{name}` has {len(values)} numbers"
        for name in ("style_size", "style_weight")
        if (values := getattr(settings, name)) and len(values) not in (1, num_styles)
    ]
    if wrong:
        raise FstError(
            f"{' and '.join(wrong)}, `styles` {num_styles}: give one number, or one a style"
        )


def check_statistics(settings: Any, styles: Sequence, network: Any) -> None:
    """Check statistics against layers and pictures: that of the styles that have none of their own,
    and those of the others. The network is what `check_loss_network` returned."""
    from fst.losses.parse import read_statistic

    problems: list[str] = []
    run_wide = statistic_asked_for(settings.classic_weights, settings.style_loss)
    texts = {run_wide: "`style_loss`"}
    for style in styles:
        texts.setdefault(style.statistic or run_wide, f"style {style.name}")
    channels = _channels(settings.style_layers or STYLE_LAYERS, network)
    for text, where in texts.items():
        try:
            statistic = read_statistic(text)
            (statistic.classic() if settings.classic_weights else statistic).check(channels)
        except FstError as error:
            problems.append(f"{where}: {error}")
    if not problems:
        problems = _too_small(settings, styles, run_wide)
    if problems:
        raise FstError("; ".join(problems))


def _channels(layers: Sequence[str], network: Any) -> dict[str, int]:
    """Channels of the style layers; of networks that may have to be downloaded, VGG's."""
    from fst.networks.loss_network import VGG_CHANNELS

    if not isinstance(network, list):
        return network.channels(layers)
    stages = {layer: layer[4:5] for layer in layers}
    return {n: VGG_CHANNELS[int(s) - 1] for n, s in stages.items() if s in "12345"}


def _too_small(settings: Any, styles: Sequence, run_wide: str) -> list[str]:
    """Styles whose pictures cannot be cut in the patches wanted."""
    from fst.data.styles import load_pictures
    from fst.losses.parse import read_statistic

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
