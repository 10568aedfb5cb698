"""The content pictures: a painted landscape, a ray-marched still life and portrait."""

import math
from functools import partial

import numpy as np
from PIL import Image, ImageDraw
from sample_drawing import blur, fractal, grid, ink, over, pixels, ramp, relief, rgb, step
from sample_solids import ball, joined, lookup, post, render

CONTENT_SHAPE = (448, 640)


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


SKINS = (
    "6a0f12 b8281c e08a3a",
    "a8a020 d0c040 c05a28",
    "b04a08 ea8418 f4a838",
    "7a1014 c43426 e8b050",
    "b85008 ee8c1c f8b040",
    "5a8a1c 94b838 d0d060",
)
WINDOW_SUN = (-1.0, 0.78, -0.62)


def still_life_materials(p, part, plain, weave, grain):
    """Colours of all but the fruit; plain, weave and grain are textures at the points."""
    x, y, z = p
    t = np.clip(0.5 + 0.2 * grain + 0.08 * weave, 0, 1)
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
    return [colour, wall, ramp(glaze, "20406a 5a80a8 e8ecec"), green, leaf, grape, linen]


def still_life_paint(p, part, normal, wood, rough, fine):
    """Colours and gloss of the still life's parts; the textures are tiles."""
    x, y, z = p
    around = np.arctan2(normal[2], normal[0]) / (2 * np.pi)
    plain, weave = (
        lookup(rough, x / 3 + z / 5, y / 3 + z / 7),
        lookup(fine, x * 0.9, (z + y) * 0.9),
    )
    solids = still_life_materials(p, part, plain, weave, lookup(wood, x / 3, z / 3))
    for k, palette in enumerate(SKINS):
        flesh = (
            0.4 + 0.25 * lookup(rough, around + 0.13 * k, y / 2) + 0.1 * weave + 0.25 * normal[1]
        )
        solids.append(ramp(np.clip(flesh, 0, 1), palette))
    gloss = np.array([0.06, 0, 0.7, 0.9, 0.25, 0.5, 0, 0.4, 0.3, 0.2, 0.4, 0.2, 0.35])
    return np.choose(part[:, None], solids), gloss[part]


def window(p):
    """Share of the sun's light that the panes of a window let through to points."""
    # Where the ray to the sun crosses the plane of the window, at x = -3.
    s = (-3 - p[0]) / WINDOW_SUN[0]
    wy, wz = p[1] + s * WINDOW_SUN[1], p[2] + s * WINDOW_SUN[2]
    panes = [step(np.abs((w - o) % 0.62 - 0.31), 0.31, 0.25) for w, o in ((wy, 0.35), (wz, 0.1))]
    frame = step(np.abs(wy - 2.2), 1.25, 1.15) * step(np.abs(wz + 1.35), 1.3, 1.2)
    return 0.12 + 0.88 * panes[0] * panes[1] * frame


def still_life(rng, shape):
    """Bowl of fruit, bottle and grapes on a wooden table in slanting window light."""
    wood = fractal(rng, (1024, 1024), 1.3, (0.12, 2.0))
    rough, fine = fractal(rng, (1024, 1024), 1.4), fractal(rng, (1024, 1024), 0.9)
    paint = partial(still_life_paint, wood=wood, rough=rough, fine=fine)
    eye, look = (0.15, 1.15, -3.7), (0.08, 0.48, 0)
    image = render(still_life_parts, paint, shape, eye, look, 1.55, WINDOW_SUN, window)
    return develop(rng, np.clip(image, 0, None) ** (1 / 1.5))


def portrait_parts(p):
    """Backdrop, skin (head, neck, ears), eyes, hair, coat."""
    turn, tilt = 0.42, 0.05
    c, s = math.cos(turn), math.sin(turn)
    x, y, z = c * p[0] - s * p[2], p[1] - tilt * p[0], s * p[0] + c * p[2]
    q = np.stack([x, y, z])
    m = np.stack([np.abs(x), y, z])  # the face is symmetric
    eyes = ball(m, (0.2, 0.06, -0.45), 0.115)
    coat = joined(
        ball(p, (0, -1.75, 0.15), (1.2, 0.6, 0.5)),
        post(p, (0, 0.15), 0.42, -1.6, -1.06, 0.12),
        0.25,
    )
    coat = np.maximum(coat, -ball(p, (0, -1.0, -0.42), (0.3, 0.3, 0.36)))
    return np.stack([2.2 - p[2], 0.8 * face(p, q, m), eyes, 0.7 * hair(q), 0.9 * coat])


def face(p, q, m):
    """Distance to head, neck and ears; p as seen, q with the head, m mirrored to one side."""
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
        ball(m, (0.2, 0.06, -0.455), 0.125), 0.035 - np.abs(q[1] - 0.055 + 0.1 * (m[0] - 0.2) ** 2)
    )
    skin = joined(skin, lid, 0.012)
    skin = joined(skin, ball(m, (0.56, 0.0, 0.06), (0.06, 0.15, 0.1)), 0.04)
    neck = post(p, (0.02, 0.12), 0.27, -1.6, -0.3, 0.1)
    return joined(skin, neck, 0.12)


def hair(q):
    """Distance to wavy hair around the face."""
    x, y, z = q
    strand = 0.003 * np.sin(34 * x + 9 * np.sin(3 * y) + 6 * z) + 0.025 * np.sin(5 * y + 2 * x)
    locks = joined(
        ball(q, (0, 0.3, 0.16), (0.66, 0.68, 0.68)),
        ball(q, (0, -0.35, 0.3), (0.72, 0.78, 0.42)),
        0.3,
    )
    part_line = ball(q, (0.05, -0.18, -0.72), (0.47, 0.66, 0.62))
    return -joined(-(locks + strand), part_line, 0.08)


def complexion(x, y, z, grain, blotch):
    """Colour of the face at coordinates of the head: flush, mouth, brows, lashes."""
    side = np.abs(x)
    skin = ramp(
        np.clip(0.62 + 0.05 * grain + 0.06 * blotch, 0, 1),
        "8a4630 c87f58 e8a878 f4c498",
    )
    flush = np.exp(-(((side - 0.28) / 0.14) ** 2) - ((y + 0.14) / 0.12) ** 2)
    flush = np.maximum(flush, np.exp(-((x / 0.08) ** 2) - ((y + 0.15) / 0.07) ** 2)) * (z < 0)
    skin = over(skin, rgb("d0604c"), 0.3 * flush)
    mouth = step((x / 0.17) ** 2 + ((y + 0.4) / 0.068) ** 2, 1.1, 0.75) * (z < -0.3)
    skin = over(skin, rgb("a8403c"), 0.75 * mouth)
    seam = np.exp(-(((y + 0.4 - 0.25 * x**2) / 0.009) ** 2)) * step(side, 0.17, 0.12) * (z < -0.3)
    skin = over(skin, rgb("4a1818"), 0.8 * seam)
    arch = (y - 0.235 + 1.6 * (side - 0.2) ** 2) / (0.034 - 0.06 * np.clip(side - 0.22, 0, 1))
    brow = np.exp(-(arch**4)) * step(np.abs(side - 0.215), 0.15, 0.11) * (z < 0)
    skin = over(skin, rgb("24120a"), 0.95 * brow * np.clip(0.8 + 0.2 * grain, 0, 1))
    lash = np.exp(-(((y - 0.098 + 2.2 * (side - 0.2) ** 2) / 0.012) ** 2))
    return over(
        skin, rgb("1c100c"), 0.85 * lash * step(np.abs(side - 0.205), 0.12, 0.1) * (z < -0.3)
    )


def portrait_paint(p, part, normal, rough, fine, strands):
    """Colours and gloss of the portrait's parts; the textures are tiles."""
    turn = 0.42
    x, y = math.cos(turn) * p[0] - math.sin(turn) * p[2], p[1] - 0.05 * p[0]
    z = math.sin(turn) * p[0] + math.cos(turn) * p[2]
    side = np.abs(x)
    cloudy, grain = lookup(rough, p[0] / 4, p[1] / 4), lookup(fine, x, y + z)
    back = ramp(np.clip(0.42 + 0.16 * cloudy + 0.1 * p[0], 0, 1), "2a2c28 5c5848 8f8468 b8a888")
    skin = complexion(x, y, z, grain, lookup(rough, x, y))
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


def portrait(rng, shape):
    """Head and shoulders of an imagined sitter by window light before a mottled backdrop."""
    rough, fine = fractal(rng, (1024, 1024), 1.5), fractal(rng, (1024, 1024), 0.8)
    strands = fractal(rng, (1024, 1024), 1.0, (0.06, 3.0)).T
    paint = partial(portrait_paint, rough=rough, fine=fine, strands=strands)
    eye, look, sun = (0, -0.1, -5.2), (-0.18, -0.2, 0), (-0.9, 0.75, -1.1)
    image = render(portrait_parts, paint, shape, eye, look, 1.75, sun)
    return develop(rng, np.clip(image, 0, None) ** (1 / 1.5))
