r"""Several rankings of the same rows as one, by places alone, since their scores have nothing in common.

.. math:: s(r) = \frac{1}{|R|} \sum_{i \in R} \frac{c + 1}{c + \mathrm{place}_i(r)}

A row that a ranking does not list gets nothing from it. First in all of them is 1.

References:
    Cormack, Clarke, Büttcher, Reciprocal Rank Fusion outperforms Condorcet and individual Rank Learning Methods, 2009.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

#: How slowly places lose weight. The paper's 60 is for lists that go on for thousands of rows, of which many are asked
#: for; with 10 what stands among the first ten of one list is not outvoted by what is hundredth in both.
SLOW = 10


def fused(lists: Sequence[np.ndarray], k: int, slow: int = SLOW) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The first ``k`` of several rankings, best first.

    Args:
        lists: rows by their numbers, best first, one array for each ranking; none twice in a ranking.

    Returns:
        rows (n,), their scores (n,) and their places in each ranking (n, lists), from 1 on, 0 where they are not
        listed; n is at most k.

    >>> rows, scores, places = fused([np.array([7, 3]), np.array([3, 9])], 2)
    >>> rows.tolist(), places.tolist()
    ([3, 7], [[2, 1], [1, 0]])
    """
    rows, which = np.unique(np.concatenate(lists), return_inverse=True)
    places = np.zeros((len(rows), len(lists)), np.int64)
    begin = 0
    for i, one in enumerate(lists):
        places[which[begin : begin + len(one)], i] = np.arange(1, len(one) + 1)
        begin += len(one)
    scores = np.where(places > 0, (slow + 1) / (slow + places), 0.0).mean(1)
    # equal scores: the first ranking decides, then the row's number
    first = np.lexsort((rows, np.where(places[:, 0] > 0, places[:, 0], len(rows) + 1), -scores))[:k]
    return rows[first], scores[first], places[first]
