"""Rows that arrive line by line: CSV or JSON lines → cells; a line that is no row is told from one that is."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from typing import Any, BinaryIO

from isthmus.data.files import DELIMITERS, NULLS, is_data
from isthmus.errors import DataError

#: A line that goes on for longer than this is no row, and is not kept in memory while its end is waited for.
LONGEST = 1 << 20
_NULLS = frozenset(NULLS)


class Lines:
    """Reads one line at a time. The first line says how: ``{`` or ``[`` begin JSON, else it is CSV.

    A CSV's first line names the columns (``names``), unless all its cells are numbers; so in a file, so here.
    JSON lines are objects (column → cell) or lists.
    """

    def __init__(self) -> None:
        self.names: list[str] | None = None
        self._read: Any = None
        self._header: str | None = None
        self._delimiter = ","

    def read(self, line: bytes) -> list[Any] | dict[str, Any] | None:
        """The cells of a line; None where it holds no row and needs none: empty, or the header.

        Raises:
            DataError: garbage, and why.
        """
        try:
            text = line.decode("utf-8").strip(" \r\n\ufeff")
        except UnicodeDecodeError:
            raise DataError("it is not UTF-8") from None
        if not text.strip():
            return None
        if self._read is None:
            return self._first(text)
        cells: list[Any] | dict[str, Any] = self._read(text)
        return cells

    def _first(self, text: str) -> list[Any] | dict[str, Any] | None:
        if text[0] in "{[":
            cells: list[Any] | dict[str, Any] = _json(text)
            self._read = _json
            return cells
        self._delimiter = max(DELIMITERS, key=text.count)
        said = [cell.strip() for cell in self._cells(text)]
        self._read = self._csv
        if is_data(said):
            self.names = [f"x{j}" for j in range(len(said))]
            return self._csv(text)
        self.names = [name or f"x{j}" for j, name in enumerate(said)]
        self._header = text
        return None

    def _csv(self, text: str) -> list[str | None]:
        if text == self._header:
            raise DataError("it is the header again")
        assert self.names is not None
        cells = self._cells(text)
        if len(cells) != len(self.names):
            raise DataError(f"{len(cells):,} cells, and {len(self.names):,} were expected")
        return [None if (cell := raw.strip()) in _NULLS else cell for raw in cells]

    def _cells(self, text: str) -> list[str]:
        if '"' not in text:
            return text.split(self._delimiter)
        try:
            return next(csv.reader([text], delimiter=self._delimiter, strict=True))
        except csv.Error as error:
            raise DataError(f"its quotes do not match ({error})") from None


def _json(text: str) -> list[Any] | dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        raise DataError("it is not JSON") from None
    if not isinstance(found, dict | list):
        raise DataError("it is neither an object nor a list")
    return found


def arriving(stream: BinaryIO) -> Iterator[list[bytes]]:
    """The lines of a stream, together those that arrived together; never waits for more than there is.

    A line longer than ``LONGEST`` comes as its beginning alone, which is no row.
    """
    read = getattr(stream, "read1", stream.read)
    rest, lost = b"", False
    while data := read(1 << 16):
        *lines, rest = (rest + data).split(b"\n")
        if lines and lost:  # the end of the line whose beginning was given
            lines, lost = lines[1:], False
        if len(rest) > LONGEST:
            if not lost:
                lines.append(rest[:80] + b"\x00\xff")
            rest, lost = b"", True
        if lines:
            yield lines
    if rest and not lost:
        yield [rest]
