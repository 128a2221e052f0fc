"""Patches: an image, a series or a vector as a row of equal blocks, and back.

Any size will do: the last block of an axis is filled up with zeros, and cut again on the way back.
"""

from __future__ import annotations

import math
from itertools import chain

import torch
from torch import Tensor
from torch.nn import functional as F

from isthmus.core.parts import Shape, size

#: About so many patches a row has where nobody says how large they are.
_ABOUT = 64


def sides_of(shape: Shape) -> Shape:
    """The axes that are cut: time of a series, height and width of an image, the columns of a vector."""
    return tuple(shape[1:]) or tuple(shape)


def patch_side(patch: int | str, shape: Shape) -> int:
    """The side of a patch: what was said, or one that gives about 64 of them.

    Of images and series it is at least 2, so that a patch is more than what lies between its neighbours.

    >>> [patch_side("auto", shape) for shape in ((1, 28, 28), (3, 112, 92), (2, 140), (12,))]
    [4, 13, 3, 1]
    """
    if isinstance(patch, int) and not isinstance(patch, bool) and patch >= 1:
        return patch
    if patch != "auto":
        raise ValueError(f"patch is a whole number of at least 1 or 'auto', got {patch!r}")
    sides = sides_of(shape)
    return max(1 if len(shape) == 1 else 2, math.ceil((size(sides) / _ABOUT) ** (1 / len(sides))))


def grid_of(shape: Shape, patch: int) -> Shape:
    """How many patches lie along each axis.

    >>> grid_of((3, 28, 17), 4), grid_of((9,), 2)
    ((7, 5), (5,))
    """
    return tuple(-(-side // patch) for side in sides_of(shape))


def to_patches(x: Tensor, patch: int) -> Tensor:
    """(B, *shape) → (B, patches, entries of one)."""
    grid = grid_of(tuple(x.shape[1:]), patch)
    x = x if x.ndim > 2 else x[:, None]
    short = [n * patch - side for n, side in zip(grid, x.shape[2:], strict=True)]
    x = F.pad(x, [*chain.from_iterable((0, missing) for missing in reversed(short))])
    for axis, n in enumerate(grid):  # (B, c, H, W) → (B, c, h, p, w, p)
        x = x.unflatten(2 + 2 * axis, (n, patch))
    coarse = range(2, x.ndim, 2)
    return x.movedim(list(coarse), list(range(1, 1 + len(grid)))).flatten(1 + len(grid)).flatten(1, len(grid))


def from_patches(patches: Tensor, patch: int, shape: Shape) -> Tensor:
    """(B, patches, entries of one) → (B, *shape): undoes :func:`to_patches`."""
    grid = grid_of(shape, patch)
    x = patches.unflatten(1, grid).unflatten(-1, (-1, *[patch] * len(grid)))
    x = x.movedim(list(range(1, 1 + len(grid))), list(range(2, 2 + 2 * len(grid), 2)))
    for axis in range(len(grid)):
        x = x.flatten(2 + axis, 3 + axis)
    for axis, side in enumerate(sides_of(shape)):
        x = x.narrow(2 + axis, 0, side)
    return x.reshape(x.shape[0], *shape)


def spread(mask: Tensor, patch: int, shape: Shape) -> Tensor:
    """One number per patch (B, patches) → one per entry (B, *shape)."""
    entries = patch ** len(sides_of(shape)) * (shape[0] if len(shape) > 1 else 1)
    return from_patches(mask[..., None].expand(-1, -1, entries), patch, shape)


def hide_some(n_rows: int, n: int, rate: float, device: torch.device) -> Tensor:
    """(rows, n), True at ``rate`` of the places of every row: exactly as many in each, at least one, never all."""
    hidden = min(max(round(rate * n), 1), max(n - 1, 1))
    return torch.rand(n_rows, n, device=device).argsort(1) < hidden
