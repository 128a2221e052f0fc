"""The stamps of recordings that are read in stretches: looked at once, of which few are remembered."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from isthmus.data.tracks import Track
from isthmus.errors import DataError
from isthmus.modalities.recording import Layout
from isthmus.modalities.stamps import APART, BETWEEN, ON, Told, check_twice, stamps_of, usually

#: Rows between the stamps that are remembered, to find others.
_MARK = 4096
#: Distances between stamps that tell which are ordinary.
_ORDINARY = 1 << 20


class Clock:
    """The stamps of one recording, which rise; of every few thousand rows the first is remembered.

    ``breaks`` are the rows at which it begins anew behind a very long gap, each with the steps before and at it.
    """

    def __init__(self, track: Track, layout: Layout, told: Told):
        """
        Raises:
            DataError: time runs backwards, or many stamps are there twice.
        """
        assert layout.step is not None
        assert layout.time is not None
        self._time, self._step, self._name = layout.time, layout.step, track.name
        self.even, self.n, self._first = True, 0, None
        marks, self._rows, breaks, twice, last = list[float](), list[int](), [], 0, math.nan
        closest, widest = math.inf, 0.0
        for numbers, self._unit in _rising(track, layout.time):
            self._first = numbers[0] if self._first is None else self._first
            at = self._steps(numbers)
            apart = np.diff(at, prepend=last)
            self.even = self.even and bool((np.abs(at - np.round(at)) <= ON).all())
            twice += int((apart == 0).sum())
            breaks += [(self.n + i, at[i] - apart[i], at[i]) for i in np.flatnonzero(apart > APART).tolist()]
            told.wide(self._name, self.n, apart, layout.step)
            ordinary = apart[(apart > 0) & (apart <= BETWEEN)]
            closest, widest = min(closest, ordinary.min(initial=math.inf)), max(widest, ordinary.max(initial=0.0))
            marks += at[::_MARK].tolist()
            self._rows += range(self.n, self.n + len(at), _MARK)
            self.n, last = self.n + len(at), float(at[-1])
        check_twice(twice, self.n, track.name)
        told.twice += twice
        if not self.even:
            told.odd(closest * layout.step, widest * layout.step)
        self._marks, self.end = self._rounded(np.array(marks)), float(self._rounded(last))
        rounded = ((row, float(self._rounded(before)), float(self._rounded(at))) for row, before, at in breaks)
        self.breaks = [one for one in rounded if one[2] - one[1] > APART]

    def of(self, table: Any) -> np.ndarray:
        """Where some of the rows stand, in steps since the first."""
        return self._rounded(self._steps(stamps_of(table, self._time, self._name)[0]))

    def around(self, begin: float, end: float) -> tuple[int, int]:
        """Rows among which all are that stand from step ``begin`` to step ``end``."""
        low = int(np.searchsorted(self._marks, begin, side="left")) - 1
        high = int(np.searchsorted(self._marks, end, side="right"))
        return self._rows[max(low, 0)], self._rows[high] if high < len(self._rows) else self.n

    def _steps(self, numbers: np.ndarray) -> np.ndarray:
        steps: np.ndarray = (numbers - self._first) * self._unit / self._step
        return steps

    def _rounded(self, at: Any) -> Any:
        return np.round(at) if self.even else at


def _rising(track: Track, time: str) -> Iterator[tuple[np.ndarray, float]]:
    """The stamps of a recording as they are kept, some at a time, and what one of their units is.

    Raises:
        DataError: time runs backwards.
    """
    last, row = None, 0
    for table in track.runs():
        numbers, unit = stamps_of(table, time, track.name)
        before = numbers[:1] if last is None else np.array([last], numbers.dtype)
        if (back := np.flatnonzero(np.diff(numbers, prepend=before) < 0)).size:
            raise DataError(
                f"Time runs backwards at row {row + int(back[0]):,} of {track.name}, which is read in stretches and so "
                f"needs its rows in the order of {time!r}. Sort it by that column, or read it whole if memory allows: "
                "--no-stream (stream=False)."
            )
        yield numbers, unit
        last, row = numbers[-1], row + len(numbers)


def usual_step(tracks: Sequence[Track], layout: Layout, origin: str) -> float:
    """Seconds from step to step, as :class:`~isthmus.modalities.recording.Layout` has it in memory; which distances
    are ordinary is told by the first ones.
    """
    assert layout.time is not None
    first, n, usual, total, count = list[np.ndarray](), 0, 0.0, 0.0, 0
    for track in tracks:
        last: Any = None
        for numbers, unit in _rising(track, layout.time):
            apart = np.diff(numbers) if last is None else np.diff(numbers, prepend=np.array([last], numbers.dtype))
            last, apart = numbers[-1], apart[apart > 0] * unit
            if n < _ORDINARY:
                first.append(apart)
                n += len(apart)
                if n >= _ORDINARY:
                    usual, total, count = _ordinary(np.concatenate(first))
                continue
            near = apart[usually(apart, usual)]
            total, count = total + float(near.sum()), count + len(near)
    if not n:
        raise layout.timeless(origin)
    if n < _ORDINARY:
        usual, total, count = _ordinary(np.concatenate(first))
    return total / count


def _ordinary(apart: np.ndarray) -> tuple[float, float, int]:
    """The usual distance, the sum of the ordinary ones, and their number."""
    usual = float(np.median(apart))
    near = apart[usually(apart, usual)]
    return usual, float(near.sum()), len(near)
