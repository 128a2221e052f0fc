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
#: What cells may be multiples of (seconds of a day among them), how nearly (in units, and in deviations of the column),
#: and how many of them.
_UNITS = (86_400.0, 3600.0, 1000.0, 100.0, 60.0, 10.0, 1.0, 0.1, 0.01, 0.001, 1e-4)
_NEARLY, _CLOSE, _NEARLY_ALL = 0.2, 1e-4, 0.99


@dataclass(frozen=True)
class Margins:
    """``drawn`` and ``real`` are quantiles (columns, knots), lowest first, in the unit of each; ``steps`` (columns,)
    says of which columns only values come back that were there, because they have few; cells of the others are
    multiples of ``unit`` (columns,), or any number where it is 0.
    """

    drawn: Tensor
    real: Tensor
    steps: Tensor
    unit: Tensor

    @classmethod
    def of(cls, drawn: Tensor, real: Tensor, there: Tensor | None = None, kept: Tensor | None = None) -> Margins:
        """From rows that were drawn (m, columns), and real ones (n, columns) with the cells that are ``there``;
        ``kept`` are the cells of drawn rows that will be.
        """
        knots, steps, units = [], [], []
        for j in range(real.shape[1]):
            column = real[:, j] if there is None else real[there[:, j], j]
            column = column if len(column) else torch.zeros(1, dtype=real.dtype)
            units.append(_unit(column))
            column = _rounded(column, units[-1])
            knots.append(_quantiles(column))
            steps.append(len(column[: 1 << 16].unique()) < _KNOTS)
        ours = [c if kept is None or not kept[:, j].any() else c[kept[:, j]] for j, c in enumerate(drawn.T)]
        own = torch.stack([_quantiles(c) for c in ours])
        return cls(own, torch.stack(knots), torch.tensor(steps), torch.tensor(units, dtype=torch.float64))

    def __call__(self, x: Tensor) -> Tensor:
        """Drawn rows (n, columns) → cells with the margins of real ones (n, columns), float64."""
        found, columns = [], x.T.double().contiguous()
        for column, drawn, real, step, unit in zip(
            columns, self.drawn.double(), self.real, self.steps.tolist(), self.unit.tolist(), strict=True
        ):
            low, high = (torch.searchsorted(drawn, column, side=side) for side in ("left", "right"))
            below, above = (low - 1).clamp(0, _KNOTS - 2), low.clamp(1, _KNOTS - 1)
            between = below + ((column - drawn[below]) / (drawn[above] - drawn[below]).clamp(min=1e-12)).clamp(0, 1)
            # a value that many draws share stands for all the quantiles that it fills: its middle one
            at = torch.where(high - low > 1, (low + high - 1) / 2, between).clamp(0, _KNOTS - 1)
            under = at.floor().long().clamp(max=_KNOTS - 2)
            if step:
                found.append(real[at.round().long()])
            else:
                found.append(_rounded(real[under] + (at - under) * (real[under + 1] - real[under]), unit))
        return torch.stack(found, 1)


def _quantiles(values: Tensor) -> Tensor:
    """Values that are there, evenly by rank."""
    ranks = torch.linspace(0, len(values) - 1, _KNOTS, dtype=torch.float64).round().long()
    return values.sort().values[ranks]


def _unit(values: Tensor) -> float:
    """The largest unit that nearly all cells are multiples of; nearly, because float32 lies between."""
    spread = values.std(correction=0)
    for unit in _UNITS:
        away = (values - (values / unit).round() * unit).abs()
        if ((away < _NEARLY * unit) & (away <= _CLOSE * spread)).double().mean() >= _NEARLY_ALL:
            return unit
    return 0.0


def _rounded(values: Tensor, unit: float) -> Tensor:
    if not unit:
        return values
    # a tenth is no float: dividing by ten is exact where multiplying with 0.1 is not
    whole = (values / unit).round() + 0.0  # and −0 is 0
    return whole * unit if unit >= 1 else whole / round(1 / unit)
