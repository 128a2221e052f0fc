"""Recordings that are more than memory should hold: sounds, arrays and tables, any stretch of which is read by itself.

.. math:: i = b_k + r, \\qquad 0 \\le r < n_k

A row i of all of them is row r of track k, which begins at b_k.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from isthmus.data.large import AT_ONCE, Large, Stamped
from isthmus.data.sounds import SUFFIXES as SOUNDS
from isthmus.data.sounds import Sound, SoundReader
from isthmus.errors import DataError, FileError, unknown

#: Stretches that stand for all, and the rows of each.
_SOME, _EACH = 16, 1 << 14


class Track(ABC):
    """One recording of ``n`` rows in a file."""

    name: str
    n: int
    #: What was brought it is a part of, a series of a table, and at which row of that it begins; else itself.
    file: str = ""
    first: int = 0
    #: Numbers per row, about: the columns of a table.
    width: int
    #: Rows that are read together, cheaply; 0 where any are.
    together: int = 0
    #: The large rows of which it is a part, where it is.
    of: Large | None = None

    @abstractmethod
    def read(self, begin: int, end: int) -> Any:
        """Rows ``begin`` to ``end``: a sound, an array (time,) or (time, channels), or a table."""

    def runs(self) -> Iterator[Any]:
        """All rows in order, some at a time."""
        for begin in range(0, self.n, AT_ONCE):
            yield self.read(begin, min(self.n, begin + AT_ONCE))

    @abstractmethod
    def mark(self) -> str:
        """What tells its rows from others without reading them."""

    @property
    @abstractmethod
    def form(self) -> str:
        """What it has in common with the others of its kind, in words."""


class SoundTrack(Track):
    """A WAV file."""

    def __init__(self, path: Path, name: str):
        self.name, self._file = name, Stamped(path, name)
        with self._file.open() as file:
            found = SoundReader(file, name)
            self.n, self.width, self._form = found.n, found.channels, f"{found.channels} channel(s)"

    def read(self, begin: int, end: int) -> Sound:
        with self._file.open() as file:
            return SoundReader(file, self.name).read(begin, end)

    def mark(self) -> str:
        return f"{self.name}\0{self._file.size}\0{self._file.time}"

    @property
    def form(self) -> str:
        return self._form


class ArrayTrack(Track):
    """An ``.npy`` of (time,) or (time, channels), mapped into memory a stretch at a time."""

    def __init__(self, path: Path, name: str):
        self.name, self._file = name, Stamped(path, name)
        try:
            shape, dtype = self._map().shape, self._map().dtype
        except (ValueError, EOFError) as error:
            raise FileError(f"{name!r} cannot be read as .npy: it is damaged or something else ({error}).") from error
        if len(shape) not in (1, 2) or 0 in shape or dtype.kind not in "biuf":
            raise DataError(
                f"A recording is an array of numbers (time,) or (time, channels); {name} is {dtype} of shape {shape}."
            )
        self.n, self.width = shape[0], 1 if len(shape) == 1 else shape[1]

    def _map(self) -> np.ndarray:
        self._file.open().close()  # is it still the same?
        return np.lib.format.open_memmap(self._file.path, mode="r")

    def read(self, begin: int, end: int) -> np.ndarray:
        return np.array(self._map()[begin:end])

    def mark(self) -> str:
        return f"{self.name}\0{self._file.size}\0{self._file.time}"

    @property
    def form(self) -> str:
        return f"{self.width} channel(s)"


class LargeTrack(Track):
    """Some of the rows of a large table or array: a file of a data set."""

    of: Any

    def __init__(self, rows: Any, name: str, begin: int = 0, end: int | None = None, together: int | None = None):
        self.name, self.of, self._begin = name, rows, begin
        self.n, self.width = (len(rows) if end is None else end) - begin, rows.width
        self.together = int(np.median(rows.counts)) if together is None else together

    def read(self, begin: int, end: int) -> Any:
        return self.of.span(self._begin + begin, self._begin + end)

    def runs(self) -> Iterator[Any]:
        left = self.n
        for some in self.of.chunks(AT_ONCE, self._begin):
            yield some[:left] if isinstance(some, np.ndarray) else some.slice(0, left)
            left -= len(some)
            if left <= 0:
                return

    def part(self, begin: int, end: int, series: str) -> LargeTrack:
        """Its rows ``begin`` to ``end``, which are a series."""
        found = LargeTrack(self.of, f"{self.name}, {series}", self._begin + begin, self._begin + end, self.together)
        found.file, found.first = self.name, begin
        return found

    def mark(self) -> str:
        return f"{self.name} {self._begin} {self.n}"

    @property
    def form(self) -> str:
        return "a table" if self.of.kind == "table" else f"{self.width} channel(s)"


class Tracks(Large):
    """Recordings one behind the other. Rows are known by their places; whoever takes some reads what lies there."""

    kind: ClassVar[str] = "recordings"

    def __init__(self, tracks: Sequence[Track], origin: str):
        """
        Raises:
            DataError: the recordings are of different forms.
        """
        self.tracks, self.origin = list(tracks), origin
        forms = {track.form: track.name for track in reversed(self.tracks)}
        if len(forms) > 1:
            said = "; ".join(
                f"{name} {'is' if form == 'a table' else 'has'} {form}" for form, name in reversed(forms.items())
            )
            raise DataError(f"Recordings of {origin} are of one form; {said}. Leave out what does not belong.")
        super().__init__([track.n for track in self.tracks])

    @property
    def width(self) -> int:
        return self.tracks[0].width

    def mark(self) -> str:
        whole = {id(track.of): track.of for track in self.tracks if track.of is not None}
        return "\n".join([*(track.mark() for track in self.tracks), *(rows.mark() for rows in whole.values())])

    def read(self, block: int) -> Iterator[np.ndarray]:
        """The places of a recording's rows."""
        begin, end = self.begins[block : block + 2]
        for at in range(int(begin), int(end), AT_ONCE):
            yield np.arange(at, min(end, at + AT_ONCE))

    def stretches(self) -> list[tuple[str, Any]]:
        """Some stretches of some recordings, evenly spread, in memory, each with its name."""
        which = np.unique(np.linspace(0, len(self.tracks) - 1, _SOME).round().astype(int))
        each, found = -(-_SOME // len(which)), []
        for track in (self.tracks[i] for i in which):
            begins = np.unique(np.linspace(0, max(0, track.n - _EACH), each).astype(int) // _EACH * _EACH)
            for begin in begins.tolist():
                name = track.name if len(begins) == 1 else f"{track.name} from row {begin}"
                found.append((name, track.read(begin, min(track.n, begin + _EACH))))
        return found


def by_series(tracks: Tracks, column: str) -> Tracks:
    """Tables cut where another series begins, which a column tells; what is cut already stays.

    Raises:
        DataError: there is no such column, one of its cells is missing, or the rows of a series lie apart.
    """
    found: list[Track] = []
    for track in tracks.tracks:
        if track.file or not isinstance(track, LargeTrack) or track.of.kind != "table":
            found.append(track)
            continue
        begins, names = _series_in(track, column)
        ends = [*begins[1:], track.n]
        found += [track.part(*one) for one in zip(begins, ends, names, strict=True)]
    return Tracks(found, tracks.origin)


def _series_in(track: LargeTrack, column: str) -> tuple[list[int], list[str]]:
    """The rows at which series begin, and what these are called."""
    begins: list[int] = []
    names: list[str] = []
    seen, row = set[str](), 0
    for table in track.runs():
        if column not in table.column_names:
            raise unknown("column", column, table.column_names, DataError)
        codes = table[column].combine_chunks().dictionary_encode()
        if codes.null_count:
            at = row + int(np.flatnonzero(codes.is_null().to_numpy(zero_copy_only=False))[0])
            raise DataError(f"The cell of the column {column!r} in row {at:,} of {track.name} is missing.")
        which = codes.indices.to_numpy()
        for at in np.flatnonzero(np.diff(which, prepend=-1)).tolist():
            name = str(codes.dictionary[int(which[at])].as_py())
            if names and name == names[-1]:  # it goes on from the piece before
                continue
            if name in seen:
                raise DataError(
                    f"The rows of {name!r} lie apart in {track.name} (again at row {row + at:,}), which is read in "
                    f"stretches and so needs each series in one: sort it by {column!r}, or read it whole if memory "
                    "allows: --no-stream (stream=False)."
                )
            seen.add(name)
            begins.append(row + at)
            names.append(name)
        row += len(which)
    return begins, names


def track_of(path: Path, name: str) -> Track | None:
    """The recording in a file, by its ending; None where it is a table or is not read in stretches."""
    suffix = path.suffix.lower()
    return SoundTrack(path, name) if suffix in SOUNDS else ArrayTrack(path, name) if suffix == ".npy" else None


def sliced(item: Any, begin: int, end: int) -> Any:
    """Rows of a sound, an array or a table, not copied."""
    if isinstance(item, Sound):
        return item.of(item.samples[begin:end])
    return item[begin:end] if isinstance(item, np.ndarray) else item.slice(begin, end - begin)
