"""A table that is written while it is made: whoever stops it finds what was done, and can go on from there.

Rows are added to ``NAME.part``; at the end it becomes ``NAME`` in one step. Beside it ``NAME.part.json`` says how many
rows are safe. A Parquet file is whole only with its footer, so every addition puts its rows in the place of the footer
before, and a footer of all that is there behind them.
"""

from __future__ import annotations

import base64
import copy
import io
import json
import os
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from isthmus.data.footers import Footer
from isthmus.data.parquet import write_parquet
from isthmus.errors import FileError
from isthmus.files import write_atomic

if TYPE_CHECKING:
    import pyarrow as pa

#: Seconds between two notes of how much is safe; what was written behind the last is done again after a kill.
EVERY = 1.0


class Growing:
    """``with Growing(path, mark, resume) as out: out.add(table, state)``.

    ``mark`` tells what is written from anything else: only the same is gone on with. After ``resume`` found something,
    ``n_rows`` and ``state`` are what was there.
    """

    def __init__(self, path: Path, mark: str, *, resume: bool = False):
        self.path, self.mark = Path(path), mark
        if self.path.suffix.lower() not in _FORMATS:
            raise FileError(
                f"Rows that are read in stretches are written as {', '.join(_FORMATS)}; {self.path.name!r} is none. "
                f"Say -o {self.path.with_suffix('.parquet').name}."
            )
        self.part, self.note = _beside(self.path)
        self.n_rows, self.state, self._safe, self._ended = 0, dict[str, Any](), 0, b""
        self._format = _FORMATS[self.path.suffix.lower()]()
        self._schema: Any = None
        self._noted = time.monotonic()
        found = _found(self.part, self.note, mark) if resume else None
        if found is None:
            self.part.unlink(missing_ok=True)
            self.note.unlink(missing_ok=True)
        else:
            self.n_rows, self.state, self._safe = found["rows"], found["state"], found["bytes"]
            self._ended = base64.b64decode(found["end"])
            self._format.begin(found["end"] if self._ended else None)

    def __enter__(self) -> Self:
        self._file = _opened(self.part)
        return self

    def add(self, table: pa.Table, state: Mapping[str, Any]) -> None:
        """Write rows, and remember ``state`` (JSON) with them."""
        assert self._schema in (None, table.schema), "every addition has the same columns"
        self._schema = table.schema
        body = self._format.body(table, self._safe)
        try:
            self._end_with(body)
        except OSError as error:
            raise FileError(f"Cannot write {self.part}: {error.strerror or error}. What was done is kept.") from error
        self.n_rows, self.state, self._safe = self.n_rows + len(table), dict(state), self._safe + len(body)
        self._ended = self._format.end()
        if time.monotonic() - self._noted >= EVERY:
            self._write_note()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, where: Any) -> None:
        try:
            if kind is not None:
                # a stop in the middle of an addition leaves what was there before
                self._end_with(b"", self._ended)
                self._write_note()
                return
            os.fsync(self._file.fileno())
        finally:
            self._file.close()
        os.replace(self.part, self.path)
        self.note.unlink(missing_ok=True)

    def _end_with(self, body: bytes, end: bytes | None = None) -> None:
        """``body`` behind what is safe, in one go with what ends the file: it is whole again at once."""
        data = memoryview(body + (self._format.end() if end is None else end))
        self._file.seek(self._safe)
        while data:
            data = data[self._file.write(data) :]
        self._file.truncate()

    def _write_note(self) -> None:
        os.fsync(self._file.fileno())
        end = base64.b64encode(self._ended).decode()
        _noted(
            self.note, {"mark": self.mark, "rows": self.n_rows, "bytes": self._safe, "end": end, "state": self.state}
        )
        self._noted = time.monotonic()


class GrowingBytes:
    """``with GrowingBytes(path, mark, resume) as out: out.add(data, state)``: what is to stand in ``path`` one day, in
    ``NAME.part`` until then; a stop leaves it there, and the end of the block takes it away.
    """

    def __init__(self, path: Path, mark: str, *, resume: bool = False):
        self.mark = mark
        self.part, self.note = _beside(Path(path))
        found = _found(self.part, self.note, mark) if resume else None
        self.state: dict[str, Any] = found["state"] if found else {}
        self._safe = int(found["bytes"]) if found else 0
        self._noted = time.monotonic()

    def __enter__(self) -> Self:
        self.file = _opened(self.part)
        self.file.truncate(self._safe)
        return self

    def add(self, data: bytes, state: Mapping[str, Any]) -> None:
        """Write bytes, and remember ``state`` (JSON) with them."""
        try:
            self.file.seek(self._safe)
            rest = memoryview(data)
            while rest:
                rest = rest[self.file.write(rest) :]
        except OSError as error:
            raise FileError(f"Cannot write {self.part}: {error.strerror or error}. What was done is kept.") from error
        self._safe, self.state = self._safe + len(data), copy.deepcopy(dict(state))
        if time.monotonic() - self._noted >= EVERY:
            self._write_note()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, where: Any) -> None:
        try:
            if kind is not None:
                self._write_note()
                return
        finally:
            self.file.close()
        self.part.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)

    def _write_note(self) -> None:
        os.fsync(self.file.fileno())
        _noted(self.note, {"mark": self.mark, "rows": 0, "bytes": self._safe, "state": self.state})
        self._noted = time.monotonic()


def _beside(path: Path) -> tuple[Path, Path]:
    """Where a file grows, and where it is noted how much of it is safe."""
    return path.with_name(f"{path.name}.part"), path.with_name(f"{path.name}.part.json")


def _opened(part: Path) -> FileIO:
    try:
        return open(part, "r+b" if part.exists() else "x+b", buffering=0)
    except OSError as error:
        raise FileError(f"Cannot write {part}: {error.strerror or error}.") from error


def _noted(note: Path, said: Mapping[str, Any]) -> None:
    write_atomic(note, lambda file: file.write(json.dumps(said).encode()) and None)


def _found(part: Path, note: Path, mark: str) -> dict[str, Any] | None:
    """What an earlier run left."""
    if not note.exists() or not part.exists():
        return None
    try:
        found: dict[str, Any] = json.loads(note.read_text())
        there = part.stat().st_size >= int(found["bytes"]) and int(found["rows"]) >= 0
    except (ValueError, KeyError, TypeError) as error:
        raise FileError(f"{note} is damaged, so nothing can go on from it: {error!r}. Delete it.") from error
    if found["mark"] != mark or not there:
        raise FileError(
            f"{part} belongs to another run (another model, other rows or options). Delete it, or give the "
            "options of that run."
        )
    return found


class Behind:
    """``with Behind(function) as call``: what is called runs in a thread, while the next is made; calls keep their
    order, and one that fails says so at the next or at the end.
    """

    def __init__(self, function: Callable[..., Any]):
        self.function = function
        self._coming: Future[Any] | None = None

    def __enter__(self) -> Self:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="isthmus-write")
        return self

    def __call__(self, *said: Any) -> None:
        self._wait()
        self._coming = self._thread.submit(self.function, *said)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, where: Any) -> None:
        try:
            if kind is None:
                self._wait()
        finally:
            self._thread.shutdown()

    def _wait(self) -> None:
        coming, self._coming = self._coming, None
        if coming is not None:
            coming.result()


class _Csv:
    """Lines below one header."""

    def __init__(self, delimiter: str = ","):
        self.delimiter = delimiter

    def begin(self, said: str | None) -> None:
        """Nothing but the header is told once."""

    def body(self, table: pa.Table, at: int) -> bytes:
        from pyarrow import csv

        out = io.BytesIO()
        csv.write_csv(table, out, csv.WriteOptions(include_header=at == 0, delimiter=self.delimiter))
        return out.getvalue()

    def end(self) -> bytes:
        return b""


class _Parquet:
    """A row group for every addition, and the footer of all behind the last."""

    def __init__(self) -> None:
        self.footer: Footer | None = None

    def begin(self, said: str | None) -> None:
        """``said`` is the end of what is there, as text."""
        if said is not None:
            self.footer = Footer.read(base64.b64decode(said)[:-8])

    def body(self, table: pa.Table, at: int) -> bytes:
        out = io.BytesIO()
        write_parquet(table, out, row_group_size=max(1, len(table)))
        rows, footer = Footer.of_file(out.getvalue(), at or 4)
        if self.footer is None:
            self.footer = footer
            return b"PAR1" + rows
        self.footer.add(footer)
        return rows

    def end(self) -> bytes:
        return b"" if self.footer is None else self.footer.written()


_FORMATS: dict[str, Callable[[], Any]] = {".csv": _Csv, ".tsv": lambda: _Csv("\t"), ".parquet": _Parquet}
