"""Paired timing: A B A B …, and the median of the ratios.

.. math:: r = \\mathrm{median}_i \\, a_i / b_i

Both sides of a pair run within seconds of each other, so a busy or throttled machine slows both and
leaves the ratio alone. Means and minima of each side apart do not have that property.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any

Run = dict[str, Any]


@dataclass(frozen=True)
class Paired:
    """The runs of both sides, pair by pair, and the ratio of ``key`` in each pair."""

    key: str
    a: list[Run]
    b: list[Run]

    @property
    def ratios(self) -> list[float]:
        return [x[self.key] / y[self.key] for x, y in zip(self.a, self.b, strict=True)]

    @property
    def ratio(self) -> float:
        return median(self.ratios)

    @property
    def runs(self) -> list[dict[str, Any]]:
        """One entry a pair, as it stands in the history."""
        pairs = zip(self.a, self.b, self.ratios, strict=True)
        return [{"ours": x, "theirs": y, "ratio": round(ratio, 4)} for x, y, ratio in pairs]


def paired(a: Callable[[int], Run], b: Callable[[int], Run], *, repeats: int, key: str) -> Paired:
    """Run ``a(0) b(0) a(1) b(1) …``; each returns a dict that holds ``key``.

    >>> paired(lambda i: {"s": 2.0}, lambda i: {"s": 4.0 + i}, repeats=3, key="s").ratio
    0.4
    """
    runs = [(a(i), b(i)) for i in range(repeats)]
    return Paired(key, [x for x, _ in runs], [y for _, y in runs])
