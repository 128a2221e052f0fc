"""Rows that are more than memory should hold: known by their places, read in blocks.

.. math:: i \\text{ is held out} \\iff h(i) < v \\, 2^{64}, \\qquad h \\text{ a hash of the place } i

The hash looks at nothing but the place, so the same rows are held out whatever the seed, and also after more rows were
appended.

References:
    Steele, Lea, Flood, Fast Splittable Pseudorandom Number Generators, 2014 (the hash).
"""

from __future__ import annotations

import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import numpy as np

from isthmus.errors import DataError, FileError
from isthmus.files import open_file

if TYPE_CHECKING:
    from isthmus.data.census import Counted

T = TypeVar("T")

#: Rows that take more than this share of the memory that is free are read in stretches.
_SHARE = 0.25
#: Rows that come out of a block at once.
AT_ONCE = 1 << 16
#: Rows that modality, PCA and detector learn from: so many, so many entries, but never fewer than the third, unless
#: rows are so wide that these would have more entries than the last.
_MOST, _ENTRIES, _LEAST, _WIDEST = 1 << 17, 1 << 24, 1 << 12, 1 << 27
#: Held-out rows that are looked at; of wide ones fewer, but never fewer than the last.
_MOST_HELD, _LEAST_HELD = 1 << 15, 1 << 10
#: Places that are hashed at once.
_PLACES = 1 << 20


class Large(ABC):
    """Rows in blocks. A block is what is cheap to read together; places are counted from 0 through all of them."""

    kind: ClassVar[str]

    def __init__(self, counts: Sequence[int]):
        self.counts = np.asarray(counts, np.int64)
        self.begins = np.concatenate([[0], np.cumsum(self.counts)])

    def __len__(self) -> int:
        return int(self.begins[-1])

    @abstractmethod
    def read(self, block: int) -> Iterator[Any]:
        """The rows of a block in order, at most ``AT_ONCE`` of them at a time: tables, arrays or lists of paths.

        Raises:
            FileError: the file is no longer there, was changed since it was opened, or is damaged.
        """

    @abstractmethod
    def mark(self) -> str:
        """What tells these rows from others without reading them: a digest of the files' names, sizes and times."""

    @property
    @abstractmethod
    def width(self) -> int:
        """Entries of a row."""

    def census(self, levels: Collection[str] = ()) -> Mapping[str, Counted]:
        """What the columns of a table hold over all rows, by name; the values of columns ``levels`` and of texts are
        counted. Nothing where rows have no columns.
        """
        return {}

    def beside(self, name: str) -> Any:
        """What stands beside these rows under that name, of all of them: large too, or in memory."""
        return None

    def pick(self, places: np.ndarray) -> Any:
        """The rows at ``places``, which rise, in memory."""
        found = []
        for block in range(len(self.counts)):
            first, last = np.searchsorted(places, self.begins[block : block + 2])
            if first == last:
                continue
            at, begin = places[first:last], int(self.begins[block])
            for piece in self.read(block):
                inside = at[(at >= begin) & (at < begin + len(piece))] - begin
                if len(inside):
                    found.append(taken(piece, inside))
                begin += len(piece)
        return joined(found)

    def span(self, begin: int, end: int) -> Any:
        """Rows ``begin`` to ``end`` in memory."""
        return next(self._cut(end - begin, begin))

    def chunks(self, size: int, start: int = 0) -> Iterator[Any]:
        """The rows from ``start`` on in order, ``size`` at a time: while some are looked at, the next are read."""
        return ahead(self._cut(size, start))

    def column(self, name: str) -> Iterator[Any]:
        """One column of a table in order, piece by piece."""
        for piece in self.pieces():
            yield piece[name]

    def pieces(self, start: int = 0) -> Iterator[Any]:
        """The rows from ``start`` on in order, as they are read."""
        first = int(np.searchsorted(self.begins, start, side="right")) - 1
        over = start - int(self.begins[min(first, len(self.counts))])
        for block in range(first, len(self.counts)):
            for piece in self.read(block):
                if over >= len(piece):
                    over -= len(piece)
                    continue
                yield cut(piece, over, len(piece)) if over else piece
                over = 0

    def _cut(self, size: int, start: int) -> Iterator[Any]:
        kept, n = [], 0
        for piece in self.pieces(start):
            kept.append(piece)
            n += len(piece)
            while n >= size:
                whole = joined(kept)
                yield cut(whole, 0, size)
                n -= size
                kept = [cut(whole, size, size + n)] if n else []
        if n:
            yield joined(kept)

    def whole(self) -> Any:
        """All of them, in memory."""
        return joined([piece for block in range(len(self.counts)) for piece in self.read(block)])


class Kept(Large):
    """Large rows without those that are held out; ``some`` of both are in memory."""

    def __init__(self, rows: Large, share: float, seed: int):
        self.rows, self.share, self.kind = rows, share, rows.kind  # type: ignore[misc]
        n = len(rows)
        most, most_held = enough(rows.width)
        looked_at = min(share, most_held / n)
        some, held, counts = [], [], np.zeros(len(rows.counts), np.int64)
        for begin in range(0, n, _PLACES):
            places = np.arange(begin, min(n, begin + _PLACES))
            out = hashed(places)
            some.append(places[(out >= share) & (hashed(places, seed + 1) < most / n)])
            held.append(places[out < looked_at])
            at = np.searchsorted(rows.begins, places, side="right") - 1
            counts += np.bincount(at[out >= share], minlength=len(counts))
        super().__init__(counts)
        some, held = np.concatenate(some), np.concatenate(held)
        both = np.union1d(some, held)
        data = rows.pick(both) if len(both) else None
        mine = np.isin(both, held, assume_unique=True)
        # in no order, because some look at the first ones alone
        order = np.random.default_rng(seed).permutation(np.flatnonzero(~mine))
        self.some, self.held = taken(data, order), taken(data, np.flatnonzero(mine))

    @property
    def width(self) -> int:
        return self.rows.width

    def census(self, levels: Collection[str] = ()) -> Mapping[str, Counted]:
        return self.rows.census(levels)

    def beside(self, name: str) -> Any:
        return self.rows.beside(name)

    def mark(self) -> str:
        return f"{self.rows.mark()} {self.share}"

    def read(self, block: int) -> Iterator[Any]:
        begin = int(self.rows.begins[block])
        for piece in self.rows.read(block):
            places = np.arange(begin, begin + len(piece))
            begin += len(piece)
            yield piece if self.share == 0 else taken(piece, np.flatnonzero(hashed(places) >= self.share))


def enough(width: int) -> tuple[int, int]:
    """Rows of so many entries that stand for all, and held-out ones that are looked at."""
    few = max(64, _WIDEST // width)
    some = int(np.clip(_ENTRIES // width, min(_LEAST, few), _MOST))
    return some, min(_MOST_HELD, max(_LEAST_HELD, _ENTRIES // width))


@dataclass(frozen=True)
class Together:
    """Some rows in memory, and what stands ``beside`` them, row for row."""

    data: Any
    beside: Mapping[str, Any]

    def __len__(self) -> int:
        return len(self.data)


def hashed(places: np.ndarray, salt: int = 0) -> np.ndarray:
    """A number in [0, 1) for every place, as good as drawn, and always the same.

    >>> hashed(np.arange(3)).round(3).tolist()
    [0.883, 0.432, 0.026]
    """
    with np.errstate(over="ignore"):
        z = (places.astype(np.uint64) + np.uint64(1) + np.uint64(salt << 40 & (1 << 64) - 1)) * np.uint64(
            0x9E3779B97F4A7C15
        )
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return ((z ^ (z >> np.uint64(31))) >> np.uint64(11)) / float(1 << 53)


def some_of(rows: Large, seed: int = 0) -> Any:
    """Rows in memory that stand for all."""
    return Kept(rows, 0.0, seed).some


def too_large(n_bytes: float, stream: bool | None) -> bool:
    """Whether rows are to be read in stretches: as was said, else where they take a good part of the free memory."""
    return n_bytes > _SHARE * free_memory() if stream is None else stream


def free_memory() -> float:
    """Bytes that are free, as far as the system tells; where it does not, 4 GB."""
    found = []
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        found += [1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable")]
        limit = Path("/sys/fs/cgroup/memory.max").read_text().strip()
        if limit != "max":
            found.append(int(limit) - int(Path("/sys/fs/cgroup/memory.current").read_text()))
    except (OSError, ValueError, IndexError):
        pass
    if not found and hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        found.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2)
    return float(max(min(found, default=4 << 30), 1 << 28))


def ahead(items: Iterator[T]) -> Iterator[T]:
    """The same items, each made in a thread of its own while the one before is used.

    That thread computes alone. With a crew of torch's beside that of the training OpenMP would see more threads than
    processors, and let each sleep at every step instead of waiting: a training on two took twice as long.
    """
    import torch

    def alone() -> None:
        torch.get_num_threads()  # a thread takes the usual number when it is first asked, whatever was said before
        torch.set_num_threads(1)

    end: Any = object()
    with ThreadPoolExecutor(1, "isthmus-read", initializer=alone) as thread:
        thread.submit(int).result()
        torch.set_num_threads(torch.get_num_threads())  # what was said there is for threads to come, too
        coming = thread.submit(next, items, end)
        while (item := coming.result()) is not end:
            coming = thread.submit(next, items, end)
            yield item


class Stamped:
    """A file as it was when it was opened first; it must stay so."""

    def __init__(self, path: Path, name: str):
        self.path, self.name = path, name
        with open_file(path) as file:
            self.size, self.time = self._seen(file)
        if self.size == 0:
            raise FileError(f"{name!r} is empty (0 bytes). Leave it out, or write it again.")

    def open(self) -> Any:
        """The file, to read bytes.

        Raises:
            FileError: it is gone or another one by now.
        """
        try:
            file = open_file(self.path)
        except FileError as error:
            raise FileError(
                f"{self.name!r} was there when the rows were opened and cannot be read now: {error}"
            ) from error
        if self._seen(file) != (self.size, self.time):
            file.close()
            raise FileError(
                f"{self.name!r} was changed while the rows were read. Start again when nobody writes to it."
            )
        return file

    def _seen(self, file: Any) -> tuple[int, int]:
        seen = os.fstat(file.fileno())
        return seen.st_size, seen.st_mtime_ns


def mark_of(files: Iterable[Stamped], more: str = "") -> str:
    """A digest of files by name, size and time."""
    digest = hashlib.blake2b(more.encode(), digest_size=16)
    for file in files:
        digest.update(f"{file.name}\0{file.size}\0{file.time}\0".encode())
    return digest.hexdigest()


# -- tables, arrays and lists of files alike, and what stands beside them ----------------------------


def joined(pieces: Sequence[Any]) -> Any:
    """Pieces one below the other."""
    if not pieces:
        raise DataError("Found 0 sample(s) while a minimum of 1 is required. Bring more rows.")
    if len(pieces) == 1:
        return pieces[0]
    if isinstance(pieces[0], Together):
        beside = {name: joined([piece.beside[name] for piece in pieces]) for name in pieces[0].beside}
        return Together(joined([piece.data for piece in pieces]), beside)
    if isinstance(pieces[0], np.ndarray):
        return np.concatenate(pieces)
    if isinstance(pieces[0], list):
        return [one for piece in pieces for one in piece]
    import pyarrow as pa

    return pa.concat_tables(pieces)


def cut(data: Any, begin: int, end: int) -> Any:
    """Rows ``begin`` to ``end``, not copied."""
    if isinstance(data, Together):
        return Together(cut(data.data, begin, end), {name: cut(one, begin, end) for name, one in data.beside.items()})
    return data[begin:end] if isinstance(data, np.ndarray | list) else data.slice(begin, end - begin)


def taken(data: Any, which: np.ndarray) -> Any:
    """The rows at ``which``, copied."""
    if isinstance(data, Together):
        return Together(taken(data.data, which), {name: taken(one, which) for name, one in data.beside.items()})
    if isinstance(data, list):
        return [data[i] for i in which]
    return data[which] if isinstance(data, np.ndarray) else data.take(which)
