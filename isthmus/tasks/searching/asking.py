"""What a person looks for, as rows of the model: a text, a path, a row as JSON or ``NAME=VALUE,…``."""

from __future__ import annotations

import glob
import json
import os
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from isthmus.data.rows import Rows
from isthmus.errors import DataError

if TYPE_CHECKING:
    from isthmus.model import Model

#: What a model of each kind takes, for messages, and the kinds of rows that it can be.
_TAKES = {
    "text": ("a text, or a file of texts", {"text", "table"}),
    "image": ("the path of a picture, or of a folder of them", {"image"}),
    "series": (
        "the path of a recording or of a table of series",
        {"series", "recordings", "windows", "array", "table"},
    ),
    "table": ('a row as JSON ({"year": 2020}), as NAME=VALUE,NAME=VALUE, or the path of a table', {"table", "array"}),
    "array": ("a row as JSON ([0.5, 2]), or the path of an array", {"array", "table", "image"}),
    "sparse": ("the path of a sparse matrix", {"sparse", "array"}),
}


def asked_rows(model: Model, said: Any) -> Rows:
    """Rows of the model's kind from whatever was asked.

    Raises:
        DataError: it is empty, or of another kind than the model takes.
    """
    kind = model.modality.kind
    rows = _rows(model, kind, said)
    takes, kinds = _TAKES[kind]
    if rows.kind not in kinds:
        raise DataError(f"The query is of the kind {rows.kind!r} ({rows.origin}), and this model takes {takes}.")
    return rows


def _rows(model: Model, kind: str, said: Any) -> Rows:
    if isinstance(said, Rows):
        return said
    if isinstance(said, Mapping):
        return _of_cells(model, kind, [said])
    if isinstance(said, Sequence) and said and all(isinstance(one, Mapping) for one in said):
        return _of_cells(model, kind, list(said))
    if kind == "text" and isinstance(said, list | tuple) and all(isinstance(one, str) for one in said):
        if not said:
            raise DataError("No query was given: an empty list finds nothing.")
        return Rows("text", _not_empty(said), "the query")
    if not isinstance(said, str | os.PathLike):
        return model.open(said)
    said = os.fspath(said)
    if not said.strip():
        raise DataError(f"An empty query finds nothing. Give {_TAKES[kind][0]}.")
    if _is_path(said):
        return model.open(said)
    if kind == "text":
        return Rows("text", _not_empty([said]), "the query")
    return _written_out(model, kind, said.strip())


def _is_path(said: str) -> bool:
    if said == "-" or said.startswith("example:"):
        return True
    if len(said) > 4096 or "\n" in said or "\0" in said:
        return False
    name = re.sub(r"(\.(?:npz|safetensors)):[^:/]+$", r"\1", said)
    return os.path.exists(os.path.expanduser(name)) or (glob.has_magic(said) and bool(glob.glob(said, recursive=True)))


def _not_empty(texts: Sequence[str]) -> list[str]:
    if empty := [i for i, text in enumerate(texts) if not text.strip()]:
        where = "An empty query" if len(texts) == 1 else f"Query {empty[0]} is empty, and that"
        raise DataError(f"{where} finds nothing. Say some words.")
    return list(texts)


def _written_out(model: Model, kind: str, said: str) -> Rows:
    takes = _TAKES[kind][0]
    if said[0] in "{[":
        try:
            row = json.loads(said)
        except ValueError as error:
            raise DataError(f"The query {said[:80]!r} begins as JSON and is none ({error}). Give {takes}.") from None
        if isinstance(row, dict):
            return _of_cells(model, kind, [row])
        if row and all(isinstance(one, dict) for one in row):
            return _of_cells(model, kind, row)
        names = _columns(model) if kind == "table" else []
        if names and len(row) == len(names) and not any(isinstance(cell, list) for cell in row):
            return _of_cells(model, kind, [dict(zip(names, row, strict=True))])
        try:
            numbers = np.asarray(row if row and isinstance(row[0], list) else [row])
        except ValueError:  # of several lengths
            numbers = np.zeros(0)
        if numbers.dtype.kind not in "biuf" or not numbers.size:
            raise DataError(f"The query {said[:80]!r} is no row of numbers. Give {takes}.")
        return model.open(numbers)
    pairs = [pair.partition("=") for pair in said.split(",")]
    if kind == "table" and all(equals and name.strip() for name, equals, _ in pairs):
        return _of_cells(model, kind, [{name.strip(): _value(value) for name, _, value in pairs}])
    raise DataError(f"There is no file {said[:200]!r}, and it is nothing else that this model takes: give {takes}.")


def _value(said: str) -> Any:
    try:
        return json.loads(said)
    except ValueError:
        return said.strip() or None  # nothing behind the = says nothing


def _columns(model: Model) -> list[str]:
    return list(model.modality.looks_at)


def _of_cells(model: Model, kind: str, rows: list[Mapping[str, Any]]) -> Rows:
    """Rows by column; what nothing is said of is missing."""
    import pyarrow as pa

    from isthmus.errors import unknown

    if kind not in ("table", "text"):
        raise DataError(f"Columns were named, and this model takes {_TAKES[kind][0]}.")
    if kind == "text":
        columns = list(model.modality.columns) or ["text"]
    else:
        columns = _columns(model)
    for row in rows:
        for name in row:
            if name not in columns and kind == "table":
                raise unknown("column", name, columns, DataError)
    if not any(row.get(name) is not None for row in rows for name in columns):
        raise DataError(f"An empty query finds nothing: say something of {', '.join(columns[:8])}.")
    try:
        table = pa.table({name: pa.array([row.get(name) for row in rows]) for name in columns})
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError) as error:
        raise DataError(f"The query cannot be read as rows: {str(error).splitlines()[0]}.") from None
    if kind == "text" and not model.modality.columns:
        return Rows("text", _not_empty(table["text"].to_pylist()), "the query")
    return Rows("table", table, "the query")
