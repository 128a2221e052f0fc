"""Dates: seconds as a number, and beside it where a moment stands in the day, the week and the year.

.. math:: x = \\bigl(\\mathrm{scaling}(t), \\; \\sqrt2 \\sin \\tfrac{2 \\pi t}{T}, \\;
    \\sqrt2 \\cos \\tfrac{2 \\pi t}{T}, \\dots\\bigr), \\qquad T \\in \\{\\text{day, week, year}\\}

23:59 is beside 00:01, and a Sunday night beside a Monday morning, which no straight line of seconds says. √2 gives a
cycle that is evenly filled the deviation of a standardised column. A date comes back from its first entry.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from isthmus.errors import DataError, SpecError
from isthmus.modalities.columns.arrow import arrow_type, from_numbers, is_text, seconds
from isthmus.modalities.columns.base import Column, Studied
from isthmus.modalities.columns.categorical import Remembered
from isthmus.modalities.columns.numeric import ABSENT

if TYPE_CHECKING:
    import pyarrow as pa

#: Seconds of a cycle, where one begins (1970-01-05 was a Monday), and what it tells.
CYCLES = {
    "day": (86_400.0, 0.0, "hour of day"),
    "week": (7 * 86_400.0, 4 * 86_400.0, "day of week"),
    "year": (365.2425 * 86_400.0, 0.0, "month"),
}
#: Of a cycle that the rows hold fewer than this many times nothing can be learned but its course once.
_TIMES = 2.0
#: A cycle of which the rows fill one spot only (all at midnight) is none.
_SPOT = 1e-3


class Date(Column):
    """Dates, moments, times of day and durations. ``cycles`` are those that the training rows went through."""

    kind = "date"
    scaled = True

    def __init__(self, name: str, dtype: str, cycles: Iterable[str] = ()):
        self.name, self.dtype, self.cycles = name, dtype, tuple(cycles)
        if not set(self.cycles) <= set(CYCLES):
            raise SpecError(f"Cycles are {', '.join(CYCLES)}; got {list(self.cycles)}.")

    @classmethod
    def fit(cls, name: str, raw: pa.Array, studied: Studied) -> Self:
        dtype = str(raw.type)
        if is_text(raw.type):
            studied.seen.append(f"The column {name!r} holds dates written as text; they are given back as dates.")
            dtype = "timestamp[us]"
        column = cls(name, dtype)
        numbers = column._seconds(raw, studied.origin)
        if not is_text(raw.type):
            numbers = studied.with_bounds(name, raw, numbers, seconds)
        return cls(name, dtype, _cycles(numbers[np.isfinite(numbers)], arrow_type(dtype)))

    @property
    def names(self) -> list[str]:
        told = [CYCLES[cycle][2] for cycle in self.cycles]
        return [self.name, *(f"{self.name}: {what}, {side}" for what in told for side in ("sine", "cosine"))]

    def numbers(self, raw: pa.Array, origin: str, remarks: list[str], folder: str | None = None) -> np.ndarray:
        moments = self._seconds(raw, origin)
        return np.column_stack([moments, *self._turned(moments)]) if self.cycles else moments

    def silent(self, type_: pa.DataType) -> bool:
        import pyarrow as pa

        return pa.types.is_temporal(type_)

    def cells(self, values: np.ndarray) -> pa.Array:
        return from_numbers(values[:, 0], arrow_type(self.dtype))

    def reader(self) -> Callable[[Any], float | Sequence[float]]:
        if not self.cycles:
            return Remembered(self._moment)
        known = Remembered(self._moment)
        return lambda cell: [(t := known(cell)), *(float(v[0]) for v in self._turned(np.array([t])))]

    def to_json(self) -> dict[str, Any]:
        return {**super().to_json(), **({"cycles": list(self.cycles)} if self.cycles else {})}

    def _turned(self, moments: np.ndarray) -> list[np.ndarray]:
        """Sine and cosine of every cycle."""
        turned = []
        for cycle in self.cycles:
            period, begins, _ = CYCLES[cycle]
            angle = 2 * math.pi * np.mod(moments - begins, period) / period
            turned += [math.sqrt(2) * np.sin(angle), math.sqrt(2) * np.cos(angle)]
        return turned

    def _moment(self, cell: Any) -> float:
        """One cell in seconds, NaN where missing."""
        import pyarrow as pa

        if cell is None or (isinstance(cell, str) and cell.strip() in ABSENT):
            return float("nan")
        raw = pa.array([cell.strip() if isinstance(cell, str) else cell])
        if is_text(raw.type) and not self.dtype.startswith(("date", "timestamp")):
            raw = raw.cast(arrow_type(self.dtype))
        return float(self._seconds(raw, "the stream")[0])

    def _seconds(self, raw: pa.Array, origin: str) -> np.ndarray:
        import pyarrow as pa

        if is_text(raw.type):
            try:
                raw = raw.cast(pa.timestamp("us"))
            except pa.ArrowInvalid as error:
                raise DataError(
                    f"The column {self.name!r} of {origin} should hold dates such as 2024-01-31 12:00:00: {error}."
                ) from None
        if not pa.types.is_temporal(raw.type):
            raise DataError(
                f"The column {self.name!r} of {origin} should hold {self.dtype}; it is {raw.type}. Convert it to dates."
            )
        return seconds(raw)


def _cycles(moments: np.ndarray, type_: pa.DataType) -> list[str]:
    """Those that the moments went through twice or more, unless all stand in one spot of it."""
    import pyarrow as pa

    if pa.types.is_duration(type_) or not len(moments):
        return []
    span, found = float(moments.max() - moments.min()), []
    for cycle, (period, begins, _) in CYCLES.items():
        # a time of day is nothing but its place in the day
        often = pa.types.is_time(type_) and cycle == "day"
        angles = 2 * math.pi * np.mod(moments - begins, period) / period
        length = math.hypot(float(np.cos(angles).mean()), float(np.sin(angles).mean()))
        if (often or span >= _TIMES * period) and length < 1 - _SPOT:
            found.append(cycle)
    return found
