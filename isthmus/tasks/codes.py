"""Codes: rows into them, back out of them, and through them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from isthmus.data.sink import as_table, save_rows, to_pandas
from isthmus.data.source import open_rows
from isthmus.tasks.base import Result

if TYPE_CHECKING:
    from isthmus.model import Model


@dataclass
class Codes(Result):
    """``codes`` (n, *code_shape), float32."""

    codes: np.ndarray

    def to_frame(self) -> Any:
        return to_pandas(_as_table(self.codes))

    def save(self, path: Path) -> list[Path]:
        data = self.codes if Path(path).suffix in (".npy", ".npz") else _as_table(self.codes)
        return save_rows(data, path)

    def summary(self) -> list[str]:
        n, *shape = self.codes.shape
        return [f"{n:,} codes of {' × '.join(map(str, shape))} numbers"]

    def to_json(self) -> dict[str, Any]:
        return {"rows": len(self.codes), "code_shape": list(self.codes.shape[1:])}


@dataclass
class Returned(Result):
    """Rows as they came back: ndarray, ``pyarrow.Table``, images or series; ``names`` are the files of a folder."""

    rows: Any
    names: tuple[str, ...] | None = None

    def to_frame(self) -> Any:
        return to_pandas(_as_table(self.rows) if isinstance(self.rows, np.ndarray) else as_table(self.rows))

    def save(self, path: Path) -> list[Path]:
        return save_rows(self.rows, path, self.names)

    def summary(self) -> list[str]:
        return [f"{len(self.rows):,} rows came back"]

    def to_json(self) -> dict[str, Any]:
        return {"rows": len(self.rows)}


def encode(model: Model, rows: Any) -> Codes:
    """Rows → codes: the mode of each, the same every time."""
    return Codes(model.encode(rows))


def decode(model: Model, codes: Any, *, condition: str | None = None) -> Returned:
    """Codes (an array, or a file that holds one) → rows as the model's own looked.

    Args:
        condition: What steers a conditional model: a value, or NAME=VALUE,NAME=VALUE where several columns do.
    """
    if isinstance(codes, str | Path):
        rows = open_rows(codes)
        if rows.kind == "table":
            codes = np.column_stack([column.to_numpy() for column in rows.data.columns])
        else:
            codes = rows.data
    said: Any = condition
    if condition is not None and "=" in condition:
        said = dict(pair.partition("=")[::2] for pair in condition.split(","))
    return Returned(model.decode(codes, condition=said))


def reconstruct(model: Model, rows: Any) -> Returned:
    """Rows → what comes back through the isthmus."""
    rows = open_rows(rows)
    return Returned(model.reconstruct(rows), rows.names)


def _as_table(values: np.ndarray) -> Any:
    import pyarrow as pa

    flat = values.reshape(len(values), -1)
    return pa.table({f"code_{i}": flat[:, i] for i in range(flat.shape[1])})
