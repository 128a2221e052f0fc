"""Labels beside rows, as people bring them: a column, a file, the folder that each file is in, or one for each row."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from isthmus.data.files import NULLS, READERS, read_npz
from isthmus.data.gathered import Gathered
from isthmus.data.rows import Rows
from isthmus.data.source import open_rows
from isthmus.errors import DataError, SpecError, unknown

#: What stands for the folder that each file is in.
FOLDER = "folder"


@dataclass(frozen=True)
class Labels:
    """A label for each of ``rows``: ``column`` is one of theirs, or ``brought`` (n,) came beside them."""

    rows: Rows
    name: str
    column: str | None = None
    brought: np.ndarray | None = None

    @property
    def cells(self) -> np.ndarray:
        """The labels (n,) as they were written, of rows in memory."""
        return self.brought if self.column is None else _objects(self.rows.data[self.column].to_pylist())

    def each(self, told: Callable[[list[Any]], np.ndarray]) -> np.ndarray:
        """What ``told`` says of labels, row by row (n,); of large rows it is asked of every different one."""
        if self.column is not None and self.rows.large:
            return Gathered.of(self.rows.data.column(self.column)).each(told)
        return told(self.cells.tolist())

    def bare(self) -> Rows:
        """The rows without their column of labels. From large rows none is taken: what reads them may skip it."""
        if self.column is None or self.rows.large:
            return self.rows
        return self.rows.replace(data=self.rows.data.drop_columns([self.column]))


def find_labels(rows: Rows, said: Any) -> Labels:
    """The labels of rows.

    Args:
        said: the name of a column; the path of a file with one label a row (``.npy``, ``.npz:key``, a table of one
            column, a ``.txt`` with a label a line); ``"folder"``, which each file of ``rows`` is in; or a label for
            each row.

    Raises:
        DataError: there is no such column or file, or not one label a row.
    """
    found = _found(rows, said)
    if found.brought is not None and len(found.brought) != len(rows):
        raise DataError(
            f"There are {len(rows):,} rows and {len(found.brought):,} labels. Bring one for each, None if unknown."
        )
    return found


def _found(rows: Rows, said: Any) -> Labels:
    if not isinstance(said, str | Path):
        values = said.to_pylist() if hasattr(said, "to_pylist") else said
        return Labels(rows, "the labels", brought=_objects(values))
    name = str(said)
    if rows.kind == "table" and name in rows.data.column_names:
        return Labels(rows, name, name)
    path = name.partition(".npz:")[0] + ".npz" if ".npz:" in name else name
    if Path(path).is_file():
        return Labels(rows, Path(name).name, brought=_objects(_read(name)))
    if name == FOLDER:
        return Labels(rows, FOLDER, brought=_folders(rows))
    if rows.kind == "table":
        raise unknown("column", name, rows.data.column_names, DataError)
    raise DataError(
        f"{rows.origin} has no columns, so none is called {name!r}. Labels are also a file with one a row, or "
        f"{FOLDER!r}: the folder that each file is in. From Python hand over an array: labels=array."
    )


def _read(name: str) -> Any:
    """A label a row, from a file."""
    if ".npz:" in name:
        path, _, key = name.rpartition(".npz:")
        return read_npz(Path(f"{path}.npz"), key)
    if name.lower().endswith(".npy"):
        return READERS[".npy"](Path(name))[0]
    rows = open_rows(name)
    if rows.kind == "text":
        return rows.data
    if rows.kind != "table" or rows.data.num_columns != 1:
        raise DataError(f"{name} is to hold one label a row, in one column. Name a table's column, or write one alone.")
    return rows.data.column(0).to_pylist()


def _folders(rows: Rows) -> np.ndarray:
    names = [Path(name).parent.name for name in rows.names or getattr(rows.data, "names", None) or ()]
    if not names or not any(names):
        raise SpecError(f"{rows.origin} is no folder with a folder for each label in it. Name a file with the labels.")
    return _objects(names)


def nothing(value: Any) -> bool:
    """Whether a label is missing."""
    if value is None or (isinstance(value, float | np.floating) and np.isnan(value)):
        return True
    return isinstance(value, str) and value.strip() in NULLS


def _objects(values: Any) -> np.ndarray:
    return np.atleast_1d(np.asarray(values, dtype=object)).ravel()
