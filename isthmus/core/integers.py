r"""Columns of whole numbers ⇄ bytes: what is expected is taken off, and what is left costs what is usual there.

.. math:: \mu_{ij} = \sum_k a_{jk}\, q_{i,j-o_k} + b_j\, h_{ij} + c_j, \qquad
    q_{ij} - \lfloor \mu_{ij} \rceil \sim \text{table}(\text{activity}_{ij}, \text{fraction of } \mu_{ij})

A number is expected from its row's earlier columns (``offsets`` back) and from a ``hint``, such as a decoder's answer.
How far cells of its row lay from what was expected, and how far its column usually does, chooses the table, and so
does the part of μ behind the point, which says to which side it was rounded. A category, or a number that takes few
values, is expected from a few columns of that kind before it, from the cell above, and from the hint. All of that is
done in whole numbers; tables and weights stand in the file.

References:
    Weinberger, Seroussi and Sapiro, LOCO-I, 2000 (contexts of activity); Robinson, SHORTEN, 1994.
"""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from isthmus.core.entropy import Reader, Writer, by_key, joined, parted
from isthmus.core.tokens import (
    MOST_LEVELS,
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

#: Numbers are within this of their column's base, so that no product of 64 bits overflows.
MOST = 1 << 32
#: What is expected is a number of so many bits behind the point.
HINT_BITS = 8
_UNIT = 1 << HINT_BITS
_MOST_HINT = 1 << 40
#: Contexts of activity: half octaves from an eighth of a step on.
_ACTIVITIES = 64
_EDGES = np.array([math.isqrt(1024 << k) for k in range(_ACTIVITIES - 1)], np.int64)
#: How contexts may be drawn: fractions of μ, and activities taken together. Few rows pay for few tables.
_CONTEXTS = ((4, 1), (2, 2), (1, 4), (1, _ACTIVITIES))
#: From this activity on fractions say nothing: residuals are four steps wide.
_WIDE = int(np.searchsorted(_EDGES, 4 * _UNIT, "right"))
#: Numbers in so many columns at most may be taken for categories, where they take so few values.
_FEW_COLUMNS, _FEW_VALUES = 64, 512
#: What else than an earlier column may tell of a category: the hint, and the cell above. All that tells of one may take
#: so many values together.
_HINT, _ABOVE, _MOST_CASES = -2, -3, 4096
#: Tables of one file, and entries of all of them.
_MOST_TABLES, _MOST_ENTRIES = 1 << 20, 1 << 24
#: Offsets at most.
_MOST_OFFSETS = 32
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
    parents: list[list[int]]  # (d,): what tells of a category
    alphabets: dict[int, np.ndarray]  # numbers that are coded as categories: their values, rising
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
    total = np.full(features.shape[1], 1 << (WEIGHT_BITS - 1), np.int64)
    for feature, weight in zip(features, weights, strict=True):
        if weight:
            total += feature * weight
    return np.clip(total >> WEIGHT_BITS, -4 * MOST * _UNIT, 4 * MOST * _UNIT)


def _fit(q: np.ndarray, columns: Columns, offsets: Sequence[int], shared: bool) -> np.ndarray:
    """Weights (d, features) by least squares, as whole numbers; the same for all columns where they are shared."""
    d, n_features = len(columns.levels), len(offsets) + 4
    products, squares, counts = np.zeros((d, n_features, n_features + 1)), np.zeros(d), np.zeros(d)
    for j in (j for j in range(d) if not columns.levels[j]):
        there = columns.there(j)
        x = _features(q, columns, j, offsets)[:, there].astype(np.float64) / _UNIT
        y = q[there, j].astype(np.float64)
        products[j], squares[j], counts[j] = x @ np.column_stack([x.T, y]), y @ y, len(y)
    if shared:
        products[:], squares[:], counts[:] = products.sum(0), squares.sum(), counts.sum()
    weights = np.zeros((d, n_features), np.int64)
    for j in range(1 if shared else d):
        a, b = products[j, :, :-1], products[j, :, -1]
        scale = np.sqrt(np.clip(np.diag(a), 1e-12, None))
        even = a / scale[:, None] / scale + 1e-6 * np.eye(n_features)
        solved = np.nan_to_num(np.linalg.solve(even, b / scale) / scale)
        # a digit more of a weight costs a bit, and saves bits as long as what it mends is more than a part in n of
        # what is left over
        left = max(squares[j] - b @ solved, counts[j] / 12, 1.0)
        finest = math.sqrt(12 * left * n_features / max(1.0, counts[j]) / max(float(np.diag(a).sum()), 1e-12))
        digits = min(WEIGHT_BITS, max(0, math.ceil(-math.log2(min(1.0, finest)))))
        rounded = np.rint(solved * (1 << digits)) * (1 << WEIGHT_BITS - digits)
        weights[j] = np.clip(rounded, -MOST_WEIGHT - 1, MOST_WEIGHT + 1)
    return weights if not shared else np.repeat(weights[:1], d, axis=0)


class _Walk:
    """Column after column: what is expected of each cell, and which table its residual has."""

    def __init__(self, columns: Columns, rules: _Rules):
        self.columns, self.rules = columns, rules
        #: how far a row's cells lay from what was expected, against their columns' usual distance, in 1 / 256
        self.activity = np.full(columns.rows, _UNIT, np.int64)
        #: the levels of categories
        self.index = np.zeros((columns.rows, len(columns.levels)), np.int64)

    def expect(self, q: np.ndarray, j: int) -> tuple[np.ndarray, np.ndarray]:
        """μ of a column of numbers, and it as a whole number."""
        mu = _expected(_features(q, self.columns, j, self.rules.offsets), self.rules.weights[j])
        return mu, (mu + _UNIT // 2) >> HINT_BITS

    def context(self, j: int, mu: np.ndarray, whole: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Activity, the distance behind the point (0 to 128), and whether residuals change their sign."""
        usual = int(small_floats(self.rules.scales[j : j + 1])[0])
        activity = np.searchsorted(_EDGES, (self.activity * usual) >> HINT_BITS, "right")
        behind = mu - (whole << HINT_BITS)
        return activity, np.abs(behind), behind < 0

    def saw(self, j: int, cells: np.ndarray, mu: np.ndarray) -> None:
        """Go on with what a column of numbers really held."""
        usual = int(small_floats(self.rules.scales[j : j + 1])[0])
        away = np.minimum(np.abs((cells << HINT_BITS) - mu), 1 << 40)
        ratio = np.minimum((away << HINT_BITS) // usual, 1 << 16)
        self.activity = np.where(self.columns.there(j), (4 * self.activity + ratio) // 5, self.activity)

    def size(self, j: int) -> int:
        """How many levels a category has, 0 for a number that is none."""
        alphabet = self.rules.alphabets.get(j)
        return self.columns.levels[j] if alphabet is None else len(alphabet)

    def level(self, j: int, cells: np.ndarray) -> np.ndarray:
        """A category's cells as levels."""
        alphabet = self.rules.alphabets.get(j)
        return cells if alphabet is None else np.minimum(np.searchsorted(alphabet, cells), len(alphabet) - 1)

    def cases(self, j: int, of: Sequence[int]) -> tuple[np.ndarray, int]:
        """What columns, the hint and the cell above say of a category together, as one number below the second."""
        found, many = np.zeros(self.columns.rows, np.int64), 1
        for p in of:
            if p == _HINT:
                hint = self.columns.hints[:, j]
                hint = hint if self.columns.levels[j] else hint + _UNIT // 2 >> HINT_BITS
                part, size = np.clip(self.level(j, hint), 0, self.size(j) - 1), self.size(j)
            elif p == _ABOVE:
                part, size = np.concatenate([[0], self.index[:-1, j]]), self.size(j)
            else:
                part, size = self.index[:, p], self.size(p)
            found, many = found * size + part, many * size
        return found, many

    def best(self, j: int) -> tuple[list[int], float]:
        """What tells most of a category for what its tables cost, found one after the other; and the bits."""
        there, size = self.columns.there(j), self.size(j)
        cells, chosen = self.index[there, j], []
        cost = _cost(np.zeros(len(cells), np.int64), cells, size)
        candidates = [*[p for p in range(j) if self.size(p) > 1][-_FEW_COLUMNS:], _ABOVE]
        candidates += [_HINT] if self.columns.hints is not None else []
        while len(chosen) < 3:
            found = []
            for p in candidates:
                cases, many = self.cases(j, [*chosen, p]) if p not in chosen else (cells, _MOST_CASES + 1)
                if many <= _most_cases(self.columns):
                    found.append((_cost(cases[there], cells, size), p))
            if not found or min(found)[0] > 0.99 * cost:
                break
            cost = min(found)[0]
            chosen.append(min(found)[1])
        return chosen, cost


def _most_cases(columns: Columns) -> int:
    """How many values all that tells of a category may take, so that tables do not outgrow the rows."""
    return min(_MOST_CASES, max(1, _MOST_TABLES // len(columns.levels)))


def _key(contexts: int, activity: np.ndarray, behind: np.ndarray) -> np.ndarray:
    """The number of a cell's table."""
    fractions, together = _CONTEXTS[contexts]
    part = np.where(activity >= _WIDE, 0, np.minimum(behind * fractions >> 7, fractions - 1))
    return activity // together * fractions + part


def _tables_of(walk: _Walk) -> list[int]:
    """Where the tables of every category begin, behind those of numbers; the last is their number."""
    starts = [4 * _ACTIVITIES]
    for j in range(len(walk.columns.levels)):
        many = 0
        if walk.size(j):
            many = math.prod(walk.size(j) if p < 0 else walk.size(p) for p in walk.rules.parents[j])
        starts.append(starts[-1] + many)
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
    alike = len(columns.levels) > _FEW_COLUMNS and not any(columns.levels)
    found = [_Measured.of(q, columns, offsets, shared) for shared in ((False, True) if alike else (False,))]
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
    """Columns as tokens with their tables, and about how many bits they take."""

    walk: _Walk
    shared: bool
    tokens: np.ndarray  # (n, d)
    keys: np.ndarray  # (n, d)
    residuals: np.ndarray
    bits: float = 0.0

    @classmethod
    def of(cls, q: np.ndarray, columns: Columns, offsets: Sequence[int], shared: bool) -> _Measured:
        n, d = q.shape
        q = q.copy()
        weights = _fit(q, columns, offsets, shared)
        walk = _Walk(columns, _Rules(tuple(offsets), weights, np.zeros(d, np.uint8), [[] for _ in range(d)], {}))
        rules = walk.rules
        residuals, activity = np.zeros((n, d), np.int64), np.zeros((n, d), np.int64)
        behind, bits = np.zeros((n, d), np.int64), 0.0
        for j in range(d):
            there = columns.there(j)
            if columns.levels[j]:
                walk.index[:, j] = q[:, j]
                rules.parents[j], cost = walk.best(j)
                bits += cost
                continue
            mu, whole = walk.expect(q, j)
            before, walk_on = q[:, j], walk.activity
            q[:, j] = np.where(there, q[:, j], whole)
            away = np.abs((q[there, j] << HINT_BITS) - mu[there])
            rules.scales[j] = as_small_floats(np.array([1 + int(away.mean()) if len(away) else 1]))[0]
            activity[:, j], behind[:, j], turned = walk.context(j, mu, whole)
            residuals[:, j] = np.where(turned, whole - q[:, j], q[:, j] - whole)
            walk.saw(j, q[:, j], mu)
            values = np.unique(before[there]) if d <= _FEW_COLUMNS else before
            if 0 < len(values) <= _FEW_VALUES and d <= _FEW_COLUMNS:
                rules.alphabets[j] = values
                walk.index[:, j] = np.where(there, walk.level(j, before), 0)
                parents, cost = walk.best(j)
                as_number = _cost(
                    _key(1, activity[there, j], behind[there, j]), token_of(residuals[there, j])[0], TOKENS
                )
                as_number += float(token_of(residuals[there, j])[1].sum())
                if cost + 12 * len(values) < as_number:
                    rules.parents[j], walk.activity = parents, walk_on
                    q[:, j] = values[walk.index[:, j]]
                    bits += cost + 12 * len(values)
                else:
                    del rules.alphabets[j]
                    walk.index[:, j] = 0
        number = np.array([not walk.size(j) for j in range(d)])
        tokens = np.where(number, token_of(residuals)[0], walk.index)
        there = np.ones((n, d), bool) if columns.present is None else columns.present
        of_numbers = there & number
        costs = []
        for contexts in range(len(_CONTEXTS)):
            costs.append(_cost(_key(contexts, activity[of_numbers], behind[of_numbers]), tokens[of_numbers], TOKENS))
        rules.contexts = int(np.argmin(costs))
        keys = np.where(number, _key(rules.contexts, activity, behind), 0)
        starts = _tables_of(walk)
        for j in np.flatnonzero(~number):
            keys[:, j] = walk.cases(j, rules.parents[j])[0] + starts[j]
        bits += costs[rules.contexts] + 8.0 * (rules.weights[:1] if shared else rules.weights[number]).size
        return cls(walk, shared, tokens, keys, residuals, bits)

    def write(self, columns: Columns, bases: np.ndarray) -> bytes:
        rules, walk = self.walk.rules, self.walk
        tables: dict[int, np.ndarray] = {}
        there = np.ones(self.keys.shape, bool) if columns.present is None else columns.present
        for key, which in by_key(self.keys[there]):
            tables[key] = as_small_floats(np.bincount(self.tokens[there][which]))
        counts = {key: small_floats(table) for key, table in tables.items()}
        writer, bits = Writer(), []
        for j in range(len(columns.levels)):
            cells = columns.there(j)
            keys, tokens = self.keys[cells, j], self.tokens[cells, j]
            if _ABOVE in rules.parents[j]:
                writer.put_each(tokens, keys, counts)
            else:
                for key, which in by_key(keys):
                    writer.put(tokens[which], counts[key])
            if not walk.size(j):
                bits.append(low_bits(self.residuals[cells, j]))
        sizes = np.zeros(_tables_of(walk)[-1], "<u2")
        for key, table in tables.items():
            sizes[key] = len(table)
        if int(sizes.sum(dtype=np.int64)) > _MOST_ENTRIES:
            raise ValueError("its tables are too many")
        parents = {str(j): parents for j, parents in enumerate(rules.parents) if parents}
        alphabets = {str(j): len(values) for j, values in rules.alphabets.items()}
        values = [np.diff(values, prepend=0) for values in rules.alphabets.values()]
        weights = rules.weights[:1] if self.shared else rules.weights
        return joined([
            json.dumps([list(rules.offsets), int(self.shared), rules.contexts, parents, alphabets]).encode(),
            zlib.compress(bases.astype("<i8").tobytes(), 9),
            zlib.compress(written_weights(weights), 9),
            zlib.compress(rules.scales.tobytes(), 9),
            zlib.compress(np.concatenate([np.zeros(0, np.int64), *values]).astype("<i8").tobytes(), 9),
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
    head, *parts = parted(data, 9)
    offsets, shared, contexts, parents, n_values = _checked_head(head, columns)
    n_features = len(offsets) + 4
    bases = np.frombuffer(inflate(parts[0], 8 * d), "<i8").astype(np.int64)
    weights = read_weights(inflate(parts[1], (1 + 4 * n_features) * (1 if shared else d)), n_features)
    weights = np.repeat(weights, d, axis=0) if shared else weights
    scales = np.frombuffer(inflate(parts[2], d), np.uint8)
    values = np.frombuffer(inflate(parts[3], 8 * sum(n_values.values())), "<i8").astype(np.int64)
    ends = np.cumsum(list(n_values.values()))[:-1] if n_values else []
    alphabets = {j: one.cumsum() for j, one in zip(n_values, np.split(values, ends), strict=False)}
    walk = _Walk(columns.less(bases), _Rules(tuple(offsets), weights, scales, parents, alphabets, contexts))
    if not all(scales[j] for j in range(d) if not walk.size(j)):
        raise ValueError("its scales hold a zero.")
    _check_parents(walk)
    starts = _tables_of(walk)
    if starts[-1] > 2 * _MOST_TABLES:
        raise ValueError("its tables are too many.")
    sizes = np.frombuffer(inflate(parts[4], 2 * starts[-1]), "<u2")
    if int(sizes.sum(dtype=np.int64)) > _MOST_ENTRIES:
        raise ValueError("its tables are too many.")
    tables = read_tables(inflate(parts[5], int(sizes.sum(dtype=np.int64))), sizes)
    bits, at = np.unpackbits(np.frombuffer(parts[6], np.uint8)), 0
    reader, q = Reader(parts[7]), np.zeros((n, d), np.int64)
    for j in range(d):
        there = columns.there(j)
        if walk.size(j):
            walk.index[:, j] = _categories(walk, reader, tables, j, starts[j])
            q[:, j] = alphabets[j][walk.index[:, j]] if j in alphabets else walk.index[:, j]
            continue
        mu, whole = walk.expect(q, j)
        activity, behind, turned = walk.context(j, mu, whole)
        tokens = _taken(reader, tables, _key(contexts, activity, behind)[there])
        residuals, used = residuals_of(tokens, bits[at:])
        at += used
        q[:, j] = whole
        q[there, j] += np.where(turned[there], -residuals, residuals)
        walk.saw(j, q[:, j], mu)
    return q + bases


def _taken(reader: Reader, tables: dict[int, np.ndarray], keys: np.ndarray) -> np.ndarray:
    tokens = np.zeros(len(keys), np.int64)
    for key, which in by_key(keys):
        if key not in tables:
            raise ValueError("it lacks a table.")
        tokens[which] = reader.take(len(which), tables[key])
    return tokens


def _categories(walk: _Walk, reader: Reader, tables: dict[int, np.ndarray], j: int, start: int) -> np.ndarray:
    """The levels of a category, all at once, or one after the other where each tells of the next."""
    there, parents, size = walk.columns.there(j), walk.rules.parents[j], walk.size(j)
    levels = np.zeros(walk.columns.rows, np.int64)
    keys = walk.cases(j, parents)[0] + start  # as if the cells above were all 0
    if _ABOVE not in parents:
        levels[there] = _taken(reader, tables, keys[there])
    else:
        behind = parents[parents.index(_ABOVE) + 1 :]
        step, above = math.prod(size if p < 0 else walk.size(p) for p in behind), 0
        for i in range(walk.columns.rows):
            if there[i]:
                key = int(keys[i]) + above * step
                if key not in tables:
                    raise ValueError("it lacks a table.")
                levels[i] = reader.take_one(key, tables[key])
            above = min(int(levels[i]), size - 1)
    if levels.max(initial=0) >= size:
        raise ValueError("a level of it is unknown.")
    return levels


def _check_parents(walk: _Walk) -> None:
    """What tells of a category has to stand before it, and be one itself."""
    for j, parents in enumerate(walk.rules.parents):
        known = {_ABOVE, *([_HINT] if walk.columns.hints is not None else [])}
        known |= {p for p in range(j) if walk.size(p)}
        many = math.prod(walk.size(j) if p < 0 else walk.size(p) for p in parents if p in known)
        if not set(parents) <= known or len(set(parents)) < len(parents) or many > _MOST_CASES:
            raise ValueError("its categories have impossible parents.")
        if parents and not walk.size(j):
            raise ValueError("a number of it has parents.")


def _cost(keys: np.ndarray, tokens: np.ndarray, most: int) -> float:
    """About the bits of tokens, each with the table of its key, and of these tables."""
    if not len(keys):
        return 0.0
    joint, of_key = _counts(keys * (most + 1) + tokens), _counts(keys)
    return float((of_key * np.log2(of_key)).sum() - (joint * np.log2(joint)).sum() + _ENTRY_BITS * len(joint))


def _counts(values: np.ndarray) -> np.ndarray:
    """How often every value stands there."""
    if values.max(initial=0) < 1 << 20:
        counts = np.bincount(values)
        return counts[counts > 0]
    return np.unique(values, return_counts=True)[1]


def _checked_head(head: bytes, columns: Columns) -> tuple[list[int], int, int, list[list[int]], dict[int, int]]:
    d = len(columns.levels)
    match json.loads(head) if len(head) < 1 << 20 else None:
        case [list(offsets), 0 | 1 as shared, int(contexts), dict(said), dict(alphabets)]:
            good = len(offsets) <= _MOST_OFFSETS and 0 <= contexts < len(_CONTEXTS)
            good = good and all(type(o) is int and 0 < o < 1 << 40 for o in offsets)
            parents: list[list[int]] = [[] for _ in range(d)]
            for name, of in said.items():
                good = good and name.isdecimal() and int(name) < d and isinstance(of, list) and len(of) <= 3
                if not good or not all(type(p) is int for p in of):
                    break
                parents[int(name)] = of
            else:
                sizes = {int(name): size for name, size in alphabets.items() if name.isdecimal()}
                good = good and len(sizes) == len(alphabets)
                good = good and all(type(s) is int and 0 < s <= _FEW_VALUES for s in sizes.values())
                if good and all(j < d and not columns.levels[j] for j in sizes):
                    return offsets, shared, contexts, parents, sizes
    raise ValueError("what it says of its columns is impossible.")
