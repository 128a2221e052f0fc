r"""Elementary functions that give the same bits on every machine.

.. math:: e^x = 2^k \sum_{n \le 16} r^n / n!, \qquad x = k \log 2 + r

What a file is decoded with must be what it was coded with. Libraries of functions and of vector instructions differ
in their last digit; a single addition, multiplication, division, square root or rounding does not (IEEE 754). So these
are made of such steps alone, each a call of its own, so that no compiler joins two of them.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np

#: Fixed-point numbers of the exact networks: steps of 1 / 4096.
FRACTION = 12
ONE = 1 << FRACTION

_LN2_HIGH, _LN2_LOW = 0.6931471803691238, 1.9082149292705877e-10
_PER_LN2 = 1.4426950408889634
#: Φ is tabled to here, in steps of 1 / 4096, and is 0 or 1 beyond for our purposes.
_REACH = 8
#: The mass that a table of a distribution function shares out.
MASS = 1 << 32


def exp(x: np.ndarray) -> np.ndarray:
    """e^x for |x| ≤ 700, float64."""
    x = np.clip(np.asarray(x, np.float64), -700.0, 700.0)
    k = np.floor(x * _PER_LN2 + 0.5)
    r = x - k * _LN2_HIGH
    r = r - k * _LN2_LOW
    total = np.ones_like(r)
    for n in range(16, 0, -1):
        total = total * r
        total = total / float(n)
        total = total + 1.0
    return np.ldexp(total, k.astype(np.int64))


def log(x: np.ndarray) -> np.ndarray:
    """log x of positive normal numbers, float64: of the mantissa by 2 (t + t³/3 + …), t = (m − 1) / (m + 1)."""
    mantissa, k = np.frexp(np.asarray(x, np.float64))
    low = mantissa < 0.7071067811865476
    mantissa, k = np.where(low, mantissa * 2.0, mantissa), (k - low).astype(np.float64)
    t = (mantissa - 1.0) / (mantissa + 1.0)
    squared = t * t
    total = np.zeros_like(t)
    for n in range(23, 1, -2):
        total = total + 1.0 / float(n)
        total = total * squared
    series = (total + 1.0) * t
    return series * 2.0 + k * _LN2_LOW + k * _LN2_HIGH


def sigmoid(x: np.ndarray) -> np.ndarray:
    """1 / (1 + e^−x)."""
    return 1.0 / (exp(-np.asarray(x, np.float64)) + 1.0)


def sinh(x: np.ndarray) -> np.ndarray:
    """(e^x − e^−x) / 2, whose last digits are lost next to 0, alike everywhere."""
    return (exp(x) - exp(-np.asarray(x, np.float64))) * 0.5


def asinh(x: np.ndarray) -> np.ndarray:
    """±log(|x| + √(x² + 1)), the inverse of :func:`sinh`, for |x| ≤ 1e150."""
    size = np.clip(np.abs(np.asarray(x, np.float64)), 0.0, 1e150)
    root = np.sqrt(size * size + 1.0)
    return np.copysign(log(size + root), x)


def normal_cdf(x: np.ndarray) -> np.ndarray:
    """Φ(x) within 1e-15, by its series: ½ + φ(x) Σ x^(2n+1) / (1 · 3 · … · (2n+1))."""
    x = np.clip(np.asarray(x, np.float64), -float(_REACH), float(_REACH))
    squared = x * x
    term = x.copy()
    total = x.copy()
    for n in range(3, 260, 2):
        term = term * squared
        term = term / float(n)
        total = total + term
    density = exp(squared * -0.5) * 0.3989422804014327
    return np.clip(density * total + 0.5, 0.0, 1.0)


@cache
def _normal_table() -> np.ndarray:
    """Φ on a grid of 1 / 4096 from −8 to 8, and one beyond."""
    at = np.arange(-_REACH * ONE, _REACH * ONE + 2, dtype=np.float64) / ONE
    return normal_cdf(at)


@cache
def _logistic_table() -> np.ndarray:
    """The logistic function on a grid of 1 / 1024 from −24 to 24, and one beyond."""
    return sigmoid(np.arange(-24 * 1024, 24 * 1024 + 2, dtype=np.float64) / 1024)


def _between(table: np.ndarray, x: np.ndarray, reach: int, steps: int) -> np.ndarray:
    """A tabled function at x, by straight lines between its points."""
    at = (np.clip(x, -float(reach), float(reach)) + float(reach)) * float(steps)
    low = np.floor(at)
    index = low.astype(np.int64)
    first = table[index]
    return first + (table[index + 1] - first) * (at - low)


def normal_cdf_fast(x: np.ndarray) -> np.ndarray:
    """Φ(x) within 1e-8."""
    return _between(_normal_table(), x, _REACH, ONE)


def logistic_cdf_fast(x: np.ndarray) -> np.ndarray:
    """1 / (1 + e^−x) within 1e-7."""
    return _between(_logistic_table(), x, 24, 1024)


@cache
def normal_quantiles(n: int) -> np.ndarray:
    """Φ⁻¹ at k / n for k = 1 … n − 1, in steps of 1 / 65536, by halving."""
    wanted = np.arange(1, n, dtype=np.float64) / n
    low, high = np.full(n - 1, -_REACH * 65536.0), np.full(n - 1, _REACH * 65536.0)
    for _ in range(21):
        middle = np.floor((low + high) * 0.5)
        below = normal_cdf(middle / 65536.0) < wanted
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return high / 65536.0


@cache
def activation_table(name: str) -> np.ndarray:
    """An activation on fixed-point numbers from −16 to 16, as fixed-point numbers; it is 0 below and x above."""
    x = np.arange(-16 * ONE, 16 * ONE + 1, dtype=np.float64) / ONE
    value = {"gelu": lambda: x * normal_cdf(x), "silu": lambda: x * sigmoid(x), "sigmoid": lambda: sigmoid(x),
             "tanh": lambda: sigmoid(x * 2.0) * 2.0 - 1.0}[name]()  # fmt: skip
    return np.floor(value * ONE + 0.5)


assert math.ldexp(_LN2_HIGH, 32) % 1 == 0, "k times the high part has to be exact"
