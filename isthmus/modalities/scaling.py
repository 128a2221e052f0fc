"""Invertible scaling, column by column: what brings raw numbers near zero and one.

.. math::
    \\text{affine:}\\ y = \\frac{x - c}{s} \\qquad
    \\text{asinh:}\\ y = \\frac{\\operatorname{asinh}((x - c)/s) - \\mu}{\\sigma}

The inverse hyperbolic sine is linear near its centre and a logarithm on both sides further out, so that
one cell of 10⁹ bytes does not make every other cell the same.
"""

from __future__ import annotations

from typing import Any, Self

import numpy as np

from isthmus.errors import SpecError, unknown

#: Scaled values end here, so that nothing at use time can overflow float32 or its square.
LIMIT = 1e4
#: The same for columns that are not scaled at all, whose unit is unknown.
UNSCALED_LIMIT = 1e18

#: A column has heavy tails when its furthest cell is this many spreads from the median …
HEAVY_REACH = 20.0
#: … and its excess kurtosis is above this (3 for double exponential, 6 for exponential tails).
HEAVY_KURTOSIS = 10.0

# asinh arguments beyond this are the float64 range itself
_MAX_ASINH = 700.0
# statistics are of cells within this, so that differences and spreads stay finite
_HUGE = 1e300
# quantiles of more rows than this are the same to three digits
_SAMPLE = 200_000

HOWS = ("auto", "none", "standard", "robust", "global")


class Scaling:
    """Scaling of ``d`` columns.

    Arguments:
        kinds: Per column ``"none"``, ``"standard"``, ``"robust"``, ``"global"`` or ``"asinh"``; only the
            last is not affine.
        center: Per column :math:`c`.
        spread: Per column :math:`s`, greater than 0.
        mean: Per column :math:`\\mu`, 0 where affine.
        std: Per column :math:`\\sigma`, 1 where affine.

    Values that are not finite stay NaN: they are missing cells, and the caller masks them.
    """

    def __init__(self, kinds: list[str], center: list[float], spread: list[float], mean: list[float], std: list[float]):
        self.kinds = list(kinds)
        self.center, self.spread, self.mean, self.std = (np.asarray(v, np.float64) for v in (center, spread, mean, std))
        widths = {len(v) for v in (self.kinds, self.center, self.spread, self.mean, self.std)}
        if len(widths) > 1 or not set(self.kinds) <= {"none", "standard", "robust", "global", "asinh"}:
            raise SpecError("A scaling has one kind, center, spread, mean and std per column.")
        self._asinh = np.flatnonzero([kind == "asinh" for kind in self.kinds])
        self._limit = np.array([UNSCALED_LIMIT if kind == "none" else LIMIT for kind in self.kinds])

    @classmethod
    def fit(cls, values: np.ndarray, how: str = "auto") -> Self:
        """Learn from ``(n, d)`` numbers; cells that are not finite are missing and do not count.

        ``how`` is ``"none"``, ``"standard"`` (mean and standard deviation), ``"robust"`` (median and
        interquartile range), ``"global"`` (the one minimum and maximum of all columns become 0 and 1) or
        ``"auto"``: ``"asinh"`` for columns with heavy tails, else ``"standard"``. Tails are heavy when the
        furthest cell is more than ``HEAVY_REACH`` spreads from the median and the excess kurtosis is
        above ``HEAVY_KURTOSIS``. The spread is the interquartile range, or, where that is 0 because most
        cells are equal, the median distance of the other cells. Whole numbers such as counts and bytes
        take the unit 1 inside asinh, which makes it the usual ``log(1 + x)``.
        """
        if how not in HOWS:
            raise unknown("scaling", how, HOWS)
        d = values.shape[1]
        if how == "none":
            return cls(["none"] * d, [0.0] * d, [1.0] * d, [0.0] * d, [1.0] * d)
        finite = np.isfinite(values)
        if how == "global":
            cells = values if finite.all() else values[finite]
            low, high = (float(cells.min()), float(cells.max())) if cells.size else (0.0, 0.0)
            return cls(["global"] * d, [low] * d, [(high - low) or 1.0] * d, [0.0] * d, [1.0] * d)
        whole = finite.all(axis=0)
        state = np.empty((5, d), dtype=object)
        # columns with all cells go together, the others one by one
        blocks = [np.flatnonzero(whole)] if whole.any() else []
        # in blocks of columns, so that the copies stay small beside the data
        step = max(1, 4_000_000 // max(1, len(values)))
        blocks = [block[i : i + step] for block in blocks for i in range(0, len(block), step)]
        for block in blocks:
            state[:, block] = _fit_block(values[:, block].astype(np.float64), how)
        for j in np.flatnonzero(~whole):
            state[:, [j]] = _fit_block(values[finite[:, j], j].astype(np.float64)[:, None], how)
        kinds, *numbers = state.tolist()
        return cls(kinds, *([float(v) for v in row] for row in numbers))

    @classmethod
    def join(cls, scalings: list[Scaling]) -> Self:
        """One scaling for the columns of all of them."""
        return cls(
            [kind for s in scalings for kind in s.kinds],
            *([float(v) for s in scalings for v in getattr(s, name)] for name in ("center", "spread", "mean", "std")),
        )

    def forward(self, values: np.ndarray) -> np.ndarray:
        """``(n, d)`` raw numbers → float32, within ±``LIMIT``. NaN and ±inf → NaN."""
        raw = np.asarray(values, np.float64)
        # the range of float64 itself may overflow here; the clip below ends that
        with np.errstate(over="ignore", invalid="ignore"):
            y = raw - self.center
            y /= self.spread
            if self._asinh.size:
                y[:, self._asinh] = (np.arcsinh(y[:, self._asinh]) - self.mean[self._asinh]) / self.std[self._asinh]
            np.clip(y, -self._limit, self._limit, out=y)
        finite = np.isfinite(raw)
        if not finite.all():
            np.copyto(y, np.nan, where=~finite)
        return y.astype(np.float32)

    def inverse(self, values: np.ndarray) -> np.ndarray:
        """``(n, d)`` scaled numbers → float64 raw numbers, always finite for finite input."""
        y = np.array(values, np.float64)
        with np.errstate(over="ignore"):
            if self._asinh.size:
                u = y[:, self._asinh] * self.std[self._asinh] + self.mean[self._asinh]
                y[:, self._asinh] = np.sinh(np.clip(u, -_MAX_ASINH, _MAX_ASINH))
            y = y * self.spread + self.center
        biggest = np.finfo(np.float64).max
        return np.clip(y, -biggest, biggest)

    def to_json(self) -> dict[str, Any]:
        """``Scaling(**state)`` is this scaling again, to the last bit."""
        return {
            "kinds": self.kinds,
            **{name: getattr(self, name).tolist() for name in ("center", "spread", "mean", "std")},
        }

    def __len__(self) -> int:
        return len(self.kinds)

    def __repr__(self) -> str:
        counts = {kind: self.kinds.count(kind) for kind in dict.fromkeys(self.kinds)}
        return f"Scaling({', '.join(f'{kind}={n}' for kind, n in counts.items())})"


def _fit_block(x: np.ndarray, how: str) -> tuple[list[str], np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Kinds and numbers of columns without missing cells; a column without any cell is left as it is."""
    n, d = x.shape
    zero, one = np.zeros(d), np.ones(d)
    if n == 0:
        return ["standard"] * d, zero, one, zero, one
    if max(x.max(), -x.min()) > _HUGE:
        x = np.clip(x, -_HUGE, _HUGE)
    mean, std = _moments(x)
    if how == "standard":
        return ["standard"] * d, mean, std, zero, one
    sample = x[:: max(1, n // _SAMPLE)]
    q1, median, q3 = np.quantile(sample, (0.25, 0.5, 0.75), axis=0)
    iqr = q3 - q1
    reach = np.maximum(x.max(axis=0) - median, median - x.min(axis=0))
    if how == "robust":
        # 1.349 makes it the standard deviation where the column is Gaussian
        return ["robust"] * d, median, np.where(iqr > 0, iqr / 1.349, std), zero, one

    kinds, center, spread, mu, sigma = ["standard"] * d, mean, std, zero, one
    # a vectorised sieve, because few columns of a wide table pass it
    candidates = np.flatnonzero((reach > HEAVY_REACH * iqr) & (reach > 0))
    for j in candidates:
        column, away = x[:, j], np.abs(sample[:, j] - median[j])
        width = iqr[j] if iqr[j] > 0 else np.median(away[away > 0]) if (away > 0).any() else reach[j]
        kurtosis = np.mean(((column - mean[j]) / std[j]) ** 4) - 3
        if reach[j] <= HEAVY_REACH * width or kurtosis <= HEAVY_KURTOSIS:
            continue
        unit = (
            1.0 if reach[j] < 2**53 and np.array_equal(column, np.round(column)) else max(width, np.finfo(float).tiny)
        )
        with np.errstate(over="ignore"):
            y = np.arcsinh(np.clip((column - median[j]) / unit, -1e304, 1e304))
        kinds[j], center[j], spread[j] = "asinh", median[j], unit
        (mu[j],), (sigma[j],) = _moments(y[:, None])
    return kinds, center, spread, mu, sigma


def _moments(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation per column; 1 where it is constant. Safe up to 1e300."""
    size = np.abs(x).max(axis=0)
    size[size == 0] = 1.0
    scaled = x / size
    mean = scaled.mean(axis=0)
    std = scaled.std(axis=0) * size
    low, high = x.min(axis=0), x.max(axis=0)
    # rounding gives equal cells a mean beside them and a tiny deviation
    mean = np.where(low == high, low, mean * size)
    return mean, np.where((low == high) | (std < np.finfo(np.float64).tiny), 1.0, std)


def one_range(x: np.ndarray) -> bool:
    """Whether at least half of the columns have one and the same minimum and maximum."""
    if x.shape[1] < 2:
        return False
    with np.errstate(invalid="ignore"):
        low, high = np.fmin.reduce(x, axis=0), np.fmax.reduce(x, axis=0)
    varies = np.isfinite(low) & np.isfinite(high) & (low < high)
    _, counts = np.unique(np.stack([low[varies], high[varies]]), axis=1, return_counts=True)
    return bool(counts.size and 2 * counts.max() >= x.shape[1] and counts.max() >= 2)
