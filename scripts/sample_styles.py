"""Four style pictures: stained glass, pointillism, cubist shards, impasto swirls."""

import math
from itertools import pairwise

import numpy as np
from PIL import Image, ImageDraw
from sample_drawing import blur, fractal, grid, ink, over, pixels, ramp, relief, rgb, step

STYLE_SHAPE = (416, 520)


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
    for number, border in zip((4, 5), hills, strict=True):
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
        for (py, px), c, r in zip(points, colour, radii, strict=True):
            draw.ellipse((px - r, py - r, px + r, py + r), fill=ink(c))
    weave = 0.02 * fractal(rng, shape, 0.5)
    return pixels(canvas) + weave[..., None]


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
