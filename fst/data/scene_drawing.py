"""Drawing one training scene: a picture with the statistics of a photograph, of nothing real.

A scene is a sky and a ground behind hundreds of overlapping shapes with power-law sizes. Such a
"dead leaves" picture has the spectrum and the occluding edges of photographs (Lee, Mumford and
Huang 2001), and generic features can be learnt from it (Baradad et al. 2021).
"""

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

OVERSAMPLE = 2  # drawn this much larger, then averaged: Pillow's polygons have no anti-aliasing
# Radii of shapes, with density r**-3 between: it looks the same at every scale (Lee et al.).
# Below the smallest, a few pixels, textures stand in for shapes.
SMALLEST_PX, LARGEST = 2.5, 0.4  # the largest in scene heights
MAX_SHAPES = 3000  # so that large scenes stay quick
HEAPS = 12
CORNERS = 24
TEXTURE_PX = 512
# Earth, foliage, water, sky and brick; hues between neighbours occur, too.
HUES = "8a5a34 c89a5a d8c8a0 6a7a3a 3f5a34 5a8a9a 4a6a9a a8b4c0 9a4a3a 8a5a34"


def draw_scene(seed: int, index: int, size_px: tuple[int, int]) -> np.ndarray:
    """Draw one training scene, a pure function of its arguments.

    Args:
        seed: 0 or more.
        index: number of the scene, 0 or more.
        size_px: (H, W); another size shows a similar scene, not the same one.

    Returns:
        (H,W,3) uint8.
    """
    rng = np.random.default_rng((seed, index))
    height, width = size_px
    palette = _natural_colours(rng, 6)
    light = rng.uniform(1.15, 1.85) * math.pi  # angle towards it: somewhere above
    shapes = _joined(_background(rng, width / height, palette), _leaves(rng, size_px, palette))
    labels = _label_map(shapes.outlines, (height * OVERSAMPLE, width * OVERSAMPLE))
    image = _filled(rng, shapes, labels, light)
    image = image.reshape(height, OVERSAMPLE, width, OVERSAMPLE, 3).mean((1, 3))  # (H,W,3)
    shadow = _shadow(rng, labels[::OVERSAMPLE, ::OVERSAMPLE], light)
    return _photographed(rng, image * (1 - rng.uniform(0.35, 0.75) * shadow))


class _Shapes(NamedTuple):
    """N shapes from back to front; lengths in scene heights."""

    outlines: list[np.ndarray]  # of each shape (corners,2) as (x,y)
    centres: np.ndarray  # (N,2) as (x,y)
    radii: np.ndarray  # (N,)
    colours: np.ndarray  # (N,3)
    fades: np.ndarray  # (N,3), added to the colour towards the light, subtracted away from it
    textures: np.ndarray  # (N,), which of `texture_tiles`
    contrasts: np.ndarray  # (N,), of the texture


def _joined(back: _Shapes, front: _Shapes) -> _Shapes:
    arrays = (np.concatenate(pair) for pair in zip(back[1:], front[1:], strict=True))
    return _Shapes(back.outlines + front.outlines, *arrays)


def _natural_colours(rng: np.random.Generator, count: int) -> np.ndarray:
    """Muted colours (count,3), as photographs have them: greys pulled towards a hue."""
    stops = np.array([tuple(bytes.fromhex(colour)) for colour in HUES.split()]) / 255
    at, turn = np.linspace(0, 1, len(stops)), rng.random(count)
    hues = np.stack([np.interp(turn, at, stops[:, k]) for k in range(3)], -1)
    greys, strengths = rng.beta(1.5, 1.6, (count, 1)), rng.uniform(0.2, 1.5, (count, 1))
    return np.clip(greys + (hues - hues.mean(1, keepdims=True)) * strengths * (0.3 + greys), 0, 1)


def _background(rng: np.random.Generator, width: float, palette: np.ndarray) -> _Shapes:
    """Sky or wall, up to two ridges, ground or table."""
    count = int(rng.integers(2, 5))
    tops = np.concatenate([[-1], np.sort(rng.uniform(0.15, 0.8, count - 1))])
    colours = palette[:count].copy()
    colours[0] += 0.5 * (1 - colours[0]) * rng.integers(2)  # every other sky is bright
    contrasts = rng.uniform(0.05, 0.22, count)
    contrasts[0] *= 0.3
    textures = rng.integers(len(texture_tiles()), size=count)
    textures[0] = 0  # cloud
    outlines = [_ground(rng, top, width) for top in tops]
    centres = np.stack([np.full(count, width / 2), (tops + 1) / 2], -1)
    radii = np.full(count, 0.6)
    fades = rng.normal(0, 0.12, (count, 1)) + rng.normal(0, 0.05, (count, 3))
    return _Shapes(outlines, centres, radii, colours, fades, textures, contrasts)


def _ground(rng: np.random.Generator, top: float, width: float) -> np.ndarray:
    """All below a line, as often straight as rugged: (corners,2)."""
    x, waves = np.linspace(-0.1, width + 0.1, 240), np.arange(1, 60)
    phases = rng.uniform(0, 2 * np.pi, len(waves))
    swing = rng.uniform(0, 0.08) * rng.integers(2) * rng.normal(0, 1, len(waves)) * waves**-1.3
    line = top + np.cos(2 * x[:, None] * waves + phases) @ swing
    return np.vstack([np.stack([x, line], -1), [(x[-1], 1.1), (x[0], 1.1)]])


def _leaves(rng: np.random.Generator, size_px: tuple[int, int], palette: np.ndarray) -> _Shapes:
    """Overlapping shapes of all sizes; heaps of them share colour and texture, as foliage does."""
    height, width = size_px[0], size_px[1] / size_px[0]
    radii = _radii(rng, SMALLEST_PX / height, width)
    count = len(radii)
    # Between random order, small shapes hidden as often as not, and large shapes at the back.
    radii = radii[np.argsort(rng.gumbel(0, 0.5, count) - rng.uniform(0.3, 1.5) * np.log(radii))]
    heap = rng.integers(HEAPS, size=count)
    heaps, spread = rng.uniform((0, 0.15), (width, 1), (HEAPS, 2)), rng.uniform(0.02, 0.2, HEAPS)
    heaped = heaps[heap] + rng.normal(0, 1, (count, 2)) * spread[heap, None]
    # Single specks all over would look like snow: most small shapes lie in a heap.
    alone = (rng.random(count) < 0.3 * rng.random() ** 2) | (radii > 0.06)
    centres = np.where(alone[:, None], rng.uniform((0, 0), (width, 1), (count, 2)), heaped)
    odd = rng.random((2, count)) < 0.2  # in colour, in texture
    kind = np.where(odd, rng.integers(HEAPS, size=(2, count)), heap)
    colours = palette[kind[0] % len(palette)] * np.exp(rng.normal(0, 0.3, (count, 1)))
    colours += rng.normal(0, 0.03, (count, 3))
    outlines = _outlines(rng, centres, radii, height)
    fades = colours * rng.uniform(0.05, 0.5, (count, 1))
    textures = kind[1] % len(texture_tiles())
    contrasts = rng.uniform(0.05, 0.35, count)
    return _Shapes(outlines, centres, radii, colours, fades, textures, contrasts)


def _radii(rng: np.random.Generator, smallest: float, width: float) -> np.ndarray:
    """Radii with density r**-3, enough to cover a random share, and some large ones more."""
    ratio = min(smallest / LARGEST, 0.5)
    squares = 2 * (ratio * LARGEST) ** 2 * math.log(1 / ratio) / (1 - ratio**2)  # their mean
    count = min(MAX_SHAPES, math.ceil(rng.uniform(0.1, 1.3) * width / (1.5 * squares)))
    many = ratio * LARGEST / np.sqrt(1 - rng.random(count) * (1 - ratio**2))
    return np.concatenate([many, 1 / rng.uniform(1 / LARGEST, 20, rng.integers(3, 60))])


def _outlines(
    rng: np.random.Generator, centres: np.ndarray, radii: np.ndarray, height_px: float
) -> list[np.ndarray]:
    """Ellipses, polygons, lobes, pointed leaves and bars, some bent: (corners,2) each."""
    count = len(radii)
    kind = rng.choice(5, count, p=(0.2, 0.2, 0.2, 0.25, 0.15))[:, None]
    around = np.linspace(0, 2 * np.pi, CORNERS, endpoint=False)
    sides = 2 * np.pi / rng.choice((3, 4, 4, 6), (count, 1))
    polygon = np.cos(sides / 2) / np.cos(around % sides - sides / 2)
    waves = np.arange(2, 6)
    swing = rng.normal(0, 0.35, (count, 4)) / waves
    phases = rng.uniform(0, 6, (count, 4, 1))
    lobes = 1 + (swing[..., None] * np.cos(waves[:, None] * around + phases)).sum(1)
    reach = np.select([kind == 1, kind == 2], [polygon, lobes], 1.0)
    thin = np.where(kind == 4, rng.uniform(0.05, 0.2, (count, 1)), rng.uniform(0.4, 1, (count, 1)))
    a = reach * np.cos(around)
    b = reach * np.sin(around) * np.where(kind == 3, np.abs(np.sin(around)), 1) * thin
    b += rng.normal(0, 0.3, (count, 1)) * (kind >= 3) * a**2
    turn = rng.uniform(0, 2 * np.pi, (count, 1))
    x, y = a * np.cos(turn) - b * np.sin(turn), a * np.sin(turn) + b * np.cos(turn)
    corners = centres[:, None] + radii[:, None, None] * np.stack([x, y], -1)  # (N,CORNERS,2)
    skip = np.select([radii * height_px < 5, radii * height_px < 12], [3, 2], 1)
    return [c[::k] for c, k in zip(corners, skip, strict=True)]


def _label_map(outlines: list[np.ndarray], shape: tuple[int, int]) -> np.ndarray:
    """The number of the foremost shape at each pixel: (H,W)."""
    canvas = Image.new("I", shape[::-1])
    draw = ImageDraw.Draw(canvas)
    for number, outline in enumerate(outlines):
        draw.polygon((outline * shape[0]).ravel().tolist(), fill=number)
    return np.asarray(canvas)


def _filled(
    rng: np.random.Generator, shapes: _Shapes, labels: np.ndarray, light: float
) -> np.ndarray:
    """Each pixel's colour from its shape's colour, shading and texture: (H,W,3) around [0,1]."""
    height, count = labels.shape[0], len(shapes.radii)
    slope = np.stack([np.cos(light), np.sin(light)]) / (shapes.radii[:, None] * height)  # (N,2)
    shade = _planes(labels, *slope.T, -(shapes.centres * height * slope).sum(1)).clip(-1, 1)
    scale, turn = rng.uniform(0.3, 0.9, count), rng.uniform(0, 2 * np.pi, count)
    scale[0], turn[0] = 0.3, 0  # large, level clouds
    a, b = scale * np.cos(turn), scale * np.sin(turn)
    # From a few tiles in, so that no place is negative and cutting the fraction rounds down.
    start = rng.uniform(100, 101, (2, count)) * TEXTURE_PX
    column = _planes(labels, a, b, start[0]).astype(np.int32) % TEXTURE_PX
    row = _planes(labels, -b, a, start[1]).astype(np.int32) % TEXTURE_PX
    texture = texture_tiles()[shapes.textures[labels], row, column]
    tone = 1 + shapes.contrasts.astype(np.float32)[labels] * texture
    colours, fades = shapes.colours.astype(np.float32), shapes.fades.astype(np.float32)
    return (colours[labels] + fades[labels] * shade[..., None]) * tone[..., None]


def _planes(
    labels: np.ndarray, along_x: np.ndarray, along_y: np.ndarray, offset: np.ndarray
) -> np.ndarray:
    """A linear function of position for each shape (N,), at each pixel of the shape: (H,W)."""
    y, x = (v.astype(np.float32) + 0.5 for v in np.ogrid[: labels.shape[0], : labels.shape[1]])
    a, b, c = (v.astype(np.float32)[labels] for v in (along_x, along_y, offset))
    return a * x + b * y + c


def _shadow(rng: np.random.Generator, labels: np.ndarray, light: float) -> np.ndarray:
    """How much of the light shapes further in front take from each pixel: (H,W,1) in [0,1]."""
    height, width = labels.shape
    rows, columns = np.arange(height), np.arange(width)
    length = rng.uniform(0.01, 0.05) * height
    hidden = np.zeros(labels.shape, np.float32)
    steps = np.linspace(0.2, 1, 5)
    for step in steps:
        up, right = (round(step * length * f(light)) for f in (math.sin, math.cos))
        nearer_light = np.ix_((rows + up).clip(0, height - 1), (columns + right).clip(0, width - 1))
        hidden += labels[nearer_light] > labels
    hidden = np.where(labels > 0, hidden / len(steps), 0)  # none on the sky
    soft = Image.fromarray((hidden * 255).astype(np.uint8)).filter(
        ImageFilter.GaussianBlur(0.2 * length)
    )
    return (np.asarray(soft) / np.float32(255))[..., None]


def _photographed(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """Exposure, a vignette or a lit side, grain; as uint8."""
    height, width = image.shape[:2]
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j].astype(np.float32)
    a, b, c = rng.normal(0, 0.12, 3)
    image = image.clip(0) * (1 + a * x + b * y - abs(c) * (x**2 + y**2))[..., None].clip(0.2)
    white = max(0.3, float(np.percentile(image[::4, ::4], rng.uniform(92, 99))))
    image = (image / white).clip(0) ** rng.uniform(0.7, 1.1)
    image = image / (1 + (image / 1.15) ** 6) ** (1 / 6)  # highlights roll off as on film
    noise = rng.standard_normal((height, width, 4), np.float32) * rng.uniform(0.004, 0.02)
    image = image + noise[..., :3] + noise[..., 3:]
    return (image.clip(0, 1) * 255 + 0.5).astype(np.uint8)


@lru_cache(maxsize=1)
def texture_tiles() -> np.ndarray:
    """Tiles (5,T,T) of zero mean and unit deviation: cloud, stone, fibre, leaves, cloth."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:TEXTURE_PX, :TEXTURE_PX] * (2 * np.pi / TEXTURE_PX)
    cloth = np.sin(80 * x) * np.sin(80 * y) + np.sin(40 * x + 0.2 * np.sin(3 * y))
    tiles = (
        _noise(rng, 1.6),
        _noise(rng, 0.9),
        _noise(rng, 0.9, (3, 0.4)),
        _leaf_litter(rng) + 0.3 * _noise(rng, 0.7),
        cloth + 0.8 * _noise(rng, 0.7),
    )
    return np.stack([(t - t.mean()) / t.std() for t in tiles]).clip(-3, 3).astype(np.float32)


def _noise(
    rng: np.random.Generator, power: float, stretch: tuple[float, float] = (1, 1)
) -> np.ndarray:
    """A tile of noise whose amplitude falls as 1 / f**power, of unit deviation."""
    fy = np.fft.fftfreq(TEXTURE_PX)[:, None] * stretch[0]
    fx = np.fft.rfftfreq(TEXTURE_PX) * stretch[1]
    f = np.hypot(fy, fx)
    f[0, 0] = np.inf
    phase = rng.uniform(0, 2 * np.pi, f.shape)
    noise = np.fft.irfft2(np.exp(1j * phase) * f**-power, (TEXTURE_PX, TEXTURE_PX))
    return noise / noise.std()


def _leaf_litter(rng: np.random.Generator) -> np.ndarray:
    """A tile full of tiny shapes, dark below and bright above, of unit deviation."""
    canvas = Image.new("L", (TEXTURE_PX, TEXTURE_PX), 60)
    draw = ImageDraw.Draw(canvas)
    for brightness in np.linspace(30, 255, 9000):
        x, y = rng.uniform(0, TEXTURE_PX, 2)
        a, b = rng.uniform(1, 4.5, 2)
        tone = int(np.clip(rng.normal(brightness, 45), 0, 255))
        for left in (x, x - TEXTURE_PX):  # also across the seams
            for top in (y, y - TEXTURE_PX):
                draw.ellipse((left, top, left + a, top + b), fill=tone)
    tile = np.asarray(canvas).astype(float)
    return tile / tile.std()
