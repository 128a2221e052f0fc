r"""Columns of whole numbers ⇄ bytes: what is expected is taken off, and what is left costs what is usual there.

.. math:: \mu_{ij} = \sum_k a_{jk}\, q_{i,j-o_k} + b_j\, h_{ij} + c_j, \qquad
    q_{ij} - \lfloor \mu_{ij} \rceil \sim \text{table}(\text{activity}_{ij}, \text{fraction of } \mu_{ij})

A number is expected from its row's earlier columns (``offsets`` back) and from a ``hint``, such as a decoder's answer.
How far cells of its row lay from what was expected, and how far its column usually does, chooses the table, and so
does the part of μ behind the point, which says to which side it was rounded. A category is expected from one earlier
category, or from the hint. All of that is done in whole numbers; tables and weights stand in the file.

References:
    Weinberger, Seroussi and Sapiro, LOCO-I, 2000 (contexts of activity); Robinson, SHORTEN, 1994.
    The tokens are those of JPEG XL's hybrid integers, ISO/IEC 18181-1.
"""

from __future__ import annotations

import json
import math
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from isthmus.core.entropy import Reader, Writer

#: Numbers are within this of their column's base, so that no product of 64 bits overflows.
MOST = 1 << 32
#: What is expected is a number of so many bits behind the point; weights have so many.
HINT_BITS, _WEIGHT_BITS = 8, 14
_UNIT = 1 << HINT_BITS
_MOST_WEIGHT = (1 << 17) - 1
_MOST_HINT = 1 << 40
#: Residuals below this have a token each; beyond, four to an octave.
_DIRECT = 64
_TOKENS = _DIRECT + 4 * 40
#: Contexts of activity: half octaves from an eighth of a step on.
_ACTIVITIES = 64
_EDGES = np.array([math.isqrt(1024 << k) for k in range(_ACTIVITIES - 1)], np.int64)
#: How contexts may be drawn: fractions of μ, and activities taken together. Few rows pay for few tables.
_CONTEXTS = ((4, 1), (2, 2), (1, 4), (1, _ACTIVITIES))
#: From this activity on fractions say nothing: residuals are four steps wide.
_WIDE = int(np.searchsorted(_EDGES, 4 * _UNIT, "right"))
#: Offsets and category levels at most.
_MOST_OFFSETS, MOST_LEVELS = 32, 4096
#: A table's entry costs some bits to write down.
_ENTRY_BITS = 7.0


@dataclass(frozen=True)
class Columns:
    """What both ends know: rows (n), and per column 0 for a number or k ≥ 1 for a category of k levels."""

    rows: int
    levels: tuple[int, ...]
    present: np.ndarray | None = None  # (n, d) bool
    hints: np.ndarray | None = None  # (n, d) int64: of numbers in steps of 1 / 256, of categories a level

    def there(self, j: int) -> np.ndarray:
        return np.ones(self.rows, bool) if self.present is None else self.present[:, j]

    def less(self, bases: np.ndarray) -> Columns:
        """With hints of numbers that have lost their base."""
        if self.hints is None:
            return self
        apart = np.clip(self.hints - (bases << HINT_BITS), -_MOST_HINT, _MOST_HINT)
        return replace(self, hints=np.where(np.array(self.levels) > 0, self.hints, apart))


# --- what is expected -----------------------------------------------------------------------------------------


@dataclass
class _Rules:
    """What a file says of its columns: how each is expected, and how contexts are drawn."""

    offsets: tuple[int, ...]
    weights: np.ndarray  # (d, features) int64
    scales: np.ndarray  # (d,) uint8: a column's usual distance from what is expected, as a small float
    parents: np.ndarray  # (d,) int64: the category that tells of this one, −2 for the hint, −1 for none
    contexts: int = 0


def _features(q: np.ndarray, columns: Columns, j: int, offsets: Sequence[int]) -> np.ndarray:
    """What column j is expected from, (1 + offsets + 3, n) int64 in steps of 1 / 256; what is not there is 0."""
    found = np.zeros((len(offsets) + 4, columns.rows), np.int64)
    found[0] = _UNIT
    for k, offset in enumerate(offsets):
        # a category's level is no amount
        if j >= offset and not columns.levels[j - offset]:
            found[1 + k] = q[:, j - offset] << HINT_BITS
    for k in range(3):
        if columns.hints is not None and j >= k and not columns.levels[j - k]:
            found[1 + len(offsets) + k] = columns.hints[:, j - k]
    return found


def _expected(features: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """μ in steps of 1 / 256."""
    total = np.full(features.shape[1], 1 << (_WEIGHT_BITS - 1), np.int64)
    for feature, weight in zip(features, weights, strict=True):
        if weight:
            total += feature * weight
    return np.clip(total >> _WEIGHT_BITS, -4 * MOST * _UNIT, 4 * MOST * _UNIT)


def _fit(q: np.ndarray, columns: Columns, offsets: Sequence[int], shared: bool) -> np.ndarray:
    """Weights (d, features) by least squares, as whole numbers; the same for all columns where they are shared."""
    d, n_features = len(columns.levels), len(offsets) + 4
    products = np.zeros((d, n_features, n_features + 1))
    for j in (j for j in range(d) if not columns.levels[j]):
        there = columns.there(j)
        x = _features(q, columns, j, offsets)[:, there].astype(np.float64) / _UNIT
        products[j] = x @ np.column_stack([x.T, q[there, j].astype(np.float64)])
    if shared:
        products[:] = products.sum(0)
    weights = np.zeros((d, n_features), np.int64)
    for j in range(1 if shared else d):
        a, b = products[j, :, :-1], products[j, :, -1]
        scale = np.sqrt(np.clip(np.diag(a), 1e-12, None))
        even = a / scale[:, None] / scale + 1e-6 * np.eye(n_features)
        solved = np.nan_to_num(np.linalg.solve(even, b / scale) / scale)
        weights[j] = np.clip(np.rint(solved * (1 << _WEIGHT_BITS)), -_MOST_WEIGHT, _MOST_WEIGHT)
    return weights if not shared else np.repeat(weights[:1], d, axis=0)


class _Walk:
    """Column after column: what is expected of each cell, and which table its residual has."""

    def __init__(self, columns: Columns, rules: _Rules):
        self.columns, self.rules = columns, rules
        #: how far a row's cells lay from what was expected, against their columns' usual distance, in 1 / 256
        self.activity = np.full(columns.rows, _UNIT, np.int64)

    def expect(self, q: np.ndarray, j: int) -> tuple[np.ndarray, np.ndarray]:
        """μ of a column of numbers, and it as a whole number."""
        mu = _expected(_features(q, self.columns, j, self.rules.offsets), self.rules.weights[j])
        return mu, (mu + _UNIT // 2) >> HINT_BITS

    def context(self, j: int, mu: np.ndarray, whole: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Activity, the distance behind the point (0 to 128), and whether residuals change their sign."""
        usual = int(_small_floats(self.rules.scales[j : j + 1])[0])
        activity = np.searchsorted(_EDGES, (self.activity * usual) >> HINT_BITS, "right")
        behind = mu - (whole << HINT_BITS)
        return activity, np.abs(behind), behind < 0

    def saw(self, j: int, cells: np.ndarray, mu: np.ndarray) -> None:
        """Go on with what a column of numbers really held."""
        usual = int(_small_floats(self.rules.scales[j : j + 1])[0])
        away = np.minimum(np.abs((cells << HINT_BITS) - mu), 1 << 40)
        ratio = np.minimum((away << HINT_BITS) // usual, 1 << 16)
        self.activity = np.where(self.columns.there(j), (4 * self.activity + ratio) // 5, self.activity)

    def parent(self, q: np.ndarray, j: int) -> np.ndarray:
        """The level that tells of a category."""
        return _parent(q, self.columns, j, int(self.rules.parents[j]))


def _parent(q: np.ndarray, columns: Columns, j: int, parent: int) -> np.ndarray:
    if parent == -2 and columns.hints is not None:
        return np.clip(columns.hints[:, j], 0, columns.levels[j] - 1)
    if parent >= 0:
        return np.clip(q[:, parent], 0, columns.levels[parent] - 1)
    return np.zeros(columns.rows, np.int64)


def _key(contexts: int, activity: np.ndarray, behind: np.ndarray) -> np.ndarray:
    """The number of a cell's table."""
    fractions, together = _CONTEXTS[contexts]
    part = np.where(activity >= _WIDE, 0, np.minimum(behind * fractions >> 7, fractions - 1))
    return activity // together * fractions + part


def _tables_of(columns: Columns, parents: np.ndarray) -> list[int]:
    """Where the tables of every category begin, behind those of numbers; the last is their number."""
    starts = [4 * _ACTIVITIES]
    for j, levels in enumerate(columns.levels):
        several = columns.levels[parents[j]] if parents[j] >= 0 else levels if parents[j] == -2 else 1
        starts.append(starts[-1] + (several if levels else 0))
    return starts


# --- coding ---------------------------------------------------------------------------------------------------


def encode(q: np.ndarray, columns: Columns, offsets: Sequence[int] = (1, 2)) -> bytes:
    """Whole numbers (n, d) int64 → bytes. Cells that are not present may hold anything.

    Raises ValueError where a column's numbers are 2³² or more from its middle.
    """
    n, d = q.shape
    assert (n, d) == (columns.rows, len(columns.levels))
    assert len(offsets) <= _MOST_OFFSETS
    assert max(columns.levels, default=0) <= MOST_LEVELS
    bases = _bases(q, columns)
    columns, q = columns.less(bases), q.astype(np.int64) - bases
    if columns.present is not None:
        q = np.where(columns.present, q, 0)
    found = [_Measured.of(q, columns, offsets, shared) for shared in (False, True)]
    return min(found, key=lambda one: one.bits).write(columns, bases)


def _bases(q: np.ndarray, columns: Columns) -> np.ndarray:
    """A middle of every column of numbers."""
    bases = np.zeros(q.shape[1], np.int64)
    for j, levels in enumerate(columns.levels):
        cells = q[columns.there(j), j]
        if not levels and len(cells):
            bases[j] = np.partition(cells, len(cells) // 2)[len(cells) // 2]
            if max(int(cells.max()) - int(bases[j]), int(bases[j]) - int(cells.min())) >= MOST:
                raise ValueError("numbers are too far apart")
    return bases


@dataclass
class _Measured:
    """Columns as tokens with their contexts, and about how many bits they take."""

    rules: _Rules
    shared: bool
    tokens: np.ndarray  # (n, d)
    keys: np.ndarray  # (n, d): of numbers activity, of categories the parent's level; then the table
    residuals: np.ndarray
    bits: float = 0.0

    @classmethod
    def of(cls, q: np.ndarray, columns: Columns, offsets: Sequence[int], shared: bool) -> _Measured:
        n, d = q.shape
        q = q.copy()
        rules = _Rules(tuple(offsets), _fit(q, columns, offsets, shared), np.zeros(d, np.uint8), np.full(d, -1))
        walk = _Walk(columns, rules)
        residuals, activity = np.zeros((n, d), np.int64), np.zeros((n, d), np.int64)
        behind = np.zeros((n, d), np.int64)
        number = np.array(columns.levels) == 0
        for j in range(d):
            there = columns.there(j)
            if not number[j]:
                rules.parents[j] = _best_parent(q, columns, j)
                residuals[:, j], activity[:, j] = q[:, j], walk.parent(q, j)
                continue
            mu, whole = walk.expect(q, j)
            q[:, j] = np.where(there, q[:, j], whole)
            away = np.abs((q[there, j] << HINT_BITS) - mu[there])
            rules.scales[j] = _as_small_floats(np.array([1 + int(away.mean()) if len(away) else 1]))[0]
            activity[:, j], behind[:, j], turned = walk.context(j, mu, whole)
            residuals[:, j] = np.where(turned, whole - q[:, j], q[:, j] - whole)
            walk.saw(j, q[:, j], mu)
        tokens = np.where(number, _token(residuals)[0], residuals)
        there = np.ones((n, d), bool) if columns.present is None else columns.present
        of_numbers = there & number
        costs = []
        for contexts in range(len(_CONTEXTS)):
            keys = _key(contexts, activity[of_numbers], behind[of_numbers])
            costs.append(_cost(keys, tokens[of_numbers], _TOKENS))
        rules.contexts = int(np.argmin(costs))
        starts = np.array(_tables_of(columns, rules.parents)[:-1])
        keys = np.where(number, _key(rules.contexts, activity, behind), activity + starts)
        lines = 10.0 * (rules.weights[:1] if shared else rules.weights[number]).size
        categories = there & ~number
        lines += _cost(keys[categories], tokens[categories], MOST_LEVELS)
        return cls(rules, shared, tokens, keys, residuals, costs[rules.contexts] + lines)

    def write(self, columns: Columns, bases: np.ndarray) -> bytes:
        rules, number = self.rules, np.array(columns.levels) == 0
        tables: dict[int, np.ndarray] = {}
        there = np.ones(self.keys.shape, bool) if columns.present is None else columns.present
        flat_keys, flat_tokens = self.keys[there], self.tokens[there]
        order = np.argsort(flat_keys, kind="stable")
        flat_keys, flat_tokens = flat_keys[order], flat_tokens[order]
        kinds, begins = np.unique(flat_keys, return_index=True)
        for key, begin, end in zip(kinds, begins, [*begins[1:], len(flat_keys)], strict=True):
            tables[int(key)] = _as_small_floats(np.bincount(flat_tokens[begin:end]))
        writer, bits = Writer(), []
        for j in range(len(number)):
            cells = columns.there(j)
            keys, tokens = self.keys[cells, j], self.tokens[cells, j]
            for key, which in _by_key(keys):
                writer.put(tokens[which], _small_floats(tables[key]))
            if number[j]:
                bits.append(_low_bits(self.residuals[cells, j]))
        sizes = np.zeros(_tables_of(columns, rules.parents)[-1], "<u2")
        for key, table in tables.items():
            sizes[key] = len(table)
        head = json.dumps([list(rules.offsets), int(self.shared), rules.contexts, rules.parents[~number].tolist()])
        weights = rules.weights[:1] if self.shared else rules.weights
        return _join([
            head.encode(),
            zlib.compress(bases.astype("<i8").tobytes(), 9),
            zlib.compress(weights.astype("<i4").T.tobytes(), 9),
            zlib.compress(rules.scales.tobytes(), 9),
            zlib.compress(sizes.tobytes(), 9),
            zlib.compress(b"".join(tables[key].tobytes() for key in sorted(tables)), 9),
            np.packbits(np.concatenate([np.zeros(0, bool), *bits])).tobytes(),
            writer.bytes(),
        ])  # fmt: skip


def decode(data: bytes, columns: Columns) -> np.ndarray:
    """The whole numbers (n, d) again; of cells that are not present, what was expected.

    Raises ValueError for what no :func:`encode` wrote.
    """
    n, d = columns.rows, len(columns.levels)
    head, *parts = _split(data, 8)
    offsets, shared, contexts, listed = _checked_head(head, columns)
    n_features = len(offsets) + 4
    number = np.array(columns.levels) == 0
    parents = np.full(d, -1)
    parents[~number] = listed
    if any(p >= j or (p >= 0 and number[p]) for j, p in enumerate(parents) if p >= 0):
        raise ValueError("its categories have impossible parents.")
    bases = np.frombuffer(_inflate(parts[0], 8 * d), "<i8").astype(np.int64)
    weights = np.frombuffer(_inflate(parts[1], 4 * n_features * (1 if shared else d)), "<i4").astype(np.int64)
    weights = weights.reshape(n_features, -1).T
    weights = np.repeat(weights, d, axis=0) if shared else weights
    scales = np.frombuffer(_inflate(parts[2], d), np.uint8)
    if not (scales[number] > 0).all():
        raise ValueError("its scales hold a zero.")
    sizes = np.frombuffer(_inflate(parts[3], 2 * _tables_of(columns, parents)[-1]), "<u2")
    tables = _tables(_inflate(parts[4], int(sizes.sum(dtype=np.int64))), sizes)
    bits, at = np.unpackbits(np.frombuffer(parts[5], np.uint8)), 0
    reader = Reader(parts[6])
    columns = columns.less(bases)
    walk = _Walk(columns, _Rules(tuple(offsets), weights, scales, parents, contexts))
    starts, q = _tables_of(columns, parents), np.zeros((n, d), np.int64)
    for j in range(d):
        there = columns.there(j)
        if number[j]:
            mu, whole = walk.expect(q, j)
            activity, behind, turned = walk.context(j, mu, whole)
            keys = _key(contexts, activity, behind)[there]
        else:
            keys = (walk.parent(q, j) + starts[j])[there]
        tokens = np.zeros(len(keys), np.int64)
        for key, which in _by_key(keys):
            if key not in tables:
                raise ValueError("it lacks a table.")
            tokens[which] = reader.take(len(which), tables[key])
        if not number[j]:
            q[there, j] = tokens
            continue
        residuals, used = _residuals(tokens, bits[at:])
        at += used
        q[:, j] = whole
        q[there, j] += np.where(turned[there], -residuals, residuals)
        walk.saw(j, q[:, j], mu)
    return q + bases


def _best_parent(q: np.ndarray, columns: Columns, j: int) -> int:
    """The earlier category, or the hint, that tells most of a category for what its tables cost."""
    there = columns.there(j)
    cells, levels = q[there, j], columns.levels[j]
    earlier = [p for p in range(j) if columns.levels[p] > 1 and columns.levels[p] * levels <= 1 << 16]
    candidates = [-1, *([-2] if columns.hints is not None and levels <= 256 else []), *earlier[-64:]]
    costs = [_cost(_parent(q, columns, j, p)[there], cells, levels) for p in candidates]
    return candidates[int(np.argmin(costs))]


def _cost(keys: np.ndarray, tokens: np.ndarray, most: int) -> float:
    """About the bits of tokens, each with the table of its key, and of these tables."""
    if not len(keys):
        return 0.0
    _, joint = np.unique(keys * (most + 1) + tokens, return_counts=True)
    _, of_key = np.unique(keys, return_counts=True)
    return float((of_key * np.log2(of_key)).sum() - (joint * np.log2(joint)).sum() + _ENTRY_BITS * len(joint))


def _by_key(keys: np.ndarray) -> list[tuple[int, np.ndarray]]:
    """Which cells have which table, in the order of tables."""
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    edges = np.flatnonzero(np.diff(ordered)) + 1
    return [(int(keys[which[0]]), which) for which in np.split(order, edges)] if len(keys) else []


# --- tokens ---------------------------------------------------------------------------------------------------


def _token(residuals: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Residuals → tokens, and how many low bits stand beside each, and these."""
    u = (residuals << 1) ^ (residuals >> 63)
    exponent = np.frexp(np.maximum(u, 1).astype(np.float64))[1].astype(np.int64) - 1
    n_bits = np.where(u < _DIRECT, 0, exponent - 2)
    token = np.where(u < _DIRECT, u, _DIRECT + (exponent - 6) * 4 + ((u >> n_bits) & 3))
    return token, n_bits, u & ((1 << n_bits) - 1)


def _low_bits(residuals: np.ndarray) -> np.ndarray:
    """The low bits of a column's residuals, one after the other."""
    _, n_bits, low = _token(residuals)
    few = n_bits > 0
    if not few.any():
        return np.zeros(0, bool)
    n_bits, low = n_bits[few], low[few]
    places = np.arange(int(n_bits.max()))[::-1]
    return ((low[:, None] >> places) & 1).astype(bool)[places < n_bits[:, None]]


def _residuals(tokens: np.ndarray, bits: np.ndarray) -> tuple[np.ndarray, int]:
    """Tokens and the bits behind them → residuals, and how many bits these took."""
    exponent = np.where(tokens < _DIRECT, 0, (tokens - _DIRECT) // 4 + 6)
    n_bits = np.maximum(exponent - 2, 0)
    used = int(n_bits.sum())
    if used > len(bits):
        raise ValueError("its low bits end too early.")
    u = np.where(tokens < _DIRECT, tokens, (4 + ((tokens - _DIRECT) & 3)) << n_bits)
    few = n_bits > 0
    if used:
        places = np.arange(int(n_bits.max()))[::-1]
        low = np.zeros((int(few.sum()), len(places)), np.int64)
        low[places < n_bits[few, None]] = bits[:used]
        u[few] |= (low << places).sum(1)
    return (u >> 1) ^ -(u & 1), used


# --- small floats, tables, sections ---------------------------------------------------------------------------


def _as_small_floats(counts: np.ndarray) -> np.ndarray:
    """Counts as bytes, four bits of mantissa each: what is above 0 stays above it, and order stays."""
    counts = np.minimum(counts.astype(np.int64), 31 << 14)
    exponent = np.maximum(np.frexp(np.maximum(counts, 1).astype(np.float64))[1].astype(np.int64) - 5, 0)
    mantissa = (counts + (1 << exponent >> 1)) >> exponent
    over = mantissa == 32
    exponent, mantissa = exponent + over, np.where(over, 16, mantissa)
    return np.where(exponent > 0, 16 * exponent + mantissa, mantissa).clip(0, 255).astype(np.uint8)


def _small_floats(data: np.ndarray) -> np.ndarray:
    v = data.astype(np.int64)
    return np.where(v < 32, v, (16 + (v & 15)) << np.maximum((v >> 4) - 1, 0))


def _tables(data: bytes, sizes: np.ndarray) -> dict[int, np.ndarray]:
    found, at = {}, 0
    for key in np.flatnonzero(sizes):
        counts = _small_floats(np.frombuffer(data[at : at + int(sizes[key])], np.uint8))
        at += int(sizes[key])
        if len(counts) > max(_TOKENS, MOST_LEVELS) or not counts.any():
            raise ValueError("a table of it is impossible.")
        found[int(key)] = counts
    return found


def _checked_head(head: bytes, columns: Columns) -> tuple[list[int], int, int, list[int]]:
    if len(head) > 1 << 20:
        raise ValueError("its columns have too much to say.")
    said = json.loads(head)
    n_categories = sum(levels > 0 for levels in columns.levels)
    match said:
        case [list(offsets), 0 | 1 as shared, int(contexts), list(parents)]:
            whole = all(type(o) is int for o in (*offsets, *parents))
            possible = whole and all(0 < o < 1 << 40 for o in offsets)
            possible = possible and all(-2 <= p < len(columns.levels) for p in parents)
            fits = len(offsets) <= _MOST_OFFSETS and len(parents) == n_categories and 0 <= contexts < len(_CONTEXTS)
            if possible and fits:
                return offsets, shared, contexts, parents
    raise ValueError("what it says of its columns is impossible.")


def _join(parts: Sequence[bytes]) -> bytes:
    return b"".join([struct.pack(f"<{len(parts)}I", *map(len, parts)), *parts])


def _split(data: bytes, n: int) -> list[bytes]:
    if len(data) < 4 * n:
        raise ValueError("its sections end too early.")
    sizes = struct.unpack_from(f"<{n}I", data)
    if sum(sizes) + 4 * n != len(data):
        raise ValueError("its sections are not as long as they say.")
    found, at = [], 4 * n
    for size in sizes:
        found.append(data[at : at + size])
        at += size
    return found


def _inflate(data: bytes, size: int) -> bytes:
    """Exactly ``size`` bytes out of zlib's."""
    try:
        found = zlib.decompressobj().decompress(data, size + 1)
    except zlib.error as error:
        raise ValueError("a section of it cannot be unpacked.") from error
    if len(found) != size:
        raise ValueError("a section of it is not as long as it should be.")
    return found
