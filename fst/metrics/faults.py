"""Faults that strokes do not show: texture on flat ground, rims along edges, paleness, fringes.

Lengths are in pixels of a photo whose shorter side is 320.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from fst.losses.colour import strength
from fst.losses.grain import BLOCK_PX, LEAST_GRAIN, grain
from fst.metrics.brushwork import grey_of
from fst.metrics.distances import PerStyleMean

FLAT_WINDOW_PX = 15  # sees weaves of 2 px and blotches of 15, hardly the slope of a sky
FLAT_CONTRAST = 0.02  # 5 of 255 levels: what film grain and JPEG leave on a clear sky
MIN_FLAT_SHARE = 0.02  # less is no ground but a chance gap
CALM_SHARE = 0.2  # style pictures that have a sky or a plain ground have a fifth of it

EDGE_BLUR_PX = 1.5  # standard deviation; averages away a photo's grain
# Gradient at a strong edge, a step of 0.2 in grey under that blur: 0.2 times the Gaussian's peak.
EDGE_GRADIENT = 0.2 / (EDGE_BLUR_PX * (2 * torch.pi) ** 0.5)
NEAR_PX, FAR_PX = range(3, 8), range(11, 18)  # distances from the edge
MIN_SIDES = 30  # sides of edge pixels; fewer are decided by one twig


# ---- flat --------------------------------------------------------------------------------------


def local_contrast(images: Tensor) -> Tensor:
    """Standard deviation of colour in windows of 15 px: (B, 3, H, W) to (B, H - 14, W - 14).

    sqrt of the mean over R, G and B of the variance inside the window around each pixel.
    """
    centred = images.double() - images.double().mean((2, 3), keepdim=True)  # no cancellation
    mean = F.avg_pool2d(centred, FLAT_WINDOW_PX, stride=1)
    squares = F.avg_pool2d(centred.square(), FLAT_WINDOW_PX, stride=1)
    return (squares - mean.square()).clamp_min(0).mean(1).sqrt().float()


def calm_ground(views: Sequence[Tensor]) -> Tensor:
    """Contrast of the calm ground of one style's pictures (3, H, W), a scalar.

    The mean of `local_contrast` over the calmest fifth of a view, the largest over the views: a
    network may paint with the grain of any of them.
    """
    contrasts = [local_contrast(view[None]).flatten() for view in views]
    calmest = [c.sort().values[: max(1, int(CALM_SHARE * len(c)))] for c in contrasts]
    return torch.stack([contrast.mean() for contrast in calmest]).amax()


class Flat(PerStyleMean):
    """Texture painted on flat ground beyond that of photo and style, per style id; 0 is none.

    With sigma the `local_contrast` and M the positions of the photo x where sigma_x < 0.02,
    flat(y) = max(0, mean over M of sigma_y - max(mean over M of sigma_x, c_s)), where c_s is the
    contrast of the calmest fifth of the style's own pictures (`calm_ground`). A style that is
    grainy everywhere may be grainy on a sky; one with a calm sky of its own may not. In parts of
    the range of colours: 0.02 is a faint weave, 0.1 a loud one. Photos with less than 2 % of flat
    ground are not counted; NaN where all are. Ours: no published measure leaves the style's own
    texture out.

    Args:
        calm: (S,), `calm_ground` of each style id.
    """

    def __init__(self, calm: Tensor) -> None:
        super().__init__(len(calm))
        self.calm = calm

    def update(self, stylized: Tensor, photos: Tensor, style_index: Tensor) -> None:
        """Add stylized images.

        Args:
            stylized: (B, 3, H, W) in [0, 1]; those with a side below 15 px are not counted.
            photos: (B, 3, H, W), theirs.
            style_index: (B,) the style each was painted in.
        """
        if min(photos.shape[2:]) < FLAT_WINDOW_PX:
            return
        painted, seen = local_contrast(stylized).flatten(1), local_contrast(photos).flatten(1)
        flat = seen < FLAT_CONTRAST  # (B, N)
        share = flat.float().mean(1)
        count = flat.sum(1).clamp_min(1)
        ours, theirs = ((values * flat).sum(1) / count for values in (painted, seen))
        allowed = torch.maximum(theirs, self.calm.to(share.device)[style_index])
        counted = share >= MIN_FLAT_SHARE
        self._add((ours - allowed).clamp_min(0)[counted], style_index[counted])


# ---- halo --------------------------------------------------------------------------------------


def rim_brightness(image: Tensor, photo: Tensor) -> Tensor | None:
    """How much brighter an image is beside the strong edges of a photo than further away.

    At each pixel of a strong edge, on either side along its normal: mean grey 3 to 7 px from it
    minus mean grey 11 to 17 px from it. Sides that leave the photo or meet another strong edge are
    left out. The mean over the darker sides and that over the brighter sides count half each: a
    blurred edge raises the one and lowers the other alike.

    Args:
        image: (3, H, W), the photo itself or what was painted of it.
        photo: (3, H, W), where edges are looked for.

    Returns:
        Scalar, or None where the photo has too few strong edges with clear ground beside them.
    """
    points, normals, strength = _edges(photo)
    grey = grey_of(image[None])[0, 0]
    sides = []
    for sign in (-1, 1):  # the darker side, the brighter side
        ray = torch.arange(1, FAR_PX[-1] + 1, device=points.device) * sign
        places = points[:, None] + ray[None, :, None] * normals[:, None]  # (P, 17, 2)
        limits = torch.tensor(grey.shape, device=points.device) - 1
        inside = ((places >= 0) & (places <= limits)).all(2).all(1)
        clear = (_sampled(strength, places[:, NEAR_PX[0] + 1 :]) < EDGE_GRADIENT).all(1)
        along = _sampled(grey, places[inside & clear])  # (P', 17)
        near = along[:, NEAR_PX[0] - 1 : NEAR_PX[-1]].mean(1)
        far = along[:, FAR_PX[0] - 1 : FAR_PX[-1]].mean(1)
        sides.append(near - far)
    kept = [side.mean() for side in sides if len(side) >= MIN_SIDES]
    return torch.stack(kept).mean() if kept else None


def _edges(photo: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Pixels of strong edges (P, 2) as (row, column), their normals to the bright side, gradients.

    Canny 1986, "A computational approach to edge detection": gradient of the blurred image, where
    it is strong and largest along its own direction.
    """
    blurred = _blurred(grey_of(photo[None]))[0, 0]
    gradient = torch.stack(torch.gradient(blurred))  # (2, H, W)
    strength = gradient.norm(dim=0)
    points = (strength >= 0.9 * EDGE_GRADIENT).nonzero()  # 0.9: differences over 2 px see less
    normals = gradient[:, points[:, 0], points[:, 1]].T
    normals = normals / normals.norm(dim=1, keepdim=True)
    own = strength[points[:, 0], points[:, 1]]
    before, after = (_sampled(strength, (points + s * normals)[:, None])[:, 0] for s in (-1, 1))
    ridge = (own >= before) & (own > after)
    return points[ridge].float(), normals[ridge], strength


def _blurred(grey: Tensor) -> Tensor:
    """(B, 1, H, W) under a Gaussian of `EDGE_BLUR_PX`."""
    reach = round(3 * EDGE_BLUR_PX)
    offsets = torch.arange(-reach, reach + 1, device=grey.device)
    kernel = torch.exp(-(offsets.float() ** 2) / (2 * EDGE_BLUR_PX**2))
    kernel = kernel / kernel.sum()
    padded = F.pad(grey, (reach,) * 4, mode="replicate")
    return F.conv2d(F.conv2d(padded, kernel.view(1, 1, 1, -1)), kernel.view(1, 1, -1, 1))


def _sampled(values: Tensor, places: Tensor) -> Tensor:
    """Values (H, W) at places (P, N, 2) of rows and columns, bilinear, clamped to the border."""
    size = torch.tensor(values.shape, device=values.device, dtype=values.dtype)
    grid = (2 * places.to(values.dtype) / (size - 1) - 1).flip(2)  # to (x, y) in [-1, 1]
    way = {"padding_mode": "border", "align_corners": True}
    return F.grid_sample(values[None, None], grid[None], **way)[0, 0]


class Halo(PerStyleMean):
    """Mean brightness of rims along the photo's strong edges, per style id; 0 is none.

    halo(y) = rim(y) - rim(x), with `rim_brightness` of the image y and the photo x at the strong
    edges of x. A rim of height h on both sides of every edge has h, on one side h / 2; dark
    outlines are below 0. Brushstrokes beside edges are as often darker as brighter, and average
    out. Photos without strong edges beside clear ground are not counted; NaN where all are. Ours,
    after the overshoot that edge profiles are measured by (ISO 12233, edge spread function).
    """

    def update(self, stylized: Tensor, photos: Tensor, style_index: Tensor) -> None:
        """Add stylized images; arguments as of `Flat.update`."""
        for image, photo, style in zip(stylized, photos, style_index, strict=True):
            if min(photo.shape[1:]) <= FAR_PX[-1]:
                continue
            of_photo = rim_brightness(photo, photo)
            if of_photo is not None:
                self._add((rim_brightness(image, photo) - of_photo)[None], style[None])


# ---- contrast ----------------------------------------------------------------------------------


class Contrast(PerStyleMean):
    """How much of their style's contrast and colour stylized images have, per style id; 1 is all.

    The mean over lightness and two opponent colours of `fst.losses.colour.strength`: the standard
    deviation over the pixels as a fraction of the style's, at most 1. Ours: brushwork does not see
    paleness, and the content distance rewards it.

    Args:
        of_styles: (S, 3), of `fst.losses.colour.colours_of_styles`.
    """

    higher_is_better = True

    def __init__(self, of_styles: Tensor) -> None:
        super().__init__(len(of_styles))
        self.of_styles = of_styles

    def update(self, stylized: Tensor, style_index: Tensor) -> None:
        """Add stylized images (B, 3, H, W) in [0, 1], painted in the styles (B,)."""
        wanted = self.of_styles.to(style_index.device)[style_index]
        self._add(strength(stylized, wanted).mean(1), style_index)


# ---- fringes -----------------------------------------------------------------------------------


def finest_colour(views: Sequence[Tensor]) -> Tensor:
    """How strong the finest colour of one style's pictures (3, H, W) is: (2, 48).

    `fst.losses.grain.grain` in the two opponent colours, the largest over the views.
    """
    return torch.cat([grain(view[None])[:, 1:] for view in views]).amax(0)


class Fringes(PerStyleMean):
    """How much stronger the finest colour is than in the style's pictures, per style id; 0 is none.

    The mean over two opponent colours and the 48 finest frequencies (`fst.losses.grain.grain`) of
    max(0, g(y) / max(g(s), 1/255) - 1), with g of the style the largest over its views
    (`finest_colour`). 1: on average twice as strong, which at full size shows as coloured rims and
    stripes of single pixels. Images with a side below 8 px are not counted. Ours: nothing else here
    sees them.

    Args:
        of_styles: (S, 2, 48), `finest_colour` of each style id.
    """

    def __init__(self, of_styles: Tensor) -> None:
        super().__init__(len(of_styles))
        self.of_styles = of_styles

    def update(self, stylized: Tensor, style_index: Tensor) -> None:
        """Add stylized images (B, 3, H, W) in [0, 1], painted in the styles (B,)."""
        if min(stylized.shape[2:]) < BLOCK_PX:
            return
        wanted = self.of_styles.to(style_index.device)[style_index].clamp_min(LEAST_GRAIN)
        excess = (grain(stylized)[:, 1:] / wanted - 1).clamp_min(0)
        self._add(excess.mean((1, 2)), style_index)
