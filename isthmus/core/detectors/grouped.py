r"""Several small networks at once, in grouped products: each taught on its own part of the rows.

.. math:: h_{i+1}^{(m)} = \mathrm{silu}\bigl(h_i^{(m)} W_i^{(m)} + b_i^{(m)}\bigr)

Every row is unseen by some of them, and these tell how a fresh row would fare.

References:
    Breiman, Bagging Predictors, 1996 (rows out of the bag).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn


class Grouped(nn.Module):
    """``members`` networks of the same ``sizes``, from the first to the last."""

    def __init__(self, members: int, sizes: Sequence[int]):
        super().__init__()
        self.weights = nn.ParameterList(torch.randn(members, a, b) * math.sqrt(2 / a) for a, b in pairwise(sizes))
        self.biases = nn.ParameterList(torch.zeros(members, 1, b) for b in sizes[1:])
        with torch.no_grad():
            self.weights[-1].mul_(0.1)  # to begin near the mean

    def forward(self, x: Tensor) -> Tensor:
        """(members, B, first) → (members, B, last)."""
        for i, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            x = torch.baddbmm(bias, nn.functional.silu(x) if i else x, weight)
        return x


def bags(n: int, members: int, share: float, generator: torch.Generator) -> Tensor:
    """Which of n rows each member learns from (n, members): a share of them, at least two."""
    ranks = torch.stack([torch.randperm(n, generator=generator) for _ in range(members)], 1)
    return ranks < max(2, round(share * n))


def unseen(values: Tensor, learned: Tensor) -> Tensor:
    """The mean over the members that did not learn a row, or over all where all did: (members, B, …) → (B, …)."""
    out = ~learned.T
    out = torch.where(out.any(0), out, True).to(values)
    out = (out / out.sum(0)).reshape(*out.shape, *[1] * (values.ndim - 2))
    return (values * out).sum(0)
