"""Draw the sample pictures: generative art of our own, free to ship under the project's licence.

    python scripts/draw_samples.py -o datasets/samples --seed 7

Every painter takes a random generator and the (height, width) to draw, measures in units of the
picture's height (so any size shows the same picture) and returns float RGB (H, W, 3) in [0, 1].
"""

import argparse
import math
import zlib
from itertools import pairwise
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

STYLE_SHAPE = (416, 520)
CONTENT_SHAPE = (448, 640)
SCENE_SHAPE = (256, 320)
OVERSAMPLE = 2  # drawn this much larger, then shrunk: Pillow's shapes have no anti-aliasing
JPEG_QUALITY = 90


# ---- tools ---------------------------------------------------------------------------------


def grid(shape):
    """Pixel centres as (y, x), each (H, W), in units of the height."""
    height, width = shape
    y, x = np.mgrid[0.5:height, 0.5:width] / height
    return y, x


def fractal(rng, shape, power=1.2, stretch=(1.0, 1.0)):
    """Noise falling as 1 / f**power, longer along (y, x) by stretch; zero mean, unit deviation."""
    fy = np.fft.fftfreq(shape[0])[:, None] * stretch[0]
    fx = np.fft.rfftfreq(shape[1])[None] * stretch[1]
    f = np.hypot(fy, fx)
    f[0, 0] = np.inf
    phase = rng.uniform(0, 2 * np.pi, f.shape)
    noise = np.fft.irfft2(np.exp(1j * phase) * f**-power, shape)
    return (noise - noise.mean()) / noise.std()


def blur(image, sigma_px):
    """Gaussian blur by FFT; wraps around, so keep sigma small beside the picture."""
    fy = np.fft.fftfreq(image.shape[0])[:, None]
    fx = np.fft.rfftfreq(image.shape[1])[None]
    kernel = np.exp(-2 * (np.pi * sigma_px) ** 2 * (fy**2 + fx**2))
    kernel = kernel.reshape(kernel.shape + (1,) * (image.ndim - 2))
    return np.fft.irfft2(np.fft.rfft2(image, axes=(0, 1)) * kernel, image.shape[:2], (0, 1))


def step(value, low, high):
    """Smooth step from 0 at low to 1 at high."""
    t = np.clip((value - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def rgb(colours):
    """'d03a2b f0e0c0' -> (n, 3) in [0, 1]."""
    return np.array([[int(c[i : i + 2], 16) / 255 for i in (0, 2, 4)] for c in colours.split()])


def ramp(t, colours):
    """Colour at t in [0, 1] along evenly spaced hex colours: shape of t plus (3,)."""
    stops = rgb(colours)
    at = np.linspace(0, 1, len(stops))
    return np.stack([np.interp(t, at, stops[:, k]) for k in range(3)], -1)


def over(under, paint, alpha):
    """Paint over a picture where alpha (H, W) says so."""
    return under + np.asarray(alpha)[..., None] * (paint - under)


def spline(points, count=80):
    """Smooth curve (count, 2) through points, by Catmull-Rom."""
    p = np.asarray(points, float)
    p = np.vstack([2 * p[0] - p[1], p, 2 * p[-1] - p[-2]])
    u = np.linspace(0, len(p) - 3 - 1e-9, count)
    i, t = u.astype(int), (u % 1)[:, None]
    a, b, c, d = p[i], p[i + 1], p[i + 2], p[i + 3]
    return b + t / 2 * (c - a + t * (2 * a - 5 * b + 4 * c - d + t * (3 * (b - c) + d - a)))


def ink(colour):
    """Float RGB -> the integer tuple Pillow draws with."""
    return tuple(int(v) for v in np.clip(np.asarray(colour) * 255, 0, 255))


def pixels(canvas):
    return np.asarray(canvas, float) / 255


def relief(height):
    """Light and shade of a height map (H, W) lit from the upper left, around 0."""
    down, right = np.gradient(height)
    return -(down + right)


# ---- styles --------------------------------------------------------------------------------


def nearest_sites(y, x, sites):
    """Index of the nearest site and the distance to its cell's border, per pixel."""
    first = np.full(y.shape, np.inf)
    second, near, next_near = first.copy(), np.zeros(y.shape, int), np.zeros(y.shape, int)
    for k, (sy, sx) in enumerate(sites):
        d = (y - sy) ** 2 + (x - sx) ** 2
        closest, runner_up = d < first, (d >= first) & (d < second)
        second = np.where(closest, first, np.where(runner_up, d, second))
        next_near = np.where(closest, near, np.where(runner_up, k, next_near))
        first, near = np.where(closest, d, first), np.where(closest, k, near)
    apart = np.linalg.norm(sites[near] - sites[next_near], axis=-1) + 1e-6
    return near, (second - first) / (2 * apart)


def scattered(rng, count, width, trials=12):
    """Points (count, 2) spread evenly: each the loneliest of a few candidates."""
    points = rng.uniform((0, 0), (1, width), (1, 2))
    for _ in range(count - 1):
        c = rng.uniform((-0.03, -0.03), (1.03, width + 0.03), (trials, 2))
        lonely = np.linalg.norm(c[:, None] - points[None], axis=-1).min(1).argmax()
        points = np.vstack([points, c[lonely]])
    return points


def window_design(y, x):
    """Region number and distance to the nearest region border of the glass window's drawing."""
    r, angle = np.hypot(x - 0.8, y - 0.36), np.arctan2(y - 0.36, x - 0.8)
    region = np.where(
        r < 0.11, 0, np.where(r < 0.2, 1, 2 + (angle * 7 / np.pi + 0.3).astype(int) % 2)
    )
    edge = np.minimum(np.abs(r - 0.11), np.abs(r - 0.2))
    hills = y - 0.64 - 0.06 * np.sin(5 * x + 1), y - 0.77 + 0.09 * np.sin(4.2 * x + 0.4)
    for number, border in zip((4, 5), hills):
        region = np.where(border > 0, number, region)
        edge = np.where(border > 0, np.abs(border), np.minimum(edge, np.abs(border)))
    bend = 0.78 + 0.16 * np.sin(8.5 * (y - 0.62)) - 0.9 * (y - 0.66)
    river = np.abs(x - bend) - 0.03 - 0.5 * np.clip(y - 0.66, 0, 1)
    edge = np.where(hills[0] > 0, np.minimum(edge, 0.8 * np.abs(river)), edge)
    return np.where((river < 0) & (hills[0] > 0), 6, region), edge


def stained_glass(rng, shape):
    """Sun, rays, hills and a river in leaded glass; panes are Voronoi cells cut by the drawing."""
    y, x = grid(shape)
    sites = scattered(rng, 115, shape[1] / shape[0])
    wobble = 0.005 * fractal(rng, shape, 2.2)
    pane, edge = nearest_sites(y + wobble, x - wobble, sites)
    region, drawn_edge = window_design(y + wobble, x + wobble)
    ray, _ = window_design(sites[:, 0], sites[:, 1])  # whole panes belong to a ray: no slivers
    region = np.where((region == 2) | (region == 3), 2 + (ray[pane] % 2), region)
    palettes = (
        "ffe9a0 ffd23c fff2c4",
        "ff9a1f f7b52c e8541c",
        "1d3fb8 2b63d9 3550c8 1c8fd8",
        "7a35b0 b03a9a c8306a 9a3fc0",
        "0d8a52 1fa35a 7fc23a 0b6c58",
        "0a6a44 3fa03a a8c828 d8a81e",
        "1ab7d0 8fe0e0 2f8fd0 d0f0f0",
    )
    glass = np.zeros((*shape, 3))
    for number, palette in enumerate(palettes):
        shades = rgb(palette)
        shade = shades[rng.integers(len(shades), size=len(sites))]
        glass = np.where((region == number)[..., None], shade[pane], glass)
    tilt = rng.normal(0, 1, (len(sites), 3))
    dy, dx = y - sites[pane, 0], x - sites[pane, 1]
    light = 1.05 + 2.6 * (tilt[pane, 0] * dy + tilt[pane, 1] * dx) + 0.12 * tilt[pane, 2]
    across, down = (fractal(rng, shape, 1.5, s) for s in ((0.35, 1.6), (1.6, 0.35)))
    light += 0.15 * np.where(pane % 2, across, down) + 0.05 * fractal(rng, shape, 0.6)
    light *= 1.15 - 0.3 * np.hypot(x - 0.8, y - 0.36)
    edge = np.minimum(edge, 0.85 * drawn_edge)
    light *= 0.72 + 0.33 * step(edge, 0, 0.03)
    glass = glass * np.clip(light, 0.3, 1.25)[..., None]
    glass += 0.55 * np.clip(light - 1.05, 0, 0.8)[..., None]
    came = 0.0058 + 0.0008 * fractal(rng, shape, 2)
    metal = 0.06 + 0.2 * step(edge, 0.003, 0.0) * (0.6 + 0.4 * fractal(rng, shape, 1))
    return over(glass, metal[..., None] * rgb("b8c0d0"), 1 - step(edge - came, 0, 0.0028))


def riverside(rng, shape):
    """Soft colour field under the dots: evening sky, far hills, water, meadow, two trees."""
    y, x = grid(shape)
    field = ramp(y / 0.5, "7fa6d8 b3c2e0 f2d6b8 ffc98a")
    glow = np.exp(-(((x - 0.86) / 0.3) ** 2) - ((y - 0.4) / 0.16) ** 2)
    field = over(field, rgb("fff0a8"), 0.85 * glow)
    field = over(field, rgb("fff8dc"), 0.6 * step(fractal(rng, shape, 1.9, (1, 3)), 0.4, 1.6))
    rough = fractal(rng, shape, 1.7)
    for top, rise, shades in ((0.4, 0.05, "8c93c4 a3a6c8"), (0.455, 0.03, "5f8fa0 7fa58c")):
        border = y - top + rise * np.sin(4.5 * x + 9 * top) + 0.006 * rough
        field = over(field, ramp(step(border, 0, 0.09), shades), step(border, 0, 0.006))
    water = ramp((y - 0.5) / 0.24, "f4cf9c 9db8d8 4f7fbc 2f5f9c")
    water = over(water, rgb("fff0b0"), 0.8 * np.exp(-(((x - 0.86) / 0.1) ** 2)) * (y < 0.72))
    field = over(field, water, step(y, 0.495, 0.503))
    bank = y - 0.74 + 0.16 * (x - 0.45) + 0.02 * np.sin(7 * x) + 0.006 * rough
    meadow = ramp(np.clip(bank / 0.3 + 0.1 * rough, 0, 1), "d8d860 8fb83c 4f8f3c 2c6048")
    field = over(field, meadow, step(bank, 0, 0.008))
    shade = np.exp(-(((x - 0.42) / 0.3) ** 2) - ((y - 0.87) / 0.045) ** 2)
    field = over(field, rgb("2f3f80"), 0.75 * shade * (bank > 0))
    for cx, cy, size in ((0.26, 0.3, 0.25), (0.52, 0.46, 0.15)):
        trunk = np.abs(x - cx - 0.03 * np.sin(6 * y)) - 0.09 * size - 0.02 * (y > cy + 1.6 * size)
        field = over(field, rgb("5a3450"), (trunk < 0) & (y > cy) & (y < 0.86 - 0.1 * (x > 0.4)))
        ball = np.hypot(x - cx, 1.1 * (y - cy)) - size * (1 + 0.13 * rough)
        lit = np.clip(0.5 + 0.9 * ((x - cx) - (y - cy)) / size / 1.6 + 0.18 * rough, 0, 1)
        leaves = ramp(lit, "1f3a6a 23624f 4f9a3c c4cf4a ffe27a")
        field = over(field, leaves, step(-ball, -0.004, 0.006))
    return np.clip(field, 0, 1)


def hue_turned(colour, turn, saturate=1.0):
    """Colours (n, 3) with their hue turned (radians, per row) about the grey axis."""
    grey = colour.mean(1, keepdims=True)
    c, s = np.cos(turn)[:, None], np.sin(turn)[:, None] / math.sqrt(3)
    off = colour - grey
    cross = np.roll(off, 1, 1) - np.roll(off, 2, 1)
    return np.clip(grey + saturate * (c * off + s * cross), 0, 1)


def pointillism(rng, shape):
    """Dots of pure, broken colour in four layers over a riverside evening."""
    field = riverside(rng, shape)
    canvas = Image.new("RGB", shape[::-1], ink(rgb("efe3c8")[0]))
    draw = ImageDraw.Draw(canvas)
    for radius, spacing in ((0.0135, 1.0), (0.0100, 1.1), (0.0078, 1.3), (0.0058, 1.9)):
        gap = radius * spacing * shape[0]
        points = np.mgrid[0 : shape[0] : gap, 0 : shape[1] : gap].reshape(2, -1).T
        points = rng.permutation(points + rng.uniform(-0.6, 0.6, points.shape) * gap)
        at = np.clip(points.astype(int), 0, np.array(shape) - 1)
        colour = field[at[:, 0], at[:, 1]]
        turn = rng.normal(0, 0.38, len(points))
        turn[rng.random(len(points)) < 0.08] += np.pi  # the complement, Seurat's vibration
        colour = hue_turned(colour, turn, 1.35) * rng.normal(1.0, 0.11, (len(points), 1))
        radii = radius * shape[0] * rng.uniform(0.65, 1.15, len(points))
        for (py, px), c, r in zip(points, colour, radii):
            draw.ellipse((px - r, py - r, px + r, py + r), fill=ink(c))
    weave = 0.02 * fractal(rng, shape, 0.5)
    return pixels(canvas) + weave[..., None]


def foam_finger(rng, start, heading, size, length):
    """Circles (y, x, radius) of one hooked finger of foam, with smaller fingers budding off."""
    y, x = start
    turn = rng.uniform(0.07, 0.16)
    circles = []
    for k in range(length):
        radius = size * (1 - k / length) ** 0.8 + 0.0015
        circles.append((y, x, radius))
        y, x = y + 0.8 * radius * math.sin(heading), x + 0.8 * radius * math.cos(heading)
        heading += turn
        if k in (3, 6, 9) and size > 0.008:
            bud = heading + rng.choice((-1.1, 0.9))
            circles += foam_finger(rng, (y, x), bud, 0.66 * radius, length - 5)
    return circles


CREST = [
    (1.15, -0.32),
    (0.72, -0.1),
    (0.38, 0.06),
    (0.17, 0.25),
    (0.09, 0.45),
    (0.14, 0.63),
    (0.29, 0.735),
    (0.42, 0.72),
]
HOLLOW = [
    (1.15, 0.9),
    (0.92, 0.62),
    (0.76, 0.45),
    (0.58, 0.36),
    (0.41, 0.375),
    (0.29, 0.46),
    (0.27, 0.57),
    (0.33, 0.66),
    (0.42, 0.72),
]


def draw_wave(rng, draw, unit, place, size, mirror=1):
    """One curling wave: striped body, cream crest, foam fingers along the falling edge."""
    indigo, blue, pale, cream = (ink(c) for c in rgb("1b2f5c 3f6c9c a9c2c8 f3e8cf"))

    def put(points):
        p = np.asarray(points)[:, :2] * size
        return [(unit * (place[1] + mirror * px), unit * (place[0] + py)) for py, px in p]

    crest, hollow = spline(CREST), spline(HOLLOW)
    draw.polygon(put(np.vstack([crest, hollow[::-1]])), fill=blue, outline=indigo)
    for k, (near, far) in enumerate(((0.2, 0.29), (0.38, 0.52), (0.6, 0.68), (0.76, 0.92))):
        end = int(rng.uniform(0.8, 0.97) * len(crest))
        taper = np.clip((end - np.arange(end)) / (0.5 * end), 0, 1)[:, None]
        middle = (near + far) / 2
        low, high = middle + (near - middle) * taper, middle + (far - middle) * taper
        a, b = (crest[:end] + (hollow - crest)[:end] * m for m in (low, high))
        draw.polygon(put(np.vstack([a, b[::-1]])), fill=(pale, indigo, pale, indigo)[k])
    width = max(1, round(0.0055 * unit))
    for m in np.linspace(0.05, 0.95, 19):
        first, last = rng.integers(0, 25), int(rng.uniform(0.7, 0.95) * len(crest))
        line = crest[first:last] + (hollow - crest)[first:last] * m
        draw.line(put(line), fill=indigo, width=max(1, width // 2))
    draw.line(put(crest) + put(hollow[::-1]), fill=indigo, width=width, joint="curve")
    circles = []
    for k, (y, x) in enumerate(crest[20:]):
        radius = rng.uniform(0.4, 1.0) * 0.026 * min(1, (k + 2) / 14)
        circles.append((y + rng.normal(0.008, 0.009), x + rng.normal(0, 0.008), radius))
    for y, x in np.vstack([crest[34::2], hollow[60::2]]):
        heading = rng.uniform(0.3, 1.7)
        circles += foam_finger(
            rng, (y, x), heading, rng.uniform(0.009, 0.015), rng.integers(11, 17)
        )
    for grow, fill in ((0.0045 / size, indigo), (0.0, cream)):
        for y, x, r in circles:
            r = r + grow
            (left, top), (right, bottom) = sorted(put([(y - r, x - r), (y + r, x + r)]))
            draw.ellipse((left, min(top, bottom), right, max(top, bottom)), fill=fill)
    for y, x, r in circles[::4]:
        (px, py), r = put([(y, x)])[0], 0.4 * r * size * unit
        draw.arc((px - r, py - r, px + r, py + r), 20, 200, fill=blue, width=max(1, width // 2))
    for y, x in rng.normal((0.33, 0.8), (0.15, 0.1), (70, 2)):
        (px, py), r = put([(y, x)])[0], rng.uniform(0.002, 0.006) * size * unit
        draw.ellipse((px - r, py - r, px + r, py + r), fill=cream)


def draw_swell(rng, draw, unit, width, top):
    """A low band of water across the whole picture with contour stripes under its edge."""
    x = np.linspace(-0.05, width + 0.05, 160)
    a, b = rng.uniform(0, 6, 2)
    edge = top + 0.035 * np.sin(5.5 * x + a) + 0.018 * np.sin(12 * x + b)
    colours = [ink(c) for c in rgb("1b2f5c f3e8cf 3f6c9c a9c2c8 2a4a7c 1b2f5c 3f6c9c")]
    depths = (0, 0.006, 0.018, 0.05, 0.062, 0.1, 0.106)
    for depth, colour in zip(depths, colours):
        y = edge + depth * (1 + 0.45 * np.sin(9 * x + 3 * a + 20 * depth))
        line = [(unit * px, unit * py) for px, py in zip(x, y)]
        draw.polygon([*line, (unit * x[-1], 2 * unit), (unit * x[0], 2 * unit)], fill=colour)
    for depth in np.arange(0.024, 0.2, 0.012):
        y = edge + depth * (1 + 0.45 * np.sin(9 * x + 3 * a + 20 * depth))
        first, last = sorted(rng.integers(0, len(x), 2))
        line = [(unit * px, unit * py) for px, py in zip(x[first:last], y[first:last])]
        if len(line) > 1:
            draw.line(line, fill=colours[0], width=max(1, unit // 400))


def woodblock_waves(rng, shape):
    """Curling waves as a colour woodcut: flat inks, key-block outlines, wood and paper grain."""
    unit, width = shape[0], shape[1] / shape[0]
    y, _ = grid(shape)
    sky = ramp(y / 0.75, "8fa6ae d9d2b4 f0e2c0 efd9b0 e8c79c")
    canvas = Image.fromarray((sky * 255).astype(np.uint8))
    draw = ImageDraw.Draw(canvas)
    draw.ellipse([unit * v for v in (0.93, 0.13, 1.09, 0.29)], fill=ink(rgb("c8553d")[0]))
    peak = spline([(0.72, 0.5), (0.6, 0.76), (0.46, 0.88), (0.45, 0.92), (0.6, 1.04), (0.72, 1.3)])
    draw.polygon([(unit * px, unit * py) for py, px in peak], fill=ink(rgb("56708c")[0]))
    cap = [
        (0.445, 0.88),
        (0.445, 0.925),
        (0.51, 0.965),
        (0.49, 0.93),
        (0.525, 0.905),
        (0.49, 0.885),
        (0.52, 0.845),
    ]
    draw.polygon([(unit * px, unit * py) for py, px in cap], fill=ink(rgb("f3e8cf")[0]))
    draw_swell(rng, draw, unit, width, 0.645)
    draw_wave(rng, draw, unit, (0.45, 1.42), 0.56, -1)
    draw_swell(rng, draw, unit, width, 0.8)
    draw_wave(rng, draw, unit, (0.03, -0.02), 1.0)
    draw_swell(rng, draw, unit, width, 0.93)
    print_ = pixels(canvas)
    wood = np.sin(210 * y + 5 * fractal(rng, shape, 2.2, (1.5, 0.5)))
    fibre = fractal(rng, shape, 0.8, (0.5, 1.5))
    wear = 0.035 * wood + 0.03 * fibre + 0.03 * fractal(rng, shape, 1.5)
    ink_depth = 1 - print_.mean(-1)
    return print_ + (wear * (0.3 + 1.3 * ink_depth))[..., None]


def facet(rng, width):
    """One shard: its corners (n, 2) as (y, x), its direction in radians, its size."""
    size = min(0.062 / rng.random() ** 0.6, 0.34)
    centre = np.array([0.5, width / 2]) + np.clip(rng.normal(0, 1, 2), -2, 2) * (0.3, 0.27 * width)
    angle = rng.choice((0.35, 1.25, 2.0, 2.75)) + rng.normal(0, 0.09)
    along = np.array([math.sin(angle), math.cos(angle)])
    across = np.array([math.cos(angle + rng.normal(0, 0.25)), -math.sin(angle)])
    half = size * np.array([rng.uniform(0.7, 1.5), rng.uniform(0.35, 0.9)])
    corners = np.array([(-1, -1), (1, -rng.uniform(0.3, 1)), (rng.uniform(0.4, 1), 1), (-1, 0.8)])
    if rng.random() < 0.35:
        corners = corners[:3]
    return (
        centre + corners[:, :1] * half[0] * along + corners[:, 1:] * half[1] * across,
        angle,
        size,
    )


def lay_facet(rng, image, lines, corners, angle, size, dabs, palette):
    """Glaze one shard on the picture (in place): dark at one side, melting away at the other."""
    unit = image.shape[0]
    low = np.clip((corners.min(0) * unit).astype(int), 0, image.shape[:2])
    high = np.clip((corners.max(0) * unit).astype(int) + 1, 0, image.shape[:2])
    if (high - low).min() < 4:
        return
    inside = Image.new("L", tuple(high - low)[::-1])
    outline = [tuple(p) for p in (corners * unit - low)[:, ::-1]]
    ImageDraw.Draw(inside).polygon(outline, fill=255)
    y, x = np.mgrid[low[0] : high[0], low[1] : high[1]] / unit
    along = (y - corners[0, 0]) * math.sin(angle) + (x - corners[0, 1]) * math.cos(angle)
    t = np.clip(along / (2.2 * size) + rng.uniform(-0.1, 0.15), 0, 1)
    window = (slice(low[0], high[0]), slice(low[1], high[1]))
    grain = dabs[int(angle / 0.8) % len(dabs)][window]
    t = np.clip(t + 0.08 * grain, 0, 1)
    paint = ramp(t, palette) * (1 + 0.07 * grain[..., None])
    alpha = pixels(inside) * (1 - 0.75 * t**1.5) * rng.uniform(0.8, 1.0)
    image[window] = over(image[window], paint, alpha)
    sides = [*corners, corners[0]]
    for a, b in pairwise(sides):
        if rng.random() < 0.75:
            weight = max(1, round(unit * rng.uniform(0.003, 0.008)))
            ends = [tuple(p[::-1] * unit) for p in (a, b)]
            lines.line(ends, fill=int(rng.uniform(140, 255)), width=weight)


def draw_guitar(image, lines):
    """Fragments of a guitar, broken apart as the shards are; strings and arcs, filled in part."""
    unit, width = image.shape[0], image.shape[1] / image.shape[0]
    y, x = grid(image.shape[:2])
    parts = (
        (-0.02, 0.7, 0.23, "7a4a22 d9a860 f3dca8"),
        (0.04, 0.45, 0.165, "a8743a e0b870 4a3018"),
        (0.02, 0.56, 0.075, "120d0a 2a2018 5a4630"),
        (0.26, 0.24, 0.12, "1f3a38 6f9a92 e0dcc0"),
        (-0.28, 0.3, 0.1, "e8dcb8 a39878 3a3630"),
    )
    for px, cy, r, palette in parts:
        cx = width / 2 + px
        t = np.clip(0.5 + (0.5 * (x - cx) + 0.8 * (y - cy)) / (2 * r), 0, 1)
        half = np.hypot(x - cx, y - cy) < r
        half &= (x - cx) * 0.94 + (y - cy) * 0.34 > -0.35 * r
        image[:] = over(image, ramp(t, palette), 0.92 * half)
        box = [unit * v for v in (cx - r, cy - r, cx + r, cy + r)]
        lines.arc(box, -100, 150, fill=240, width=max(2, unit // 130))
        lines.arc([box[0] - 9, box[1] + 9, box[2] - 9, box[3] + 9], 150, 230, fill=200, width=3)
    for k in range(6):
        x0 = width / 2 - 0.02 + 0.014 * k
        ends = [(unit * (x0 + 0.12), 0.04 * unit), (unit * (x0 - 0.06), 0.8 * unit)]
        lines.line(ends, fill=220, width=max(1, unit // 350))


def cubist_shards(rng, shape):
    """Translucent facets that shade into each other, with a guitar breaking through."""
    width = shape[1] / shape[0]
    y, x = grid(shape)
    image = ramp(np.clip(0.5 + 0.2 * fractal(rng, shape, 1.8), 0, 1), "6f6a5c 9a917a c2b592")
    palettes = (
        "2a211a 8a6a3c d9b873 f0dcae",
        "26282a 6a6c68 b5b09c e2dcc6",
        "2e1c12 7a4a26 b98a52",
        "14302f 3f6f6a 9db3a0 dcd8be",
        "3a2a1c a5793a e0b860 f5e3b4",
    )
    dabs = [
        np.clip(fractal(rng, shape, 0.9, s), -2, 2) for s in ((2, 0.6), (0.6, 2), (1, 1), (2, 0.5))
    ]
    line_layer = Image.new("L", shape[::-1])
    lines = ImageDraw.Draw(line_layer)
    shards = sorted((facet(rng, width) for _ in range(150)), key=lambda shard: -shard[2])
    for k, shard in enumerate(shards):
        if k == 75:
            draw_guitar(image, lines)
        elif k % 12 == 0:  # later shards cover earlier lines in part
            line_layer.paste(line_layer.point(lambda v: int(v * 0.96)))
        lay_facet(rng, image, lines, *shard, dabs, palettes[rng.integers(len(palettes))])
    edge = pixels(line_layer) * np.clip(0.75 + 0.25 * fractal(rng, shape, 1.2), 0, 1)
    image = over(image, rgb("1c1510"), 0.85 * edge)
    vignette = 1 - 0.35 * step(np.hypot((x - width / 2) / width, y - 0.5), 0.35, 0.75)
    dab = 0.012 * relief(blur(dabs[0], 1.5)) + 0.02 * fractal(rng, shape, 0.4)
    return image * vignette[..., None] + dab[..., None]


# Strokes in a layer, their length and half width in picture heights; broad ones first.
STROKE_LAYERS = ((1500, 0.2, 0.0135), (2600, 0.13, 0.0085), (1800, 0.08, 0.0055))


def swirl_field(shape, stars):
    """Stroke direction (radians) and closeness to the stars: a wind with eddies over a field."""
    y, x = grid(shape)
    vy = 0.35 * np.sin(4.5 * x + 1) * np.ones_like(y)
    vx = np.ones_like(y)
    glow = np.zeros_like(y)
    for sy, sx, radius, spin in stars:
        dy, dx = y - sy, x - sx
        near = np.exp(-(np.hypot(dy, dx) ** 2) / (2 * radius**2))
        pull = 3.2 * spin * near / radius
        vy, vx = vy + pull * dx, vx - pull * dy
        glow = np.maximum(glow, near)
    horizon = 0.7 + 0.045 * np.sin(4 * x + 0.5)
    ground = y > horizon
    wheat = -1.15 + 0.5 * np.sin(6 * x + 9 * y) + 0.25 * np.sin(17 * x)
    return np.where(ground, wheat, np.arctan2(vy, vx)), glow, y - horizon


def impasto_colours(rng, shape, glow, depth):
    """Colour field under the strokes: blue night, yellow eddies, a field of wheat."""
    y, _ = grid(shape)
    mottle = fractal(rng, shape, 1.5)
    rings = 0.5 + 0.5 * np.sin(26 * np.sqrt(-np.log(np.clip(glow, 1e-4, 1))))
    sky = ramp(np.clip(y / 0.8 + 0.13 * mottle, 0, 1), "122a66 1f4a9c 2f74c0 6fb0d0 b8d8c8")
    sky = over(sky, rgb("e6f0d0"), 0.5 * rings * step(glow, 0.12, 0.5))
    sky = over(sky, rgb("ffd23c"), step(glow, 0.45, 0.8))
    sky = over(sky, rgb("fff6c0"), step(glow, 0.84, 0.97))
    wheat = ramp(np.clip(depth / 0.3 + 0.22 * mottle, 0, 1), "d8a828 f2c838 e0a020 b8741c 6a4a20")
    hills = ramp(np.clip((depth + 0.1) / 0.1 + 0.1 * mottle, 0, 1), "2a5a90 1f3f70 2f6a5c")
    sky = over(sky, hills, step(depth, -0.075, -0.07))
    return over(sky, wheat, depth > 0)


def paint_strokes(rng, colour, body, angle, field, count, length, radius):
    """Lay curved strokes, each a bundle of bristle lines, on a colour and a height canvas."""
    shape, bristles = angle.shape, 9
    at = rng.uniform((0, 0), shape, (count, 2))
    path, heading = [], None
    for _ in range(12):
        i = np.clip(at.astype(int), 0, np.array(shape) - 1)
        heading = angle[i[:, 0], i[:, 1]]
        path.append((at, heading))
        at = at + length * shape[0] / 12 * np.stack([np.sin(heading), np.cos(heading)], 1)
    start = np.clip(path[5][0].astype(int), 0, np.array(shape) - 1)
    base = hue_turned(field[start[:, 0], start[:, 1]], rng.normal(0, 0.16, count), 1.1)
    base = base * rng.normal(1.0, 0.13, (count, 1))
    points = np.stack([p for p, _ in path], 1)  # (count, 12, 2)
    normal = np.stack([(np.cos(h), -np.sin(h)) for _, h in path], 0).transpose(2, 0, 1)
    swell = radius * shape[0] * np.array([0.5, 0.8, 0.95, 1, 1, 1, 1, 1, 0.95, 0.85, 0.7, 0.4])
    thick = max(1, round(2.6 * radius * shape[0] / bristles))
    for k in range(count):
        tone, load = base[k], rng.uniform(70, 200)
        for b in rng.permutation(bristles):
            side = 2 * b / (bristles - 1) - 1
            first, last = rng.integers(0, 3), 12 - rng.integers(0, 3)
            line = points[k] + (side * swell)[:, None] * normal[k]
            line = [tuple(p) for p in line[first:last, ::-1]]
            colour.line(line, fill=ink(tone * rng.normal(1, 0.055)), width=thick)
            height = load * (0.65 + 0.35 * side**2) + rng.normal(0, 22)
            body.line(line, fill=int(np.clip(height, 0, 255)), width=thick)


def impasto_swirls(rng, shape):
    """Thick bristly strokes along eddies of a night sky over wheat, lit from the side."""
    stars = (
        (0.2, 0.24, 0.085, 1),
        (0.36, 0.72, 0.13, -1),
        (0.14, 1.06, 0.07, 1),
        (0.47, 1.12, 0.05, -1),
        (0.5, 0.2, 0.055, 1),
        (0.1, 0.6, 0.04, 1),
    )
    angle, glow, depth = swirl_field(shape, stars)
    field = impasto_colours(rng, shape, glow, depth)
    canvas, body = Image.fromarray((field * 200).astype(np.uint8)), Image.new("L", shape[::-1], 60)
    for count, length, radius in STROKE_LAYERS:
        brush = (ImageDraw.Draw(canvas), ImageDraw.Draw(body))
        paint_strokes(rng, *brush, angle, field, count, length, radius)
    light = relief(blur(pixels(body), shape[0] / 700))
    return pixels(canvas) * (1 + 1.4 * np.clip(light, -0.35, 0.4))[..., None]


# ---- content pictures: painted landscape, two ray-marched scenes -----------------------------


def develop(rng, image):
    """Make a rendering behave like a photograph: 1/f unevenness, lens softness, vignette, grain."""
    shape = image.shape[:2]
    y, x = grid(shape)
    image = image * (1 + 0.02 * fractal(rng, shape, 1.0))[..., None]
    image = image * (1.04 - 0.3 * ((x - x.mean()) ** 2 + (y - 0.5) ** 2))[..., None]
    grain = rng.normal(0, 0.016, (*shape, 3)) + rng.normal(0, 0.018, (*shape, 1))
    image = np.clip(image, 0, None)
    return blur(image / (1 + 0.12 * image**3), 0.6 * shape[0] / CONTENT_SHAPE[0]) + grain


def ridge(rng, shape, top, rise, rough=1.0):
    """Height (H, W) of each pixel below a fractal mountain line; negative above it."""
    y, _ = grid(shape)
    line = fractal(rng, (shape[1], 2), 1.6 / rough)[:, 0]
    return y - (top - rise * line[None])


def mountains(rng, shape):
    """Three ranges in aerial perspective with lit and shaded faces: colour and cover (H, W)."""
    picture, cover = np.zeros((*shape, 3)), np.zeros(shape)
    ranges = (
        (0.30, 0.062, "8fa0ba b4bccb dfe3e8", 0.10),
        (0.39, 0.04, "566a80 8494a0 b8b8a8", 0.1),
        (0.47, 0.02, "1c2c26 3a4c38 6a7448", 0.06),
    )
    for top, rise, palette, haze in ranges:
        below = ridge(rng, shape, top, rise)
        folds = fractal(rng, shape, 1.85, (1.6, 1.0))
        slope = np.clip(relief(folds) * shape[0] / 18, -2.2, 2.2)
        crest_lit = np.gradient(-below, axis=1) * shape[0] * 0.3
        t = np.clip(0.45 + 0.2 * slope + 0.22 * crest_lit, 0, 1)
        colour = ramp(t, palette)
        if top < 0.35:  # snow holds on the high, flat faces
            snow = step(0.065 + 0.012 * folds + 0.022 * slope - below, 0, 0.03)
            colour = over(colour, ramp(t, "7f90b4 d8dfea ffffff"), snow)
        colour = over(colour, rgb("c4ccd6"), 0.75 * step(below, 0, haze * 2.2) * (top < 0.42))
        mask = step(below, -0.0015, 0.0015)
        picture, cover = over(picture, colour, mask), np.maximum(cover, mask)
    return picture, cover


def plant_firs(rng, image, count, base, heights):
    """Dark firs with drooping, uneven branches along base(x), in place on an RGB canvas."""
    unit = image.height
    draw = ImageDraw.Draw(image)
    for x in np.sort(rng.uniform(-0.02, 1.45, count))[rng.permutation(count)]:
        tall = rng.uniform(*heights) * (0.6 + 0.6 * rng.random())
        foot = base(x) + rng.uniform(0, 0.012)
        draw.rectangle(
            [unit * v for v in (x - 0.002, foot - tall, x + 0.002, foot)], fill=(40, 30, 24)
        )
        for level in np.linspace(0.02, 0.95, int(12 + 130 * tall)):
            y, reach = foot - tall * (1 - level), tall * 0.2 * level**0.8 * rng.uniform(0.45, 1.2)
            for side in (-1, 1):
                tone = (
                    np.array([0.075, 0.105, 0.075])
                    * rng.uniform(0.5, 1.4)
                    * (1.35 if side > 0 else 0.8)
                )
                tips = [
                    (x, y - 0.02 * tall),
                    (x + side * reach, y + 0.05 * tall * rng.uniform(0.4, 1.6)),
                    (x, y + 0.045 * tall),
                ]
                draw.polygon([(unit * px, unit * py) for px, py in tips], fill=ink(tone * 1.5))


def landscape(rng, shape):
    """Mountain lake: clouds, ranges fading with distance, mirrored water, firs, a grassy shore."""
    y, x = grid(shape)
    sky = ramp(y / 0.45, "2f66ac 5f93cc a4c4e0 e6e2d6")
    cloud = fractal(rng, shape, 1.8, (1.0, 2.4)) + 0.22 * fractal(rng, shape, 1.2, (1, 1.6))
    thick = step(cloud, 0.0, 1.3) * step(y, -0.1, 0.15)
    shade = np.clip(0.75 - 0.22 * cloud + 0.9 * relief(blur(cloud, 3)) * shape[0] / 400, 0, 1)
    image = over(sky, ramp(shade, "8f9aae d4d6da fffaf0"), 0.92 * thick)
    image = over(image, *mountains(rng, shape))
    far_wood = Image.fromarray((np.clip(image, 0, 1) * 255).astype(np.uint8))
    plant_firs(rng, far_wood, 260, lambda x: 0.505 + 0.004 * math.sin(9 * x), (0.02, 0.055))
    image = pixels(far_wood)
    water_line = int(0.51 * shape[0])
    depth = np.clip((y - 0.51) / 0.49, 0, 1)
    ripple = fractal(rng, shape, 0.9, (0.35, 2.6))
    row = 2 * water_line - y * shape[0] * 1.0 + ripple * (1 + 26 * depth) * shape[0] / 900
    row = np.clip(row, 0, water_line - 1).astype(int)
    mirrored = blur(image, shape[0] / 500)[row, (x * shape[0]).astype(int)]
    mirrored = over(mirrored * rgb("d4e0e4"), rgb("123848"), 0.2 + 0.5 * depth)
    mirrored *= (1 + 0.06 * ripple)[..., None]
    image = np.where((y > 0.51)[..., None], mirrored, image)
    bank = y - 0.86 + 0.28 * np.clip(0.42 - x, 0, 1) + 0.02 * fractal(rng, shape, 1.9)
    soil = np.clip(0.42 + 0.2 * fractal(rng, shape, 1.0, (1, 2.2)) + 0.8 * (0.1 - bank), 0, 1)
    soil = ramp(soil, "14160e 34361e 5c5c30 8a8050 b8a878")
    image = over(image, soil, step(bank, -0.002, 0.004))
    canvas = Image.fromarray((np.clip(image, 0, 1) * 255).astype(np.uint8))
    plant_firs(
        rng, canvas, 24, lambda x: 0.95 - 0.2 * max(0, 0.42 - x) + 5 * (0.3 < x < 1.2), (0.3, 0.6)
    )
    return develop(rng, pixels(canvas))


def trace(parts, start, way, steps, far):
    """Sphere tracing (Hart 1996): distance along each ray and its clearance for soft shadows."""
    t = np.full(start.shape[1], 0.02, np.float32)
    clear = np.ones_like(t)
    alive = np.arange(len(t))
    for _ in range(steps):
        at = t[alive]
        d = parts(start[:, alive] + way[:, alive] * at).min(0)
        clear[alive] = np.minimum(clear[alive], 9 * d / at)
        t[alive] = at = at + 0.85 * d
        alive = alive[(d > 0.001) & (at < far)]
    return t, np.clip(clear, 0, 1)


def unit_vector(v):
    return v / np.linalg.norm(v, axis=0, keepdims=True)


def camera_rays(shape, eye, look, zoom):
    y, x = grid(shape)
    eye, look = np.array(eye, np.float32), np.array(look, np.float32)
    forward = unit_vector(look - eye)
    right = unit_vector(np.cross((0, 1, 0), forward))
    up = np.cross(forward, right)
    x, y = (x - x.mean()).ravel() / zoom, (0.5 - y).ravel() / zoom
    way = forward[:, None] + right[:, None] * x + up[:, None] * y
    way = unit_vector(way).astype(np.float32)
    return np.broadcast_to(eye[:, None], way.shape), way


def render(parts, paint, shape, eye, look, zoom, sun, gobo=None):
    """Shade signed-distance solids: soft shadow, ambient occlusion, sky light, gloss.

    Args:
        parts: points (3, N) -> distances (P, N), one row a solid.
        paint: points, part number, normals -> colour (N, 3), gloss (N,).
        gobo: points -> share of sunlight let through, the window's shape; or None.
    """
    start, way = camera_rays(shape, eye, look, zoom)
    t, _ = trace(parts, start, way, 90, 14.0)
    p = start + way * t
    part = parts(p).argmin(0)
    offsets = 0.004 * np.eye(3, dtype=np.float32)
    slopes = [parts(p + o[:, None]).min(0) - parts(p - o[:, None]).min(0) for o in offsets]
    normal = unit_vector(np.stack(slopes) + 1e-9)
    sun = unit_vector(np.array(sun, np.float32)[:, None])
    _, clear = trace(parts, p + 0.02 * normal, np.broadcast_to(sun, p.shape), 40, 5.0)
    lit = np.clip((normal * sun).sum(0), 0, 1) * step(clear, 0.0, 1.0)
    lit = lit if gobo is None else lit * gobo(p)
    reach = (0.06, 0.16, 0.34)
    open_sky = sum(np.clip(parts(p + k * normal).min(0) / k, 0, 1) for k in reach) / len(reach)
    colour, gloss = paint(p, part, normal)
    half = unit_vector(sun - way)
    shine = gloss * np.clip((normal * half).sum(0), 0, 1) ** 60
    sky = (0.4 + 0.14 * normal[1] - 0.1 * normal[0]) * open_sky
    light = sky[:, None] * rgb("c8d4f0") + 1.15 * lit[:, None] * rgb("fff0d4")
    return (colour * light + (shine * (lit + 0.1))[:, None]).reshape(*shape, 3)


def ball(p, centre, radius):
    """Distance to an ellipsoid (exact for a sphere); radius a number or three."""
    q = p - np.array(centre, np.float32)[:, None]
    r = np.broadcast_to(np.array(radius, np.float32), 3)[:, None]
    k = np.sqrt(((q / r) ** 2).sum(0)) + 1e-6
    return k * (k - 1) / (np.sqrt(((q / r**2) ** 2).sum(0)) + 1e-6)


def joined(a, b, k):
    """Union of two distances with a fillet of size k."""
    h = np.clip(0.5 + 0.5 * (b - a) / k, 0, 1)
    return b + h * (a - b) - k * h * (1 - h)


def post(p, centre, radius, low, high, rounding=0.03):
    """Upright cylinder with rounded rims."""
    side = np.hypot(p[0] - centre[0], p[2] - centre[1]) - radius + rounding
    cap = np.abs(p[1] - (low + high) / 2) - (high - low) / 2 + rounding
    outside = np.hypot(np.maximum(side, 0), np.maximum(cap, 0))
    return outside + np.minimum(np.maximum(side, cap), 0) - rounding


def lookup(texture, u, v):
    """Tiled texture (N, N) at coordinates in tiles."""
    n = len(texture)
    return texture[(v * n).astype(int) % n, (u * n).astype(int) % n]


FRUIT = (
    (-0.22, 0.47, 0.02, 0.21),
    (0.2, 0.46, -0.06, 0.2),
    (0.02, 0.5, 0.26, 0.2),
    (0.0, 0.66, 0.05, 0.18),
    (-0.86, 0.185, -0.42, 0.2),
    (0.72, 0.16, -0.62, 0.17),
)
GRAPES = [
    (
        0.98 + 0.1 * (k % 3) + 0.05 * (k // 3 % 2),
        0.075 + 0.085 * (k // 6),
        -0.3 - 0.095 * (k // 3 % 2) - 0.04 * (k // 6),
    )
    for k in range(11)
]


def still_life_parts(p):
    """Table, wall, bowl, bottle, six fruits, grapes."""
    x, y, z = p
    r = np.hypot(x, z - 0.08)
    bowl = np.maximum(np.abs(np.hypot(r, y - 0.56) - 0.52) - 0.018, y - 0.44)
    bowl = joined(bowl, post(p, (0, 0.08), 0.24, 0.0, 0.06, 0.02), 0.05)
    bottle = joined(
        post(p, (-0.78, 0.38), 0.21, 0.0, 0.8, 0.09), post(p, (-0.78, 0.38), 0.07, 0.6, 1.28), 0.2
    )
    bottle = np.minimum(bottle, post(p, (-0.78, 0.38), 0.088, 1.18, 1.25, 0.02))
    fruits = []
    for fx, fy, fz, fr in FRUIT:
        dip = 0.28 * fr * np.exp(-(((x - fx) ** 2 + (z - fz) ** 2) / (0.16 * fr**2))) * (y > fy)
        fruits.append(0.8 * (ball(p, (fx, fy, fz), (fr, 0.93 * fr, fr)) + dip))
    pear = joined(ball(p, (0.42, 0.2, -0.42), 0.2), ball(p, (0.44, 0.44, -0.4), 0.1), 0.16)
    grapes = np.min([ball(p, g, 0.07) for g in GRAPES], 0)
    fold = 0.02 * np.sin(9 * x + 3 * z) * np.sin(2 * z + 1)
    cloth = np.maximum(y - 0.012 - 0.5 * np.maximum(fold, 0), np.abs(x - 0.5 + 0.25 * z) - 0.75)
    return np.stack(
        [y, 1.5 - z, bowl, bottle, pear, grapes, 0.8 * np.maximum(cloth, -z - 1.3), *fruits]
    )


def still_life(rng, shape):
    """Bowl of fruit, bottle and grapes on a wooden table in slanting window light."""
    wood = fractal(rng, (1024, 1024), 1.3, (0.12, 2.0))
    rough, fine = fractal(rng, (1024, 1024), 1.4), fractal(rng, (1024, 1024), 0.9)
    skins = (
        "6a0f12 b8281c e08a3a",
        "a8a020 d0c040 c05a28",
        "b04a08 ea8418 f4a838",
        "7a1014 c43426 e8b050",
        "b85008 ee8c1c f8b040",
        "5a8a1c 94b838 d0d060",
    )

    def paint(p, part, normal):
        x, y, z = p
        around = np.arctan2(normal[2], normal[0]) / (2 * np.pi)
        plain, weave = (
            lookup(rough, x / 3 + z / 5, y / 3 + z / 7),
            lookup(fine, x * 0.9, (z + y) * 0.9),
        )
        t = np.clip(0.5 + 0.2 * lookup(wood, x / 3, z / 3) + 0.08 * weave, 0, 1)
        colour = ramp(t, "3a2012 6e4020 9a6434 b88450")
        gap = np.abs((z * 1.7 + 0.3) % 1 - 0.5)
        colour *= (0.45 + 0.55 * step(gap, 0.0, 0.02))[:, None]
        wall = ramp(np.clip(0.5 + 0.22 * plain + 0.08 * weave, 0, 1), "847a64 b4a684 d2c4a0")
        glaze = np.clip(0.55 + 0.1 * plain + 0.5 * (np.abs(y - 0.33) < 0.035), 0, 1)
        stripe = np.abs(x - 0.5 + 0.25 * z) > 0.6
        linen = ramp(np.clip(0.65 + 0.12 * weave, 0, 1), "a8a090 e8e2d4 fffaf0")
        linen = over(linen, rgb("8a2f2a"), 0.8 * (stripe & (np.abs(x - 0.5 + 0.25 * z) < 0.66)))
        leaf = ramp(np.clip(0.5 + 0.25 * plain, 0, 1), "8f8a20 c8b83c e0c860")
        grape = ramp(np.clip(0.5 + 0.3 * plain, 0, 1), "1c0f2c 3f2050 6a4a80")
        green = ramp(np.clip(0.4 + 0.15 * plain, 0, 1), "0a1c10 16402a 2f6a44")
        green = over(green, rgb("e0d4b0"), 0.9 * ((y > 0.2) & (y < 0.52) & (part == 3)))
        solids = [colour, wall, ramp(glaze, "20406a 5a80a8 e8ecec"), green, leaf, grape, linen]
        for k, palette in enumerate(skins):
            flesh = (
                0.4
                + 0.25 * lookup(rough, around + 0.13 * k, y / 2)
                + 0.1 * weave
                + 0.25 * normal[1]
            )
            solids.append(ramp(np.clip(flesh, 0, 1), palette))
        gloss = np.array([0.06, 0, 0.7, 0.9, 0.25, 0.5, 0, 0.4, 0.3, 0.2, 0.4, 0.2, 0.35])
        return np.choose(part[:, None], solids), gloss[part]

    sun = (-1.0, 0.78, -0.62)

    def window(p):
        # Where the ray to the sun crosses the plane of the window, at x = -3.
        s = (-3 - p[0]) / sun[0]
        wy, wz = p[1] + s * sun[1], p[2] + s * sun[2]
        panes = [
            step(np.abs((w - o) % 0.62 - 0.31), 0.31, 0.25) for w, o in ((wy, 0.35), (wz, 0.1))
        ]
        frame = step(np.abs(wy - 2.2), 1.25, 1.15) * step(np.abs(wz + 1.35), 1.3, 1.2)
        return 0.12 + 0.88 * panes[0] * panes[1] * frame

    image = render(
        still_life_parts, paint, shape, (0.15, 1.15, -3.7), (0.08, 0.48, 0), 1.55, sun, window
    )
    return develop(rng, np.clip(image, 0, None) ** (1 / 1.5))


def portrait_parts(p):
    """Backdrop, skin (head, neck, ears), eyes, hair, coat."""
    turn, tilt = 0.42, 0.05
    c, s = math.cos(turn), math.sin(turn)
    x, y, z = c * p[0] - s * p[2], p[1] - tilt * p[0], s * p[0] + c * p[2]
    q = np.stack([x, y, z])
    m = np.stack([np.abs(x), y, z])  # the face is symmetric
    skin = joined(
        ball(q, (0, 0.2, 0.08), (0.56, 0.66, 0.64)),
        ball(q, (0, -0.28, -0.14), (0.4, 0.5, 0.42)),
        0.22,
    )
    skin = joined(skin, ball(m, (0.25, -0.12, -0.36), (0.17, 0.14, 0.14)), 0.12)  # cheekbones
    skin = joined(skin, ball(m, (0.17, 0.2, -0.5), (0.17, 0.05, 0.07)), 0.1)  # brows
    skin = -joined(-skin, ball(m, (0.21, 0.06, -0.64), (0.13, 0.085, 0.13)), 0.07)  # eye sockets
    bridge = ball(q, (0, -0.0, -0.57), (0.06, 0.2, 0.09))
    skin = joined(
        skin, joined(bridge, ball(q, (0, -0.14, -0.66), (0.075, 0.07, 0.085)), 0.08), 0.06
    )
    skin = joined(skin, ball(m, (0.075, -0.165, -0.6), (0.05, 0.045, 0.06)), 0.03)  # nostrils
    lips = np.minimum(
        ball(q, (0, -0.37, -0.53), (0.14, 0.034, 0.06)),
        ball(q, (0, -0.43, -0.52), (0.11, 0.04, 0.06)),
    )
    skin = joined(skin, lips, 0.035)
    skin = joined(skin, ball(q, (0, -0.68, -0.42), (0.13, 0.09, 0.09)), 0.12)  # chin
    lid = np.maximum(
        ball(m, (0.2, 0.06, -0.455), 0.125), 0.035 - np.abs(y - 0.055 + 0.1 * (m[0] - 0.2) ** 2)
    )
    skin = joined(skin, lid, 0.012)
    skin = joined(skin, ball(m, (0.56, 0.0, 0.06), (0.06, 0.15, 0.1)), 0.04)
    neck = post(p, (0.02, 0.12), 0.27, -1.6, -0.3, 0.1)
    skin = joined(skin, neck, 0.12)
    eyes = ball(m, (0.2, 0.06, -0.45), 0.115)
    strand = 0.003 * np.sin(34 * x + 9 * np.sin(3 * y) + 6 * z) + 0.025 * np.sin(5 * y + 2 * x)
    hair = joined(
        ball(q, (0, 0.3, 0.16), (0.66, 0.68, 0.68)),
        ball(q, (0, -0.35, 0.3), (0.72, 0.78, 0.42)),
        0.3,
    )
    part_line = ball(q, (0.05, -0.18, -0.72), (0.47, 0.66, 0.62))
    hair = -joined(-(hair + strand), part_line, 0.08)
    coat = joined(
        ball(p, (0, -1.75, 0.15), (1.2, 0.6, 0.5)),
        post(p, (0, 0.15), 0.42, -1.6, -1.06, 0.12),
        0.25,
    )
    coat = np.maximum(coat, -ball(p, (0, -1.0, -0.42), (0.3, 0.3, 0.36)))
    return np.stack([2.2 - p[2], 0.8 * skin, eyes, 0.7 * hair, 0.9 * coat])


def portrait(rng, shape):
    """Head and shoulders of an imagined sitter by window light before a mottled backdrop."""
    rough, fine = fractal(rng, (1024, 1024), 1.5), fractal(rng, (1024, 1024), 0.8)
    strands = fractal(rng, (1024, 1024), 1.0, (0.06, 3.0)).T

    def paint(p, part, normal):
        turn = 0.42
        x, y = math.cos(turn) * p[0] - math.sin(turn) * p[2], p[1] - 0.05 * p[0]
        z = math.sin(turn) * p[0] + math.cos(turn) * p[2]
        side = np.abs(x)
        cloudy, grain = lookup(rough, p[0] / 4, p[1] / 4), lookup(fine, x, y + z)
        back = ramp(np.clip(0.42 + 0.16 * cloudy + 0.1 * p[0], 0, 1), "2a2c28 5c5848 8f8468 b8a888")
        skin = ramp(
            np.clip(0.62 + 0.05 * grain + 0.06 * lookup(rough, x, y), 0, 1),
            "8a4630 c87f58 e8a878 f4c498",
        )
        flush = np.exp(-(((side - 0.28) / 0.14) ** 2) - ((y + 0.14) / 0.12) ** 2)
        flush = np.maximum(flush, np.exp(-((x / 0.08) ** 2) - ((y + 0.15) / 0.07) ** 2)) * (z < 0)
        skin = over(skin, rgb("d0604c"), 0.3 * flush)
        mouth = step((x / 0.17) ** 2 + ((y + 0.4) / 0.068) ** 2, 1.1, 0.75) * (z < -0.3)
        skin = over(skin, rgb("a8403c"), 0.75 * mouth)
        seam = (
            np.exp(-(((y + 0.4 - 0.25 * x**2) / 0.009) ** 2)) * step(side, 0.17, 0.12) * (z < -0.3)
        )
        skin = over(skin, rgb("4a1818"), 0.8 * seam)
        arch = (y - 0.235 + 1.6 * (side - 0.2) ** 2) / (0.034 - 0.06 * np.clip(side - 0.22, 0, 1))
        brow = np.exp(-(arch**4)) * step(np.abs(side - 0.215), 0.15, 0.11) * (z < 0)
        skin = over(skin, rgb("24120a"), 0.95 * brow * np.clip(0.8 + 0.2 * grain, 0, 1))
        lash = np.exp(-(((y - 0.098 + 2.2 * (side - 0.2) ** 2) / 0.012) ** 2))
        skin = over(
            skin, rgb("1c100c"), 0.85 * lash * step(np.abs(side - 0.205), 0.12, 0.1) * (z < -0.3)
        )
        off = np.hypot(side - 0.195 - 0.02 * np.sign(x), y - 0.058)
        eye = ramp(np.clip(off / 0.11, 0, 1), "080606 0c0806 3a2a1c 5a4028 e0dcd4 e0d8d0 d8c4b8")
        glint = np.exp(-(((side - 0.2 + 0.02 * np.sign(x)) ** 2 + (y - 0.08) ** 2) / 0.00012))
        eye = over(eye, rgb("ffffff"), 0.9 * glint)
        lock = lookup(strands, (x + 0.25 * np.sin(2.5 * y) + 0.4 * z) * 0.7, y * 0.7)
        hair = ramp(np.clip(0.4 + 0.22 * lock, 0, 1), "160b08 3f2012 6f4022 a8703c")
        knit = np.sin(70 * (p[1] + 0.3 * np.abs(p[0]))) * np.sin(75 * p[0])
        coat = ramp(np.clip(0.45 + 0.12 * knit + 0.12 * cloudy, 0, 1), "0f2430 1f4858 4a7c88")
        gloss = np.array([0, 0.16, 0.6, 0.3, 0.0])
        return np.choose(part[:, None], [back, skin, eye, hair, coat]), gloss[part]

    image = render(
        portrait_parts, paint, shape, (0, -0.1, -5.2), (-0.18, -0.2, 0), 1.75, (-0.9, 0.75, -1.1)
    )
    return develop(rng, np.clip(image, 0, None) ** (1 / 1.5))


# ---- training scenes -------------------------------------------------------------------------


def natural_colour(rng):
    """A muted colour as photographs have them: a random grey pulled towards one hue."""
    hue = ramp(
        rng.random(), "8a5a34 c89a5a d8c8a0 6a7a3a 3f5a34 5a8a9a 4a6a9a a8b4c0 9a4a3a 8a5a34"
    )
    grey = rng.beta(1.2, 1.4)
    return np.clip(grey + (hue - hue.mean()) * rng.uniform(0.2, 1.6) * (0.3 + grey), 0, 1)


def blob(rng, draw, centre, size):
    """One random outline, filled: ellipse, polygon, leaf-like lobes or a bar."""
    kind, angle = rng.integers(4), rng.uniform(0, 2 * np.pi)
    corners = (48, rng.integers(3, 7), 64, 4)[kind]
    around = np.linspace(0, 2 * np.pi, corners, endpoint=False)
    radius = np.ones(corners) if kind != 1 else rng.uniform(0.5, 1.2, corners)
    if kind == 2:
        for k in range(2, 6):
            radius += rng.normal(0, 0.35) / k * np.cos(k * around + rng.uniform(0, 6))
    thin = rng.uniform(0.06, 0.25) if kind == 3 else rng.uniform(0.4, 1)
    a, b = size * radius * np.cos(around), size * thin * radius * np.sin(around)
    x = centre[1] + a * math.cos(angle) - b * math.sin(angle)
    y = centre[0] + a * math.sin(angle) + b * math.cos(angle)
    draw.polygon(list(zip(x, y)), fill=255)


def scene(rng, shape=SCENE_SHAPE):
    """A training scene: sky to ground, then occluding shaded shapes ("dead leaves", Lee 2001)."""
    y, x = grid(shape)
    textures = [
        fractal(rng, shape, p, s) for p, s in ((1.3, (1, 1)), (0.9, (1, 1)), (0.85, (2.5, 0.5)))
    ]
    top, middle, low, dark = (natural_colour(rng) for _ in range(4))
    horizon = rng.uniform(0.25, 0.8)
    sky = over(np.broadcast_to(top, (*shape, 3)), middle, step(y, 0, horizon))
    ground = low + (dark - low) * step(y, horizon, 1.1)[..., None]
    ground = ground * (1 + rng.uniform(0.08, 0.2) * textures[1])[..., None]
    edge = y - horizon + rng.uniform(0, 0.05) * fractal(rng, (1, shape[1]), 1.4)
    image = over(sky + 0.06 * textures[0][..., None], ground, step(edge, -0.004, 0.004))
    light = rng.uniform(0, 2 * np.pi)
    depths = np.sort(1 / rng.uniform(1.8, 50, rng.integers(40, 220)))[::-1]  # density ~ r**-2
    for size in depths * shape[0]:
        centre = rng.uniform((0, 0), shape)
        low_, high = (np.clip(centre + k * 1.5 * size, 0, shape).astype(int) for k in (-1, 1))
        if (high - low_).min() < 3:
            continue
        stencil = Image.new("L", tuple(2 * (high - low_))[::-1])
        blob(rng, ImageDraw.Draw(stencil), 2 * (centre - low_), 2 * size)
        box = slice(low_[0], high[0]), slice(low_[1], high[1])
        dy, dx = y[box] * shape[0] - centre[0], x[box] * shape[0] - centre[1]
        shade = (dx * math.cos(light) + dy * math.sin(light)) / size
        tone = (
            1
            + rng.uniform(0, 0.5) * shade
            + rng.uniform(0.03, 0.3) * textures[rng.integers(3)][box]
        )
        image[box] = over(
            image[box], natural_colour(rng) * tone[..., None], pixels(stencil.reduce(2))
        )
    image = blur(image, rng.uniform(0.25, 0.55)) * rng.uniform(0.7, 1.15)
    return image + rng.normal(0, rng.uniform(0.003, 0.02), image.shape)


# ---- writing ---------------------------------------------------------------------------------

STYLES = {
    f.__name__: f
    for f in (stained_glass, pointillism, woodblock_waves, cubist_shards, impasto_swirls)
}
CONTENTS = {f.__name__: f for f in (landscape, still_life, portrait)}


def draw_picture(name, seed, scale=1.0):
    """Draw one named picture as uint8 RGB (H, W, 3)."""
    painter = {**STYLES, **CONTENTS}[name]
    height, width = STYLE_SHAPE if name in STYLES else CONTENT_SHAPE
    height, width = round(height * scale), round(width * scale)
    rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
    image = quantised(painter(rng, (height * OVERSAMPLE, width * OVERSAMPLE)))
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BOX))


def draw_scene(seed, index):
    """Draw one training scene as uint8 RGB (256, 320, 3)."""
    return quantised(scene(np.random.default_rng([seed, index])))


def quantised(image):
    return (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)


def write(image, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path, quality=JPEG_QUALITY)
    print(f"{path}  {path.stat().st_size / 1024:.0f} KiB")


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, default=Path("datasets/samples"))
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--scenes", type=int, default=0, help="also draw this many training scenes")
    parser.add_argument(
        "--only", nargs="+", choices=[*STYLES, *CONTENTS], help="just these pictures"
    )
    options = parser.parse_args(arguments)
    for folder, pictures in (("styles", STYLES), ("content", CONTENTS)):
        for name in options.only or pictures:
            if name in pictures:
                write(draw_picture(name, options.seed), options.output / folder / f"{name}.jpg")
    for index in range(options.scenes):
        write(draw_scene(options.seed, index), options.output / "scenes" / f"scene_{index:05d}.jpg")


if __name__ == "__main__":
    main()
