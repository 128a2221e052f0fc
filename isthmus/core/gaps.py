"""Which cells of drawn rows are missing: a pattern that rows had together, as often as they had it.

.. math:: P(k \\mid z) \\propto \\pi_k \\, N(z; m_k, \\Sigma)

A pattern says of all cells at once which are there, so cells that go missing together do. Its chance depends on the
code where rows with the pattern have codes of their own.

References:
    Fisher, The Use of Multiple Measurements in Taxonomic Problems, 1936 (one Σ for all).
    Rubin, Inference and Missing Data, 1976 (what is missing may depend on what is there).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

#: Patterns that are kept; where there are more, those of as many rows, chosen at random, stand for all.
_MOST = 512
#: Variance beside that of the codes, as a share of it, and rows that a pattern's own center has to outweigh.
_RIDGE, _BELIEF = 1e-2, 20.0
#: How often chances are brought in line with shares.
_ROUNDS = 20


@dataclass(frozen=True)
class Gaps:
    """``patterns`` (k, entries), True where a cell is there; ``weight`` (k, d) and ``bias`` (k,) make log-chances of a
    flat code.
    """

    patterns: Tensor
    weight: Tensor
    bias: Tensor

    @classmethod
    def of(cls, observed: Tensor, z: Tensor) -> Gaps:
        """From rows' cells that are there (n, entries) and their codes (n, …)."""
        z = z.flatten(1).double()
        patterns, which, counts = observed.unique(dim=0, return_inverse=True, return_counts=True)
        if len(patterns) > _MOST:
            some = torch.randperm(len(z), generator=torch.Generator().manual_seed(0))[:_MOST]
            patterns, which, counts = observed[some].unique(dim=0, return_inverse=True, return_counts=True)
            z = z[some]
        own = torch.nn.functional.one_hot(which, len(patterns)).double()
        middle = z.mean(0)
        # few rows say little of where their pattern lives
        centers = (own.T @ z + _BELIEF * middle) / (counts[:, None] + _BELIEF)
        apart = z - centers[which]
        spread = apart.T @ apart / len(z)
        spread += _RIDGE * spread.diagonal().mean().clamp(min=1e-9) * torch.eye(len(spread)).to(spread)
        weight = torch.linalg.solve(spread, centers.T).T
        shares = (counts / counts.sum()).log()
        bias = shares - 0.5 * (weight * centers).sum(1)
        for _ in range(_ROUNDS):  # codes of a pattern are no normal: over all rows it comes as often as it did
            bias += shares - (z @ weight.T + bias).softmax(1).mean(0).clamp(min=1e-12).log()
        return cls(patterns, weight.float(), bias.float())

    def draw(self, z: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Codes (n, …) → which cells are there (n, entries)."""
        chances = (z.flatten(1) @ self.weight.T + self.bias).softmax(1)
        return self.patterns[chances.multinomial(1, generator=generator)[:, 0]]
