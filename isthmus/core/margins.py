"""Every column of drawn rows gets the distribution that it has among real ones; what depends on what stays.

.. math:: x_j \\leftarrow \\hat F_j^{-1}\\bigl(\\hat G_j(x_j)\\bigr)

G is the distribution of the column among rows that were drawn, F that among real rows. So a column of zeros and a few
large numbers is one again, whole numbers stay whole, and no cell leaves the range that was seen.

References:
    Sklar, Fonctions de répartition à n dimensions et leurs marges, 1959 (margins apart from dependence).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

#: Quantiles that tell a distribution.
_KNOTS = 513


@dataclass(frozen=True)
class Margins:
    """``drawn`` and ``real`` are quantiles (columns, knots), lowest first; ``steps`` (columns,) says of which columns
    only values come back that were there, because they have few.
    """

    drawn: Tensor
    real: Tensor
    steps: Tensor

    @classmethod
    def of(cls, drawn: Tensor, real: Tensor, there: Tensor | None = None) -> Margins:
        """From rows that were drawn (m, columns), and real ones (n, columns) with the cells that are ``there``."""
        knots, steps = [], []
        for j in range(real.shape[1]):
            column = real[:, j] if there is None else real[there[:, j], j]
            column = column if len(column) else drawn[:, j]
            knots.append(_quantiles(column))
            steps.append(len(column[: 1 << 16].unique()) < _KNOTS)
        return cls(torch.stack([_quantiles(c) for c in drawn.T]), torch.stack(knots), torch.tensor(steps))

    def __call__(self, x: Tensor) -> Tensor:
        """Drawn rows (n, columns) → the same with the margins of real ones."""
        found = []
        columns = x.T.double().contiguous()
        for column, drawn, real, step in zip(columns, self.drawn, self.real, self.steps.tolist(), strict=True):
            # a value that many draws share stands for all the quantiles that it fills: its middle one
            low, high = (torch.searchsorted(drawn.double(), column, side=side) for side in ("left", "right"))
            below, above = (low - 1).clamp(0, _KNOTS - 2), low.clamp(1, _KNOTS - 1)
            apart = (drawn[above] - drawn[below]).double().clamp(min=1e-12)
            between = below + ((column - drawn[below].double()) / apart).clamp(0, 1)
            at = torch.where(high - low > 1, (low + high - 1) / 2, between).clamp(0, _KNOTS - 1)
            under = at.floor().long().clamp(max=_KNOTS - 2)
            if step:
                found.append(real[at.round().long()])
            else:
                found.append(real[under] + (at - under).to(real) * (real[under + 1] - real[under]))
        return torch.stack(found, 1).to(x)


def _quantiles(values: Tensor) -> Tensor:
    """Values that are there, evenly by rank."""
    ranks = torch.linspace(0, len(values) - 1, _KNOTS, dtype=torch.float64).round().long()
    return values.sort().values[ranks]
