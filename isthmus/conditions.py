"""What steers the decoder: columns of the rows, or labels that come beside them, as numbers.

References:
    Sohn, Lee, Yan, Learning Structured Output Representation using Deep Conditional Generative Models, 2015.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
from torch import Tensor

from isthmus.core.likelihoods import LIKELIHOODS
from isthmus.core.parts import Part, make, size
from isthmus.data.rows import Rows
from isthmus.data.source import open_rows
from isthmus.errors import DataError, unknown
from isthmus.modalities import modality_from_json, modality_to_json
from isthmus.modalities.table import Table

#: What labels that have no name are called.
_UNNAMED = "condition"
#: Whole numbers of no more values than this are labels.
_LABELS = 64


class Conditions:
    """Columns as numbers for the decoder: categories one-hot, numbers scaled, missing cells zero.

    The encoder does not see them, so a code can be had without them.
    """

    def __init__(self, table: Table):
        self.table = table
        part = Part.of(table.parts()["likelihood"])
        self.likelihood = make(LIKELIHOODS, "likelihood", part, (1,), table.shape)

    @classmethod
    def fit(cls, rows: Rows, kinds: Mapping[str, str] | None = None) -> Self:
        """Learn levels and scales from the conditions that stand beside ``rows``."""
        beside = rows.beside["condition"]
        # labels are often numbers written as text
        texts = {f.name: "categorical" for f in beside.data.schema if str(f.type) in ("string", "large_string")}
        said = {name: kind for name, kind in (kinds or {}).items() if name in beside.data.column_names}
        return cls(Table.fit(beside, kinds=texts | said))

    @property
    def names(self) -> list[str]:
        """The columns that steer."""
        return [column.name for column in self.table.columns]

    @property
    def width(self) -> int:
        """Numbers per row."""
        return size(self.likelihood.features_shape)

    def beside(self, rows: Rows) -> Rows:
        """``rows`` with their conditions beside them, where they hold the columns themselves."""
        if "condition" in rows.beside or rows.kind != "table" or not set(self.names) <= set(rows.data.column_names):
            return rows
        return set_aside(rows, self.names)

    def numbers(self, rows: Rows) -> Tensor:
        """The conditions beside ``rows``, (n, width)."""
        if "condition" not in rows.beside:
            raise DataError(
                f"The decoder of this model is steered by {', '.join(map(repr, self.names))}, which "
                f"{rows.origin} lacks. Bring the column, or labels beside the rows: condition=labels."
            )
        beside = rows.beside["condition"]
        if len(beside.data.column_names) == len(self.names) and beside.data.column_names[0].startswith(_UNNAMED):
            beside = beside.replace(data=beside.data.rename_columns(self.names))
        tensors = self.table.to_tensors(beside)
        return self.likelihood.represent(tensors["x"], tensors.get("observed")).flatten(1)

    def of(self, said: Any, n: int) -> Tensor:
        """The numbers of a condition that is said for ``n`` rows: one for all, or one for each."""
        if isinstance(said, Mapping):
            said = {name: [v] * n if isinstance(v, str) or np.ndim(v) == 0 else v for name, v in said.items()}
        elif isinstance(said, str) or np.ndim(said) == 0:
            said = [said] * n
        rows = Rows("array", np.zeros((n, 0)), "the codes", beside={"condition": _labels(said)})
        self._check(rows.beside["condition"].data)
        return self.numbers(rows)

    def _check(self, said: Any) -> None:
        """A label that a person says has to be one; among rows a new one is taken as unseen."""
        for column, values in zip(self.table.columns, said.columns, strict=False):
            for value in set(values.to_pylist()) if column.kind == "categorical" else ():
                if value is not None and str(value) not in column.levels:
                    raise unknown(f"value of {column.name!r}", str(value), column.levels)

    def to_json(self) -> dict[str, Any]:
        return modality_to_json(self.table)

    @classmethod
    def from_json(cls, said: Mapping[str, Any]) -> Self:
        table = modality_from_json(said)
        assert isinstance(table, Table)
        return cls(table)


def with_condition(rows: Rows, condition: Any) -> Rows:
    """``rows`` with what steers them beside them: the names of columns, which leave the table, or a label per row."""
    if rows.kind == "table":
        names = [condition] if isinstance(condition, str) else condition
        words = isinstance(names, list | tuple) and all(isinstance(name, str) for name in names)
        if words and (len(names) != len(rows) or set(names) <= set(rows.data.column_names)):
            return set_aside(rows, names)
    return rows.with_beside("condition", _labels(condition))


def set_aside(rows: Rows, names: Sequence[str]) -> Rows:
    """The table without the columns ``names``, which stand beside it as its condition."""
    for name in names:
        if name not in rows.data.column_names:
            raise unknown("column", name, rows.data.column_names)
    if len(names) == len(rows.data.column_names):
        raise DataError("Every column is a condition: nothing is left to learn. Name fewer.")
    return rows.without_columns("condition", names)


def _labels(said: Any) -> Rows:
    """A value per row, or several, as a table: few whole numbers and texts are categories."""
    import pyarrow as pa

    if isinstance(said, Rows | pa.Table) or hasattr(said, "columns"):
        return open_rows(said).replace(origin="the condition")
    if isinstance(said, Mapping):
        return Rows("table", pa.table({name: _column(np.asarray(v)) for name, v in said.items()}), "the condition")
    values = np.asarray(said)
    if values.ndim not in (1, 2) or not len(values):
        raise DataError(f"A condition is a label or a number for each row, got {said!r:.80}.")
    columns = values.reshape(len(values), -1).T
    names = [_UNNAMED] if len(columns) == 1 else [f"{_UNNAMED}_{i}" for i in range(len(columns))]
    return Rows("table", pa.table({n: _column(c) for n, c in zip(names, columns, strict=True)}), "the condition")


def _column(values: np.ndarray) -> Any:
    if values.dtype.kind == "O":
        return [None if value is None else str(value) for value in values]
    return values.astype(str) if values.dtype.kind in "biu" and len(np.unique(values)) <= _LABELS else values
