"""A picture of any size through a network in tiles, exactly as if it had gone through whole.

.. math:: f(x)_{R} = f(x_{R \\oplus r})_{R} \\quad \\text{where an output pixel sees at most } r \\text{ pixels away}

Tiles begin at multiples of the network's ``stride`` (what it halves by, in all) and carry a margin of at least
``reach`` pixels. At the edge of the picture a tile ends where the picture ends, so that what the network does there
is done there too.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

#: The side of a tile's core: as large as keeps what a network makes of it in the caches' reach.
TILE = 512


def tiled(
    network: Callable[[Tensor], Tensor],
    picture: np.ndarray,
    *,
    stride: int,
    reach: int,
    tile: int = TILE,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """``network`` (B, C, H, W) → (B, K, H, W), over a picture (h, w, C) of any size; float32 (h, w, K).

    ``network`` takes sides that are multiples of ``stride``; what is missing at the right and bottom is mirrored.
    Only a tile at a time is turned into floats. ``out``, where it is given, is filled.
    """
    height, width = picture.shape[:2]
    core = max(stride, tile // stride * stride)
    margin = max(1, -(-reach // stride)) * stride  # never nothing: the last tile has to hold what it mirrors
    # the picture's own end, on the network's grid
    ends = (-(-height // stride) * stride, -(-width // stride) * stride)
    for top in range(0, height, core):
        for left in range(0, width, core):
            begin = (max(0, top - margin), max(0, left - margin))
            end = (min(ends[0], top + core + margin), min(ends[1], left + core + margin))
            cut = picture[begin[0] : end[0], begin[1] : end[1]]
            x = torch.from_numpy(np.ascontiguousarray(np.moveaxis(cut, 2, 0), dtype=np.float32))[None]
            x = mirrored(x, (end[0] - begin[0], end[1] - begin[1]))
            y = network(x)[0].movedim(0, 2)[top - begin[0] :, left - begin[1] :]
            y = y[: min(core, height - top), : min(core, width - left)].cpu().numpy()
            if out is None:
                out = np.empty((height, width, y.shape[2]), np.float32)
            out[top : top + core, left : left + core] = y
    assert out is not None
    return out


def mirrored(x: Tensor, size: tuple[int, int]) -> Tensor:
    """(B, C, h, w) continued to the right and to the bottom as in a mirror, to ``size``, however small it is."""
    while x.shape[2:] != size:
        down, right = (min(wanted - have, max(have - 1, 0)) for wanted, have in zip(size, x.shape[2:], strict=True))
        if down == right == 0:  # one pixel has no mirror image but itself
            return F.pad(x, (0, size[1] - x.shape[3], 0, size[0] - x.shape[2]), mode="replicate")
        x = F.pad(x, (0, right, 0, down), mode="reflect")
    return x
