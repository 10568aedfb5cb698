"""Checks the style statistics of a run before work begins: names, options, ranks and patches."""

from collections.abc import Sequence
from typing import Any

from fst.errors import FstError

PROBE_PX = 64  # of a picture that shows whether a rank fits the layers


def check_statistics(settings: Any, styles: Sequence) -> None:
    """Check the statistic of the run and those of single styles against layers and pictures.

    Raises:
        FstError: Lists what does not fit.
    """
    run_wide = " ".join(settings.style_loss)
    problems: list[str] = []
    texts = {run_wide: "--style-loss"}
    for style in styles:
        texts.setdefault(style.statistic or run_wide, f"style {style.name}")
    for text, where in texts.items():
        try:
            _check(text, settings)
        except FstError as error:
            problems.append(f"{where}: {error}")
    if not problems:
        problems = _too_small(settings, styles, run_wide)
    if problems:
        raise FstError("; ".join(problems))


def _check(text: str, settings: Any) -> None:
    """Compute targets of a small picture of noise."""
    import torch

    from fst.losses.perceptual import PerceptualLoss
    from fst.losses.statistic import read_statistic
    from fst.networks.combined import load_loss_networks
    from fst.networks.vgg import CONVS_PER_STAGE

    whole = read_statistic(text)
    names = settings.loss_weights or [settings.loss_network]
    if text == "gram" or set(names) & set(CONVS_PER_STAGE):  # which may have to be downloaded
        return
    layers = {name: getattr(settings, name) for name in ("content_layer", "style_layers")}
    words = [word for word in whole.text.split() if not word.startswith(("patch", "overlap"))]
    loss = PerceptualLoss(
        load_loss_networks(names), **layers, style_loss=" ".join(words),
        classic=settings.classic_weights,
    )  # fmt: skip
    loss.set_styles([[torch.rand(3, PROBE_PX, PROBE_PX)]])


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
