"""Has this row been seen? A Bloom filter over the rows of a table: small, it holds no row, and it never forgets one.

.. math:: P(\\text{a new row is taken for a seen one}) \\approx (1 - e^{-k n / m})^k \\approx 0.003
    \\qquad m = 12 n, \\; k = 8

References:
    Bloom, Space/Time Trade-offs in Hash Coding with Allowable Errors, 1970.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pyarrow as pa

#: Bits a row, and those that are set for it.
_BITS, _SET = 12, 8
#: Rows of which it is remembered: 1.5 MB.
MOST = 1 << 20
#: Digits of a number that is no whole one: the last ones of float32 are no difference.
_DIGITS = 6


@dataclass(frozen=True)
class Seen:
    """``bits`` (bytes,) uint8."""

    bits: np.ndarray

    @classmethod
    def of(cls, table: pa.Table) -> Seen:
        bits = np.zeros(max(8, -(-len(table) * _BITS // 8)), np.uint8)
        places = _places(table, 8 * len(bits)).ravel()
        np.bitwise_or.at(bits, places >> 3, (1 << (places & 7)).astype(np.uint8))
        return cls(bits)

    def holds(self, table: pa.Table) -> np.ndarray:
        """Which rows have been seen (n,); few more, by chance."""
        places = _places(table, 8 * len(self.bits))
        return ((self.bits[places >> 3] >> (places & 7).astype(np.uint8)) & 1).all(1)


def row_hashes(table: pa.Table) -> np.ndarray:
    """A number for each row (n,), uint64: the same for rows of the same cells."""
    found = np.zeros(len(table), np.uint64)
    for j, column in enumerate(table.columns):
        found = _mixed(found ^ (_hashed(column) + np.uint64(0x9E3779B97F4A7C15 * (j + 1) % 2**64)))
    return found


def _places(table: pa.Table, bits: int) -> np.ndarray:
    first = row_hashes(table)
    then = _mixed(first) | np.uint64(1)
    return np.stack([(first + np.uint64(i) * then) % np.uint64(bits) for i in range(_SET)], 1).astype(np.int64)


def _hashed(column: Any) -> np.ndarray:
    """The cells of a column as uint64; a missing one is 0."""
    import pyarrow as pa
    import pyarrow.compute as pc

    type_ = column.type
    if pa.types.is_temporal(type_):
        column = column.cast(pa.int32() if type_.bit_width == 32 else pa.int64()).cast(pa.int64())
        type_ = column.type
    if pa.types.is_floating(type_) or pa.types.is_decimal(type_):
        values = column.cast(pa.float64()).to_numpy()
        there = np.isfinite(values)
        values = np.where(there, values, 0.0)
        with np.errstate(all="ignore"):  # numbers at the ends of what a float can be stay as they are
            unit = 10.0 ** (np.floor(np.log10(np.where(values == 0, 1.0, np.abs(values)))) - _DIGITS + 1)
            rounded = np.rint(values / unit)
            # a power of ten is not exact, but its product with a whole number is the same every time
            same = np.where(np.isfinite(rounded) & (unit > 0), rounded * unit, values) + 0.0  # and −0 is 0
        return np.where(there, _mixed(same.view(np.uint64) + np.uint64(1)), np.uint64(0))
    if pa.types.is_integer(type_) or pa.types.is_boolean(type_):
        gone = column.is_null().to_numpy()
        whole = pc.fill_null(column, False if pa.types.is_boolean(type_) else 0).cast(pa.int64(), safe=False).to_numpy()
        return np.where(gone, np.uint64(0), _mixed(whole.view(np.uint64) + np.uint64(1)))
    known = column.cast(pa.large_string()).combine_chunks().dictionary_encode()
    known = known.combine_chunks() if isinstance(known, pa.ChunkedArray) else known
    words = [_word(word) for word in known.dictionary.to_pylist()]
    index = known.indices.fill_null(len(words)).to_numpy(zero_copy_only=False)
    return np.array([*words, 0], np.uint64)[index]


def _word(word: object) -> int:
    return int.from_bytes(hashlib.blake2b(str(word).encode(), digest_size=8).digest())


def _mixed(values: np.ndarray) -> np.ndarray:
    """The finaliser of splitmix64: every bit of the result depends on every bit."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
