"""Pieces that the sample pictures share: noise, blur, colour ramps, curves.

Every painter takes a random generator and the (height, width) to draw, measures in units of the
picture's height (so any size shows the same picture) and returns float RGB (H, W, 3) in [0, 1].
"""

import numpy as np


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
