"""What is minimised unless a user says otherwise: the defaults of every command and of Python.

Compared by `scripts/compare_objectives.py`; the table is in docs/quality.md. Without torch, so that
`--help` can name them.
"""

from collections.abc import Sequence

# Covariances of features, compared by the distance between normal distributions: strokes. Gram
# matrices, mostly means of features, ask for palette and grain.
STATISTIC = "wasserstein"
# Content at the fourth stage keeps what things are and leaves room for strokes; at the third it
# holds every edge in its place.
CONTENT_LAYER = "relu4_2"
# Styles at every scale, by the first layer of each stage (Gatys et al. 2016): nearer in brushwork
# than by the last ones, which Johnson et al. 2016 took of VGG-16.
STYLE_LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
# Of a style layer by its stage: deep ones, which see strokes whole, count more.
STAGE_WEIGHTS = {1: 1.0, 2: 1.0, 3: 2.0, 4: 4.0, 5: 2.0}
# Weights of content, style and total variation. With relative losses one set serves every style.
WEIGHTS = (1.0, 20.0, 0.0)
# Of one picture: an optimiser follows the style further than a network does.
GATYS_STYLE_WEIGHT = 5.0
GATYS_GRAIN_WEIGHT = 0.01
# Shorter side of the style pictures, which sets the size of the strokes; never enlarged.
STYLE_SIZE_PX = 512
# Weights of further terms of training; fst-gatys has that of grain alone, published recipes none.
TRAINING_WEIGHTS = {
    "grid_weight": 300.0,  # of patterns in step with the pixel grid
    "grain_weight": 0.1,  # of more fine texture than the style has
    "colour_weight": 10.0,  # of less contrast or colour than the style has
    "tone_weight": 0.0,  # of light and dark elsewhere than in the photo
    # Of what changes where the photo moves by a few pixels: content nearer and ground calmer at
    # about equal brushwork, with no further pass.
    "consistency_weight": 30.0,
}
# One training image in so many is compared in grey with an equalised histogram: strokes and shapes
# whatever the colours, light and dark as in the photo.
GREY_EVERY = 2
# The published Johnson recipes: absolute sums of Gram distances.
CLASSIC_STATISTIC, CLASSIC_WEIGHTS = "gram", (1e5, 1e10, 0.0)
CLASSIC_STYLE_LAYERS = {
    "vgg16": ("relu1_2", "relu2_2", "relu3_3", "relu4_3"),
    "vgg19": STYLE_LAYERS,
}


def statistic(classic: bool, words: Sequence[str] | None = None) -> str:
    """The style statistic that words of a command line name, or that of the mode."""
    return " ".join(words or [CLASSIC_STATISTIC if classic else STATISTIC])


def style_layers(topology: str, classic: bool = False) -> tuple[str, ...]:
    """The layers that describe style, for a loss network of a topology."""
    return CLASSIC_STYLE_LAYERS[topology] if classic else STYLE_LAYERS


def weights(classic: bool = False, gatys: bool = False, given: Sequence = (None,) * 3) -> tuple:
    """Weights of content, style and total variation: each as given, or that of the mode."""
    content, style, tv = CLASSIC_WEIGHTS if classic else WEIGHTS
    usual = content, GATYS_STYLE_WEIGHT if gatys and not classic else style, tv
    return tuple(u if g is None else g for g, u in zip(given, usual, strict=True))


def layer_weights(layers: Sequence[str]) -> list[float]:
    """Weights of style layers, which add up to 1.

    Examples:
        >>> layer_weights(["relu1_1", "relu2_1", "relu3_1"])
        [0.25, 0.25, 0.5]
    """
    parts = [STAGE_WEIGHTS[int(layer[4])] for layer in layers]
    return [part / sum(parts) for part in parts]


def training_weights(classic: bool) -> dict[str, float]:
    """Weights of the further terms of training, by their names as settings."""
    return dict.fromkeys(TRAINING_WEIGHTS, 0.0) if classic else TRAINING_WEIGHTS


def grey_every(classic: bool) -> int:
    """One training image in so many is compared in grey; in the recipes none, 0."""
    return 0 if classic else GREY_EVERY


def gatys_grain(classic: bool, given: float | None = None) -> float:
    """Weight of the grain of an optimised picture: as given, or that of the mode."""
    usual = 0.0 if classic else GATYS_GRAIN_WEIGHT
    return usual if given is None else given


def gatys_grey(classic: bool, texture: bool) -> bool:
    """Whether an optimised picture is compared in grey as well; of textures, colours count too."""
    return not (classic or texture)
