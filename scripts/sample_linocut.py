"""A style picture that the gallery does not have: a linocut of a coast in three inks."""

import numpy as np
from sample_drawing import fractal, grid, over, rgb, step

CUTS = 30.0  # carved lines in the picture's height


def coast(y, x):
    """What is seen at each place: region number, tone in [0, 1], and the coordinate in units of
    the height across which lines are carved."""
    r = np.hypot(x - 0.86, y - 0.3)
    sky = 0.25 + 0.75 * np.exp(-((r / 0.34) ** 2))
    found = [(y > -1, 0, sky, r), (r < 0.115, 1, np.ones_like(y), r)]
    for number, top, rise, turn, tone in ((2, 0.5, 0.09, 0.7, 0.62), (3, 0.6, 0.13, -0.6, 0.3)):
        border = top - rise * np.sin(3.4 * x + 2.1 * number) - 0.06 * np.sin(9 * x + number)
        slope = np.cos(3.4 * x + 2.1 * number)
        across = y * np.cos(turn * slope) + x * np.sin(turn * slope)
        found.append((y > border, number, tone + 0.3 * slope, across))
    shore = 0.76 + 0.03 * np.sin(4 * x)
    swell = y + 0.022 * np.sin(13 * x + 30 * y) * (0.5 + y)
    glitter = np.exp(-(((x - 0.86) / (0.1 + 0.2 * (y - 0.7))) ** 2))
    found.append((y > shore, 4, 0.3 + 0.6 * glitter + 0.2 * np.sin(21 * x + 17 * y), swell))
    region, tone, across = np.zeros(y.shape, int), np.zeros(y.shape), np.zeros(y.shape)
    for where, *values in found:
        region, tone, across = (
            np.where(where, new, old)
            for new, old in zip(values, (region, tone, across), strict=True)
        )
    return region, np.clip(tone, 0, 1), across


def tower(y, x):
    """Distance inside a lighthouse on the hill, negative outside, and its lit side."""
    width = 0.028 + 0.03 * np.clip(y - 0.2, 0, 1)
    body = np.minimum(width - np.abs(x - 0.33), np.minimum(y - 0.2, 0.62 - y))
    lantern = np.minimum(0.035 - np.abs(x - 0.33), np.minimum(y - 0.15, 0.2 - y))
    return np.maximum(body, lantern), x < 0.335


def linocut(rng, shape):
    """Lines carved out of the block, wider where it is light; ink, then a second colour."""
    y, x = grid(shape)
    wobble = 0.0035 * fractal(rng, shape, 1.8)
    region, tone, across = coast(y + wobble, x - wobble)
    inside, lit = tower(y + wobble / 2, x + wobble / 2)
    tone = np.where(inside > 0, np.where(lit, 0.95, 0.12), tone)
    across = np.where(inside > 0, y * 1.4, across)
    gouge = fractal(rng, shape, 1.1, (1.0, 2.2))
    wave = np.cos(2 * np.pi * CUTS * across + 0.5 * gouge)
    carved = step(wave - np.cos(np.pi * np.clip(tone, 0.04, 0.97)) - 0.12 * gouge, -0.12, 0.12)
    borders = np.abs(np.diff(region, axis=0, prepend=region[:1]))
    borders += np.abs(np.diff(region, axis=1, prepend=region[:, :1]))
    second = rgb("f6c542 f08a2c 7fb7a4 4f9a86 5fa8c4")[region]
    paper = over(np.ones((*shape, 3)) * rgb("f3e9d2"), second, 0.85 * (inside < 0))
    pressed = 0.93 - 0.1 * np.clip(fractal(rng, shape, 0.4), 0, 2)  # ink does not cover all
    ink_share = np.where(region == 1, 0.0, (1 - carved) * pressed)
    ink_share = np.maximum(ink_share, 0.95 * ((borders > 0) | (np.abs(inside) < 0.003)))
    return over(paper, rgb("1c2440"), ink_share)
