"""Rows one at a time: a list of cells → x, by lookups that are made once.

.. math:: x = \\mathrm{scaling}(\\mathrm{number}_1(c_1), \\dots, \\mathrm{number}_d(c_d))

The numbers are those that :meth:`Modality.to_tensors` makes of the same cells in a file, to the last bit, without
building an Arrow table for every row, which takes a hundred times as long.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from isthmus.data.rows import Rows
from isthmus.errors import DataError
from isthmus.modalities.array import Array, with_missing
from isthmus.modalities.base import Modality
from isthmus.modalities.table import ABSENT, FALSE, TRUE, Column, Table, cell_text, moment

#: Conversions of odd cells that are remembered per column.
_MOST = 10_000


class Cells:
    """Turns rows of cells into tensors for one modality.

    ``names`` are the columns that rows come with, in their order; without them rows hold the columns of the
    training, in its order. Cells are texts, numbers, yes/no, or None where missing.

    Raises:
        DataError: the columns are not those of the training, or the modality has no columns.
    """

    def __init__(self, modality: Modality, names: Sequence[str] | None = None):
        self.width, self._at = 0, [0]
        if isinstance(modality, Table):
            known = [column.name for column in modality.columns]
            names = known if names is None else list(names)
            _check(modality, names)
            self._at = [names.index(column.name) for column in modality.used]
            self._read = [_reader(column) for column in modality.used]
            self.numeric = [column.kind == "numeric" for column in modality.used]
            self._scaled = [j for j, column in enumerate(modality.used) if column.kind in ("numeric", "date")]
        elif isinstance(modality, Array):
            names = modality.names if names is None else list(names)
            if (n := len(names)) != (wanted := len(modality.names)):
                raise DataError(f"X has {n} features, but Autoencoder is expecting {wanted} features as input.")
            self._at = list(range(len(names)))
            self._read = [_number] * len(names)
            self._scaled, self.numeric = self._at, [True] * len(names)
        else:
            raise DataError(
                f"Rows of cells are for tables and arrays; this model takes rows of kind {modality.kind!r}. "
                "Hand it whole rows: isthmus detect MODEL DATA."
            )
        self.names, self.width = list(names), len(names)
        self._others = [j for j in range(len(self._at)) if j not in set(self._scaled)]
        self._all_scaled = not self._others
        self._forward = modality.scaling.forward

    def __call__(self, rows: Sequence[Sequence[Any] | Mapping[str, Any]]) -> dict[str, Tensor]:
        """Rows → what :meth:`Modality.to_tensors` gives for them.

        Raises:
            DataError: a row that cannot be read, and why.
        """
        return self.tensors([self.numbers(self.pick(row)) for row in rows])

    def tensors(self, numbers: Sequence[Sequence[float]]) -> dict[str, Tensor]:
        """The same from what :meth:`numbers` gave for each row."""
        raw = np.array(numbers, dtype=np.float64)
        if self._all_scaled:
            return with_missing(self._forward(raw))
        x = np.empty(raw.shape, np.float32)
        x[:, self._others] = raw[:, self._others]
        if self._scaled:
            x[:, self._scaled] = self._forward(raw[:, self._scaled])
        return with_missing(x)

    def pick(self, row: Sequence[Any] | Mapping[str, Any]) -> list[Any]:
        """The cells of the columns that the model uses, as they came."""
        if isinstance(row, Mapping):
            if not any(name in row for name in self.names):
                raise DataError(f"none of the model's columns is in it: {', '.join(map(repr, list(row)[:5]))}")
            return [row.get(self.names[at]) for at in self._at]
        if len(row) != self.width:
            raise DataError(f"{len(row):,} cells, and {self.width:,} were expected")
        return [row[at] for at in self._at]

    def numbers(self, cells: Sequence[Any]) -> list[float]:
        """Used cells as numbers, NaN where missing, not yet scaled."""
        try:
            return [read(cell) for read, cell in zip(self._read, cells, strict=True)]
        except (ValueError, TypeError, OverflowError):
            raise DataError(self._which(cells)) from None

    def _which(self, cells: Sequence[Any]) -> str:
        for read, at, cell in zip(self._read, self._at, cells, strict=True):
            try:
                read(cell)
            except (ValueError, TypeError, OverflowError):
                return f"{self.names[at]!r} cannot be {cell!r:.60}"
        raise AssertionError("some cell could not be read")


def _check(modality: Table, names: Sequence[str]) -> None:
    """The modality's own error where a column is missing, with its guess at a renamed one."""
    import pyarrow as pa

    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(f"Column names must differ; {twice[0]!r} comes more than once. Rename or drop it.")
    nothing = pa.table({name: pa.array([], pa.null()) for name in names})
    modality.to_tensors(Rows("table", nothing, "the stream"))


def _reader(column: Column) -> Callable[[Any], float]:
    if column.kind == "categorical":
        return _Remembered(_level(column))
    if column.kind == "date":
        return _Remembered(lambda cell: moment(column, cell))
    return _flag if column.kind == "boolean" else _number


def _number(cell: Any) -> float:
    if cell.__class__ is str:
        try:
            # Python alone reads 1_000 and other scripts' digits as numbers
            if "_" in cell or not cell.isascii():
                raise ValueError
            return float(cell)
        except ValueError:
            if cell.strip() in ABSENT:
                return math.nan
            raise
    return math.nan if cell is None else float(cell)


def _flag(cell: Any) -> float:
    if cell.__class__ is str and (said := cell.strip().lower()) in (*TRUE, *FALSE):
        return float(said in TRUE)
    number = _number(cell)
    return min(max(number, 0.0), 1.0) if number == number else number


def _level(column: Column) -> Callable[[Any], float]:
    number = {level: float(i + 1) for i, level in enumerate(column.levels)}

    def level(cell: Any) -> float:
        if cell is None or cell == "" or cell != cell:
            return math.nan
        if cell.__class__ is str and cell in number:
            return number[cell]
        return number.get(cell_text(cell, column.dtype), 0.0)

    return level


class _Remembered:
    """A conversion that is slow and asked for the same few cells again and again."""

    def __init__(self, slow: Callable[[Any], float]):
        self.slow, self.known = slow, dict[Any, float]()

    def __call__(self, cell: Any) -> float:
        # 1, 1.0 and True are one key of a dictionary, and different cells
        key = cell if cell.__class__ is str else (cell.__class__, cell)
        found = self.known.get(key)
        if found is None:
            if len(self.known) >= _MOST:
                self.known.clear()
            found = self.known[key] = self.slow(cell)
        return found
