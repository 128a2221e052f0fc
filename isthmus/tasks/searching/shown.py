"""What an index keeps of rows beside their codes, to show them and to filter by: a table, one row for each."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from isthmus.data.rows import Rows
from isthmus.data.source import open_rows
from isthmus.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

#: Rows that are read together.
_BLOCK = 65536


def shown(rows: Rows, samples: Rows, columns: Any = None) -> pa.Table:
    """The columns of a table; else names, texts and paths; else the row's number.

    Args:
        samples: the rows as a model's samples, which of recordings are windows.
        columns: a table with one row for each sample, to stand beside.
    """
    table = _own(rows, samples)
    if columns is None:
        return table
    beside = open_rows(columns)
    if beside.kind != "table" or len(beside) != len(samples):
        raise DataError(
            f"columns is a table with one row for each that is indexed, {len(samples):,}; got {beside.kind} with "
            f"{len(beside):,}."
        )
    for name in beside.data.column_names:
        if name in table.column_names:
            raise DataError(f"The rows and the columns beside them both have {name!r}. Rename one.")
        table = table.append_column(name, beside.data[name])
    return table


def _own(rows: Rows, samples: Rows) -> pa.Table:
    import pyarrow as pa

    if samples.kind == "windows":
        return _stretches(rows, samples)
    if rows.kind == "table":
        whole = rows.data if not rows.large else pa.concat_tables([part.data for part in rows.chunks(_BLOCK)])
        return whole.combine_chunks()
    columns: dict[str, Any] = {}
    if rows.names is not None:
        columns["name"] = pa.array(list(rows.names), pa.string())
    if rows.kind == "text":
        columns["text"] = pa.array(list(rows.data), pa.string())
    if rows.kind == "image" and isinstance(rows.data, list):
        columns["path"] = pa.array([str(Path(path).resolve()) for path in rows.data], pa.string())
    # a table knows its length by its columns, so there is always one
    return pa.table(columns or {"row": pa.array(np.arange(len(samples)))})


def _stretches(rows: Rows, samples: Rows) -> pa.Table:
    """Windows of recordings: which recording, and from which step of it to which."""
    import pyarrow as pa

    windows, names, begins = samples.data, [], []
    first, edges = 0, []
    for piece in windows.recorded.pieces:
        edges.append(first)
        first += max(len(piece), windows.length)
    which = np.searchsorted(np.array(edges), windows.begins, side="right") - 1
    for piece, begin in zip(which.tolist(), windows.begins.tolist(), strict=True):
        names.append(rows.names[piece] if rows.names and len(rows.names) == len(edges) else f"piece {piece}")
        begins.append(begin - edges[piece])
    return pa.table({"name": names, "begin": begins, "end": [b + windows.length for b in begins]})


def below(above: pa.Table, below: pa.Table) -> pa.Table:
    import pyarrow as pa

    if lost := [name for name in above.column_names if name not in below.column_names]:
        raise DataError(
            f"The rows that are added lack the column {lost[0]!r}. An index has the columns that it was built with: "
            f"{', '.join(above.column_names)}."
        )
    try:
        return pa.concat_tables([above, below.select(above.column_names).cast(above.schema)]).combine_chunks()
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise DataError(
            f"A column of the rows that are added is of another type: {str(error).splitlines()[0]}"
        ) from None
