r"""Numbers along time ⇄ bytes: what the steps before tell is taken off, by weights that go on learning.

.. math:: \mu_t = \sum_k a_k x_{t-k} + \sum_k w_{t,k}\, e_{t-k}, \qquad
    w_{t+1,k} = w_{t,k} + \frac{\eta\, \varepsilon_t\, e_{t-k}}{c + \sum_j e_{t-j}^2}

The weights a are found by least squares and stand in the file; e is what they leave over, and w begins at nothing and
follows the signal as it goes (normalised least mean squares), which the reader does too. What is left over then costs
what is usual where the last steps were as far off. All of it is in whole numbers. Long runs are cut into stretches that
are coded side by side, each in its own unit: recordings of 8 bits in 16 are not rare.

References:
    Robinson, SHORTEN, 1994; Coalson, FLAC, 2001 (linear prediction, of which the weights stand in the file).
    Liebchen et al., The MPEG-4 Audio Lossless Coding (ALS) Standard, 2005 (RLS-LMS: weights that go on learning).
"""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from isthmus.core.entropy import Reader, Writer, joined, parted
from isthmus.core.integers import HINT_BITS, MOST
from isthmus.core.tokens import (
    MOST_WEIGHT,
    TOKENS,
    WEIGHT_BITS,
    as_small_floats,
    inflate,
    low_bits,
    read_tables,
    read_weights,
    residuals_of,
    small_floats,
    token_of,
    written_weights,
)

_UNIT = 1 << HINT_BITS
#: Steps back of a column itself, and of each other column; leftovers that learning weights look at.
_OWN, _OTHER, _LEARNING = 24, 4, 16
#: Columns that tell of each other: this many before.
_NEAR = 2
#: The learning weights' bits behind the point, η = 2^− one of these, the bits of what they look at, and how far that is
#: shifted at most.
_POINT, _PACES, _WIDE, _MOST_SHIFT = 16, (3, 5, 7), 18, 34
#: Stretches are so many steps, between these, so that about this many are side by side.
_SHORT, _LONG, _BESIDE = 2048, 1 << 14, 96
#: Steps of stretches that are tried to see how fast to learn.
_TRIED = 1000
#: Activities in half octaves, from an eighth of a step on.
_ACTIVITIES = 64
_EDGES = np.array([math.isqrt(1024 << k) for k in range(_ACTIVITIES - 1)], np.int64)
_KEYS = 2 * _ACTIVITIES
#: Keys that share a table. Few steps pay for few tables.
_SHARED = (1, 2, 4, 8, _KEYS)
#: Runs beyond one a step: empty ones cost a reader time.
_EMPTY = 1024
#: A table's entry costs some bits to write down.
_ENTRY_BITS = 7.0


def stretches(lengths: Sequence[int]) -> list[tuple[int, int]]:
    """Where runs of such ``lengths``, one behind the other, are cut: (begin, end) of each stretch, longest first."""
    size = min(max(sum(lengths) // _BESIDE, _SHORT), _LONG)
    found, at = [], 0
    for length in lengths:
        n = max(1, -(-length // size))
        cuts = [at + length * i // n for i in range(n + 1)]
        found += list(pairwise(cuts))
        at += length
    return sorted((one for one in found if one[1] > one[0]), key=lambda one: (one[0] - one[1], one[0]))


def encode(q: np.ndarray, lengths: Sequence[int]) -> bytes:
    """Whole numbers (steps, columns) int64, runs of ``lengths`` behind each other → bytes.

    Raises ValueError where a column's numbers are 2³² or more from its middle.
    """
    steps, columns = q.shape
    assert sum(lengths) == steps
    bases = np.array([np.partition(q[:, j], steps // 2)[steps // 2] if steps else 0 for j in range(columns)], np.int64)
    apart = q - bases
    if steps and int(np.abs(apart).max()) >= MOST:
        raise ValueError("numbers are too far apart")
    cuts = stretches(lengths)
    units = _units(apart, cuts)
    for (begin, end), (unit, first) in zip(cuts, units, strict=True):
        apart[begin:end] = (apart[begin:end] - first) // unit
    weights, shifts = _fit(apart, cuts)
    pace = _pace(apart, cuts, weights, shifts)
    tokens, keys, bits = [], [], []
    walk = _Walk(cuts, weights, shifts, pace)
    for places, j in walk.places():
        mu, key, turned = walk.expect(places, j)
        cells = apart[places, j]
        left = cells - ((mu + _UNIT // 2) >> HINT_BITS)
        residuals = np.where(turned, -left, left)
        tokens.append(token_of(residuals)[0])
        keys.append(key)
        bits.append(low_bits(residuals))
        walk.saw(cells, mu, j)
    shared, counts, written = _tables(tokens, keys)
    writer = Writer()
    for some, key in zip(tokens, keys, strict=True):
        writer.put_by_key(some, key // shared, counts)
    sizes = np.zeros(_KEYS, "<u2")
    for key, table in written.items():
        sizes[key] = len(table)
    return joined([
        json.dumps([columns, shared, pace, list(map(int, lengths))], separators=(",", ":")).encode(),
        zlib.compress(np.concatenate([bases, shifts]).astype("<i8").tobytes(), 9),
        zlib.compress(units.astype("<i8").tobytes(), 9),
        zlib.compress(written_weights(weights), 9),
        zlib.compress(sizes.tobytes(), 9),
        zlib.compress(b"".join(written[key].tobytes() for key in sorted(written)), 9),
        np.packbits(np.concatenate([np.zeros(0, bool), *bits])).tobytes(),
        writer.bytes(),
    ])  # fmt: skip


def decode(data: bytes, steps: int, columns: int) -> np.ndarray:
    """The whole numbers (steps, columns) again. Raises ValueError for what no :func:`encode` wrote."""
    head, ends_bytes, units_bytes, *parts = parted(data, 8)
    match json.loads(head) if len(head) < 1 << 24 else None:
        case [int(said), int(shared), int(pace), list(lengths)] if (said, shared in _SHARED) == (columns, True):
            pass
        case _:
            raise ValueError("what it says of its runs is impossible.")
    if len(lengths) > steps + _EMPTY:
        raise ValueError("its runs are too many.")
    if pace not in _PACES or not all(type(n) is int and 0 <= n <= steps for n in lengths) or sum(lengths) != steps:
        raise ValueError("its runs are not as long as its rows.")
    ends = np.frombuffer(inflate(ends_bytes, 16 * columns), "<i8").astype(np.int64)
    cuts = stretches(lengths)
    units = np.frombuffer(inflate(units_bytes, 16 * len(cuts) * columns), "<i8").reshape(len(cuts), 2, columns)
    if (units[:, 0] < 1).any() or (np.abs(units) > 2 * MOST).any():
        raise ValueError("its units are impossible.")
    bases, shifts = ends[:columns], ends[columns:]
    n_features = _features(columns)
    weights = read_weights(inflate(parts[0], (1 + 4 * n_features) * columns), n_features)
    if ((shifts < 0) | (shifts > _MOST_SHIFT)).any():
        raise ValueError("its scales are impossible.")
    sizes = np.frombuffer(inflate(parts[1], 2 * _KEYS), "<u2")
    tables = read_tables(inflate(parts[2], int(sizes.sum(dtype=np.int64))), sizes)
    bits, at = np.unpackbits(np.frombuffer(parts[3], np.uint8)), 0
    reader, q = Reader(parts[4]), np.zeros((steps, columns), np.int64)
    walk = _Walk(cuts, weights, shifts, pace)
    for places, j in walk.places():
        mu, key, turned = walk.expect(places, j)
        residuals, used = residuals_of(reader.take_by_key(key // shared, tables), bits[at:])
        at += used
        cells = ((mu + _UNIT // 2) >> HINT_BITS) + np.where(turned, -residuals, residuals)
        cells = np.clip(cells, -2 * MOST, 2 * MOST)  # what was written is within; what was forged must not overflow
        q[places, j] = cells
        walk.saw(cells, mu, j)
    for (begin, end), (unit, first) in zip(cuts, units, strict=True):
        q[begin:end] = q[begin:end] * unit + first
    return q + bases


def _units(q: np.ndarray, cuts: Sequence[tuple[int, int]]) -> np.ndarray:
    """Of every stretch and column what all its numbers are multiples of, beyond a first: (stretches, 2, columns)."""
    found = np.ones((len(cuts), 2, q.shape[1]), np.int64)
    found[:, 1] = 0
    for i, (begin, end) in enumerate(cuts):
        unit = np.gcd.reduce(np.diff(q[begin:end], axis=0), axis=0) if end - begin > 1 else found[i, 0]
        many = unit > 1
        found[i, 0, many] = unit[many]
        found[i, 1, many] = q[begin, many] % unit[many]
    return found


def _features(columns: int) -> int:
    """What a column is expected from: itself, those before it at this step too, and those behind it."""
    return _OWN + (_OTHER + 1) * min(_NEAR, columns - 1)


@dataclass
class _Walk:
    """Step after step, column after column, all stretches at once: what is expected, and which table its rest has."""

    cuts: list[tuple[int, int]]
    weights: np.ndarray  # (columns, features)
    shifts: np.ndarray  # (columns,): how far what is left over is shifted for the learning weights
    pace: int

    def __post_init__(self) -> None:
        n, k = len(self.cuts), len(self.weights)
        self.begins = np.array([a for a, _ in self.cuts], np.int64)
        self.lengths = np.array([b - a for a, b in self.cuts], np.int64)
        self.past = np.zeros((k, n, _OWN), np.int64)  # newest first
        self.now = np.zeros((k, n), np.int64)
        self.left = np.zeros((k, n, _LEARNING), np.int64)
        self.learning = np.zeros((k, n, _LEARNING), np.int64)
        self.fast, self.slow = np.full((k, n), 8 * _UNIT, np.int64), np.full((k, n), 8 * _UNIT, np.int64)
        self.step = 0

    def places(self) -> Iterator[tuple[np.ndarray, int]]:
        """The steps of all stretches that are as long, and each column of them."""
        for step in range(int(self.lengths.max(initial=0))):
            self.step = step
            self.n = int(np.searchsorted(-self.lengths, -step, "left"))  # those that are longer than this
            places = self.begins[: self.n] + step
            for j in range(len(self.weights)):
                yield places, j
            if step == 0:
                self.past[:] = self.now[:, :, None]  # as if it had always been so
            else:
                self.past[:, : self.n, 1:] = self.past[:, : self.n, :-1]
                self.past[:, : self.n, 0] = self.now[:, : self.n]

    def features(self, j: int) -> np.ndarray:
        """(n, features) of column j."""
        n, k = self.n, len(self.weights)
        found = [self.past[j, :n]]
        for i in range(1, min(_NEAR, k - 1) + 1):
            other = j - i
            # of those behind it only what was
            found += [self.now[other, :n, None] if other >= 0 else np.zeros((n, 1), np.int64)]
            found += [self.past[other % k, :n, :_OTHER]]
        return np.concatenate(found, axis=1)

    def expect(self, places: np.ndarray, j: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """μ in steps of 1 / 256, the table of each, and whether residuals change their sign."""
        n = self.n
        if self.step == 0:
            self.first = np.zeros(n, np.int64)
        else:
            total = (self.features(j) * self.weights[j]).sum(1)  # of whole numbers: exact in any order
            self.first = (total + (1 << WEIGHT_BITS - HINT_BITS - 1)) >> WEIGHT_BITS - HINT_BITS
        more = (self.left[j, :n] * self.learning[j, :n]).sum(1) >> _POINT
        self.more = more
        mu = np.clip(self.first + (more << int(self.shifts[j])), -4 * MOST * _UNIT, 4 * MOST * _UNIT)
        activity = np.searchsorted(_EDGES, (self.fast[j, :n] + self.slow[j, :n]) >> 1, "right")
        behind = mu - (((mu + _UNIT // 2) >> HINT_BITS) << HINT_BITS)
        return mu, 2 * activity + (np.abs(behind) >= _UNIT // 4), behind < 0

    def saw(self, cells: np.ndarray, mu: np.ndarray, j: int) -> None:
        """Go on with what column j really held."""
        n, shift = self.n, int(self.shifts[j])
        self.now[j, :n] = cells
        if self.step == 0:
            return
        left = np.clip(((cells << HINT_BITS) - self.first) >> shift, -(1 << _WIDE), 1 << _WIDE)
        wrong = np.clip(left - self.more, -(1 << _WIDE), 1 << _WIDE)
        before = self.left[j, :n]
        power = (before * before).sum(1) + (1 << 12)
        self.learning[j, :n] += ((before * wrong[:, None]) << _POINT - self.pace) // power[:, None]
        np.clip(self.learning[j, :n], -(1 << _POINT + 3), 1 << _POINT + 3, out=self.learning[j, :n])
        self.left[j, :n, 1:] = before[:, :-1].copy()
        self.left[j, :n, 0] = left
        away = np.minimum(np.abs((cells << HINT_BITS) - mu), 1 << 44)
        self.fast[j, :n] += (away - self.fast[j, :n]) >> 3
        self.slow[j, :n] += (away - self.slow[j, :n]) >> 5


def _pace(q: np.ndarray, cuts: Sequence[tuple[int, int]], weights: np.ndarray, shifts: np.ndarray) -> int:
    """How fast to learn: found on some of the stretches, or their beginnings."""
    some = [(a, min(b, a + _TRIED)) for a, b in cuts[:: max(1, len(cuts) // 16)]]
    costs = {}
    for pace in _PACES:
        walk, cost = _Walk(some, weights, shifts, pace), 0.0
        for places, j in walk.places():
            mu, _, _ = walk.expect(places, j)
            cells = q[places, j]
            # the beginning is the same for all
            cost += float(np.log2(1.0 + np.abs((cells << HINT_BITS) - mu) / _UNIT).sum()) if walk.step > _OWN else 0.0
            walk.saw(cells, mu, j)
        costs[pace] = cost
    return min(costs, key=lambda pace: costs[pace])


def _fit(q: np.ndarray, cuts: Sequence[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    """Weights (columns, features) by least squares, as whole numbers, and how far their rest is to be shifted."""
    k = q.shape[1]
    weights = np.zeros((k, _features(k)), np.int64)
    shifts = np.zeros(k, np.int64)
    begins = np.zeros(len(q), bool)
    begins[[a for a, _ in cuts]] = True
    # how many steps of its own stretch lie before each
    at = np.arange(len(q))
    since = at - np.maximum.accumulate(np.where(begins, at, 0)) if len(q) else at
    some = np.flatnonzero(since >= _OWN)
    if not len(some):
        weights[:, 0] = 1 << WEIGHT_BITS
        return weights, shifts
    some = some[:: max(1, len(some) // 200_000)]
    for j in range(k):
        found = [q[some - i, j] for i in range(1, _OWN + 1)]
        for i in range(1, min(_NEAR, k - 1) + 1):
            other = j - i
            found.append(q[some, other] if other >= 0 else np.zeros(len(some)))
            found += [q[some - s, other % k] for s in range(1, _OTHER + 1)]
        x, y = np.stack(found, 1).astype(np.float64), q[some, j].astype(np.float64)
        a, b = x.T @ x, x.T @ y
        scale = np.sqrt(np.clip(np.diag(a), 1e-12, None))
        even = a / scale[:, None] / scale + 1e-9 * np.eye(len(a))
        solved = np.nan_to_num(np.linalg.solve(even, b / scale) / scale)
        weights[j] = np.clip(np.rint(solved * (1 << WEIGHT_BITS)), -MOST_WEIGHT - 1, MOST_WEIGHT + 1)
        left = float(np.abs(y - x @ (weights[j] / (1 << WEIGHT_BITS))).mean()) * _UNIT
        shifts[j] = min(max(0, math.ceil(math.log2(max(left, 1.0))) - 12), _MOST_SHIFT)
    return weights, shifts


def _tables(
    tokens: Sequence[np.ndarray], keys: Sequence[np.ndarray]
) -> tuple[int, dict[int, np.ndarray], dict[int, np.ndarray]]:
    """How many keys are to share a table, and the tables as they will be read and as they are written."""
    together = [np.zeros(0, np.int64)]
    pairs = np.concatenate([*together, *keys]) * TOKENS + np.concatenate([*together, *tokens])
    every = np.bincount(pairs, minlength=_KEYS * TOKENS).reshape(_KEYS, TOKENS)
    found = {shared: every.reshape(-1, shared, TOKENS).sum(1) for shared in _SHARED}
    shared = min(found, key=lambda one: _cost(found[one]))
    written = {}
    for key, counts in enumerate(found[shared]):
        if counts.any():
            written[key] = as_small_floats(counts[: int(np.flatnonzero(counts)[-1]) + 1])
    return shared, {key: small_floats(table) for key, table in written.items()}, written


def _cost(counts: np.ndarray) -> float:
    """About the bits of tokens with these tables (keys, tokens), and of the tables."""
    there, of_key = counts[counts > 0], counts.sum(1)
    of_key = of_key[of_key > 0]
    return float((of_key * np.log2(of_key)).sum() - (there * np.log2(there)).sum() + _ENTRY_BITS * len(there))
