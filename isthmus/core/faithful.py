r"""How far a map can be trusted: does what lies near on it lie near in the data, and the other way round?

.. math:: T = 1 - \frac{2}{n k (2n - 3k - 1)} \sum_i \sum_{j \in U_i} (r(i, j) - k)

:math:`U_i` are the rows among the k nearest of i on the map that are not among them in the data, and r is their rank in
the data. Continuity is the same with map and data exchanged.

References:
    Venna and Kaski, Neighborhood Preservation in Nonlinear Projection Methods, 2001 (trustworthiness, continuity).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Faithful:
    """What a map keeps of the data, for ``n`` rows and ``k`` neighbours: ``trustworthiness``, ``continuity`` and
    ``agreement`` (the share of a row's neighbours that are the same) from 0 to 1, and ``distances``, Spearman's rank
    correlation of all distances, from −1 to 1.
    """

    n: int
    k: int
    trustworthiness: float
    continuity: float
    agreement: float
    distances: float


@torch.no_grad()
def faithful(rows: Tensor, places: Tensor, k: int = 10) -> Faithful:
    """Hold the places (n, dim) of rows (n, d) against these. All distances are looked at: a few thousand rows at most.

    A row's neighbours are never itself. k is at most a quarter of the rows.
    """
    n = len(rows)
    assert n == len(places) >= 5
    k = max(1, min(k, n // 4))
    here, there = (_ranks(torch.cdist(t.double(), t.double())) for t in (places, rows))
    near_here, near_there = here <= k, there <= k
    scale = 2 / (n * k * (2 * n - 3 * k - 1))

    def kept(ranks: Tensor, near: Tensor) -> float:
        return float(1 - scale * (ranks - k).clamp(min=0)[near].sum())

    pairs = torch.triu_indices(n, n, 1)
    apart = [torch.cdist(t.double(), t.double())[pairs[0], pairs[1]] for t in (rows, places)]
    return Faithful(
        n,
        k,
        kept(there, near_here),
        kept(here, near_there),
        float((near_here & near_there).sum()) / (n * k),
        _correlation(*(_ranked(t) for t in apart)),
    )


def _ranks(distances: Tensor) -> Tensor:
    """Of every row's distances (n, n) their ranks from 1; its own counts as n, as far as can be."""
    order = distances.fill_diagonal_(torch.inf).argsort(stable=True, dim=1)
    places = torch.arange(1, len(order) + 1, dtype=torch.double).expand_as(order)
    return torch.empty_like(places, memory_format=torch.contiguous_format).scatter_(1, order, places)


def _ranked(values: Tensor) -> Tensor:
    """The rank of each number; equal ones share the mean of theirs."""
    _, of, count = values.unique(return_inverse=True, return_counts=True)
    return (count.cumsum(0).double() - count / 2)[of]


def _correlation(a: Tensor, b: Tensor) -> float:
    a, b = a - a.mean(), b - b.mean()
    return float((a @ b) / (a.norm() * b.norm()).clamp(min=1e-30))
