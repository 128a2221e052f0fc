r"""Labels that spread: few rows have one, and it goes from neighbour to neighbour over all rows.

.. math:: F \leftarrow \alpha\, S F + (1 - \alpha)\, Y, \qquad
    S = D^{-1/2} (W + W^\top) D^{-1/2}, \qquad w_{ij} = \exp\Bigl(-\frac{2 d_{ij}^2}{\sigma_i \sigma_j}\Bigr)

over the graph of the k nearest, :math:`\sigma_i` the distance to the k-th of them.

References:
    Zhou, Bousquet, Lal, Weston, Schölkopf, Learning with Local and Global Consistency, 2004.
    Zelnik-Manor and Perona, Self-Tuning Spectral Clustering, 2005 (a scale for every row).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

from isthmus.core.nearest import nearest

#: How far labels go, and in how many steps: 0.99¹⁰⁰ of the far ones is left out.
_ALPHA, _STEPS = 0.99, 100


@dataclass(frozen=True)
class Graph:
    """The nearest rows ``places`` (n, k) of each, and the normalised ``weights`` (n, k) of these edges, which lead both
    ways.
    """

    places: Tensor
    weights: Tensor

    @classmethod
    @torch.no_grad()
    def of(cls, z: Tensor, k: int = 10) -> Graph:
        """The graph of rows (n, d)."""
        k = min(k, len(z) - 1)
        distances, places = nearest(z.float(), z.float(), k, itself=False)
        reach = distances[:, -1].clamp(min=1e-12)
        weights = torch.exp(-2 * distances.square() / (reach[:, None] * reach[places]))
        # an edge counts for both of its ends: who is nobody's neighbour has some all the same
        degree = weights.sum(1).index_add(0, places.flatten(), weights.flatten())
        scale = degree.clamp(min=1e-12).rsqrt()
        return cls(places, weights * scale[:, None] * scale[places])

    def spread(self, seeds: Tensor) -> Tensor:
        """Labels (n, c) from ``seeds`` (n, c): what is known of some rows, 0 of all others.

        Every column begins with as much as any other, so that a class with many labels does not drown the rest.
        """
        y = seeds / seeds.sum(0).clamp(min=1e-12)
        y = y / y.max().clamp(min=1e-30)  # far from the smallest numbers
        f = y.clone()
        for _ in range(_STEPS):
            f = _ALPHA * self._step(f) + (1 - _ALPHA) * y
        return f

    def _step(self, f: Tensor) -> Tensor:
        """S f."""
        there = embedding_bag(self.places, f, per_sample_weights=self.weights, mode="sum")
        back = (self.weights[:, :, None] * f[:, None]).flatten(0, 1)
        return there.index_add(0, self.places.flatten(), back)
