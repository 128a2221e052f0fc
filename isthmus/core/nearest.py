"""The k rows nearest to each of some rows, exactly, a block at a time so that memory stays small.

.. math:: d(q, r)^2 = \\|q\\|^2 - 2\\, q \\cdot r + \\|r\\|^2
"""

from __future__ import annotations

import torch
from torch import Tensor

#: Distances that are held together: 16 MB.
_AT_ONCE = 1 << 22


@torch.no_grad()
def nearest(queries: Tensor, rows: Tensor, k: int, *, itself: bool = True) -> tuple[Tensor, Tensor]:
    """The ``k`` nearest of ``rows`` (n, d) for each of ``queries`` (m, d), nearest first, by euclidean distance.

    Of rows scaled to length 1 the order is that of the cosine, which is 1 − distance² / 2.

    Args:
        itself: False where ``queries`` are ``rows``: a row is then no neighbour of itself, though its copies are.

    Returns:
        distances (m, k) and places (m, k).

    Raises:
        ValueError: fewer than k rows to choose from.

    >>> rows = torch.tensor([[0.0], [1.0], [3.0]])
    >>> nearest(rows, rows, 1, itself=False)
    (tensor([[1.],
            [1.],
            [2.]]), tensor([[1],
            [0],
            [1]]))
    """
    there = len(rows) - (not itself)
    if not 0 < k <= there:
        raise ValueError(f"k is between 1 and {there}, the rows to choose from; got {k}")
    # about the middle, where float32 has the most digits left for differences
    middle = rows.mean(0)
    rows, queries = rows - middle, queries - middle
    lengths = rows.square().sum(1)
    distances, places = queries.new_empty(len(queries), k), queries.new_empty(len(queries), k, dtype=torch.long)
    step = max(1, _AT_ONCE // len(rows))
    for at in range(0, len(queries), step):
        some = queries[at : at + step]
        # ‖q‖² moves no place
        apart = torch.addmm(lengths, some, rows.T, alpha=-2)
        if not itself:
            apart[torch.arange(len(some)), torch.arange(at, at + len(some))] = torch.inf
        found = apart.topk(k, largest=False)
        squared = found.values + some.square().sum(1, keepdim=True)
        distances[at : at + step] = squared.clamp(min=0).sqrt()
        places[at : at + step] = found.indices
    return distances, places
