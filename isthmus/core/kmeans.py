r"""k-means, for several groups of vectors at once.

.. math:: \min_c \sum_i \min_k \|x_i - c_k\|^2

References:
    Arthur and Vassilvitskii, k-means++: The Advantages of Careful Seeding, 2007.
"""

from __future__ import annotations

import torch
from torch import Tensor

#: Vectors that are compared with all centres at once: more would only need more memory.
_CHUNK = 1 << 14


def nearest(x: Tensor, centres: Tensor) -> Tensor:
    """The number of the nearest centre: (G, N, W) and (G, K, W) → (G, N)."""
    squares = centres.square().sum(2)[:, None]
    # an exported graph is for any number of rows, so it cannot be cut at some
    parts = [x] if torch.compiler.is_exporting() else x.split(_CHUNK, 1)
    return torch.cat([torch.baddbmm(squares, part, centres.mT, alpha=-2).argmin(2) for part in parts], 1)


def means(x: Tensor, labels: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The share of the vectors that has each label (G, K), and their sum as a share (G, K, W)."""
    # a product, since sums by index come out in another order every time on an accelerator
    chose = x.new_zeros(*labels.shape, k).scatter_(2, labels[..., None], 1.0)
    return chose.mean(1), chose.mT @ x / x.shape[1]


def kmeans(x: Tensor, k: int, steps: int = 10) -> Tensor:
    """(G, N, W) → centres (G, K, W); where there are fewer distinct vectors than k, some centres are equal."""
    centres = _spread(x, k)
    for _ in range(steps):
        shares, sums = means(x, nearest(x, centres), k)
        found = sums / shares.clamp(min=1e-30)[..., None]
        centres = torch.where(shares[..., None] > 0, found, centres)
    return centres


def _spread(x: Tensor, k: int) -> Tensor:
    """k of the vectors, each drawn by its squared distance from those before it (k-means++)."""
    chosen: list[Tensor] = []
    apart = torch.ones_like(x[..., 0])
    for _ in range(k):
        # the small number: once every vector is chosen, any will do
        at = torch.multinomial(apart + 1e-12, 1)
        chosen.append(x.gather(1, at[..., None].expand(-1, -1, x.shape[2])))
        here = (x - chosen[-1]).square().sum(2)
        apart = here if len(chosen) == 1 else torch.minimum(apart, here)
    return torch.cat(chosen, 1)
