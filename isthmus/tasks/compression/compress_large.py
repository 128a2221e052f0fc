"""Compress rows that are read in stretches, and bring back more than memory should hold: a chunk after the other.

What a column is kept as is told by the counts of all rows (:mod:`isthmus.data.census`), so it is what it would be in
memory; a promise in per cent is of the spread of some rows that stand for all.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isthmus.data import container
from isthmus.data.container import Container
from isthmus.data.growing import Growing, GrowingBytes
from isthmus.data.large import too_large
from isthmus.data.rows import Rows
from isthmus.errors import DataError, FileError, SpecError
from isthmus.tasks.base import Result
from isthmus.tasks.codes import first_rows
from isthmus.tasks.compression.codec import Codec, losses
from isthmus.tasks.compression.packing import Column, Form, _form, form_of, promised, safe_names
from isthmus.tasks.compression.rows_packed import (
    NAME,
    REFUSAL,
    InspectedRows,
    Packed,
    RowReader,
    Tally,
    form_in,
    rows_per_chunk,
    scaled_together,
)

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
        self.step = rows_per_chunk(self.form, chunk_rows)
        self.found: Packed | None = None
        self.begin, self.remarks = 0, list[str]()
        #: Called behind each chunk with the rows that are done.
        self.watch: Callable[[int], Any] = lambda n: None

    def __len__(self) -> int:
        return len(self.rows)

    def save(self, path: Path, *, resume: bool = False) -> list[Path]:
        """Write the file: chunks into ``PATH.part`` as they come, and then all of it in one go. A stop leaves that
        part, and with ``resume`` the next run goes on from it, to the same bytes.
        """
        path = Path(path)
        if path.suffix.lower() != ".isz":
            raise FileError(f"Compressed rows are written as .isz, not {path.name!r}.")
        mark = f"{self.model.fingerprint} {self.rows.data.mark()} {self.max_error} {self.step}"
        try:
            with GrowingBytes(path, mark, resume=resume) as out:
                size = container.write_from(path, *self._coded(out), out.file)
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

    @property
    def seconds(self) -> float:
        return self.run().seconds

    def to_table(self) -> Any:
        return self.run().to_table()

    def summary(self) -> list[str]:
        return self.run().summary()

    def to_json(self) -> dict[str, Any]:
        return self.run().to_json()

    def _coded(self, out: GrowingBytes | None) -> tuple[dict[str, Any], list[list[int]]]:
        """Code all rows, each chunk decoded again before it is written: the header, and what it says of chunks."""
        rows, tally = self.rows, Tally(self.model, self.form, self.max_error)
        listed, raw = list[list[int]](), 0
        if out is not None and out.state:
            listed, raw = out.state["listed"], out.state["raw"]
            tally.restore(out.state["tally"])
        self.begin = sum(n for n, _, _ in listed)
        for some in rows.chunks(self.step, self.begin):
            coded = tally.encode(some.data, some)
            raw += int(some.data.nbytes)
            listed.append([len(some), len(coded), zlib.crc32(coded)])
            if out is not None:
                out.add(coded, {"listed": listed, "raw": raw, "tally": tally.state()})
            self.watch(some.first + len(some))
        beside = tally.besides(next(rows.chunks(self.step)).data, len(rows)) if self.compare else []
        self.found = tally.packed(b"", len(rows), raw, beside, tally.coder.why)
        return tally.header(len(rows), raw, None, rows.origin), listed


class Unpacking(Result):
    """Rows of a compressed table, brought back chunk by chunk when :meth:`save` says where to."""

    def __init__(self, model: Model, packed: Container, salvage: bool):
        self.packed, self.salvage, self.reader = packed, salvage, RowReader(model, packed)
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
        for chunk in self.packed.chunks:
            found = self.reader.read(chunk)
            at += chunk.rows
            if found is None:
                lost.append((at - chunk.rows, at))
                losses(self.packed, lost, self.salvage, any_left=True)
                continue
            self.n += len(found)
            yield found
            self.watch(at)
        self.remark = losses(self.packed, lost, self.salvage, any_left=self.n > 0)

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


class InStretches(Codec):
    """Rows that are read in stretches, in the files that rows in memory have."""

    name, refusal = NAME, REFUSAL

    def packs(self, model: Model, rows: Rows) -> bool:
        return rows.large

    def reads(self, model: Model, container: Container) -> bool:
        much = model.modality.kind == "table" and too_large(container.header["raw_bytes"], None)
        return much and form_in(container).shape is None

    def pack(
        self, model: Model, rows: Rows, *, compare: bool, max_error: str | None = None, chunk_rows: int | None = None
    ) -> Packing:
        return Packing(model, rows, max_error, chunk_rows, compare)

    def unpack(self, model: Model, container: Container, salvage: bool) -> Unpacking:
        safe_names(container.header.get("names"), container.rows)
        return Unpacking(model, container, salvage)

    def inspect(self, container: Container) -> InspectedRows:
        return InspectedRows.of(container)


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
        return form_of(some, max_error, scaled_together(model))
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
