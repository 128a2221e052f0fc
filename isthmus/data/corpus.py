"""Documents that are more than memory should hold: the lines of a file, files of a folder, columns of a table."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from isthmus.data.documents import LONGEST, Told, lines_at, read_document
from isthmus.data.large import AT_ONCE, Large, Stamped
from isthmus.data.listing import watched, why
from isthmus.data.rows import Skipped
from isthmus.errors import FileError

if TYPE_CHECKING:
    import pyarrow as pa

#: Bytes of a file whose lines are read together, and documents in files of their own.
_BLOCK, _FILES = 1 << 20, 64
#: Entries that a byte of text makes, about: its words, and the groups of letters within them.
ENTRIES = 2
#: Bytes of memory that a byte of text takes once all of it is taken apart.
IN_MEMORY = 16
#: Files that are named where many are told of.
_NAMED = 3


class LargeLines(Large):
    """The lines of a ``.txt``, each a document."""

    kind: ClassVar[str] = "text"

    def __init__(self, path: Path, name: str):
        """One pass over the file: where lines end, and what is unusual about them.

        Raises:
            FileError: it is no text, or UTF-16, whose lines cannot be found from the middle.
        """
        self._file, told = Stamped(path, name), Told(where=name)
        begin, n, used, empty = 0, 0, 0, 0
        self._begins, counts = [0], list[int]()
        with self._file.open() as file:
            for line, _ in watched(lines_at(file, name, told, LONGEST), f"{name}: looked at", "lines"):
                n, used, empty = n + 1, used + len(line), empty + (not line.strip())
                if file.tell() - begin >= _BLOCK:
                    counts.append(n)
                    begin, n = file.tell(), 0
                    self._begins.append(begin)
        if told.utf16:
            raise FileError(f"{name!r} is UTF-16, which cannot be read in stretches. Save it as UTF-8.")
        super().__init__([*counts, n] if n else counts)
        if empty:
            told.also.append(f"{empty:,} of {told.lines:,} lines of {name} are empty: documents without a word.")
        self.remarks = told.remarks()
        self._width = max(1, ENTRIES * used // max(1, told.lines))

    @property
    def width(self) -> int:
        return self._width

    def mark(self) -> str:
        return f"{self._file.name}\0{self._file.size}\0{self._file.time}"

    def read(self, block: int) -> Iterator[list[str]]:
        left = int(self.counts[block])
        with self._file.open() as file:
            lines = lines_at(file, self._file.name, Told(), LONGEST, self._begins[block])
            while left:
                some = [line for line, _ in zip(lines, range(min(left, AT_ONCE)), strict=False)]
                yield [line for line, _ in some]
                left -= len(some)


class Documents(Large):
    """Files, each a document."""

    kind: ClassVar[str] = "text"

    def __init__(self, paths: Sequence[Path], names: Sequence[str], origin: str):
        """Look at every file once; what is none is in ``skipped``."""
        self._paths, self.skipped, odd = list[Path](), list[Skipped](), dict[str, list[str]]()
        digest, sound, used = hashlib.blake2b(digest_size=16), [], 0
        pairs = zip(paths, names, strict=True)
        for path, name in watched(pairs, f"{origin}: looked at", "files", len(paths)):
            try:
                text, remark = read_document(path)
                seen = path.stat()
            except (FileError, OSError) as error:
                self.skipped.append(Skipped(name, why(error) if isinstance(error, OSError) else str(error)))
                continue
            digest.update(f"{name}\0{seen.st_size}\0{seen.st_mtime_ns}\0".encode())
            self._paths.append(path)
            sound.append(name)
            used += len(text)
            if remark:
                odd.setdefault(remark, []).append(name)
        self.names, self._mark = tuple(sound), digest.hexdigest()
        self.remarks = [
            f"{_some(names)} {'is' if len(names) == 1 else 'are'} {remark}." for remark, names in odd.items()
        ]
        n = len(sound)
        super().__init__([min(_FILES, n - at) for at in range(0, n, _FILES)])
        self._width = max(1, ENTRIES * used // max(1, n))

    @property
    def width(self) -> int:
        return self._width

    def mark(self) -> str:
        return self._mark

    def read(self, block: int) -> Iterator[list[str]]:
        begin = int(self.begins[block])
        found = []
        for i in range(begin, begin + int(self.counts[block])):
            try:
                found.append(read_document(self._paths[i])[0])
            except FileError as error:
                raise FileError(
                    f"{self.names[i]!r} was there when the rows were opened and cannot be read now: {error}. Start "
                    "again when nobody changes the folder."
                ) from error
        yield found


class Columns(Large):
    """Some columns of a large table, which hold texts."""

    kind: ClassVar[str] = "table"

    def __init__(self, table: Any, names: Sequence[str]):
        self._table, self._names = table, list(names)
        super().__init__(table.counts)
        used = n = 0
        for some in next(table.chunks(AT_ONCE)).select(self._names).to_batches(1024)[:4]:
            used, n = used + some.nbytes, n + some.num_rows
        self._width = max(1, ENTRIES * used // max(1, n))

    @property
    def width(self) -> int:
        return self._width

    def mark(self) -> str:
        return f"{self._table.mark()} {self._names}"

    def read(self, block: int) -> Iterator[pa.Table]:
        for piece in self._table.read(block):
            yield piece.select(self._names)


def size_of(paths: Iterable[Path]) -> float:
    """Bytes of files, as far as they can be looked at."""
    total = 0.0
    for path in paths:
        with contextlib.suppress(OSError):  # whoever reads it will say why
            total += min(path.stat().st_size, LONGEST)
    return total


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_NAMED])
    return shown if len(names) <= _NAMED else f"{shown} and {len(names) - _NAMED:,} more files"
