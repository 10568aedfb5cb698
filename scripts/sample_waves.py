"""The fifth style picture: curling waves as a colour woodcut."""

import math

import numpy as np
from PIL import Image, ImageDraw
from sample_drawing import fractal, grid, ink, pixels, ramp, rgb, spline

INDIGO, BLUE, PALE, CREAM = (ink(c) for c in rgb("1b2f5c 3f6c9c a9c2c8 f3e8cf"))


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

    def put(points):
        p = np.asarray(points)[:, :2] * size
        return [(unit * (place[1] + mirror * px), unit * (place[0] + py)) for py, px in p]

    crest, hollow = spline(CREST), spline(HOLLOW)
    width = max(1, round(0.0055 * unit))
    draw_body(rng, draw, put, crest, hollow, width)
    draw_foam(draw, put, foam(rng, crest, hollow), size, unit, width)
    for y, x in rng.normal((0.33, 0.8), (0.15, 0.1), (70, 2)):
        (px, py), r = put([(y, x)])[0], rng.uniform(0.002, 0.006) * size * unit
        draw.ellipse((px - r, py - r, px + r, py + r), fill=CREAM)


def draw_body(rng, draw, put, crest, hollow, width):
    """The wave between its crest and its hollow: tapering stripes, contours, outline."""
    draw.polygon(put(np.vstack([crest, hollow[::-1]])), fill=BLUE, outline=INDIGO)
    for k, (near, far) in enumerate(((0.2, 0.29), (0.38, 0.52), (0.6, 0.68), (0.76, 0.92))):
        end = int(rng.uniform(0.8, 0.97) * len(crest))
        taper = np.clip((end - np.arange(end)) / (0.5 * end), 0, 1)[:, None]
        middle = (near + far) / 2
        low, high = middle + (near - middle) * taper, middle + (far - middle) * taper
        a, b = (crest[:end] + (hollow - crest)[:end] * m for m in (low, high))
        draw.polygon(put(np.vstack([a, b[::-1]])), fill=(PALE, INDIGO, PALE, INDIGO)[k])
    for m in np.linspace(0.05, 0.95, 19):
        first, last = rng.integers(0, 25), int(rng.uniform(0.7, 0.95) * len(crest))
        line = crest[first:last] + (hollow - crest)[first:last] * m
        draw.line(put(line), fill=INDIGO, width=max(1, width // 2))
    draw.line(put(crest) + put(hollow[::-1]), fill=INDIGO, width=width, joint="curve")


def foam(rng, crest, hollow):
    """Circles (y, x, radius) of the cream on the crest and of the fingers below it."""
    circles = []
    for k, (y, x) in enumerate(crest[20:]):
        radius = rng.uniform(0.4, 1.0) * 0.026 * min(1, (k + 2) / 14)
        circles.append((y + rng.normal(0.008, 0.009), x + rng.normal(0, 0.008), radius))
    for y, x in np.vstack([crest[34::2], hollow[60::2]]):
        heading = rng.uniform(0.3, 1.7)
        circles += foam_finger(
            rng, (y, x), heading, rng.uniform(0.009, 0.015), rng.integers(11, 17)
        )
    return circles


def draw_foam(draw, put, circles, size, unit, width):
    """Cream discs in a common indigo outline, some with an arc of shade."""
    for grow, fill in ((0.0045 / size, INDIGO), (0.0, CREAM)):
        for y, x, r in circles:
            r = r + grow
            (left, top), (right, bottom) = sorted(put([(y - r, x - r), (y + r, x + r)]))
            draw.ellipse((left, min(top, bottom), right, max(top, bottom)), fill=fill)
    for y, x, r in circles[::4]:
        (px, py), r = put([(y, x)])[0], 0.4 * r * size * unit
        draw.arc((px - r, py - r, px + r, py + r), 20, 200, fill=BLUE, width=max(1, width // 2))


def draw_swell(rng, draw, unit, width, top):
    """A low band of water across the whole picture with contour stripes under its edge."""
    x = np.linspace(-0.05, width + 0.05, 160)
    a, b = rng.uniform(0, 6, 2)
    edge = top + 0.035 * np.sin(5.5 * x + a) + 0.018 * np.sin(12 * x + b)
    colours = [ink(c) for c in rgb("1b2f5c f3e8cf 3f6c9c a9c2c8 2a4a7c 1b2f5c 3f6c9c")]
    depths = (0, 0.006, 0.018, 0.05, 0.062, 0.1, 0.106)
    for depth, colour in zip(depths, colours, strict=True):
        y = edge + depth * (1 + 0.45 * np.sin(9 * x + 3 * a + 20 * depth))
        line = [(unit * px, unit * py) for px, py in zip(x, y, strict=True)]
        draw.polygon([*line, (unit * x[-1], 2 * unit), (unit * x[0], 2 * unit)], fill=colour)
    for depth in np.arange(0.024, 0.2, 0.012):
        y = edge + depth * (1 + 0.45 * np.sin(9 * x + 3 * a + 20 * depth))
        first, last = sorted(rng.integers(0, len(x), 2))
        piece = zip(x[first:last], y[first:last], strict=True)
        line = [(unit * px, unit * py) for px, py in piece]
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
