"""All metrics of stylized photos that were held out in one go.

Style pictures are looked at in several sizes, because strokes have no natural one.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor
from torchmetrics import Metric
from tqdm import tqdm

from fst.data.styles import Style
from fst.errors import FstError
from fst.io import images
from fst.losses.colour import colours_of_styles
from fst.metrics.brushwork import Brushwork, Covariances, Found, brushwork_covariances
from fst.metrics.distances import (
    ContentDistance,
    PhotoSimilarity,
    StyleDistance,
    Tone,
    content_layer,
    measured_layers,
    style_grams,
)
from fst.metrics.faults import Contrast, Flat, Fringes, Halo, calm_ground, finest_colour
from fst.networks.loss_network import LossNetwork

VIEW_SIZES_PX = (320, 480, 640)
COLUMNS = {  # key of a figure: heading of a table
    "brushwork": "brushwork",
    "found": "found",
    "style": "style distance",
    "content": "content distance",
    "ssim": "SSIM",
    "tone": "tone",
    "flat": "flat",
    "halo": "halo",
    "contrast": "contrast",
    "fringes": "fringes",
    "unstylised_brushwork": "photo's brushwork",
    "unstylised_found": "photo's found",
    "unstylised_style": "photo's style distance",
}


class Ruler:
    """Measures photos stylized in several styles, and the photos themselves for scale.

    Examples:
        >>> from fst.metrics import Ruler
        >>> from fst.networks.loss_network import load_loss_network
        >>> from fst.assets import SAMPLE_PHOTO
        >>> from fst.data.styles import Style
        >>> from fst.io.images import load
        >>> style = Style("itself", (str(SAMPLE_PHOTO),))
        >>> ruler = Ruler(load_loss_network("vgg16-lite"), [style], sizes_px=[64])
        >>> photo = load(SAMPLE_PHOTO, 64)
        >>> ruler.see(photo)
        >>> ruler.add(photo, 0)
        >>> figures = ruler.figures()["itself"]
        >>> figures["brushwork"] < 0.01, figures["ssim"]
        (True, 1.0)
    """

    def __init__(
        self,
        network: LossNetwork,
        styles: Sequence[Style],
        others: Sequence[Style] = (),
        same_hand: Mapping[str, Collection[str]] | None = None,
        sizes_px: Sequence[int] = VIEW_SIZES_PX,
        progress: bool = False,
    ) -> None:
        """Measure the pictures of the styles, once: the most of the time for few photos.

        Args:
            network: Features of every kind come from it.
            styles: What photos are painted in; the style id is the place here.
            others: More styles that a picture can be taken for, see `Found`.
            same_hand: For the name of a style the names of those that count as it, see `Found`.
            sizes_px: Shorter sides that the style pictures are shown at.
            progress: Show a bar on a terminal.

        Raises:
            FstError: A picture cannot be read, or `same_hand` names no style.
        """
        self.network, self.styles = network, list(styles)
        self._device = network.mean.device
        self._layers = measured_layers(network)
        references = [*styles, *others]
        self._choice = len({style.images for style in references}) > 1
        own = _own_places(self.styles, references, same_hand or {})
        bar = tqdm(
            references, unit="style", desc="style pictures", disable=None if progress else True
        )
        seen: dict[tuple[str, ...], _Seen] = {}  # styles of the same pictures are measured once
        for place, style in enumerate(bar):
            if style.images not in seen:
                seen[style.images] = _seen(network, style, sizes_px, place < len(self.styles))
        self._metrics = self._empty_metrics([seen[style.images] for style in references], own)

    def reset(self) -> None:
        """Forget the photos and what was made of them, not the styles."""
        for metric in self._metrics.values():
            metric.reset()

    def _empty_metrics(self, seen: "list[_Seen]", own: list[list[int]]) -> dict[str, Metric]:
        count, views = len(self.styles), [style.strokes for style in seen]
        calm = torch.stack([style.calm for style in seen[:count]])
        by_size = zip(*(style.grams for style in seen[:count]), strict=True)
        grams = [{n: torch.cat([g[n] for g in size]) for n in size[0]} for size in by_size]
        metrics: dict[str, Metric] = {
            "content": ContentDistance(count, content_layer(self.network)),
            "ssim": PhotoSimilarity(count),
            "tone": Tone(count),
            "flat": Flat(calm),
            "halo": Halo(count),
            "contrast": Contrast(torch.cat([style.colours for style in seen[:count]])),
            "fringes": Fringes(torch.stack([style.finest for style in seen[:count]])),
        }
        for prefix in ("", "unstylised_"):
            metrics[f"{prefix}brushwork"] = Brushwork(views[:count])
            metrics[f"{prefix}found"] = Found(views, own)
            metrics[f"{prefix}style"] = StyleDistance(grams)
        return {key: metric.to(self._device) for key, metric in metrics.items()}

    @torch.no_grad()
    def see(self, photo: Tensor) -> None:
        """Look at the photo (3, H, W) whose stylized images are added next."""
        self._photo = photo[None].to(self._device)
        self._content = self.network(self._photo, self._layers)
        strokes = brushwork_covariances(self.network, self._photo)
        for style_id in range(len(self.styles)):
            self._update("unstylised_", self._content, strokes, style_id)

    @torch.no_grad()
    def add(self, stylized: Tensor, style_id: int) -> None:
        """Measure a stylized image (3, H, W) of the photo seen last."""
        shown = stylized[None].to(self._device)
        features = self.network(shown, self._layers)
        index = self._update("", features, brushwork_covariances(self.network, shown), style_id)
        self._metrics["content"].update(features, self._content, index)
        for key in ("ssim", "tone", "flat", "halo"):
            self._metrics[key].update(shown, self._photo, index)
        for key in ("contrast", "fringes"):
            self._metrics[key].update(shown, index)

    def _update(self, prefix: str, features: dict, strokes: Covariances, style_id: int) -> Tensor:
        index = torch.tensor([style_id], device=self._device)
        self._metrics[f"{prefix}style"].update(features, index)
        self._metrics[f"{prefix}brushwork"].update(strokes, index)
        self._metrics[f"{prefix}found"].update(strokes, index)
        return index

    def figures(self) -> dict[str, dict[str, float | None]]:
        """For each style the figures named in `COLUMNS`.

        None stands for what no photo could show, and for *found* where there is nothing to choose
        among: all references are of the same pictures.
        """
        # torchmetrics makes a scalar of a single value.
        values = {key: self._metrics[key].compute().reshape(-1).tolist() for key in COLUMNS}
        figures = {}
        for i, style in enumerate(self.styles):
            row = {key: None if math.isnan(values[key][i]) else values[key][i] for key in COLUMNS}
            if not self._choice:
                row |= {"found": None, "unstylised_found": None}
            figures[style.name] = row
        return figures


def _own_places(
    styles: Sequence[Style], references: Sequence[Style], same_hand: Mapping[str, Collection[str]]
) -> list[list[int]]:
    """For each style the places in `references` that count as it."""
    places = {style.name: place for place, style in enumerate(references)}
    named = {*same_hand, *(name for names in same_hand.values() for name in names)}
    if unknown := sorted(named - set(places)):
        raise FstError(f"same_hand: no style is named {', '.join(unknown)}")
    return [
        [place, *(places[name] for name in same_hand.get(style.name, ()))]
        for place, style in enumerate(styles)
    ]


@dataclass
class _Seen:
    """What the pictures of a style measure: covariances of all views; of styles that are painted
    in, calm ground, deviations of the colours, finest colour, and Gram matrices at each size."""

    strokes: Covariances
    calm: Tensor | None = None
    colours: Tensor | None = None  # (1, 3)
    finest: Tensor | None = None  # (2, 48)
    grams: Sequence[dict[str, Tensor]] = ()


def _seen(network: LossNetwork, style: Style, sizes_px: Sequence[int], is_painted: bool) -> _Seen:
    sizes = [[p.to(network.mean.device) for p in load_views(style, size)] for size in sizes_px]
    views = [view for pictures in sizes for view in pictures]
    each = [brushwork_covariances(network, view[None]) for view in views]
    strokes = {name: torch.cat([view[name] for view in each]) for name in each[0]}
    if not is_painted:
        return _Seen(strokes)
    grams = [style_grams(network, [pictures]) for pictures in sizes]
    colours, finest = colours_of_styles([views]), finest_colour(views)
    return _Seen(strokes, calm_ground(views), colours, finest, grams)


def load_views(style: Style, size_px: int) -> list[Tensor]:
    """The pictures of a style (3, H, W) in [0, 1], enlarged where smaller than wanted.

    Args:
        style: A style.
        size_px: Shorter side of the pictures. In training small pictures stay small; a ruler must
            show all pictures alike, or small ones would be compared with at too few sizes. Lanczos
            both ways: `images.resize` enlarges by the softer bicubic, which has other features.

    Raises:
        FstError: A picture cannot be read.
    """
    views = []
    for path in style.images:
        picture = images.decode(path)
        size = images.size_with_shorter_side(picture.size, size_px)
        views.append(images.to_tensor(picture.resize(size, Image.Resampling.LANCZOS)))
    return views
