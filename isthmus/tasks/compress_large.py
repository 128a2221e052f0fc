"""Compress rows that are read in stretches, and bring back more than memory should hold: a chunk after the other.

What a column is kept as is told by the counts of all rows (:mod:`isthmus.data.census`), so it is what it would be in
memory; a promise in per cent is of the spread of some rows that stand for all.
"""

from __future__ import annotations

import tempfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from isthmus.data import container
from isthmus.data.container import MAX_CELLS
from isthmus.data.growing import Growing
from isthmus.data.rows import Rows
from isthmus.errors import DataError, FileError, SpecError
from isthmus.tasks.base import Result
from isthmus.tasks.besides import besides
from isthmus.tasks.codes import first_rows
from isthmus.tasks.compress import Packed, _checked, _Coder, _read, _scaling, _told
from isthmus.tasks.packing import Column, Form, _form, error_of, form_of, from_cells, promised, to_cells

if TYPE_CHECKING:
    from isthmus.data.census import Counted
    from isthmus.model import Model


class Packing(Result):
    """Rows that are compressed when :meth:`save` says where to; without it the sizes alone are found out."""

    def __init__(self, model: Model, rows: Rows, max_error: str | None, chunk_rows: int | None, compare: bool):
        if rows.kind not in ("array", "table"):
            raise DataError(
                f"{rows.origin} ({rows.kind}) is read in stretches, of which tables and vectors can be compressed. "
                "Bring fewer at once, or read them whole if memory allows: --no-stream (stream=False)."
            )
        self.model, self.rows, self.max_error, self.compare = model, rows, max_error, compare
        self.form = _form_of(model, rows, max_error)
        self.step = max(1, MAX_CELLS // max(1, len(self.form.columns)))
        if chunk_rows is not None:
            if chunk_rows < 1:
                raise SpecError(f"chunk_rows is a number of at least 1, got {chunk_rows}.")
            self.step = min(self.step, int(chunk_rows))
        self.found: Packed | None = None
        self.begin, self.remarks = 0, list[str]()
        #: Called behind each chunk with the rows that are done.
        self.watch: Callable[[int], Any] = lambda n: None

    def __len__(self) -> int:
        return len(self.rows)

    def save(self, path: Path, *, resume: bool = False) -> list[Path]:
        """Write the file: chunks beside it as they come, and then all of it in one go."""
        path = Path(path)
        if path.suffix.lower() != ".isz":
            raise FileError(f"Compressed rows are written as .isz, not {path.name!r}.")
        if resume:
            raise SpecError("A compressed file is whole or not there, so nothing can be gone on with: no --resume.")
        try:
            with tempfile.TemporaryFile(dir=path.parent, prefix=".isthmus-") as chunks:
                size = container.write_from(path, *self._coded(chunks), chunks)
        except FileError:
            raise
        except OSError as error:
            raise FileError(f"Cannot write {path}: {error.strerror or error}.") from error
        assert self.found is not None
        self.found.data = _Elsewhere(size)  # type: ignore[assignment]
        return [path]

    def run(self) -> Packed:
        """What the file would be, once all rows were coded."""
        if self.found is None:
            header, listed = self._coded(None)
            size = len(container.head_of(header, listed)) + sum(n for _, n, _ in listed) + container.SUM_SIZE
            assert self.found is not None
            self.found.data = _Elsewhere(size)  # type: ignore[assignment]
        return self.found

    def to_table(self) -> Any:
        return self.run().to_table()

    def summary(self) -> list[str]:
        return self.run().summary()

    def to_json(self) -> dict[str, Any]:
        return self.run().to_json()

    def _coded(self, out: BinaryIO | None) -> tuple[dict[str, Any], list[list[int]]]:
        """Code all rows, each chunk decoded again before it is written: the header, and what it says of chunks."""
        model, form, rows = self.model, self.form, self.rows
        coder, listed, ways = _Coder(model, form), list[list[int]](), Counter[str]()
        largest, zstd, raw, first = 0.0, 0, 0, None
        for some in rows.chunks(self.step):
            way, coded, plain = coder.encode(to_cells(some.data, form), some)
            back = from_cells(coder.decode(coded, len(some)), form, len(some))
            largest = max(largest, _checked(some.data, back, form))
            ways[way] += 1
            zstd, raw = zstd + plain, raw + int(some.data.nbytes)
            first = some.data if first is None else first
            listed.append([len(some), len(coded), zlib.crc32(coded)])
            if out is not None:
                out.write(coded)
            self.watch(some.first + len(some))
        header = {
            "codec": "rows", "model": model.fingerprint, "kind": model.modality.kind, "rows": len(rows),
            "cells_per_row": max(1, len(form.columns)), "raw_bytes": raw, "form": form.to_json(), "names": None,
            "origin": rows.origin, "max_error": self.max_error,
        }  # fmt: skip
        steps = {column.name: error_of(column.step) for column in form.columns if column.step is not None}
        told = steps
        if form.shape is not None and len(set(steps.values())) == 1:
            told = {"every number": next(iter(steps.values()))}
        remarks = [f"the model predicts nothing here: {coder.why}"] if coder.why else []
        if self.max_error is None and any(column.how == "raw" for column in form.columns):
            remarks.append("numbers with fractions are kept to the last bit, which models cannot predict: "
                           "max_error=1% (--max-error 1%) makes far smaller files")  # fmt: skip
        beside = []
        if self.compare and first is not None:
            beside = besides(first, form, coder.lay, zstd, self.max_error is None, len(rows))
        weight = sum(t.numel() * t.element_size() for t in model.net.state_dict().values())
        self.found = Packed(
            b"", len(rows), raw, dict(ways), told or None, largest if told else None, beside, weight, remarks
        )
        return header, listed


class Unpacking(Result):
    """Rows of a compressed table, brought back chunk by chunk when :meth:`save` says where to."""

    def __init__(self, packed: container.Container, coder: _Coder, form: Form, salvage: bool):
        self.packed, self.coder, self.form, self.salvage = packed, coder, form, salvage
        self.n = 0
        self.remark: str | None = None
        self.begin, self.remarks, self.first = 0, list[str](), list[str]()
        #: Called behind each chunk with the rows that are done.
        self.watch: Callable[[int], Any] = lambda n: None

    def __len__(self) -> int:
        return self.packed.rows

    def __iter__(self) -> Iterator[Any]:
        """The rows, a table for each chunk; chunks that are damaged are passed over where that was asked for."""
        lost, at = [], 0
        for number, chunk in enumerate(self.packed.chunks):
            found = _read(self.packed, chunk, self.coder, self.form)
            at += chunk.rows
            if found is None:
                lost.append((number, at - chunk.rows, at))
                _told(self.packed, lost, self.salvage, any_left=True)
                continue
            self.n += len(found)
            yield found
            self.watch(at)
        self.remark = _told(self.packed, lost, self.salvage, any_left=self.n > 0)

    def save(self, path: Path, *, resume: bool = False) -> list[Path]:
        """Write the rows to a ``.parquet``, ``.csv`` or ``.tsv`` while they come back."""
        if resume:
            raise SpecError("What comes back is written from its beginning: no --resume.")
        self.n = 0
        with Growing(Path(path), "decompress") as out:
            for table in self:
                out.add(table, {})
        return [Path(path)]

    def run(self) -> Unpacking:
        """Bring all rows back, and keep none."""
        for table in self:
            self.first = self.first or first_rows(table)
        return self

    def glimpse(self) -> list[str]:
        return self.first

    def summary(self) -> list[str]:
        return [f"{self.n:,} rows came back", *([f"! {self.remark}"] if self.remark else [])]

    def to_json(self) -> dict[str, Any]:
        return {"rows": self.n, **({"remark": self.remark} if self.remark else {})}


class _Elsewhere:
    """The bytes of a file that is on the disk: so many."""

    def __init__(self, size: int):
        self.size = size

    def __len__(self) -> int:
        return self.size


def _form_of(model: Model, rows: Rows, max_error: str | None) -> Form:
    """How every column of large rows is to be kept."""
    some = rows.some().data
    if rows.kind == "array":
        return form_of(some, max_error, "global" in getattr(_scaling(model), "kinds", []))
    errors, known = promised(max_error, some.column_names), rows.data.census()
    return Form(None, tuple(
        _column(name, some[name], known.get(name), len(rows), errors) for name in some.column_names
    ))  # fmt: skip


def _column(name: str, some: Any, known: Counted | None, n: int, errors: Any) -> Column:
    """The form of one column, from what is known of all its cells, or from some of them where that will do."""
    import pyarrow as pa

    type_ = some.type.value_type if pa.types.is_dictionary(some.type) else some.type
    if pa.types.is_integer(type_) or pa.types.is_temporal(type_):
        if known is None or (known.low is None and known.there):
            return Column(name, str(type_), "raw")
        ends = [] if known.low is None else [known.low, known.high]
        return _form(name, pa.chunked_array([pa.array(ends, type_)]), errors)
    if pa.types.is_string(type_) or pa.types.is_large_string(type_) or pa.types.is_string_view(type_):
        if known is None or known.values is None:
            return Column(name, str(type_), "text")
        levels = [*known.values, *([""] if known.empty else [])]
        return _form(name, pa.chunked_array([pa.array(levels, type_)]), errors, n)
    return _form(name, some, errors)
