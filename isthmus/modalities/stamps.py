"""Stamps: when the rows of a recording were, and which steps of an even grid they stand on.

.. math:: \\text{at}_i = \\frac{t_i - t_0}{\\Delta}
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from isthmus.errors import DataError, unknown

#: Names of a column of numbers that is the time, where nothing is said.
TIMES = ("time", "timestamp", "datetime", "date", "ts", "t")
#: What is further apart than this many steps are two pieces.
APART = 1000
#: Stamps this near to the grid, in steps, stand on it; values are read between two stamps that are this near.
ON, BETWEEN = 0.05, 1.75


class Told:
    """What was noticed about stamps, over all series, as sentences."""

    def __init__(self) -> None:
        self.gaps, self.longest, self.between, self.twice, self.back = 0, 0.0, "", 0, ""
        self.n_back, self.uneven, self.range = 0, 0, (math.inf, 0.0)

    def look(self, name: str, stamps: np.ndarray, apart: np.ndarray, twice: int, even: bool, step: float) -> None:
        self.twice += twice
        if (back := np.flatnonzero(apart < 0)).size:
            self.n_back += len(back)
            self.back = self.back or f"row {back[0] + 1} of {name}"
        ordered = np.sort(stamps)
        apart = np.diff(ordered)
        wide = apart > BETWEEN * step
        if wide.any():
            self.gaps += int(wide.sum())
            widest = int(apart.argmax())
            if apart[widest] > self.longest:
                self.longest = float(apart[widest])
                self.between = f"row {widest} to {widest + 1} of {name}" if not back.size else name
        if not even:
            near = apart[(apart > 0) & ~wide]
            self.odd(float(near.min(initial=math.inf)), float(near.max(initial=0.0)))

    def wide(self, name: str, row: int, apart: np.ndarray, step: float) -> None:
        """The same of stamps that come in order, some at a time: ``apart`` are the steps from each one before, and
        ``row`` is where the first stands.
        """
        wide = apart > BETWEEN
        if wide.any():
            self.gaps += int(wide.sum())
            widest = int(np.nanargmax(apart))
            if apart[widest] * step > self.longest:
                self.longest = float(apart[widest]) * step
                self.between = f"row {row + widest - 1} to {row + widest} of {name}"

    def odd(self, closest: float, widest: float) -> None:
        """That stamps of a recording are uneven, from so near to so far apart."""
        self.uneven += 1
        self.range = (min(self.range[0], closest), max(self.range[1], widest))

    def lines(self, step: float | None) -> tuple[str, ...]:
        """The same as sentences, of recordings whose steps are ``step`` apart."""
        said = []
        if self.uneven:
            low, high = self.range
            said.append(
                f"stamps are uneven ({duration(low)} to {duration(high)} apart), so values were read off "
                f"every {duration(step)} between them."
            )
        if self.gaps:
            said.append(
                f"{self.gaps:,} gap(s) in time, the longest {duration(self.longest)} ({self.between}); what lies in "
                "them is taken as missing."
            )
        if self.twice:
            said.append(f"{self.twice:,} stamp(s) are there twice; the mean of what they hold was taken.")
        if self.n_back:
            said.append(f"time runs backwards {self.n_back:,} time(s), first at {self.back}; it was put in order.")
        return tuple(said)


def time_column(table: Any, said: str | None, origin: str) -> str | None:
    """The column of stamps: the one that is said, or the only one of such a type, or one of such a name."""
    import pyarrow.types as types

    if said is not None:
        if said not in table.column_names:
            raise unknown("column", said, table.column_names, DataError)
        return said
    stamps = [f.name for f in table.schema if types.is_temporal(f.type) and not types.is_duration(f.type)]
    if len(stamps) > 1:
        raise DataError(
            f"{origin} has {len(stamps)} columns of time ({', '.join(map(repr, stamps[:5]))}). "
            "Say which one counts: time=COLUMN (--time COLUMN)."
        )
    named = [name for name in table.column_names if name.lower() in TIMES]
    return (stamps or named or [None])[0]


def seconds(table: Any, name: str, origin: str) -> np.ndarray:
    """A column of stamps, dates or numbers as float seconds (units, for numbers) since its own first."""
    numbers, unit = stamps_of(table, name, origin)
    # differences of whole numbers first: seconds since 1970 leave few digits for what is behind the point
    return (numbers - numbers.min()) * unit


def stamps_of(table: Any, name: str, origin: str) -> tuple[np.ndarray, float]:
    """A column of stamps, dates or numbers as it is kept, and what one of its units is in seconds (or units)."""
    import pyarrow as pa
    import pyarrow.types as types

    column = table[name].combine_chunks()
    if column.null_count:
        raise DataError(
            f"{column.null_count:,} cell(s) of the time column {name!r} of {origin} are missing. "
            "Leave such rows out: nothing says when they were."
        )
    if types.is_string(column.type) or types.is_large_string(column.type):
        try:
            column = column.cast(pa.timestamp("us"))
        except pa.ArrowInvalid:
            raise DataError(
                f"The time column {name!r} of {origin} holds text such as {column[0].as_py()!r}, which is no stamp. "
                "Write stamps as 2024-01-31 12:00:00, or as numbers."
            ) from None
    if types.is_floating(column.type) or types.is_integer(column.type):
        values = column.cast(pa.float64()).to_numpy(zero_copy_only=False)
        if not np.isfinite(values).all():
            raise DataError(f"The time column {name!r} of {origin} holds numbers that are not finite.")
        return values, 1.0
    if not types.is_temporal(column.type):
        raise DataError(f"The time column {name!r} of {origin} is {column.type}, which is no time.")
    if types.is_time(column.type):
        return column.cast(pa.time64("ns")).cast(pa.int64()).to_numpy(zero_copy_only=False), 1e-9
    whole = column.cast(pa.timestamp("us"), safe=False).cast(pa.int64())
    return whole.to_numpy(zero_copy_only=False), 1e-6


def step_of(rates: set[int], origin: str) -> float:
    """Seconds from sample to sample of sounds, which have one rate."""
    if len(rates) > 1:
        raise DataError(
            f"The sounds of {origin} have different rates ({', '.join(map(str, sorted(rates)))} samples a "
            "second). Bring them to one."
        )
    return 1 / next(iter(rates))


def usually(apart: np.ndarray, usual: float) -> np.ndarray:
    """Which distances between stamps are ordinary: the step is the mean of these."""
    return np.abs(apart - usual) <= 0.5 * usual


def check_twice(twice: int, n: int, name: str) -> None:
    """Refuse stamps of which many are there more than once."""
    if twice > 0.3 * n:
        raise DataError(
            f"{twice:,} of the {n:,} stamps of {name} are there more than once. If they are of several "
            "series, say which column tells them apart: series_id (--series-id COLUMN)."
        )


def duration(seconds: float) -> str:
    """
    >>> duration(300), duration(5400), duration(0.001), duration(172800)
    ('5 min', '1.5 h', '1 ms', '2 d')
    """
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min"), (1, "s")):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds * 1e3:.3g} ms"


def pieces_begin(where: np.ndarray) -> np.ndarray:
    """Where new pieces begin among rows in the order of time: at the start, and behind very long gaps."""
    return np.append(0, 1 + np.flatnonzero(np.diff(np.sort(where)) > APART))


def on_grid(at: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Values at places in ascending order, which may not be whole, → those of every step; NaN in gaps."""
    if (np.diff(at) == 0).any():
        at, first = np.unique(at, return_index=True)
        there = np.isfinite(values)
        n_there = np.add.reduceat(there, first, axis=0)
        with np.errstate(invalid="ignore", divide="ignore"):
            values = np.add.reduceat(np.where(there, values, 0), first, axis=0) / n_there
    grid = np.full((math.ceil(at[-1] - 1e-9) + 1, values.shape[1]), np.nan)
    if len(at) == 1 or (at == np.round(at)).all():
        grid[np.round(at).astype(np.int64)] = values
        return grid
    steps = np.arange(len(grid), dtype=np.float64)
    after = np.clip(np.searchsorted(at, steps), 1, len(at) - 1)
    before = after - 1
    apart = at[after] - at[before]
    share = np.clip((steps - at[before]) / apart, 0, 1)[:, None]
    between = (1 - share) * values[before] + share * values[after]
    # beyond the last stamp and within a gap nothing is known, but right beside a stamp its own value is
    nearest = np.where(np.abs(steps - at[before]) <= np.abs(at[after] - steps), before, after)
    known = apart <= BETWEEN
    beside = np.abs(at[nearest] - steps) <= 0.5
    grid[known] = between[known]
    grid[~known & beside] = values[nearest[~known & beside]]
    return grid
