"""What a `StyleTransferModule` is made with, in four groups of plain values."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

import torch

from fst.data.styles import Style
from fst.errors import FstError
from fst.losses import objective
from fst.losses.parse import statistic_of
from fst.losses.perceptual import PerceptualLoss
from fst.losses.style_loss import StyleStatistic
from fst.networks.loss_network import LITE, CombinedLossNetwork, LossNetwork, load_loss_networks
from fst.networks.sizes import MARGINS

Own = TypeVar("Own", bound="Settings")


def read_loss_network(
    names_or_files: str | Path | Sequence[str | Path], classic_weights: bool = False
) -> LossNetwork | CombinedLossNetwork:
    """The loss network as a training takes it; names, files and errors as of `load_loss_networks`.

    It pads by reflection, whatever a file says: with zeros around, features change along the edges
    of pictures. With the classic weights it pads as its file says, by default with zeros.
    """
    return load_loss_networks(names_or_files, None, None if classic_weights else "reflect")


class Settings:
    """What the groups share: a checkpoint holds them as dicts of plain values."""

    @classmethod
    def of(cls: type[Own], given: "Own | Mapping[str, Any] | None") -> Own:
        """The group, of itself, of what `as_dict` gave, or with all its defaults."""
        if isinstance(given, cls):
            return given
        known = [field.name for field in fields(cls)]
        given = given or {}
        unknown = [name for name in given if name not in known]
        if unknown:
            raise FstError(f"{cls.__name__} has no {unknown[0]!r}: it takes {', '.join(known)}")
        return cls(**given)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, as weights-only loading wants them."""
        return asdict(self)


@dataclass(frozen=True)
class Architecture(Settings):
    """The size of the network, see `TransformerNet`.

    Attributes:
        width: Scales its channels.
        num_blocks: Its residual blocks.
        margin: 0, 4 or 8 pixels around a photo that are painted with it and cut off.

    Raises:
        FstError: The margin is another.
    """

    width: float = 0.5
    num_blocks: int = 8
    margin: int = 4

    def __post_init__(self) -> None:
        if self.margin not in MARGINS:
            raise FstError(f"margin {self.margin}: expected {', '.join(map(str, MARGINS))}")


@dataclass
class Objective(Settings):
    """What is minimised. None takes the default of the mode, see `fst.losses.objective`.

    Attributes:
        loss_network: "vgg16-lite", "vgg16", "vgg19" or a weights file, or several, of which the
            first that has a layer gives it, see `read_loss_network`; or a `LossNetwork`, which is
            used as it is and which checkpoints do not hold.
        content_layer: See `PerceptualLoss`.
        style_layers: Layers of the style loss.
        content_weight: Weight of the content loss.
        style_weight: Weight of the style loss, or one for each style id.
        tv_weight: Weight of total variation.
        grid_weight: Weight of patterns in step with the pixel grid, see
            `fst.losses.terms.grid_pattern`.
        grain_weight: Weight of more fine texture than the style has, see
            `fst.losses.grain.excess_grain`.
        colour_weight: Weight against less contrast or colour than the style has, see
            `fst.losses.colour.paleness`.
        tone_weight: Weight against light and dark elsewhere than in the photo, see
            `fst.losses.tone.misplaced_tone`.
        consistency_weight: Weight of what changes where a photo is moved by a few pixels, see
            `Twins`; without effect in batches of 1.
        grey_every: One image in so many is compared with photo and style in grey, see
            `fst.losses.grey`; 0: none.
        classic_weights: Absolute sums with Johnson's weights.
        style_loss: The statistic that describes style: an object with the two methods of
            `StyleStatistic`, of which checkpoints hold the name alone, or a name with options.
        style_size_px: Shorter side of the style pictures, or one for each style id: larger gives
            larger strokes.
        shift_px: The loss network sees the images but for this many rows and columns, at a random
            place, so that the network cannot paint to its pooling grid.
    """

    loss_network: str | Path | LossNetwork | Sequence[str | Path] = LITE
    content_layer: str | None = None
    style_layers: Sequence[str] | None = None
    content_weight: float | None = None
    style_weight: float | Sequence[float] | None = None
    tv_weight: float | None = None
    grid_weight: float | None = None
    grain_weight: float | None = None
    colour_weight: float | None = None
    tone_weight: float | None = None
    consistency_weight: float | None = None
    grey_every: int | None = None
    classic_weights: bool = False
    style_loss: str | StyleStatistic | None = None
    style_size_px: int | Sequence[int] = objective.STYLE_SIZE_PX
    shift_px: int = 3

    def __post_init__(self) -> None:
        self.style_loss = self.style_loss or objective.statistic(self.classic_weights)
        for name, usual in objective.training_weights(self.classic_weights).items():
            if getattr(self, name) is None:
                setattr(self, name, usual)
        if self.grey_every is None:
            self.grey_every = objective.grey_every(self.classic_weights)
        if not isinstance(self.grey_every, int) or not 0 <= self.grey_every < 2**31:
            raise FstError(f"grey_every {self.grey_every!r}: must be a whole number from 0 up")

    def as_dict(self) -> dict[str, Any]:
        """Plain values; of objects their names."""
        plain = {field.name: getattr(self, field.name) for field in fields(self)}
        if not isinstance(self.style_loss, str):
            plain["style_loss"] = statistic_of(self.style_loss).text
        if isinstance(self.loss_network, torch.nn.Module):
            plain["loss_network"] = type(self.loss_network).__name__
        elif isinstance(self.loss_network, str | Path):
            plain["loss_network"] = str(self.loss_network)
        else:
            plain["loss_network"] = [str(name) for name in self.loss_network]
        return plain

    @property
    def trait_weights(self) -> tuple[float, float, float]:
        """Of grain, colour and tone, for `Traits.terms`."""
        return self.grain_weight, self.colour_weight, self.tone_weight

    def check_counts(self, num_styles: int) -> None:
        """Raise FstError of lists that have not one entry a style."""
        for name in ("style_weight", "style_size_px"):
            value = getattr(self, name)
            if isinstance(value, list | tuple) and len(value) != num_styles:
                raise FstError(f"{name}: {len(value)} numbers for {num_styles} styles")

    def weights(self, styles: Sequence[Style]) -> tuple[float, float | list[float], float]:
        """Weights of content, style (one, or one a style) and total variation, as they are used."""
        given = (self.content_weight, self.style_weight, self.tv_weight)
        content, style, tv = objective.weights(self.classic_weights, given=given)
        return content, each(style, [one.weight for one in styles]), tv

    def sizes_px(self, styles: Sequence[Style]) -> int | list[int]:
        """Shorter sides of the style pictures, one or one a style."""
        return each(self.style_size_px, [style.size_px for style in styles])

    def window(self, height: int, width: int, seed: int) -> tuple[slice, slice]:
        """Rows and columns that the loss network sees; `seed` draws their position.

        Of one size for all seeds, so that what is compiled or tuned for a size serves them all.
        """
        # Deep layers need crops of 32 px: the smallest ones are not shifted.
        room = max(0, min(self.shift_px, min(height, width) - 32))
        generator = torch.Generator().manual_seed(seed)
        top, left = torch.randint(room + 1, (2,), generator=generator).tolist()
        return slice(top, top + height - room), slice(left, left + width - room)

    def perceptual(self, styles: Sequence[Style], device: torch.device) -> PerceptualLoss:
        """The loss for some styles, whose weights and statistics outweigh those here.

        Raises:
            FstError: Weights cannot be read, or a layer or a statistic is not there.
        """
        network = self.loss_network
        if not isinstance(network, torch.nn.Module):
            network = read_loss_network(network, self.classic_weights)
        return PerceptualLoss(
            network.to(device).to(memory_format=torch.channels_last),
            content_layer=self.content_layer,
            style_layers=self.style_layers,
            weights=self.weights(styles),
            style_loss=[style.statistic or self.style_loss for style in styles],
            classic=self.classic_weights,
        )


@dataclass(frozen=True)
class Schedule(Settings):
    """How fast what learns.

    Attributes:
        learning_rate: Adam's peak rate; cosine decay to zero over the run.
        until_plateau: The rate stays, and falls over the last steps alone, which
            `fst.training.plateau.Watch` has begin where brushwork gains hardly any more.
        scale_lr: Multiply the rates by the square root of the number of processes.
        styles_first_steps: For this long only the style parameters (gamma and beta) learn, not the
            convolutions that all styles share; for runs that begin from a trained network.
        styles_rate: Learning rate of the style parameters relative to `learning_rate`.
    """

    learning_rate: float = 1e-3
    scale_lr: bool = False
    styles_first_steps: int = 0
    styles_rate: float = 1.0
    until_plateau: bool = False


@dataclass(frozen=True)
class Start(Settings):
    """What the weights come from, where they are not random; the caller puts them in.

    Attributes:
        began_from: Name of the model that they are of, for the record.
        kept_styles: What that model says of its styles, where others are added to them: they come
            first in the network, and their gamma and beta do not learn, nor do the convolutions.
        tune_trunk: Convolutions learn too, held to paint the kept styles as before, see `Keeper`;
            gamma and beta of the kept styles do not.
    """

    began_from: str | None = None
    kept_styles: Sequence[dict[str, Any]] = ()
    tune_trunk: bool = False


def each(value: Any, own: Sequence[Any]) -> Any:
    """A setting as one value for each style, where styles have their own; else as it is."""
    if all(o is None for o in own):
        return value
    values = value if isinstance(value, list | tuple) else [value] * len(own)
    return [v if o is None else o for v, o in zip(values, own, strict=True)]
