r"""Labels that spread: few rows have one, and it goes from neighbour to neighbour over all rows.

.. math:: F \leftarrow \alpha\, S F + (1 - \alpha)\, Y, \qquad
    S = D^{-1/2} W D^{-1/2}, \qquad w_{ij} = \exp\Bigl(-\frac{2 d_{ij}^2}{\sigma_i \sigma_j}\Bigr)

over the graph of the k nearest, :math:`\sigma_i` the distance to the k-th of them.

References:
    Zhou, Bousquet, Lal, Weston, Schölkopf, Learning with Local and Global Consistency, 2004.
    Zelnik-Manor and Perona, Self-Tuning Spectral Clustering, 2005 (a scale for every row).
"""

from __future__ import annotations

import torch
from torch import Tensor

from isthmus.core.nearest import nearest

#: How far labels go, and in how many steps: 0.99¹⁰⁰ of the far ones is left out.
_ALPHA, _STEPS = 0.99, 100


def graph(z: Tensor, k: int = 10) -> Tensor:
    """The normalised graph S (n, n), sparse, of rows (n, d)."""
    n, k = len(z), min(k, len(z) - 1)
    distances, places = nearest(z.float(), z.float(), k, itself=False)
    reach = distances[:, -1].clamp(min=1e-12)
    weights = torch.exp(-2 * distances.square() / (reach[:, None] * reach[places]))
    rows = torch.arange(n, device=z.device).repeat_interleave(k)
    one_way = torch.sparse_coo_tensor(torch.stack([rows, places.flatten()]), weights.flatten(), (n, n))
    # of the two ways between neighbours both count, and who is nobody's neighbour has some all the same
    both = ((one_way + one_way.T) / 2).coalesce()
    degree = torch.sparse.sum(both, 1).to_dense().clamp(min=1e-12).rsqrt()
    i, j = both.indices()
    return torch.sparse_coo_tensor(both.indices(), both.values() * degree[i] * degree[j], (n, n)).coalesce()


@torch.no_grad()
def spread(s: Tensor, seeds: Tensor) -> Tensor:
    """Labels (n, c) over the graph ``s`` from ``seeds`` (n, c): what is known of some rows, 0 of all others.

    Every column begins with as much as any other, so that a class with many labels does not drown the rest.
    """
    y = seeds / seeds.sum(0).clamp(min=1e-12)
    y = y / y.max().clamp(min=1e-30)  # far from the smallest numbers
    f, s = y.clone(), s.to_sparse_csr()
    for _ in range(_STEPS):
        f = _ALPHA * (s @ f) + (1 - _ALPHA) * y
    return f
