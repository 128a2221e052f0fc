r"""Large rows with others beside them: columns of the same table, other rows read in step, or what is in memory.

.. math:: (x_i, c_i, t_i) \quad \text{for the places } i \text{ of a block}

A column leaves the table in the stretch that was read, so nothing is read twice for it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from isthmus.data.census import Counted, counted
from isthmus.data.large import Large, Together, cut, joined, taken

if TYPE_CHECKING:
    import pyarrow as pa


class Sided(Large):
    """``rows`` without the ``columns`` that stand beside them (by the name of what they are), and with ``others``:
    large rows, or data in memory, as many.
    """

    def __init__(
        self, rows: Large, columns: Mapping[str, Sequence[str]] | None = None, others: Mapping[str, Any] | None = None
    ):
        columns, others = dict(columns or {}), dict(others or {})
        if isinstance(rows, Sided):
            columns, others, rows = {**rows.columns, **columns}, {**rows.others, **others}, rows.rows
        self.rows, self.columns, self.others, self.kind = rows, columns, others, rows.kind  # type: ignore[misc]
        self._gone = {name for names in columns.values() for name in names}
        super().__init__(rows.counts)

    @property
    def column_names(self) -> list[str]:
        """Of a table: the columns that stay in it."""
        return [name for name in self.rows.column_names if name not in self._gone]  # type: ignore[attr-defined]

    @property
    def schema(self) -> pa.Schema:
        import pyarrow as pa

        return pa.schema([field for field in self.rows.schema if field.name not in self._gone])  # type: ignore[attr-defined]

    @property
    def num_columns(self) -> int:
        return len(self.column_names)

    @property
    def names(self) -> tuple[str, ...] | None:
        """Of pictures: their files."""
        return getattr(self.rows, "names", None)

    @property
    def width(self) -> int:
        return self.rows.width + sum(other.width for other in self.others.values() if isinstance(other, Large))

    def census(self, levels: Collection[str] = ()) -> Mapping[str, Counted]:
        return self.rows.census(levels)

    def column(self, name: str) -> Iterator[Any]:
        return self.rows.column(name)

    def beside(self, name: str) -> Any:
        return self.rows if name in self.columns else self.others.get(name)

    def mark(self) -> str:
        beside = {name: _mark(other) for name, other in sorted(self.others.items())}
        return f"{self.rows.mark()} {sorted(self.columns.items())} {beside}"

    def read(self, block: int) -> Iterator[Together]:
        begin = int(self.begins[block])
        others = {name: _InStep(other, begin) for name, other in self.others.items()}
        for piece in self.rows.read(block):
            yield self._together(piece, {name: other.take(len(piece)) for name, other in others.items()})

    def pick(self, places: np.ndarray) -> Together:
        others = {
            name: other.pick(places) if isinstance(other, Large) else taken(other, places)
            for name, other in self.others.items()
        }
        return self._together(self.rows.pick(places), others)

    def _together(self, data: Any, others: Mapping[str, Any]) -> Together:
        mine = {name: data.select(list(names)) for name, names in self.columns.items()}
        bare = data.select(self.column_names) if self.columns else data
        return Together(bare, {**mine, **others})


class Side(Large):
    """What stands beside large rows under one name, as rows of its own."""

    def __init__(self, whole: Large, name: str):
        self.whole, self.name, self.kind = whole, name, whole.kind  # type: ignore[misc]
        super().__init__(whole.counts)

    @property
    def width(self) -> int:
        return self.whole.width

    def census(self, levels: Collection[str] = ()) -> Mapping[str, Counted]:
        there = self.whole.beside(self.name)
        if isinstance(there, Large):
            return there.census(levels)
        return {name: counted(there[name]) for name in getattr(there, "column_names", ())}

    def mark(self) -> str:
        return f"{self.whole.mark()} {self.name}"

    def read(self, block: int) -> Iterator[Any]:
        for piece in self.whole.read(block):
            yield piece.beside[self.name]


class _InStep:
    """Rows from a place on, as many at a time as are asked for."""

    def __init__(self, rows: Any, begin: int):
        self.pieces = rows.pieces(begin) if isinstance(rows, Large) else iter([cut(rows, begin, len(rows))])
        self.left: list[Any] = []
        self.n = 0

    def take(self, n: int) -> Any:
        while self.n < n:
            self.left.append(next(self.pieces))
            self.n += len(self.left[-1])
        whole = joined(self.left)
        self.n -= n
        self.left = [cut(whole, n, n + self.n)] if self.n else []
        return cut(whole, 0, n)


def _mark(other: Any) -> str:
    """What tells rows that stand beside others from any else."""
    if isinstance(other, Large):
        return other.mark()
    digest = hashlib.blake2b(digest_size=16)
    if isinstance(other, np.ndarray):
        digest.update(np.ascontiguousarray(other).data)
    elif isinstance(other, list):
        digest.update(repr(other).encode())
    else:
        for column in other.columns:
            for chunk in column.chunks:
                digest.update(repr(chunk.to_pylist()).encode())
    return digest.hexdigest()
