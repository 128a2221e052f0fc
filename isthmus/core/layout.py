r"""Where rows lie on a map: neighbours draw each other near, and all rows push each other away.

.. math:: \partial_{y_i} = 4 \Bigl(\epsilon \sum_j p_{ij} q_{ij} (y_i - y_j)
    - \frac{1}{Z} \sum_j q_{ij}^2 (y_i - y_j)\Bigr), \quad q_{ij} = \frac{1}{1 + \|y_i - y_j\|^2}, \quad
    Z = \sum_{i \ne j} q_{ij}

:math:`p` are the weights of the neighbour graph. The second sum, over all pairs, is estimated in every step from a few
drawn ones: a random order of the rows, each against the rows some places further on, which needs no list of pairs. With
:math:`\epsilon = 1` it is t-SNE; a little more draws groups together and lets new rows be placed more surely.

References:
    van der Maaten and Hinton, Visualizing Data using t-SNE, 2008, https://jmlr.org/papers/v9/vandermaaten08a.html
    McInnes, Healy, Melville, UMAP, 2018, https://arxiv.org/abs/1802.03426 (the weights of the graph).
    Böhm, Berens, Kobak, Attraction-Repulsion Spectrum in Neighbor Embeddings, 2022,
    https://jmlr.org/papers/v23/21-0055.html (ε).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from isthmus.core.nearest import nearest

#: The first steps let groups form: so large a share of all steps, with so much attraction.
_EARLY, _GATHER = 0.3, 12.0
#: How much of the last step goes on, before and after.
_INERTIA = (0.5, 0.8)
#: The last step is this much of the first one after the groups have formed.
_SLOWEST = 0.1
#: Of what is known of Z, what every step adds.
_NEWS = 0.1
#: The deviation at which rows begin along their first principal components.
_BEGINS = 1e-2


@torch.no_grad()
def lay_out(
    rows: Tensor,
    dim: int = 2,
    *,
    k: int = 15,
    attraction: float = 1.5,
    drawn: int = 20,
    steps: int = 300,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Places (n, dim) of ``rows`` (n, d), whose first ``dim`` columns are where they begin: principal components.

    The places are centred, and on average each of their numbers has a variance of 1.

    Args:
        k: neighbours that draw a row.
        attraction: ε.
        drawn: rows that every row is held against in a step, for the pushing apart.
    """
    n = len(rows)
    heads, tails, weights = graph(rows, min(k, n - 1))
    pull = (weights / weights.sum())[:, None]
    y = rows[:, :dim]
    if y.shape[1] < dim:  # rows of fewer columns than the map
        y = torch.cat([y, y.new_zeros(n, dim - y.shape[1])], dim=1)
    y = y * (_BEGINS / y.std(0).max().clamp(min=1e-30))
    moving, gains, total = torch.zeros_like(y), torch.ones_like(y), 0.0
    for step in range(steps):
        done = step / steps
        early = done < _EARLY
        away = y[heads] - y[tails]
        near = 1 / (1 + away.square().sum(1, keepdim=True))
        force = torch.zeros_like(y).index_add_(0, heads, away.mul_(near).mul_(pull))
        force *= _GATHER if early else attraction
        apart, seen = _pushed(y, drawn, generator)
        found = seen * n * (n - 1)
        total = found if step == 0 else (1 - _NEWS) * total + _NEWS * found
        gradient = 4 * (force - apart * ((n - 1) / total))
        gains = torch.where(gradient.sign() == moving.sign(), gains * 0.8, gains + 0.2).clamp_(min=0.01)
        rate = n / _GATHER * (1.0 if early else 1 - (done - _EARLY) / (1 - _EARLY) * (1 - _SLOWEST))
        moving = _INERTIA[not early] * moving - rate * gains * gradient
        y = y + moving
        y -= y.mean(0)
    return y / y.square().mean().sqrt().clamp(min=1e-30)


def _pushed(y: Tensor, drawn: int, generator: torch.Generator | None) -> tuple[Tensor, float]:
    """For every row the mean over others of q² (y − other) (n, dim), and the mean q of a pair."""
    n = len(y)
    order = torch.randperm(n, generator=generator).to(y.device)
    shuffled, apart, seen = y[order], torch.zeros_like(y), y.new_zeros(())
    shifts = torch.randint(1, n, (max(1, drawn // 2),), generator=generator).tolist()
    for shift in shifts:
        away = shuffled - shuffled.roll(shift, 0)
        near = 1 / (1 + away.square().sum(1, keepdim=True))
        seen += near.mean()
        away *= near.square_()
        # each pair counts for both of its rows
        apart += away
        apart -= away.roll(-shift, 0)
    force = torch.empty_like(apart)
    force[order] = apart / (2 * len(shifts))
    return force, float(seen) / len(shifts)


def graph(rows: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
    """The neighbour graph of rows (n, d): heads, tails and weights (E,) of its edges, each once in either direction.

    A row's k neighbours weigh ``exp(−(d − d_nearest) / σ)``, where σ makes their sum log₂ k; an edge weighs the mean of
    what its two ends say.
    """
    n = len(rows)
    distances, neighbours = nearest(rows, rows, k, itself=False)
    weights = _weights(distances)
    one = torch.arange(n, device=rows.device).repeat_interleave(k)
    other = neighbours.flatten()
    key, of = torch.cat([one * n + other, other * n + one]).unique(return_inverse=True)
    summed = weights.new_zeros(len(key)).index_add_(0, of, weights.flatten().repeat(2) / 2)
    return key // n, key % n, summed


def _weights(distances: Tensor) -> Tensor:
    """(n, k) by rising distance → (n, k) in (0, 1]."""
    beyond = distances - distances[:, :1]
    wanted = math.log2(distances.shape[1]) if distances.shape[1] > 1 else 1.0
    low, high = torch.zeros_like(beyond[:, :1]), torch.full_like(beyond[:, :1], torch.inf)
    width = beyond.mean(1, keepdim=True).clamp(min=1e-12)
    for _ in range(32):
        much = (-beyond / width).exp().sum(1, keepdim=True) > wanted
        high, low = torch.where(much, width, high), torch.where(much, low, width)
        width = torch.where(high.isinf(), 2 * width, (low + high) / 2).clamp(min=1e-12)
    return (-beyond / width).exp()
