"""Raw rows of one kind, before any modality looks at them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from isthmus.data.census import Counted
from isthmus.data.large import Large, Together, some_of
from isthmus.data.sided import Side, Sided
from isthmus.data.tracks import Tracks
from isthmus.errors import DataError


@dataclass(frozen=True)
class Skipped:
    """An input that could not be used, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class Rows:
    """Raw rows of one kind.

    ``kind`` is ``"array"`` (``data`` is an ndarray, rows first), ``"table"`` (a ``pyarrow.Table``), ``"image"``
    (a list of paths, or an integer ndarray ``(n, h, w)`` / ``(n, h, w, c)``), ``"series"`` (a list of
    ndarrays ``(time,)`` or ``(time, channels)`` that differ in length), ``"recordings"`` (a list of long tables,
    ndarrays or sounds), ``"windows"`` (:class:`~isthmus.data.windows.Windows` of recordings), ``"sparse"``
    (a ``scipy.sparse.csr_array``) or ``"text"`` (a list of str). ``names``
    are the files of a folder, else None. ``origin`` is how messages call the rows. ``remarks`` are
    the decisions taken while opening that a person would want to know. ``beside`` are other rows that
    belong to these, one to one, and go where they go (``"condition"``: what steers the decoder; ``"target"``:
    what should come back). ``longest`` are the steps of the longest series that was opened with these, so that
    those held out fit whatever the others are. ``folder`` is where paths in the cells of a table begin. ``first``
    is the place of the first of these rows in what was opened.

    ``data`` may also be :class:`~isthmus.data.large.Large`: rows that are read in stretches (:meth:`chunks`), because
    all of them are more than memory should hold. Of recordings (:class:`~isthmus.data.tracks.Tracks`) rows are then
    steps, and chunks their places (kind ``"places"``). ``census`` is what the columns of all of them hold, where these
    stand for more.
    """

    kind: str
    data: Any
    origin: str = "the rows"
    names: tuple[str, ...] | None = None
    skipped: tuple[Skipped, ...] = ()
    remarks: tuple[str, ...] = ()
    beside: Mapping[str, Rows] = field(default_factory=dict)
    longest: int | None = None
    folder: str | None = None
    first: int = 0
    census: Mapping[str, Counted] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, rows in self.beside.items():
            if len(rows) != len(self):
                raise DataError(
                    f"{self.origin} has {len(self):,} rows and its {name} {len(rows):,}. Bring one for each row."
                )

    def __len__(self) -> int:
        return self.data.shape[0] if self.kind == "sparse" else len(self.data)

    @property
    def large(self) -> bool:
        """Whether they are read in stretches."""
        return isinstance(self.data, Large)

    def some(self, seed: int = 0) -> Rows:
        """These rows, or of large ones some that stand for all, in memory."""
        if isinstance(self.data, Tracks):
            names, found = zip(*self.data.stretches(), strict=True)
            return self.replace(data=list(found), names=names)
        return self.of(some_of(self.data, seed)) if self.large else self

    def pick(self, places: np.ndarray) -> Rows:
        """The rows at ``places``, which rise, in memory; large rows are read for it."""
        if not self.large:
            return self.take(places)
        names = getattr(self.data, "names", None)
        return self.of(self.data.pick(places)).replace(names=names and tuple(names[i] for i in places))

    def of(self, data: Any) -> Rows:
        """Some of these rows, which are large: ``data`` that came out of theirs, with what stands beside it."""
        if isinstance(data, Together):
            beside = {name: rows.replace(data=data.beside[name]) for name, rows in self.beside.items()}
            return self.replace(data=data.data, beside=beside)
        beside = {name: rows.replace(data=Side(data, name)) for name, rows in self.beside.items()}
        return self.replace(data=data, beside=beside)

    def with_beside(self, name: str, rows: Rows) -> Rows:
        """These rows with others beside them, one to one, that go where they go."""
        if not self.large:
            rows = rows.replace(data=rows.data.whole()) if rows.large else rows
            return self.replace(beside={**self.beside, name: rows})
        both = self.replace(beside={**self.beside, name: rows.replace(beside={}, names=None)})
        return both.of(Sided(self.data, others={name: rows.data}))

    def without_columns(self, name: str, columns: Sequence[str]) -> Rows:
        """A table without some of its columns, which stand beside it as ``name``."""
        columns = list(columns)
        if self.large:
            beside = {**self.beside, name: self.replace(beside={})}
            return self.replace(beside=beside).of(Sided(self.data, columns={name: columns}))
        aside = self.replace(data=self.data.select(columns), beside={}, names=None)
        return self.replace(data=self.data.drop_columns(columns), beside={**self.beside, name: aside})

    def listed(self) -> Rows:
        """These rows; of large ones in files that are decoded when they are looked at, all of their paths."""
        paths = getattr(self.data, "paths", None)
        return self if paths is None else self.replace(data=list(paths), names=self.data.names)

    def in_memory(self, what: str) -> Rows:
        """These rows, unless they are large and ``what`` needs all of them at once."""
        if self.large:
            raise DataError(
                f"{what} all rows at once, and {self.origin} ({len(self):,} rows) is read in stretches. Leave that "
                "out, bring fewer rows, or read them whole if memory allows: --no-stream (stream=False)."
            )
        return self

    def take(self, indices: Sequence[int] | np.ndarray) -> Rows:
        """The rows at ``indices`` (or where a boolean mask is true), in that order.

        >>> Rows("array", np.array([[1], [2], [3]])).take([2, 0]).data.tolist()
        [[3], [1]]
        """
        self.in_memory("This needs")
        indices = np.asarray(indices)
        if indices.dtype == bool:
            indices = np.flatnonzero(indices)
        # int64 also for [], which numpy would make float
        indices = indices.astype(np.int64, copy=False)
        if self.kind == "table":
            data = self.data.take(indices)
        elif isinstance(self.data, list):
            data = [self.data[i] for i in indices]
        else:
            data = self.data[indices]
        names = None if self.names is None else tuple(self.names[i] for i in indices)
        beside = {name: rows.take(indices) for name, rows in self.beside.items()}
        return self.replace(data=data, names=names, beside=beside)

    def chunks(self, size: int, start: int = 0) -> Iterator[Rows]:
        """The rows from ``start`` on in order, ``size`` at a time. Nothing is copied; large rows are read here."""
        if size < 1:
            raise DataError(f"A chunk holds at least 1 row; got {size}.")
        if self.large:
            places = range(start, len(self), size)
            names = getattr(self.data, "names", None)
            for first, data in zip(places, self.data.chunks(size, start), strict=True):
                yield self.of(data).replace(first=first, names=names and names[first : first + size])
            return
        for first in range(start, len(self), size):
            yield self._slice(first, size)

    def _slice(self, start: int, size: int) -> Rows:
        stop = start + size
        data = self.data.slice(start, size) if self.kind == "table" else self.data[start:stop]
        names = None if self.names is None else self.names[start:stop]
        beside = {name: rows._slice(start, size) for name, rows in self.beside.items()}
        return self.replace(data=data, names=names, beside=beside, first=self.first + start)

    def of_one_length(self) -> Rows:
        """These rows, unless they are texts, recordings or series that differ in length, which few can take."""
        if self.kind == "text":
            raise DataError(f"{self.origin} holds texts, which only the modality 'text' can take. Fit with it.")
        if self.kind == "sparse":
            raise DataError(
                f"{self.origin} is a sparse matrix, which only the modality 'sparse' can take. Fit with it, or make "
                "the matrix dense first: X.toarray()."
            )
        if self.kind == "recordings":
            raise DataError(f"{self.origin} are recordings, which only the modality 'series' can take (--kind series).")
        if self.kind == "series":
            raise DataError(
                f"The rows of {self.origin} differ in length, which only the modality 'series' can take. "
                "Choose it when fitting, or cut them to one length."
            )
        return self

    def replace(self, **changes: Any) -> Rows:
        return replace(self, **changes)
