"""Recordings that are read in stretches: the same grid and the same windows, of which only some are ever there.

.. math:: s_t = \\frac{1}{|\\{i : t \\in W_i\\}|} \\sum_{i : t \\in W_i} s(W_i)

All windows that hold a stamp lie within a window's length of it, so a stretch with so much on either side tells all
about its stamps. Held out are whole cells of time, chosen by a hash of their place.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np

from isthmus.data.large import Large, enough, hashed
from isthmus.data.rows import Rows
from isthmus.data.tracks import LargeTrack, Tracks, by_series, sliced
from isthmus.data.windows import Recorded, Windows, starts
from isthmus.errors import DataError
from isthmus.modalities.clock import Clock, usual_step
from isthmus.modalities.recording import Layout
from isthmus.modalities.stamps import Told, on_grid, step_of

#: Steps that the period is looked for in, and pieces that these are of.
_LOOKED, _PIECES = 20_000, 16
#: A cell of time, which is held out or not as a whole, is so many windows long.
_CELL = 4
#: Bytes of windows that are read together: where any stretch is read as cheaply, and where rows come in groups.
_BLOCK, _LARGE_BLOCK = 1 << 22, 1 << 24
#: Numbers of windows that come out of a block at once.
_AT_ONCE = 1 << 22


@dataclass(frozen=True)
class Piece:
    """An unbroken stretch of a recording: its rows, the ``steps`` of the grid that they take, and at which step since
    the recording's first row it begins.
    """

    track: int
    begin: int
    end: int
    steps: int
    at: float = 0.0


class Grid:
    """Recordings on the grid of a layout, of which any stretch is read by itself."""

    def __init__(self, tracks: Tracks, layout: Layout):
        """
        Raises:
            DataError: time runs backwards in a recording, or says too little.
        """
        self._several, told = len({track.file or track.name for track in tracks.tracks}) > 1, Told()
        self.tracks = tracks if layout.series_id is None else by_series(tracks, layout.series_id)
        self.layout = layout
        self.clocks = [None if layout.time is None else Clock(track, layout, told) for track in self.tracks.tracks]
        self.pieces = [piece for i in range(len(self.clocks)) for piece in self._pieces_of(i)]
        self._begins = np.array([int(self.tracks.begins[piece.track]) + piece.begin for piece in self.pieces])
        self._told = told

    @classmethod
    def fit(
        cls,
        rows: Rows,
        *,
        time: str | None = None,
        series_id: str | None = None,
        window: int | str | None = None,
        stride: int | str | None = None,
        kinds: Mapping[str, str] | None = None,
    ) -> Self | None:
        """The grid of large rows, whose layout is chosen from some of them; None where each is a window already."""
        tracks = tracks_of(rows)
        some = [item for _, item in tracks.stretches()]
        kind = "recordings" if rows.kind == "recordings" else "table" if hasattr(some[0], "column_names") else "array"
        looked = Rows(kind, some if kind == "recordings" else some[0], rows.origin)
        layout = Layout.laid(looked, time=time, series_id=series_id, window=window, stride=stride, kinds=kinds)
        if layout is None:
            return None
        tracks = tracks if series_id is None else by_series(tracks, series_id)
        if rates := {item.rate for item in some if hasattr(item, "rate")}:
            layout.step = step_of(rates, rows.origin)
        elif layout.time is not None:
            layout.step = usual_step(tracks.tracks, layout, rows.origin)
        grid = cls(tracks, layout)
        lengths = [piece.steps for piece in grid.pieces]
        which = {*np.linspace(0, len(lengths) - 1, _PIECES).astype(int).tolist(), int(np.argmax(lengths))}
        pieces = [grid.values(i, 0, min(lengths[i], _LOOKED)) for i in sorted(which)]
        layout.choose(pieces, max(lengths), sum(lengths), window, stride, rows.origin)
        return grid

    @property
    def remarks(self) -> tuple[str, ...]:
        """What is unusual about the stamps and the pieces."""
        return (*self._told.lines(self.layout.step), *self.layout.short([piece.steps for piece in self.pieces]))

    def _pieces_of(self, i: int) -> Iterator[Piece]:
        track, clock = self.tracks.tracks[i], self.clocks[i]
        if clock is None:
            yield Piece(i, 0, track.n, track.n)
            return
        row, at = 0, 0.0
        for following, before, after in [*clock.breaks, (track.n, clock.end, 0.0)]:
            yield Piece(i, row, following, math.ceil(before - at - 1e-9) + 1, at)
            row, at = following, after

    def values(self, number: int, begin: int, end: int) -> np.ndarray:
        """What stands on steps ``begin`` to ``end`` of a piece, (steps, channels), NaN where nothing does."""
        return self._read(number, begin, end)[0]

    def _read(
        self, number: int, begin: int, end: int, rows: tuple[int, int] = (0, 0)
    ) -> tuple[np.ndarray, Any, np.ndarray]:
        """The same, and the recording's ``rows``, which stand on these steps, with their places in the piece."""
        piece = self.pieces[number]
        track, clock = self.tracks.tracks[piece.track], self.clocks[piece.track]
        first, last = rows if rows[1] else (begin, begin)
        if clock is None:
            item = track.read(begin, end)
            values = self.layout.values_of(item, track.name)
            return values, sliced(item, first - begin, last - begin), np.arange(first, last, dtype=np.float64)
        # two steps more on either side, since values are read off between stamps
        low, high = clock.around(piece.at + begin - 2, piece.at + end + 2)
        low, high = max(low, piece.begin), min(high, piece.end)
        item = track.read(low, high)
        at = clock.of(item) - piece.at
        near = (at >= begin - 2) & (at <= end + 2)
        values = _stretch(at[near], self.layout.values_of(item, track.name)[near], begin, end, end >= piece.steps)
        if not rows[1]:
            return values, None, at[:0]
        return values, sliced(item, first - low, last - low), at[first - low : last - low]

    def part(self, rows: Rows) -> Part:
        """Rows that follow each other, known by their places, with all windows that hold them."""
        begin, end = int(rows.data[0]), int(rows.data[-1]) + 1
        length, stride = self.layout.window, self.layout.stride
        pieces, places, which, at = [], [], [], []
        items, begins, names = [], [], []
        for number in range(int(np.searchsorted(self._begins, begin, side="right")) - 1, len(self.pieces)):
            piece, row = self.pieces[number], int(self._begins[number])
            if row >= end:
                break
            mine = (piece.begin + max(begin - row, 0), min(piece.begin + end - row, piece.end))
            low, high = self._steps_of(piece, *mine)
            # the windows that hold any of these steps, and all that they hold
            inside = starts(piece.steps, length, stride, max(0, low - length + 1), high)
            low, high = int(inside[0]), min(piece.steps, int(inside[-1]) + length)
            values, item, where = self._read(number, low, high, mine)
            which.append(np.full(len(where), len(pieces)))
            at.append(where - low)
            pieces.append(values)
            places.append(inside - low)
            items.append(item)
            track = self.tracks.tracks[piece.track]
            begins.append(track.first + mine[0])
            names.append(track.file or track.name)
        recorded = Recorded(tuple(pieces), np.concatenate(which), np.concatenate(at))
        windows = Rows("windows", Windows.at(recorded, length, places), rows.origin)
        brought = Rows("recordings", items, rows.origin, tuple(names))
        return Part(windows, brought, begins, self._several)

    def _steps_of(self, piece: Piece, begin: int, end: int) -> tuple[int, int]:
        """The steps that rows of a piece stand on, or between."""
        clock = self.clocks[piece.track]
        if clock is None:
            return begin, end
        at = clock.of(self.tracks.tracks[piece.track].read(begin, end)) - piece.at
        return int(at[0]), min(piece.steps, math.ceil(at[-1]) + 1)


@dataclass(frozen=True)
class Part:
    """Some rows of recordings: the ``windows`` that hold them, the ``rows`` as they were brought, stretch by stretch,
    at which row of its recording each begins, and whether there are several recordings.
    """

    windows: Rows
    rows: Rows
    begins: list[int]
    several: bool

    def __len__(self) -> int:
        return len(self.windows.data.recorded.at)


def _stretch(at: np.ndarray, values: np.ndarray, begin: int, end: int, is_end: bool) -> np.ndarray:
    """Values at places in ascending order → those of steps ``begin`` to ``end``."""
    found = np.full((end - begin, values.shape[1]), np.nan)
    if not len(at):
        return found
    first = math.floor(at[0])
    grid = on_grid(at - first, values)
    # before the first stamp here, and behind the last, there is a gap
    steps = first + np.arange(len(grid))
    grid[steps < at[0] - 0.5] = np.nan
    if not is_end:
        grid[steps > at[-1] + 0.5] = np.nan
    low, high = max(begin, first), min(end, first + len(grid))
    if low < high:
        found[low - begin : high - begin] = grid[low - first : high - first]
    return found


def tracks_of(rows: Rows) -> Tracks:
    """Large rows as recordings: a table or an array is one."""
    if isinstance(rows.data, Tracks):
        return rows.data
    return Tracks([LargeTrack(rows.data, rows.origin)], rows.origin)


# -- windows as rows ---------------------------------------------------------------------------------


class LargeWindows(Large):
    """The windows of recordings, block by block, without those of some cells of time that are held ``out`` and those
    that share a step with one of these. ``some`` of both are in memory.
    """

    kind: ClassVar[str] = "windows"

    def __init__(self, grid: Grid, out: np.ndarray | None = None, share: float = 0.0):
        self.grid, self.share = grid, share
        self._length, self._stride = grid.layout.window, grid.layout.stride
        self._out = np.zeros(0, np.int64) if out is None else out
        #: Steps of a cell: so many that windows begin with it.
        self._cell = self._stride * -(-_CELL * self._length // self._stride)
        self._lasts = np.array([max(0, piece.steps - self._length) for piece in grid.pieces])
        self.blocks = [
            (i, begin, min(begin + size, int(last) + 1))
            for i, last in enumerate(self._lasts)
            for size in (self._block(i),)
            for begin in range(0, int(last) + 1, size)
        ]
        super().__init__([len(self._kept(*block)) for block in self.blocks])
        self.rows: LargeWindows = self
        self.some: Windows | None = None
        self.held: Windows | None = None

    def hold_out(self, share: float, seed: int) -> LargeWindows:
        """Without the cells whose place has a hash below the share, or the one whose hash is the least."""
        codes = self._codes()
        hashes = hashed(codes)
        out = hashes < share
        if share and len(codes) > 1 and not out.any():
            out[hashes.argmin()] = True
        kept = LargeWindows(self.grid, codes[out], share)
        kept.rows = self
        most, most_held = enough(self.width)
        kept.some = kept._picked(codes[~out][hashed(codes[~out], seed + 1).argsort()], most)
        # in no order, because some look at the first ones alone
        kept.some = kept.some[np.random.default_rng(seed).permutation(len(kept.some))]
        kept.held = self._picked(codes[out][hashes[out].argsort()], most_held) if out.any() else None
        return kept

    @property
    def channels(self) -> int:
        return len(self.grid.layout.channels or ()) or self.grid.tracks.width

    @property
    def width(self) -> int:
        return self._length * self.channels

    def mark(self) -> str:
        return f"{self.grid.tracks.mark()} {json.dumps(self.grid.layout.to_json())} {self.share}"

    def read(self, block: int) -> Iterator[np.ndarray]:
        begins = self._kept(*self.blocks[block])
        if not len(begins):
            return
        number, first = self.blocks[block][0], int(begins[0])
        values = self._values(number, first, int(begins[-1]))
        # not copied: a view of all windows, of which some are taken
        views = np.lib.stride_tricks.sliding_window_view(values, self._length, axis=0)
        step = max(1, _AT_ONCE // self.width)
        for at in range(0, len(begins), step):
            yield views[begins[at : at + step] - first].swapaxes(1, 2)

    def _values(self, number: int, first: int, last: int) -> np.ndarray:
        """The steps of a piece that windows hold which begin from ``first`` to ``last``."""
        values = self.grid.values(number, first, min(self.grid.pieces[number].steps, last + self._length))
        lacking = last + self._length - first - len(values)  # a piece shorter than a window
        return np.pad(values, ((0, max(0, lacking)), (0, 0)), constant_values=np.nan)

    def _block(self, number: int) -> int:
        """Steps of a block, a whole number of cells."""
        each = 4 * self.width / self._stride
        together = self.grid.tracks.tracks[self.grid.pieces[number].track].together
        steps = np.clip(together, _BLOCK / each, _LARGE_BLOCK / each)
        return self._cell * max(1, round(float(steps) / self._cell))

    def _kept(self, number: int, begin: int, end: int) -> np.ndarray:
        """Where windows begin that share no step with a held-out one."""
        found = starts(self.grid.pieces[number].steps, self._length, self._stride, begin, end)
        if not len(self._out):
            return found
        cell = found // self._cell
        behind = self._is_out(number, cell - 1) & (found < cell * self._cell - self._stride + self._length)
        following = (cell + 1) * self._cell
        before = self._is_out(number, cell + 1) & (found + self._length > following)
        return found[~(self._is_out(number, cell) | behind | before)]

    def _is_out(self, number: int, cells: np.ndarray) -> np.ndarray:
        codes = (number << 32) + cells
        at = np.minimum(np.searchsorted(self._out, codes), len(self._out) - 1)
        return (self._out[at] == codes) & (cells >= 0)

    def _codes(self) -> np.ndarray:
        """A number for every cell, in order: the piece's and its own."""
        cells = self._lasts // self._cell + 1
        number = np.repeat(np.arange(len(cells)), cells)
        return (number << 32) + np.arange(len(number)) - np.repeat(np.cumsum(cells) - cells, cells)

    def _picked(self, codes: np.ndarray, most: int) -> Windows:
        """The windows of the first of these cells, about ``most`` and of one cell at least, in memory."""
        number, cell = codes >> 32, codes & ((1 << 32) - 1)
        # those of each cell, about: the last of a piece holds fewer
        first = cell * self._cell
        each = (np.minimum(first + self._cell, self._lasts[number] + 1) - first - 1) // self._stride + 1
        chosen = np.sort(codes[: max(1, int(np.searchsorted(np.cumsum(each), most)))])
        pieces, places = [], []
        for some in self._together(chosen):
            begins = [self._kept(i, k * self._cell, (k + 1) * self._cell) for i, k in some]
            begins = [one for one in begins if len(one)]
            if not begins:
                continue
            first_step = int(begins[0][0])
            values = self._values(some[0][0], first_step, int(begins[-1][-1]))
            for one in begins:
                pieces.append(values[one[0] - first_step : one[-1] - first_step + self._length])
                places.append(one - one[0])
        if not pieces:
            raise DataError(
                f"{self.grid.tracks.origin} is too short to hold some of it out. Bring more, or say --validation 0."
            )
        nowhere = np.zeros(0)
        return Windows.at(Recorded(tuple(pieces), nowhere.astype(np.int64), nowhere), self._length, places)

    def _together(self, codes: np.ndarray) -> Iterator[list[tuple[int, int]]]:
        """Cells, by piece and number, that are read in one go: those of a block where rows come in groups."""
        group: list[tuple[int, int]] = []
        for code in codes.tolist():
            number, cell = code >> 32, code & ((1 << 32) - 1)
            if group:
                grouped = self.grid.tracks.tracks[self.grid.pieces[number].track].together > 0
                per_block = self._block(number) // self._cell
                if not grouped or group[0][0] != number or group[0][1] // per_block != cell // per_block:
                    yield group
                    group = []
            group.append((number, cell))
        if group:
            yield group
