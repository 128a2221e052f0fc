r"""Symbols and probabilities ⇄ bytes, by the coders of ``constriction``.

.. math:: \text{bits} \approx -\sum_i \log_2 p(s_i)

``Stack`` is last in, first out (ANS): what bits-back needs. ``tables`` codes symbols that share one table each, first
in, first out (a range coder). Probabilities come from whole numbers, or from steps that are the same on every machine
(:mod:`isthmus.core.arithmetic`): both sides must hold the same to the last bit.

References:
    Duda, Tahboub, Gadgil and Delp, The use of asymmetric numeral systems, 2015 (ANS).
    Bamler, Understanding Entropy Coding With Asymmetric Numeral Systems, 2022, https://arxiv.org/abs/2201.01741
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence

import numpy as np

#: No binary choice is surer than this: rounding must never make what happened impossible.
_SURE = 2.0**-20

#: The mass below level k, for every entry at once: k (m,) whole numbers → (m,) float64, rising with k.
Cumulative = Callable[[np.ndarray], np.ndarray]


def _models() -> tuple[object, object]:
    import constriction

    return constriction.stream, constriction.stream.model


def filler(words: int) -> np.ndarray:
    """What lies at the bottom of a stack, so that something can be taken before anything was put: fixed and even."""
    at = np.arange(1, words + 1, dtype=np.uint64)
    return ((at * 2654435761 + 0x9E3779B9) % (1 << 32)).astype(np.uint32) | np.uint32(1)


class Stack:
    """A pile of symbols as one large number. ``take`` undoes ``put``, and ``put`` undoes ``take``."""

    def __init__(self, words: np.ndarray, *, seal: bool):
        stream, self._model = _models()
        self._coder = stream.stack.AnsCoder(np.ascontiguousarray(words, np.uint32), seal=seal)

    def words(self, *, unseal: bool = False) -> np.ndarray:
        try:
            return self._coder.get_compressed(unseal=unseal)
        except AssertionError as error:
            raise ValueError("its coded rows do not end where they began.") from error

    @property
    def bits(self) -> int:
        return int(self._coder.num_valid_bits())

    def put_bits(self, bits: np.ndarray, p: np.ndarray) -> None:
        """Zeros and ones (m,), each with its probability ``p`` of a one."""
        self._coder.encode_reverse(bits.astype(np.int32), self._model.Bernoulli(perfect=False), _possible(p))

    def take_bits(self, p: np.ndarray) -> np.ndarray:
        return self._coder.decode(self._model.Bernoulli(perfect=False), _possible(p)).astype(np.int64)

    def put_even(self, values: np.ndarray, n: int) -> None:
        """Numbers below ``n``, all alike."""
        self._coder.encode_reverse(values.astype(np.int32), self._model.Uniform(n))

    def take_even(self, count: int, n: int) -> np.ndarray:
        return self._coder.decode(self._model.Uniform(n), count).astype(np.int64)

    def put_levels(self, values: np.ndarray, below: Cumulative, depth: int) -> None:
        """Numbers below 2^depth as so many halvings, the first of which is taken first."""
        low, mass = np.zeros_like(values), [below(np.zeros_like(values)), below(np.full_like(values, 1 << depth))]
        puts = []
        for bit in range(depth - 1, -1, -1):
            middle = low + (1 << bit)
            here = below(middle)
            upper = values >= middle
            puts.append((upper, _share(mass[0], here, mass[1])))
            low = np.where(upper, middle, low)
            mass = [np.where(upper, here, mass[0]), np.where(upper, mass[1], here)]
        for upper, p in reversed(puts):
            self.put_bits(upper, p)

    def take_levels(self, count: int, below: Cumulative, depth: int) -> np.ndarray:
        low = np.zeros(count, np.int64)
        mass = [below(low), below(np.full_like(low, 1 << depth))]
        for bit in range(depth - 1, -1, -1):
            middle = low + (1 << bit)
            here = below(middle)
            upper = self.take_bits(_share(mass[0], here, mass[1])) == 1
            low = np.where(upper, middle, low)
            mass = [np.where(upper, here, mass[0]), np.where(upper, mass[1], here)]
        return low


def _share(low: np.ndarray, middle: np.ndarray, high: np.ndarray) -> np.ndarray:
    """The part of the mass between low and high that lies above the middle."""
    whole = high - low
    return np.where(whole > 0, (high - middle) / np.where(whole > 0, whole, 1.0), 0.5)


def _possible(p: np.ndarray) -> np.ndarray:
    return np.clip(np.asarray(p, np.float64), _SURE, 1.0 - _SURE)


class Writer:
    """Symbols into a range coder, one table at a time."""

    def __init__(self) -> None:
        stream, self._model = _models()
        self._coder = stream.queue.RangeEncoder()
        self._known: dict[int, object] = {}

    def put(self, symbols: np.ndarray, counts: np.ndarray) -> None:
        """Symbols (m,) that share a table of whole ``counts``; a table of one symbol costs nothing."""
        if len(symbols) and len(counts) > 1:
            self._coder.encode(symbols.astype(np.int32), table(self._model, counts))

    def put_each(self, symbols: np.ndarray, keys: np.ndarray, counts: dict[int, np.ndarray]) -> None:
        """Symbols one after the other, each with the table of its key."""
        models = {key: table(self._model, counts[key]) for key in set(keys.tolist()) if len(counts[key]) > 1}
        for symbol, key in zip(symbols.tolist(), keys.tolist(), strict=True):
            if key in models:
                self._coder.encode(symbol, models[key])

    def put_by_key(self, symbols: np.ndarray, keys: np.ndarray, counts: dict[int, np.ndarray]) -> None:
        """Symbols with the table of their keys, in the order of these; a table is made once."""
        for key, which in by_key(keys):
            if len(counts[key]) > 1:
                if key not in self._known:
                    self._known[key] = table(self._model, counts[key])
                self._coder.encode(symbols[which].astype(np.int32), self._known[key])

    def bytes(self) -> bytes:
        return self._coder.get_compressed().astype("<u4").tobytes()


class Reader:
    """Symbols out of a range coder, in the order in which they were put."""

    def __init__(self, data: bytes):
        stream, self._model = _models()
        if len(data) % 4:
            raise ValueError("its coded symbols are not whole words.")
        self._coder = stream.queue.RangeDecoder(np.frombuffer(data, "<u4").astype(np.uint32))
        self._known: dict[int, object] = {}

    def take(self, count: int, counts: np.ndarray) -> np.ndarray:
        if not count or len(counts) < 2:
            return np.zeros(count, np.int64)
        return self._decoded(table(self._model, counts), count).astype(np.int64)

    def _decoded(self, model: object, *count: int) -> np.ndarray:
        try:
            return self._coder.decode(model, *count)
        except AssertionError as error:
            raise ValueError("its coded symbols are impossible.") from error

    def take_by_key(self, keys: np.ndarray, counts: dict[int, np.ndarray]) -> np.ndarray:
        """Symbols with the table of their keys, as :meth:`Writer.put_by_key` put them.

        Raises ValueError where a table is lacking.
        """
        found = np.zeros(len(keys), np.int64)
        for key, which in by_key(keys):
            if key not in counts:
                raise ValueError("it lacks a table.")
            if len(counts[key]) > 1:
                if key not in self._known:
                    self._known[key] = table(self._model, counts[key])
                found[which] = self._decoded(self._known[key], len(which))
        return found

    def take_one(self, key: int, counts: np.ndarray) -> int:
        """One symbol; the table of a key is made once."""
        if len(counts) < 2:
            return 0
        if key not in self._known:
            self._known[key] = table(self._model, counts)
        return int(self._decoded(self._known[key]))


def by_key(keys: np.ndarray) -> list[tuple[int, np.ndarray]]:
    """Which symbols have which key, in the order of keys."""
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    edges = np.flatnonzero(np.diff(ordered)) + 1
    return [(int(keys[which[0]]), which) for which in np.split(order, edges)] if len(keys) else []


def table(model: object, counts: np.ndarray) -> object:
    """Whole counts as a table of probabilities: the coder rescales them by single exact steps."""
    return model.Categorical(np.asarray(counts, np.float64), perfect=False)


def joined(parts: Sequence[bytes]) -> bytes:
    """Sections behind each other, their lengths first."""
    return b"".join([struct.pack(f"<{len(parts)}I", *map(len, parts)), *parts])


def parted(data: bytes, n: int) -> list[bytes]:
    """The ``n`` sections that :func:`joined` put together.

    Raises:
        ValueError: the lengths are not those of the bytes.

    >>> parted(joined([b"head", b"", b"body"]), 3)
    [b'head', b'', b'body']
    """
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
