"""Textures made by Gatys' method from parts of a style's statistics, and checks before the work."""

from collections.abc import Sequence
from importlib.util import find_spec

from torch import Tensor
from tqdm import tqdm

from fst.errors import FstError
from fst.gatys import optimize
from fst.losses.objective import STYLE_LAYERS
from fst.losses.parse import read_statistic
from fst.losses.patches import cut
from fst.losses.perceptual import PerceptualLoss
from fst.networks.loss_network import LossNetwork

REPORT_NEEDS = ("matplotlib", "jinja2")  # the extra `gram`
SYNTHESIZED = ("gram", "eigen top=25%", "eigen top=10%", "eigen top=5%", "eigen slice=10%-20%",
    "eigen bottom=50%", "projected rank=10%", "meanstd")  # fmt: skip


def problems_of(
    network: LossNetwork,
    layers: Sequence[str],
    pictures: Sequence[Tensor],
    statistics: Sequence[str],
    patches: tuple[int, int],
) -> list[str]:
    """What would fail after minutes of work, a line each: packages of the report that are missing,
    statistics to synthesise and a grid of patches that do not fit."""
    missing = [name for name in REPORT_NEEDS if find_spec(name) is None]
    problems = (
        [f"the report needs {' and '.join(missing)}: pip install 'fst[gram]'"] if missing else []
    )
    channels = network.channels(layers)
    tries = [lambda s=s: read_statistic(s).check(channels) for s in statistics]
    tries += [lambda p=p: cut(p, patches) for p in pictures]
    for attempt in tries:
        try:
            attempt()
        except FstError as problem:
            problems.append(str(problem))
    return list(dict.fromkeys(problems))


def synthesize(
    loss_network: LossNetwork,
    pictures: Sequence[Tensor],
    texts: Sequence[str] = SYNTHESIZED,
    *,
    size_px: int = 128,
    steps: int = 150,
    seed: int = 0,
    layers: Sequence[str] | None = None,
) -> dict[str, Tensor]:
    """A square texture (3, size, size) for each statistic, all from the same noise, with a bar.

    Args:
        loss_network: That of the statistics.
        pictures: Of one style, each (3, H, W) in [0, 1].
        texts: Statistics, see `read_statistic`.
        size_px: Side of the textures and shorter side of the pictures.
        steps: Evaluations for each.
        seed: Of the noise.
        layers: Of style; one of each stage by default.

    Raises:
        FstError: A statistic does not fit.
        KeyboardInterrupt: Ctrl-C; half a texture shows nothing.
    """
    textures = {}
    with tqdm(total=steps * len(texts), unit="step", disable=None) as bar:
        for text in texts:
            loss = PerceptualLoss(
                loss_network,
                content_layer=(layers or STYLE_LAYERS)[0],  # has no weight
                style_layers=layers,
                weights=(0.0, 1.0, 0.0),
                style_loss=text,
            )
            result = optimize(
                None, pictures, loss=loss, sizes=[size_px], steps=steps, seed=seed,
                grain_weight=0, on_step=lambda step: bar.update(),
            )  # fmt: skip
            if result.stopped == "interrupted":
                raise KeyboardInterrupt
            textures[text] = result.image
    return textures
