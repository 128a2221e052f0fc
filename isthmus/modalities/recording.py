"""Recordings: long runs of numbers over time, read onto an even grid and cut into windows.

.. math:: \\text{at}_i = \\frac{t_i - t_0}{\\Delta}
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Self

import numpy as np

from isthmus.data.rows import Rows
from isthmus.data.sounds import Sound
from isthmus.data.windows import Recorded, Windows, period
from isthmus.errors import DataError, SpecError, unknown
from isthmus.modalities.stamps import (
    ON,
    Told,
    check_twice,
    duration,
    on_grid,
    pieces_begin,
    seconds,
    step_of,
    time_column,
    usually,
)
from isthmus.spec import AUTO

#: A window is about this long: the multiple of the period that is nearest.
WINDOW = 128
#: A recording has room for this many windows at least, one behind the other.
_ROOM = 4
#: Windows are a 64th of their length apart, further where there would be more than this many, at most a quarter.
_OVERLAP, _MANY, _LEAST_OVERLAP = 64, 5_000, 4
#: A window holds so many numbers at most, over all channels, but is at least so many steps long.
_WIDEST, _SHORTEST = 1024, 16


class Layout:
    """How a person's recordings are laid out, and the windows that they are cut into.

    Arguments:
        time: Name of the column of stamps; None where the order of rows is the time.
        series_id: Name of the column that tells several series apart; None for one.
        channels: Names of the columns of numbers; None where they have none.
        step: Seconds (or units of a numeric time) between steps; None where there are no stamps.
        window: Steps of a window.
        stride: Steps between windows.
        dtype: NumPy name of the raw numbers; those of a table are float64.
        period: The period in steps that was found, for :meth:`describe`.
    """

    def __init__(
        self,
        time: str | None,
        series_id: str | None,
        channels: list[str] | None,
        step: float | None,
        window: int,
        stride: int,
        dtype: str = "float64",
        period: int | None = None,
    ):
        self.time, self.series_id = time, series_id
        self.channels = None if channels is None else list(channels)
        self.step, self.window, self.stride, self.dtype, self.period = step, window, stride, dtype, period

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
        """The layout of ``rows``; None where every row is a window already: an array or a list without ``window``
        or ``stride``, or a table without any column of time.
        """
        self = cls.laid(rows, time=time, series_id=series_id, window=window, stride=stride, kinds=kinds)
        if self is None:
            return None
        self.step = self._usual_step(rows)
        recorded = self.read(rows)
        lengths = [len(piece) for piece in recorded.pieces]
        self.choose(recorded.pieces, max(lengths), sum(lengths), window, stride, rows.origin)
        return self

    @classmethod
    def laid(
        cls,
        rows: Rows,
        *,
        time: str | None = None,
        series_id: str | None = None,
        window: int | str | None = None,
        stride: int | str | None = None,
        kinds: Mapping[str, str] | None = None,
    ) -> Self | None:
        """The columns of a layout, before steps and windows are looked at."""
        for name, said in (("window", window), ("stride", stride)):
            if said not in (None, AUTO) and (isinstance(said, bool) or not isinstance(said, int) or said < 1):
                raise SpecError(f"{name} is a whole number of steps or 'auto'; got {said!r}.")
        table = rows.data if rows.kind == "table" else None
        if rows.kind == "recordings":
            table = next((item for item in rows.data if hasattr(item, "column_names")), None)
        if table is not None:
            time = time_column(table, time, rows.origin)
            if series_id is not None and series_id not in table.column_names:
                raise unknown("column", series_id, table.column_names, DataError)
        elif time is not None or series_id is not None:
            raise SpecError(f"{rows.origin} has no columns, so none can be the time or tell series apart.")
        said = (time, series_id, window, stride)
        if rows.kind != "recordings" and all(one is None for one in said):
            return None
        left_out = _left_out(kinds or {}, table)
        channels = None
        if table is not None:
            channels = [name for name in table.column_names if name not in {time, series_id} | left_out]
            _check_channels(table, channels, rows.origin)
        self = cls(time, series_id, channels, None, 1, 1)
        if table is None:
            first = _items(rows)[0][1]
            self.dtype = np.asarray(first.samples if isinstance(first, Sound) else first).dtype.name
        return self

    def choose(
        self,
        pieces: Sequence[np.ndarray],
        longest: int,
        steps: int,
        window: int | str | None,
        stride: int | str | None,
        origin: str,
    ) -> None:
        """Choose window and stride of recordings of ``steps`` steps, of which the longest unbroken one has ``longest``
        and ``pieces`` are some, or what was said.
        """
        if longest < 4:
            raise DataError(f"{origin} is {longest} step(s) long: too short to be cut into windows.")
        if window in (None, AUTO):
            self.period = period(pieces, max(8, min(longest // 3, 2 * WINDOW)))
            self.window = _window(self.period, longest, pieces[0].shape[1])
        else:
            self.window = int(window)  # type: ignore[arg-type]
            if self.window < 2 or self.window > longest:
                raise DataError(
                    f"window={self.window}, and the longest recording of {origin} is {longest:,} steps. "
                    f"Choose from 2 to {longest}, or say window='auto'."
                )
        if stride in (None, AUTO):
            sparse = min(self.window // _LEAST_OVERLAP, math.ceil(steps / _MANY))
            self.stride = max(1, self.window // _OVERLAP, sparse)
        else:
            self.stride = int(stride)  # type: ignore[arg-type]
            if self.stride > self.window:
                raise SpecError(
                    f"stride={stride} is more than the window of {self.window} steps, so some would be in no window. "
                    f"Choose at most {self.window}."
                )

    # -- reading --------------------------------------------------------------------------------

    def cut(self, rows: Rows) -> Rows:
        """Recordings → their windows, as rows; what was decided is in the remarks."""
        recorded = self.read(rows)
        windows = Windows.cut(recorded, self.window, self.stride)
        remarks = [*rows.remarks, *recorded.remarks, *self.short([len(piece) for piece in recorded.pieces])]
        return Rows("windows", windows, rows.origin, skipped=rows.skipped, remarks=tuple(remarks))

    def short(self, lengths: Sequence[int]) -> list[str]:
        """That stretches of these lengths are shorter than a window, where some are."""
        short = sum(length < self.window for length in lengths)
        return [
            f"{short:,} of {len(lengths):,} stretches are shorter than a window of {self.window} steps; "
            "what is behind their end is taken as missing, and a few steps are scored roughly."
        ] * (short > 0)

    def read(self, rows: Rows) -> Recorded:
        """Put every recording of ``rows`` onto the grid."""
        pieces: list[np.ndarray] = []
        which, at, told = [], [], Told()
        for name, values, stamps in self._tracks(rows):
            where = np.arange(len(values), dtype=np.float64) if stamps is None else self._places(name, stamps, told)
            begin = pieces_begin(where)
            ends = np.append(begin[1:], len(where))
            order = np.argsort(where, kind="stable")
            mine, place = np.empty(len(where), np.int64), np.empty(len(where))
            for a, b in zip(begin, ends, strict=True):
                some = order[a:b]
                from_first = where[some] - where[some[0]]
                mine[some], place[some] = len(pieces), from_first
                pieces.append(on_grid(from_first, values[some]) if stamps is not None else values[some])
            which.append(mine)
            at.append(place)
        return Recorded(tuple(pieces), *self._in_rows(rows, which, at), remarks=told.lines(self.step))

    def _tracks(self, rows: Rows) -> Iterator[tuple[str, np.ndarray, np.ndarray | None]]:
        """Every series by itself: its name, values (time, channels), and stamps in seconds, if it has any."""
        for name, item in _items(rows):
            values = self.values_of(item, name)
            if not hasattr(item, "column_names"):
                yield name, values, None
                continue
            stamps = None if self.time is None else seconds(item, self.time, name)
            for label, some in _groups(item, self.series_id, name):
                title = name if label is None else f"{name}, {label}"
                yield title, values[some], None if stamps is None else stamps[some]

    def _in_rows(self, rows: Rows, which: list[np.ndarray], at: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Places of the tracks, one behind the other, in the order of the rows that they came from."""
        piece, place = np.concatenate(which), np.concatenate(at)
        if self.series_id is None:
            return piece, place
        order, first = [], 0
        for name, item in _items(rows):
            order += [first + some for _, some in _groups(item, self.series_id, name)]
            first += item.num_rows
        back = np.argsort(np.concatenate(order), kind="stable")
        return piece[back], place[back]

    def values_of(self, item: Any, name: str) -> np.ndarray:
        """The numbers of a recording, (time, channels)."""
        if hasattr(item, "column_names"):
            return self._columns(item, name)
        if isinstance(item, Sound):
            if self.step is not None and abs(item.rate * self.step - 1) > 1e-6:
                raise DataError(
                    f"{name} has {item.rate:,} samples a second; this model was fitted on {1 / self.step:,.0f}. "
                    "Bring it to that rate first."
                )
            item = item.samples
        values = np.asarray(item)
        if values.ndim not in (1, 2):
            raise DataError(f"A recording is an array (time,) or (time, channels); {name} has shape {values.shape}.")
        return (values[:, None] if values.ndim == 1 else values).astype(np.float64)

    def _columns(self, table: Any, name: str) -> np.ndarray:
        assert self.channels is not None
        needed = [*self.channels, *(column for column in (self.time, self.series_id) if column)]
        if lacking := [column for column in needed if column not in table.column_names]:
            raise DataError(
                f"{name} lacks the column(s) {', '.join(map(repr, lacking[:5]))}; it has "
                f"{', '.join(map(repr, table.column_names[:12]))}."
            )
        _check_channels(table, self.channels, name)
        import pyarrow as pa

        cells = [table[column].cast(pa.float64()).to_numpy() for column in self.channels]
        return np.column_stack(cells)

    def _usual_step(self, rows: Rows) -> float | None:
        """Seconds from step to step: the mean of the ordinary distances between stamps."""
        rates = {item.rate for _, item in _items(rows) if isinstance(item, Sound)}
        if rates:
            return step_of(rates, rows.origin)
        if self.time is None:
            return None
        found = []
        for _, _, stamps in self._tracks(rows):
            apart = np.diff(np.sort(stamps))
            found.append(apart[apart > 0])
        apart = np.concatenate(found)
        if not len(apart):
            raise self.timeless(rows.origin)
        usual = float(np.median(apart))
        return float(apart[usually(apart, usual)].mean())

    def timeless(self, origin: str) -> DataError:
        """Stamps that are all the same."""
        return DataError(
            f"The column {self.time!r} of {origin} says the same everywhere, so it tells no order. "
            "Is it the time? Several series in one file are told apart by series_id (--series-id COLUMN)."
        )

    def _places(self, name: str, stamps: np.ndarray, told: Told) -> np.ndarray:
        """Steps of the grid at which stamps stand; whole numbers where they all nearly do."""
        assert self.step is not None
        apart = np.diff(stamps)
        twice = int((np.diff(np.sort(stamps)) == 0).sum())
        check_twice(twice, len(stamps), name)
        where = (stamps - stamps.min()) / self.step
        whole = np.round(where)
        even = bool((np.abs(where - whole) <= ON).all())
        told.look(name, stamps, apart, twice, even, self.step)
        return whole if even else where

    # -- giving back ----------------------------------------------------------------------------

    def table(self, rows: Rows, begins: Sequence[int] | None = None, several: bool | None = None) -> Any:
        """The rows as a person brought them, as one table; with the file, series or step where no column says it.

        Where recordings are stretches, ``begins`` are where each begins, and ``several`` whether there are others.
        """
        import pyarrow as pa

        if rows.kind == "table":
            return rows.data
        found = []
        several = len(_items(rows)) > 1 if several is None else several
        for (name, item), begin in zip(_items(rows), begins or itertools.repeat(0), strict=False):
            if hasattr(item, "column_names"):
                columns = {c: item[c] for c in item.column_names}
                n = item.num_rows
            else:
                values = item.samples if isinstance(item, Sound) else np.asarray(item)
                n = len(values)
                steps = begin + np.arange(n)
                columns = {"step": steps}
                if isinstance(item, Sound):
                    columns["seconds"] = steps / item.rate
                names = self.names(1 if values.ndim == 1 else values.shape[1])
                columns |= dict(zip(names, values.reshape(n, -1).T, strict=True))
            columns = ({"series": [name] * n} if several and "series" not in columns else {}) | columns
            found.append(pa.table(columns))
        try:
            return pa.concat_tables(found, promote_options="permissive")
        except (pa.ArrowInvalid, pa.ArrowTypeError):  # some other column changes its type from file to file
            needed = [c for c in ("series", self.time, self.series_id, *self.names(0)) if c in found[0].column_names]
            return pa.concat_tables([one.select(needed) for one in found], promote_options="permissive")

    def give_back(self, rows: Rows, values: np.ndarray, dtype: Any) -> Any:
        """Numbers of every row (n, channels) in the form of ``rows``, with their stamps and everything else."""
        back, first = [], 0
        for _, item in _items(rows):
            n = len(item) if not hasattr(item, "num_rows") else item.num_rows
            some = values[first : first + n]
            first += n
            if hasattr(item, "column_names"):
                for j, channel in enumerate(self.channels or []):
                    item = item.set_column(item.column_names.index(channel), channel, [some[:, j]])
                back.append(item)
            else:
                some = dtype(some)
                back.append(
                    item.of(some.reshape(item.samples.shape))
                    if isinstance(item, Sound)
                    else some.reshape(np.shape(item))
                )
        if rows.kind == "recordings" or isinstance(rows.data, list):
            return back if len(back) > 1 else back[0]
        return np.stack(back) if getattr(rows.data, "ndim", 2) == 3 else back[0]

    def names(self, channels: int) -> list[str]:
        """What channels are called."""
        if self.channels is not None:
            return self.channels
        return ["value"] if channels == 1 else [f"channel {j}" for j in range(channels)]

    def when(self, rows: Rows, begins: Sequence[int] | None = None, several: bool | None = None) -> list[str]:
        """What each row is called: its series, where there are several, and its stamp or step; the rest as in
        :meth:`table`.
        """
        found = []
        several = len(_items(rows)) > 1 if several is None else several
        for (name, item), begin in zip(_items(rows), begins or itertools.repeat(0), strict=False):
            first = name if several else ""
            if self.time is not None:
                labels = [str(stamp) for stamp in item[self.time].to_pylist()]
            elif isinstance(item, Sound):
                labels = [f"{(begin + i) / item.rate:.3f} s" for i in range(len(item))]
            else:
                n = item.num_rows if hasattr(item, "num_rows") else len(item)
                labels = [f"step {begin + i}" for i in range(n)]
            if self.series_id is not None:
                labels = [f"{s} {label}" for s, label in zip(item[self.series_id].to_pylist(), labels, strict=True)]
            found += [f"{first} {label}".strip() for label in labels]
        return found

    def describe(self) -> list[str]:
        many = f"{self.window} steps ({duration(self.window * self.step)})" if self.step else f"{self.window} steps"
        why = f", from a period of {self.period} steps" if self.period else ""
        return [f"Windows of {many}{why}, one every {self.stride} step(s); what comes back is per stamp."]

    def to_json(self) -> dict[str, Any]:
        return dict(vars(self))


def recording_remark(rows: Rows) -> str | None:
    """That a table looks like a recording, where it strictly does: one column of stamps in order, all else numbers."""
    if rows.kind != "table":
        return None
    import pyarrow as pa
    import pyarrow.types as types

    stamps = [f.name for f in rows.data.schema if types.is_timestamp(f.type)]
    others = [f.type for f in rows.data.schema if f.name not in stamps]
    if len(stamps) != 1 or not others or not all(types.is_floating(t) or types.is_integer(t) for t in others):
        return None
    column = rows.data[stamps[0]]
    if column.null_count or len(column) < 2 or (np.diff(column.cast(pa.int64()).to_numpy()) <= 0).any():
        return None
    return (
        f"its rows follow each other in time ({stamps[0]!r}): --kind series (modality='series') looks at how they do, "
        "this looks at each row alone"
    )


def _items(rows: Rows) -> list[tuple[str, Any]]:
    """The recordings that were brought, each with its name."""
    if rows.kind == "recordings":
        return list(zip(rows.names or [str(i) for i in range(len(rows.data))], rows.data, strict=True))
    if rows.kind == "table":
        return [(rows.origin, rows.data)]
    if isinstance(rows.data, list) or rows.data.ndim == 3:
        return [(str(i), item) for i, item in enumerate(rows.data)]
    return [(rows.origin, rows.data)]


def _groups(table: Any, series_id: str | None, name: str) -> list[tuple[str | None, np.ndarray]]:
    """The rows of each series of a table, in their order."""
    if series_id is None:
        return [(None, np.arange(table.num_rows))]
    codes = table[series_id].combine_chunks().dictionary_encode()
    if codes.null_count:
        raise DataError(f"{codes.null_count:,} cell(s) of the column {series_id!r} of {name} are missing.")
    which = codes.indices.to_numpy()
    order = np.argsort(which, kind="stable")
    parts = np.split(order, np.flatnonzero(np.diff(which[order])) + 1)
    return [(str(codes.dictionary[int(which[some[0]])].as_py()), some) for some in parts]


def _left_out(kinds: Mapping[str, str], table: Any) -> set[str]:
    """The columns that a person wants to be left out."""
    for name, kind in kinds.items():
        if table is not None and name not in table.column_names:
            raise unknown("column", name, table.column_names, DataError)
        if kind not in ("ignore", "numeric"):
            raise SpecError(f"Columns of recordings are numeric or left out: {name}=ignore; got {name}={kind}.")
    return {name for name, kind in kinds.items() if kind == "ignore"}


def _check_channels(table: Any, channels: list[str], name: str) -> None:
    import pyarrow.types as types

    if not channels:
        raise DataError(f"{name} has no column of numbers beside the time.")
    for channel in channels:
        type_ = table.schema.field(channel).type
        if not (types.is_floating(type_) or types.is_integer(type_) or types.is_boolean(type_) or types.is_null(type_)):
            raise DataError(
                f"Channels are numbers; the column {channel!r} of {name} is {type_}. Leave it out "
                f"(--column {channel}=ignore), or say what it is: --series-id {channel} or --time {channel}."
            )


def _window(period: int | None, longest: int, channels: int) -> int:
    """The multiple of the period that is nearest to ``WINDOW``, in so far as the recordings have room."""
    length = WINDOW if period is None or period > 1.5 * WINDOW else period * max(1, round(WINDOW / period))
    return max(2, min(length, longest // _ROOM, max(_SHORTEST, _WIDEST // channels)))
