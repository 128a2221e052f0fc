"""Rows one at a time: a list of cells → x, by lookups that are made once.

.. math:: x = \\mathrm{scaling}(\\mathrm{number}_1(c_1), \\dots, \\mathrm{number}_d(c_d))

The numbers are those that :meth:`Modality.to_tensors` makes of the same cells in a file, to the last bit, without
building an Arrow table for every row, which takes a hundred times as long.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from isthmus.data.rows import Rows
from isthmus.errors import DataError
from isthmus.modalities.array import Array, with_missing
from isthmus.modalities.base import Modality
from isthmus.modalities.columns.numeric import number_of
from isthmus.modalities.table import Table


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
            if pictures := [column.name for column in modality.used if column.kind == "image"]:
                raise DataError(
                    f"The column {pictures[0]!r} names pictures, which do not come line by line. Hand whole rows: "
                    "isthmus detect MODEL DATA."
                )
            self._read = [column.reader() for column in modality.used]
            self.numeric = [column.kind == "numeric" for column in modality.used]
            self._scaled, self._single = modality.scaled, modality.groups is None
            n_entries = modality.shape[0]
        elif isinstance(modality, Array):
            names = modality.names if names is None else list(names)
            if (n := len(names)) != (wanted := len(modality.names)):
                raise DataError(f"X has {n} features, but Autoencoder is expecting {wanted} features as input.")
            self._at = list(range(len(names)))
            self._read = [number_of] * len(names)
            self._scaled, self.numeric, self._single = self._at, [True] * len(names), True
            n_entries = len(names)
        else:
            raise DataError(
                f"Rows of cells are for tables and arrays; this model takes rows of kind {modality.kind!r}. "
                "Hand it whole rows: isthmus detect MODEL DATA."
            )
        self.names, self.width = list(names), len(names)
        self._others = [j for j in range(n_entries) if j not in set(self._scaled)]
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
            found = [read(cell) for read, cell in zip(self._read, cells, strict=True)]
        except (ValueError, TypeError, OverflowError):
            raise DataError(self._which(cells)) from None
        if self._single:
            return found
        return [number for several in found for number in (several if isinstance(several, list) else [several])]

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
