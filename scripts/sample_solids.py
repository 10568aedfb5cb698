"""Solids given by signed distances, sphere-traced (Hart 1996); points are (3, N) throughout."""

import numpy as np
from sample_drawing import grid, rgb, step


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
