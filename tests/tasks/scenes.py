"""Pictures with edges, gradients and a little texture, made up."""

import numpy as np


def scene(seed, height=96, width=96):
    """(height, width) between 0.1 and 0.9."""
    g = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width] / max(height, width)
    picture = 0.3 + 0.3 * (x * g.uniform(-1, 1) + y * g.uniform(-1, 1))
    for _ in range(8):
        cy, cx, ry, rx = g.uniform(0, 1, 2).tolist() + g.uniform(0.05, 0.3, 2).tolist()
        picture = np.where(((y - cy) / ry) ** 2 + ((x - cx) / rx) ** 2 < 1, g.uniform(0.1, 0.9), picture)
    picture += 0.03 * np.sin(40 * (x + 2 * y)) * (x > 0.7)
    return picture.clip(0.1, 0.9)


def scenes(n, height=96, width=96, first=0):
    return [scene(first + i, height, width) for i in range(n)]


def bytes_of(pictures, sigma=0.0, seed=0):
    """As eight bits, with gaussian noise of ``sigma`` (in 255ths)."""
    g = np.random.default_rng(seed)
    return [(255 * p + g.normal(0, sigma, p.shape)).round().clip(0, 255).astype(np.uint8) for p in pictures]
