"""A table in several files, or one too large for memory: Parquet, Arrow or CSV, read block by block.

A block is a row group of Parquet, a record batch of Arrow, or so many bytes of a CSV that end with a line. Folders
called ``day=3`` bring a column ``day``.
"""

from __future__ import annotations

import itertools
import re
import urllib.parse
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from isthmus.data.census import Counted, Tally, of_statistics
from isthmus.data.documents import LONGEST_JSON, Told, json_table, lines_at
from isthmus.data.files import CsvForm, of_two_encodings, tidy, too_long, two_encodings, why_unreadable
from isthmus.data.large import AT_ONCE, Large, Stamped, cut, mark_of
from isthmus.errors import DataError, FileError

if TYPE_CHECKING:
    import pyarrow as pa

#: Bytes of a CSV that are parsed together.
_CSV_BLOCK = 1 << 24
#: Bytes from which on a line is none, and a quote that is not closed has opened nothing.
_LONGEST = 1 << 22
#: Bytes of JSON lines that are parsed together.
_JSON_BLOCK = 1 << 22
#: Files whose footers stay in memory.
_FOOTERS = 256
#: Bytes of a compressed column that are read at once.
_READ = 1 << 20
#: Bytes that a cell takes, where its type does not say.
_CELL = 16
_EMPTY_PARTITION = "__HIVE_DEFAULT_PARTITION__"


class DataSet(Large):
    """Files of the same columns, one below the other."""

    kind: ClassVar[str] = "table"

    def __init__(self, paths: Sequence[Path], names: Sequence[str], origin: str):
        """Look at every file's columns and blocks. ``names`` are relative to where the data set begins.

        Raises:
            FileError: a file is damaged, or of no known kind.
            DataError: the files do not have the same columns, or these are of different types.
        """
        self.origin = origin
        self.files: list[_File] = []
        #: What is counted of every column, of a CSV at once.
        self._tallies: dict[str, Tally] = {}
        self._census: dict[tuple[str, ...], dict[str, Counted]] = {}
        for path, name in zip(paths, names, strict=True):
            file = _FORMATS[path.suffix.lower()](path, name, self._tallies)
            if self.files and file.schema.equals(self.files[0].schema):
                file.schema = self.files[0].schema  # one for ten thousand files
            self.files.append(file)
        self.partitions = _partitions(names)
        self.schema = self._one_schema()
        self.blocks = [(i, part) for i, file in enumerate(self.files) for part in range(len(file.counts))]
        super().__init__([n for file in self.files for n in file.counts])
        self.remarks = [remark for file in self.files for remark in file.remarks]
        self.remarks += [f"{file.name} holds no rows." for file in self.files if not sum(file.counts)]

    @property
    def column_names(self) -> list[str]:
        return list(self.schema.names)

    @property
    def num_columns(self) -> int:
        return len(self.schema)

    @property
    def width(self) -> int:
        return max(1, len(self.schema))

    @property
    def n_bytes(self) -> float:
        """About how much memory all of it would take."""
        each = sum(_width(type_) for type_ in self.schema.types)
        return max(float(sum(file.n_bytes for file in self.files)), float(each) * len(self))

    def mark(self) -> str:
        return mark_of(self.files, str(self.schema))

    def read(self, block: int) -> Iterator[pa.Table]:
        which, part = self.blocks[block]
        file = self.files[which]
        for piece in self._guarded(file, part):
            for begin in range(0, len(piece), AT_ONCE):
                yield self._as_all(cut(piece, begin, begin + AT_ONCE), file)

    def column(self, name: str) -> Iterator[pa.ChunkedArray]:
        type_ = self.schema.field(name).type
        for block, (which, part) in enumerate(self.blocks):
            file = self.files[which]
            if name in self.partitions.get(file.name, {}):
                yield from (piece[name] for piece in self.read(block))
                continue
            for piece in self._guarded(file, part, [name]):
                yield piece[name] if piece[name].type == type_ else piece[name].cast(type_)

    def census(self, levels: Collection[str] = ()) -> Mapping[str, Counted]:
        asked = tuple(sorted(set(levels) & set(self.column_names)))
        if asked not in self._census:
            tallies, wanted = {}, {}
            for field in self.schema:
                if _is_nested(field.type):
                    continue
                before = self._tallies.get(field.name)
                if before is not None and before.stands(len(self), field.name in asked):
                    tallies[field.name] = before
                    continue
                tallies[field.name] = wanted[field.name] = Tally(field.name in asked or _is_text(field.type))
            for file in self.files:
                self._count(file, {name: wanted[name] for name in file.schema.names if name in wanted})
                for name, value in self.partitions.get(file.name, {}).items():
                    tallies[name].repeat(value, sum(file.counts))
            self._census[asked] = {name: tally.told() for name, tally in tallies.items()}
        return self._census[asked]

    def _count(self, file: _File, tallies: Mapping[str, Tally]) -> None:
        """Count the cells of one file: what its footer says, and by reading the other columns."""
        for part in range(len(file.counts)):
            # a column that has too many values by now is not read on
            if not (left := file.told(part, tallies)):
                continue
            for piece in self._guarded(file, part, list(left)):
                for name, tally in left.items():
                    tally.add(piece[name])

    def _guarded(self, file: _File, part: int, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """A block, or some columns of it, with the words for what can go wrong."""
        import pyarrow as pa

        try:
            yield from file.read(part) if columns is None else file.cells(part, columns)
        except FileNotFoundError as error:
            raise FileError(f"{file.name!r} vanished while it was read.") from error
        except (pa.ArrowException, OSError, ValueError) as error:
            if isinstance(error, FileError | DataError):
                raise
            place = f"{file.what} {part + 1} of {len(file.counts)}"
            raise FileError(
                f"{file.name!r} is damaged in its {place} ({why_unreadable(error)}). Write it again, or leave it out."
            ) from error

    def _as_all(self, piece: pa.Table, file: _File) -> pa.Table:
        """The columns of one file as they are everywhere."""
        import pyarrow as pa

        said = self.partitions.get(file.name, {})
        columns = []
        for field in self.schema:
            if field.name in said:
                column = pa.repeat(pa.scalar(said[field.name], field.type), len(piece))
            else:
                column = piece[field.name]
                column = column if column.type == field.type else column.cast(field.type)
            columns.append(column)
        return pa.Table.from_arrays(columns, schema=self.schema)

    def _one_schema(self) -> pa.Schema:
        import pyarrow as pa

        first = self.files[0]
        for file in self.files:
            names = [*file.schema.names]
            if twice := sorted({name for name in names if names.count(name) > 1}):
                raise DataError(
                    f"Column names must differ; {file.name} has more than one column called {twice[0]!r}. Rename or "
                    "drop them."
                )
        fields: dict[str, tuple[pa.DataType, str]] = {f.name: (f.type, first.name) for f in first.schema}
        for file in self.files[1:]:
            other = {f.name: f.type for f in file.schema}
            if other.keys() != fields.keys():
                lacking = [name for name in fields if name not in other]
                has, lacks = (first, file) if lacking else (file, first)
                name = (lacking or [name for name in other if name not in fields])[0]
                raise DataError(
                    f"The files of {self.origin} have the same columns, or are no data set; {has.name!r} has {name!r} "
                    f"and {lacks.name!r} has not. Leave out what does not belong."
                )
            for name, type_ in other.items():
                before, where = fields[name]
                if (both := _common(before, type_)) is None:
                    raise DataError(
                        f"The column {name!r} changes its type within {self.origin}: it is {before} in {where!r} and "
                        f"{type_} in {file.name!r}. Convert one of them, or leave the file out."
                    )
                fields[name] = (both, where if both == before else file.name)
        found = [pa.field(name, type_) for name, (type_, _) in fields.items()]
        said: dict[str, Any] = next(iter(self.partitions.values()), {})
        for name in said:
            if name in fields:
                for folder in self.partitions.values():
                    folder.pop(name, None)
                continue
            found.append(pa.field(name, pa.array([p.get(name) for p in self.partitions.values()]).type))
        return pa.schema(found)


# -- vectors in a column -----------------------------------------------------------------------------


class Vectors(Large):
    """The one column of a data set whose cells are vectors, as rows of numbers."""

    kind: ClassVar[str] = "array"

    def __init__(self, table: DataSet, name: str):
        self.table, self.name = table, name
        super().__init__(table.counts)
        self.remarks = table.remarks
        self._width = 0
        if len(table):
            first = next(table.read(int(np.argmax(table.counts > 0))))
            self._width = as_vectors(first[name].slice(0, 1), name, table.origin).shape[1]

    @property
    def width(self) -> int:
        return max(1, self._width)

    @property
    def n_bytes(self) -> float:
        return max(self.table.n_bytes, 8.0 * self.width * len(self))

    def mark(self) -> str:
        return self.table.mark()

    def read(self, block: int) -> Iterator[np.ndarray]:
        begin = int(self.begins[block])
        for piece in self.table.read(block):
            yield as_vectors(piece[self.name], self.name, self.table.origin, begin, self._width)
            begin += len(piece)


def vector_column(schema: pa.Schema, kind: str | None) -> str | None:
    """The column that holds a vector in every cell: the only one, or the only such one if an array was asked for."""
    import pyarrow as pa

    def holds(type_: pa.DataType) -> bool:
        lists = pa.types.is_fixed_size_list(type_) or pa.types.is_list(type_) or pa.types.is_large_list(type_)
        return lists and (pa.types.is_floating(type_.value_type) or pa.types.is_integer(type_.value_type))

    found = [field.name for field in schema if holds(field.type)]
    if kind not in (None, "array") or len(found) != 1 or (kind is None and len(schema) > 1):
        return None
    return found[0]


def as_vectors(column: pa.ChunkedArray, name: str, origin: str, begin: int = 0, width: int | None = None) -> np.ndarray:
    """A column of vectors as an array (n, width)."""
    import pyarrow as pa
    import pyarrow.compute as pc

    lengths = pc.list_value_length(column).to_numpy()
    width = width or (int(lengths[0]) if len(lengths) and lengths[0] == lengths[0] else 0)
    if len(wrong := np.flatnonzero(~(lengths == width))):
        got = lengths[wrong[0]]
        got = "is missing" if got != got else f"has {int(got):,} numbers"
        raise DataError(
            f"Vectors are of one width; those of {name!r} in {origin} begin with {width:,} numbers, and that of row "
            f"{begin + int(wrong[0]):,} {got}. Leave such rows out."
        )
    flat = pa.concat_arrays([chunk.flatten() for chunk in column.chunks]) if column.num_chunks else pa.array([])
    if flat.null_count:
        flat = flat.cast(pa.float64())
    return flat.to_numpy(zero_copy_only=False).reshape(-1, width)


# -- kinds of files ----------------------------------------------------------------------------------


class _File(Stamped, ABC):
    """One file: its columns, the rows of its blocks, and how one is read."""

    what: ClassVar[str]
    schema: pa.Schema
    counts: list[int]
    n_bytes: float

    def __init__(self, path: Path, name: str, tallies: dict[str, Tally] | None = None):
        import pyarrow as pa

        super().__init__(path, name)
        self.remarks: list[str] = []
        self.tallies: dict[str, Tally] = {} if tallies is None else tallies
        try:
            self.look()
        except (pa.ArrowException, OSError, ValueError, EOFError) as error:
            if isinstance(error, FileError):
                raise
            raise FileError(
                f"{name!r} cannot be read as {self.kind_name}: it is damaged, cut short or something else "
                f"({why_unreadable(error)})."
            ) from error

    kind_name: ClassVar[str]

    @abstractmethod
    def look(self) -> None:
        """Learn ``schema``, ``counts`` and ``n_bytes``."""

    @abstractmethod
    def read(self, part: int) -> Iterator[pa.Table]:
        """A block, piece by piece."""

    def cells(self, part: int, columns: Sequence[str]) -> Iterator[pa.Table]:
        """Some columns of a block, which is quicker where files hold columns by themselves."""
        for piece in self.read(part):
            yield piece.select(list(columns))

    def told(self, part: int, tallies: Mapping[str, Tally]) -> Mapping[str, Tally]:
        """Count what is known of a block without reading it; the columns that have to be read."""
        return tallies


class _Parquet(_File):
    what, kind_name = "row group", "Parquet"
    _footers: ClassVar[dict[Path, Any]] = {}
    #: Where each column stands among the leaves of the footer's schema.
    _places: dict[str, int] | None = None

    def look(self) -> None:
        import pyarrow.parquet as pq

        with self.open() as file:
            whole = pq.ParquetFile(file)
            self.schema = _plain_schema(whole.schema_arrow)
            meta = whole.metadata
        groups = [meta.row_group(i) for i in range(meta.num_row_groups)]
        self.counts = [group.num_rows for group in groups]
        self.n_bytes = sum(group.total_byte_size for group in groups)
        self._keep(meta)

    def _keep(self, meta: Any) -> None:
        if len(self._footers) >= _FOOTERS:
            self._footers.pop(next(iter(self._footers)), None)
        self._footers[self.path] = meta

    def read(self, part: int) -> Iterator[pa.Table]:
        yield from self._batches(part, self.schema.names)

    def cells(self, part: int, columns: Sequence[str]) -> Iterator[pa.Table]:
        # texts as their dictionary and places in it, which is how they are written, and quick to count
        yield from self._batches(part, columns, [name for name in columns if _is_text(self.schema.field(name).type)])

    def _batches(self, part: int, columns: Sequence[str], texts: Sequence[str] = ()) -> Iterator[pa.Table]:
        import pyarrow as pa
        import pyarrow.parquet as pq

        with self.open() as file:
            # a buffered stream, so that a long column of one row group is never in memory as a whole
            whole = pq.ParquetFile(
                file, metadata=self._footers.get(self.path), buffer_size=_READ, read_dictionary=list(texts),
                page_checksum_verification=True,
            )  # fmt: skip
            self._keep(whole.metadata)
            for batch in whole.iter_batches(AT_ONCE, row_groups=[part], columns=list(columns)):
                yield pa.Table.from_batches([batch])

    def told(self, part: int, tallies: Mapping[str, Tally]) -> Mapping[str, Tally]:
        import pyarrow.parquet as pq

        if (meta := self._footers.get(self.path)) is None:
            with self.open() as file:
                meta = pq.ParquetFile(file).metadata
            self._keep(meta)
        if self._places is None:  # the leaves of nested columns have paths
            self._places = {meta.schema.column(j).path: j for j in range(meta.num_columns)}
        group, left = meta.row_group(part), {}
        for name, tally in tallies.items():
            chunk = group.column(self._places[name]) if name in self._places else None
            text = _is_text(self.schema.field(name).type)
            if chunk is None or tally.counts or not of_statistics(tally, chunk, ordered=not text):
                left[name] = tally
        return left


class _Arrow(_File):
    what, kind_name = "record batch", "Arrow"

    def look(self) -> None:
        import pyarrow as pa

        with self.open() as file:
            magic = file.read(6)
        if not magic.startswith(b"ARROW1"):
            raise FileError(
                f"{self.name!r} is an Arrow stream or an old Feather file, which cannot be read in stretches. Write it "
                "as an Arrow file (pyarrow.ipc.new_file), or as Parquet."
            )
        with pa.memory_map(str(self.path)) as mapped, pa.ipc.open_file(mapped) as whole:
            self.schema = _plain_schema(whole.schema)
            self.counts = [whole.get_batch(i).num_rows for i in range(whole.num_record_batches)]
        self.n_bytes = self.size

    def read(self, part: int) -> Iterator[pa.Table]:
        import pyarrow as pa

        self.open().close()  # is it still the same?
        with pa.memory_map(str(self.path)) as mapped, pa.ipc.open_file(mapped) as whole:
            yield pa.Table.from_batches([whole.get_batch(part)]).select(self.schema.names)


class _Csv(_File):
    what, kind_name = "stretch", "CSV"

    def look(self) -> None:
        """One pass over the file: where lines end, how many there are, and of what type their cells are."""
        import pyarrow as pa

        with self.open() as file:
            head = file.read(1 << 18)
        self.form = CsvForm.of(head, self.name, "\t" if self.path.suffix.lower() == ".tsv" else None)
        if self.form.encoding == "utf-16":
            raise FileError(
                f"{self.name!r} is UTF-16, which cannot be read in stretches, nor as one file of several. Save it as "
                "UTF-8."
            )
        if b"\n" not in head and b"\r" in head:
            raise FileError(
                f"The lines of {self.name!r} end with a carriage return alone, as on computers of the last century, "
                "which cannot be read in stretches, nor as one file of several. Save it with the line ends of today."
            )
        if head[: self.form.body].count(b'"') % 2:
            raise FileError(
                f"A name in the first line of {self.name!r} goes over several lines, which cannot be read in "
                "stretches, nor as one file of several. Rename the column."
            )
        self.spans, self.counts, self.n_bytes, names = [], [], float(self.size), self.form.names
        raw: dict[str, Any] = dict.fromkeys(names, pa.null())
        tidied: dict[str, Any] = dict.fromkeys(names, pa.null())
        self.index = len(names) > 1 and not names[0]
        latin, both = False, 0
        for begin, data in self._spans():
            table, said = self._parsed(data)
            latin, both = latin or not _is_utf8(data), both + said
            self.index = self.index and _counts_on(table, sum(self.counts))
            self.spans.append((begin, begin + len(data)))
            self.counts.append(len(table))
            for name, column in zip(names, table.columns, strict=True):
                tight = tidy(column)
                raw[name], tidied[name] = _widest(raw[name], column.type), _widest(tidied[name], tight.type)
                self._counted(name, tight)
        self.types, self.given = raw, tidied
        kept = names[1:] if self.index else names
        self.schema = pa.schema([pa.field(name or f"x{j}", tidied[name]) for j, name in enumerate(kept)])
        if self.form.headerless:
            self.remarks.append(
                f"{self.name} has no header (its first line is all numbers): its columns are called x0, x1, …."
            )
        if latin:
            self.remarks.append(two_encodings(self.name, both))
        if self.index:
            self.remarks.append(f"The unnamed first column of {self.name} counts the rows, so it was left out.")

    def _parsed(self, data: bytes, types: Mapping[str, Any] | None = None) -> tuple[pa.Table, int]:
        """Some lines, and how many cells of them are UTF-8 beyond ASCII: of a file that mixes encodings every cell is
        read as what it is.
        """
        import pyarrow as pa
        import pyarrow.compute as pc

        if data.isascii():
            return self.form.parse(data, self.name, types), 0
        if not _is_utf8(data):
            table = replace(self.form, encoding="latin-1").parse(data, self.name, types)
            columns, both = of_two_encodings(table.columns)
            return pa.table(columns, names=table.column_names), both
        table = replace(self.form, encoding="utf8").parse(data, self.name, types)
        texts = [column for column in table.columns if _is_text(column.type)]
        return table, sum(pc.sum(pc.invert(pc.string_is_ascii(column))).as_py() or 0 for column in texts)

    def _counted(self, name: str, column: pa.ChunkedArray) -> None:
        """Count along, unless the column changes its type: then what was counted is not what will be read."""
        import pyarrow as pa

        if not name:  # one of them may be the index
            return
        type_, tally = column.type, self.tallies.setdefault(name, Tally(values=False))
        if pa.types.is_null(type_):
            tally.bounds(len(column), len(column), None, None)
            return
        if tally.type is None:
            tally.values, tally.type = {} if _is_text(type_) else None, type_
        if tally.type and (type_ == tally.type or (_is_number(type_) and _is_number(tally.type))):
            tally.add(column)
        else:
            tally.type = False

    def read(self, part: int) -> Iterator[pa.Table]:
        import pyarrow as pa

        begin, end = self.spans[part]
        with self.open() as file:
            file.seek(begin)
            data = file.read(end - begin)
        table, _ = self._parsed(data, self.types)
        columns = []
        for name in self.form.names[self.index :]:
            column = tidy(table[name])
            columns.append(column if column.type == self.given[name] else column.cast(self.given[name]))
        yield pa.Table.from_arrays(columns, schema=self.schema)

    def _spans(self) -> Iterator[tuple[int, bytes]]:
        """Bytes that end with a line, and where they begin. A line end between quotes is none."""
        with self.open() as file:
            at = self.form.body
            file.seek(at)
            left = b""
            while True:
                block = file.read(_CSV_BLOCK)
                data = left + block
                end = len(data) if not block else _line_end(data)
                if not end and len(data) > _LONGEST:
                    # a quote within a cell opens nothing, and of one that is never closed the parser will tell
                    end = data.rfind(b"\n") + 1
                    if not end:
                        raise too_long(self.name)
                if data[:end].strip():
                    yield at, data[:end]
                at, left = at + end, data[end:]
                if not block:
                    return


class _JsonLines(_File):
    what, kind_name = "stretch", "JSON lines"

    def look(self) -> None:
        """One pass over the file: where lines end, what they are called, and of what type their cells are."""
        import pyarrow as pa

        self.spans, self.counts, self.n_bytes = [], [], 4.0 * self.size
        found: dict[str, Any] = {}
        told = Told(where=self.name)
        with self.open() as file:
            begin, number, lines = 0, 1, []
            for line in lines_at(file, self.name, told, LONGEST_JSON):
                lines.append(line)
                if file.tell() - begin < _JSON_BLOCK:
                    continue
                self._add(found, lines, begin, number)
                begin, number, lines = file.tell(), number + len(lines), []
            self._add(found, lines, begin, number)
        if told.utf16:
            raise FileError(f"{self.name!r} is UTF-16, which cannot be read in stretches. Save it as UTF-8.")
        if not found:
            raise FileError(f"{self.name!r} holds no line of JSON.")
        self.schema = pa.schema([pa.field(name, type_) for name, type_ in found.items()])
        self.remarks = told.remarks()

    def _add(self, found: dict[str, Any], lines: list[tuple[str, bool]], begin: int, number: int) -> None:
        table = json_table(lines, self.name, number)
        if table is not None:
            self.spans.append((begin, len(lines), number))
            self.counts.append(len(table))
            for field in table.schema:
                found[field.name] = _widest(found.get(field.name), field.type)

    def read(self, part: int) -> Iterator[pa.Table]:
        import pyarrow as pa

        begin, n, number = self.spans[part]
        with self.open() as file:
            lines = lines_at(file, self.name, Told(), LONGEST_JSON, begin)
            table = json_table(itertools.islice(lines, n), self.name, number)
        assert table is not None
        columns = []
        for field in self.schema:
            if field.name not in table.column_names:
                columns.append(pa.nulls(len(table), field.type))
                continue
            column = table[field.name]
            if column.type != field.type and pa.types.is_string(field.type):  # as where a column of one block has both
                column = pa.array([None if cell is None else str(cell) for cell in column.to_pylist()], pa.string())
            columns.append(column.cast(field.type))
        yield pa.Table.from_arrays(columns, schema=self.schema)


_FORMATS: dict[str, type[_File]] = {
    ".parquet": _Parquet, ".arrow": _Arrow, ".feather": _Arrow, ".csv": _Csv, ".tsv": _Csv, ".jsonl": _JsonLines,
}  # fmt: skip
#: Endings whose files make one data set together.
FAMILIES = ((".parquet",), (".arrow", ".feather"), (".csv", ".tsv"), (".jsonl",))


def estimated(path: Path) -> float:
    """About how many bytes of memory a file of rows takes, without reading it."""
    if path.suffix.lower() != ".parquet":
        return float(path.stat().st_size) * (4 if path.suffix.lower() == ".jsonl" else 1)
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        meta = pq.read_metadata(path)
    except (pa.ArrowException, OSError, ValueError):
        return 0.0  # whoever reads it will say what is wrong
    groups = sum(meta.row_group(i).total_byte_size for i in range(meta.num_row_groups))
    return float(max(groups, 8 * meta.num_rows * meta.num_columns))


def _partitions(names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """What the folders on a file's way say, where they are called ``name=value``."""
    found: dict[str, dict[str, Any]] = {}
    for name in names:
        said = [part.partition("=") for part in Path(name).parts[:-1] if "=" in part]
        found[name] = {k: None if v == _EMPTY_PARTITION else urllib.parse.unquote(v) for k, _, v in said}
    keys = {tuple(said) for said in found.values()}
    if len(keys) > 1:
        raise DataError(
            f"Folders of a data set name the same columns; got {', '.join(map(repr, sorted(keys)[:3]))}. "
            "Open one of them."
        )
    for key in next(iter(keys), ()):
        values = [said[key] for said in found.values()]
        if all(value is None or re.fullmatch(r"-?(0|[1-9]\d{0,17})", value) for value in values):
            for said in found.values():
                said[key] = None if said[key] is None else int(said[key])
    return found if any(found.values()) else {}


def _plain_schema(schema: pa.Schema) -> pa.Schema:
    """Without the index that pandas stores beside the columns, and texts without their dictionary."""
    import pyarrow as pa

    return pa.schema([
        pa.field(f.name, f.type.value_type if pa.types.is_dictionary(f.type) else f.type)
        for f in schema
        if not re.fullmatch(r"__index_level_\d+__", f.name)
    ])  # fmt: skip


def _common(a: pa.DataType, b: pa.DataType) -> pa.DataType | None:
    """The type that takes cells of both; None where they are different things, as numbers and texts are."""
    import pyarrow as pa

    if a == b:
        return a
    if pa.types.is_null(a) or pa.types.is_null(b):
        return b if pa.types.is_null(a) else a
    for alike in (_is_number, _is_text, pa.types.is_temporal):
        if alike(a) and alike(b):
            try:
                # of whole and broken numbers pyarrow's own rule gives float32, which would lose digits
                if _is_number(a) and (pa.types.is_floating(a) or pa.types.is_floating(b)):
                    return pa.float64()
                both = pa.unify_schemas([pa.schema([("x", a)]), pa.schema([("x", b)])], promote_options="permissive")
                return both.field("x").type
            except (pa.ArrowInvalid, pa.ArrowTypeError):
                return None
    return None


def _widest(a: pa.DataType | None, b: pa.DataType) -> pa.DataType:
    """The same within one CSV, where whatever differs is text."""
    import pyarrow as pa

    return b if a is None else _common(a, b) or pa.string()


def _is_number(type_: pa.DataType) -> bool:
    import pyarrow as pa

    return pa.types.is_integer(type_) or pa.types.is_floating(type_)


def _is_text(type_: pa.DataType) -> bool:
    import pyarrow as pa

    return pa.types.is_string(type_) or pa.types.is_large_string(type_) or pa.types.is_string_view(type_)


def _is_nested(type_: pa.DataType) -> bool:
    import pyarrow as pa

    return pa.types.is_nested(type_) or pa.types.is_binary(type_) or pa.types.is_large_binary(type_)


def _width(type_: pa.DataType) -> int:
    try:
        return max(1, int(type_.bit_width) // 8)
    except ValueError:
        return _CELL


def _counts_on(table: pa.Table, begin: int) -> bool:
    """Whether the first column goes on counting the rows."""
    import pyarrow as pa

    column = table.columns[0]
    if not pa.types.is_integer(column.type) or column.null_count:
        return False
    return np.array_equal(column.to_numpy(), np.arange(begin, begin + len(column)))


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _line_end(data: bytes) -> int:
    """Behind the last line end that stands outside quotes; 0 where there is none."""
    end = data.rfind(b"\n") + 1
    while end and data.count(b'"', 0, end) % 2:
        # the last quote opens what goes on behind this line end
        end = data.rfind(b"\n", 0, data.rfind(b'"', 0, end)) + 1
    return end
