r"""Columns of a table as a variational network has them, tilted towards how often their values are in the file.

.. math:: p(v \mid z) \propto w_v \, p_\theta(x_v \mid z), \qquad
    P(q < k \mid z) = C\bigl(\Phi((x_{k - \frac12} - \mu(z)) / \sigma)\bigr)

The first is for columns of few values: a category, yes or no, or a number (most rows hold 0 hours of overtime, which no
gaussian says). The second is for numbers of many values. The weights w, the shape C and the spread σ are found on the
rows and stand in the file; where they say nothing, it is the network's own law. All of it is asked in steps that are
the same on every machine.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from isthmus.core.arithmetic import ONE, exp, normal_cdf_fast
from isthmus.core.bits_back import Channel, precision, with_floor
from isthmus.core.entropy import Stack, joined, parted
from isthmus.core.exact import activate, fixed
from isthmus.core.integers import MOST
from isthmus.core.tokens import MOST_LEVELS, inflate

#: A number that takes so many values at most is told value by value, and only where every value stands so often.
_FEW, _OFTEN = 512, 8
#: Logarithms of weights and of spreads are multiples of this, in nats; what does not occur has the lowest.
_GRAIN, _NEVER = 1 / 16, -32768
#: Steps of C, and rows that all of that is found on.
_STEPS, _ROWS = 64, 4096
#: Rounds of fitting weights.
_ROUNDS = 6


@dataclass(frozen=True)
class Field:
    """A column that the network speaks of: its ``entry`` in a row's x, and ``out`` in the decoder's answer.

    ``law`` is 0 for a number, 1 for a coin, k for k levels. ``read`` gives what whole numbers are in x, float64; of
    numbers that is asked of :class:`Fields`.
    """

    entry: int
    law: int
    out: slice
    read: Callable[[np.ndarray], np.ndarray] | None = None


@dataclass(frozen=True)
class Fields:
    """The columns that a network speaks of, and what whole ``numbers`` (n, m), or places half-way between two, of the
    columns (m,) are in x: float64 → float64, by steps that are the same on every machine.
    """

    each: tuple[Field, ...]
    numbers: Callable[[np.ndarray, np.ndarray], np.ndarray]

    def __len__(self) -> int:
        return len(self.each)

    def read(self, j: int, values: np.ndarray) -> np.ndarray:
        """Values (m,) of column j in x."""
        told = self.each[j].read
        return self.numbers(values.astype(np.float64)[:, None], np.array([j]))[:, 0] if told is None else told(values)


class Tilted:
    """The law of some rows (see :class:`~isthmus.core.bits_back.Law`). Coded values count from 0: the place among
    ``alphabets`` of column j, or what it lies above ``lows[j]``, of ``spans[j]`` values.
    """

    def __init__(
        self,
        net: Any,
        fields: Fields,
        present: np.ndarray,
        alphabets: Sequence[np.ndarray],
        lows: np.ndarray,
        spans: np.ndarray,
    ):
        self.net, self.fields, self.present, self.width = net, fields.each, present, len(fields)
        self._numbers = fields.numbers
        self.alphabets, self.lows, self.spans = list(alphabets), lows, spans
        self.few = [j for j, values in enumerate(self.alphabets) if len(values)]
        self.many = np.array([j for j, values in enumerate(self.alphabets) if not len(values)], np.int64)
        self.depth = max(1, math.ceil(math.log2(max(2, int(spans[self.many].max(initial=2))))))
        self.values = [fields.read(j, values) for j, values in enumerate(self.alphabets)]
        for j in self.few:
            law = self.fields[j].law
            if law > 1 and not ((self.values[j] >= 0) & (self.values[j] < law)).all():
                raise ValueError("a value of it is no level")
        self.weights = [np.zeros(len(values), np.int64) for values in self.alphabets]
        self.grains = np.zeros(self.width, np.int64)  # log σ over what the network says of it
        self.shapes = np.zeros((len(self.many), _STEPS), np.int64)
        self._inverse = self._precisions()
        self._renew()

    # -- what the file says of it ------------------------------------------------------------------

    @classmethod
    def fit(cls, channel: Channel, net: Any, fields: Fields, q: np.ndarray, present: np.ndarray) -> Tilted:
        """The law of rows ``q`` (n, width), and of how they are there. Raises ValueError for numbers too far apart."""
        alphabets, lows, spans = [], np.zeros(len(fields), np.int64), np.ones(len(fields), np.int64)
        for j, field in enumerate(fields.each):
            cells = q[present[:, j], j]
            values = np.unique(cells) if len(cells) else np.zeros(1, np.int64)
            most = MOST_LEVELS if field.law else min(_FEW, len(cells) // _OFTEN)
            if field.law and len(values) > most:
                raise ValueError("a column has too many values")
            alphabets.append(values if len(values) <= max(most, 1) else values[:0])
            lows[j], spans[j] = values[0], int(values[-1]) - int(values[0]) + 1
            if spans[j] > 2 * MOST:
                raise ValueError("numbers are too far apart")
        law = cls(net, fields, present, alphabets, lows, spans)
        law._tilt(channel, q)
        return law

    def _tilt(self, channel: Channel, q: np.ndarray) -> None:
        """Find σ, weights and shapes on some of the rows, with codes as the posterior has them."""
        if not len(q):
            return
        step = -(-len(q) // _ROWS)
        codes, some = self.coded(q)[::step], self.present[::step]
        out = channel.answer(channel.draw(self.shown(codes, slice(None, None, step))), len(codes))
        features = self._features(out)
        for j, field in enumerate(self.fields):
            there = some[:, j]
            if field.law or not there.any():
                continue
            x = self.values[j][codes[there, j]] if j in self.few else self._at(codes[there][:, j : j + 1], [j])[:, 0]
            apart = np.abs(x - features[there, field.out.start]) * self._inverse[j]
            # a last digit of which the network is surer than it is of itself would cost bits without end
            grain = np.rint(np.log(max(float(np.sqrt(np.square(apart).mean())), 1e-6)) / _GRAIN)
            self.grains[j] = int(np.clip(grain, -400, 400))
        self._renew()
        for j in self.few:
            there = some[:, j]
            if there.any():
                self.weights[j] = self._weights(j, features[there], codes[there, j], q[self.present[:, j], j])
        for i, j in enumerate(self.many):
            there = some[:, j]
            u = self._below(features[there], [j])(self._at(codes[there][:, j : j + 1], [j])).ravel()
            counts = np.bincount(np.minimum((u * _STEPS).astype(np.int64), _STEPS - 1), minlength=_STEPS)
            share = (counts + 0.5) / (counts.sum() + 0.5 * _STEPS)
            # a shape costs about half a byte a step to write down
            if len(q) * float((share * np.log2(share * _STEPS)).sum()) > 5 * _STEPS:
                self.shapes[i] = np.maximum(np.rint(share * 255 / share.max()), 1).astype(np.int64)
        self._renew()

    def _weights(self, j: int, features: np.ndarray, codes: np.ndarray, cells: np.ndarray) -> np.ndarray:
        """log w in grains: with them the values come as often, over all rows, as they really do."""
        size = len(self.alphabets[j])
        wanted = np.bincount(np.searchsorted(self.alphabets[j], cells), minlength=size) / len(cells)
        scores = self._scores(j, features)
        logs = np.log(wanted)
        for _ in range(_ROUNDS):
            found = scores + logs
            found = np.exp(found - found.max(1, keepdims=True))
            expected = (found / found.sum(1, keepdims=True)).mean(0)
            logs = np.clip(logs + np.log(wanted / np.maximum(expected, 1e-30)), -1500.0, 1500.0)
        return np.rint((logs - logs.max()) / _GRAIN).clip(_NEVER + 1, 0).astype(np.int64)

    def written(self) -> bytes:
        """What :meth:`read` needs beside the network and which cells are there."""
        n_values = np.array([len(values) for values in self.alphabets])
        values = [np.diff(self.alphabets[j], prepend=0) for j in self.few]
        ends = np.concatenate([self.lows[self.many], self.spans[self.many]])
        return joined([
            zlib.compress(part, 9) for part in (
                n_values.astype("<u2").tobytes(),
                self.grains.astype("<i2").tobytes(),
                _planes(np.concatenate([np.zeros(0, np.int64), *values]), "<i8"),
                _planes(np.concatenate([np.zeros(0, np.int64), *(self.weights[j] for j in self.few)]), "<i2"),
                ends.astype("<i8").tobytes(),
                self.shapes.astype(np.uint8).tobytes(),
            )
        ])  # fmt: skip

    @classmethod
    def read(cls, net: Any, fields: Fields, present: np.ndarray, data: bytes) -> Tilted:
        """Raises ValueError for what no :meth:`written` wrote."""
        parts, k = parted(data, 6), len(fields)
        n_values = np.frombuffer(inflate(parts[0], 2 * k), "<u2").astype(np.int64)
        empty = [not n and bool(field.law) for field, n in zip(fields.each, n_values, strict=True)]
        if n_values.max(initial=0) > MOST_LEVELS or any(empty):
            raise ValueError("its columns have an impossible number of values.")
        total, many = int(n_values.sum()), np.flatnonzero(n_values == 0)
        grains = np.frombuffer(inflate(parts[1], 2 * k), "<i2").astype(np.int64)
        values, weights = _unplaned(inflate(parts[2], 8 * total), "<i8"), _unplaned(inflate(parts[3], 2 * total), "<i2")
        ends = np.frombuffer(inflate(parts[4], 16 * len(many)), "<i8").reshape(2, -1)
        shapes = np.frombuffer(inflate(parts[5], len(many) * _STEPS), np.uint8).reshape(-1, _STEPS)
        if (ends[1] < 1).any() or (ends[1] > 2 * MOST).any() or (np.abs(ends[0]) > 1 << 62).any():
            raise ValueError("its numbers reach impossibly far.")
        where = np.cumsum(n_values)[:-1]
        lows, spans = np.zeros(k, np.int64), np.ones(k, np.int64)
        lows[many], spans[many] = ends
        law = cls(net, fields, present, [part.cumsum() for part in np.split(values, where)], lows, spans)
        law.weights = np.split(weights, where)
        law.grains, law.shapes = grains, shapes.astype(np.int64)
        law._renew()
        return law

    # -- rows as values that count from 0 ---------------------------------------------------------

    def coded(self, q: np.ndarray) -> np.ndarray:
        codes = np.where(self.present, q - self.lows, 0)
        for j in self.few:
            codes[:, j] = np.where(self.present[:, j], np.searchsorted(self.alphabets[j], q[:, j]), 0)
        return codes

    def raw(self, codes: np.ndarray) -> np.ndarray:
        q = codes + self.lows
        for j in self.few:
            q[:, j] = self.alphabets[j][np.minimum(codes[:, j], len(self.alphabets[j]) - 1)]
        return np.where(self.present, q, 0)

    # -- what a channel asks --------------------------------------------------------------------

    def shown(self, values: np.ndarray, rows: slice) -> Tensor:
        n, there = len(values), self.present[rows]
        x, visible = np.zeros((n, math.prod(self.net.shape))), np.zeros((n, math.prod(self.net.shape)), bool)
        entries = np.array([field.entry for field in self.fields], np.int64)
        for j in self.few:
            x[:, entries[j]] = self.values[j][values[:, j]]
        if len(self.many):
            x[:, entries[self.many]] = self._at(values[:, self.many], self.many)
        x[:, entries] = np.where(there, x[:, entries], 0.0)
        visible[:, entries] = there
        shape = (n, *self.net.shape)
        seen = None if visible.all() else torch.from_numpy(visible).reshape(shape)
        return fixed(self.net.features(torch.from_numpy(x).reshape(shape), seen))

    def put(self, stack: Stack, values: np.ndarray, out: Tensor, rows: slice) -> None:
        features, there = self._features(out), self.present[rows]
        if (cells := there[:, self.many]).any():
            stack.put_levels(values[:, self.many][cells], self._law_of_many(features, cells), self.depth)
        for j in reversed(self.few):
            if len(self.alphabets[j]) > 1 and (cells := there[:, j]).any():
                below, depth = self._law_of_few(j, features[cells])
                stack.put_levels(values[cells, j], below, depth)

    def take(self, stack: Stack, out: Tensor, rows: slice) -> np.ndarray:
        features, there = self._features(out), self.present[rows]
        values = np.zeros((len(features), self.width), np.int64)
        for j in self.few:
            if len(self.alphabets[j]) > 1 and (cells := there[:, j]).any():
                below, depth = self._law_of_few(j, features[cells])
                values[cells, j] = np.minimum(
                    stack.take_levels(int(cells.sum()), below, depth), len(self.alphabets[j]) - 1
                )
        if (cells := there[:, self.many]).any():
            found = np.zeros(cells.shape, np.int64)
            found[cells] = stack.take_levels(int(cells.sum()), self._law_of_many(features, cells), self.depth)
            values[:, self.many] = np.minimum(found, self.spans[self.many] - 1)
        return values

    # -- laws ---------------------------------------------------------------------------------------

    def _precisions(self) -> np.ndarray:
        """1 / σ of every number, as the network says."""
        found, noise = np.ones(self.width), getattr(self.net.likelihood, "noise", None)
        if noise is None or not any(field.law == 0 for field in self.fields):
            return found
        numeric = getattr(self.net.likelihood, "of_numeric", None)
        shape = self.net.shape if numeric is None else (numeric.stop - numeric.start,)
        told = precision(noise, shape).ravel()
        for j, field in enumerate(self.fields):
            if field.law == 0:
                found[j] = told[field.out.start]
        return found

    def _renew(self) -> None:
        """What follows from grains and shapes."""
        self._precision = self._inverse * exp(self.grains * -_GRAIN)
        shapes = np.where(self.shapes.any(1, keepdims=True), self.shapes, 1)
        self._risen = np.concatenate([np.zeros((len(shapes), 1)), shapes.cumsum(1)], 1) / shapes.sum(1, keepdims=True)

    def _features(self, out: Tensor) -> np.ndarray:
        """The decoder's answer (n, features), as real numbers."""
        if getattr(self.net.likelihood, "link", "") == "sigmoid":
            out = activate("sigmoid", out)
        return out.flatten(1).numpy() / ONE

    def _at(self, codes: np.ndarray, columns: Sequence[int] | np.ndarray) -> np.ndarray:
        """Codes of numbers of many values (n, m), or places between two, in x."""
        columns = np.asarray(columns)
        return self._numbers(codes + self.lows[columns].astype(np.float64), columns)

    def _scores(self, j: int, features: np.ndarray) -> np.ndarray:
        """log p(x_v | z) of every value (n, values), less what is the same for all of them."""
        field, x = self.fields[j], self.values[j]
        if field.law == 0:
            away = (x - features[:, field.out.start, None]) * self._precision[j]
            return away * away * -0.5
        if field.law == 1:
            return features[:, field.out.start, None] * x
        return features[:, field.out][:, x.astype(np.int64)]

    def _law_of_few(self, j: int, features: np.ndarray) -> tuple[Callable[[np.ndarray], np.ndarray], int]:
        scores = self._scores(j, features) + self.weights[j] * _GRAIN
        counts = np.floor(exp(scores - scores.max(1, keepdims=True)) * (1 << 24)) + 1.0
        below = np.concatenate([np.zeros((len(counts), 1)), counts.cumsum(1)], 1)  # whole: exact in any order
        rows, size = np.arange(len(below)), counts.shape[1]
        return lambda k: below[rows, np.minimum(k, size)], math.ceil(math.log2(size))

    def _below(self, features: np.ndarray, columns: Sequence[int] | np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
        """Φ at edges in x (n, m) of numbers of many values, without their shape."""
        columns = np.asarray(columns)
        mean = features[:, [self.fields[j].out.start for j in columns]]
        return lambda edges: normal_cdf_fast((edges - mean) * self._precision[columns])

    def _law_of_many(self, features: np.ndarray, cells: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
        """The mass below a value, of the ``cells`` (n, m) that are there."""
        law, spans = self._below(features, self.many), np.broadcast_to(self.spans[self.many], cells.shape)
        which = np.broadcast_to(np.arange(len(self.many)), cells.shape)

        def below(k: np.ndarray) -> np.ndarray:
            edges = np.zeros(cells.shape)
            edges[cells] = k - 0.5
            at = law(self._at(edges, self.many)) * float(_STEPS)
            low = np.minimum(np.floor(at), _STEPS - 1.0)
            place = low.astype(np.int64)
            first = self._risen[which, place]
            mass = (first + (self._risen[which, place + 1] - first) * (at - low))[cells]
            size = spans[cells]
            return with_floor(np.where(k <= 0, 0.0, np.where(k >= size, 1.0, mass)), k, size)

        return below


def _planes(values: np.ndarray, dtype: str) -> bytes:
    """Numbers as bytes, their first bytes first."""
    plain = np.ascontiguousarray(values.astype(dtype))
    return plain.view(np.uint8).reshape(len(plain), plain.itemsize).T.tobytes()


def _unplaned(data: bytes, dtype: str) -> np.ndarray:
    size = np.dtype(dtype).itemsize
    planes = np.ascontiguousarray(np.frombuffer(data, np.uint8).reshape(size, -1).T)
    return planes.view(dtype).ravel().astype(np.int64)
