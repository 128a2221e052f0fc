"""Yes or no: one entry, 0 or 1, a coin."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from isthmus.modalities.columns.arrow import arrow_type, is_text, returned
from isthmus.modalities.columns.base import Column, Studied
from isthmus.modalities.columns.numeric import NUMBER, number_of, parsed, read_numbers

if TYPE_CHECKING:
    import pyarrow as pa

TRUE, FALSE = ("true", "yes", "y", "t", "1", "1.0"), ("false", "no", "n", "f", "0", "0.0")


class Boolean(Column):
    """Two values. What lies beyond them at use is moved to the nearer one, and told."""

    kind = "boolean"

    def __init__(self, name: str, dtype: str):
        self.name, self.dtype = name, dtype

    @classmethod
    def fit(cls, name: str, raw: pa.Array, studied: Studied) -> Self:
        column = cls(name, "bool" if is_text(raw.type) else returned(raw.type))
        column.numbers(raw, studied.origin, studied.seen)  # says what cannot be read
        return column

    @property
    def laws(self) -> list[int]:
        return [1]

    def numbers(self, raw: pa.Array, origin: str, remarks: list[str], folder: str | None = None) -> np.ndarray:
        if is_text(raw.type):
            numbers = parsed(self, raw, origin, remarks, _flag_or_nan, "yes or no")
        else:
            numbers = read_numbers(self, raw, origin)
        # NaN passes through both
        if outside := int(((numbers < 0) | (numbers > 1)).sum()):
            remarks.append(
                f"The column {self.name!r} was only 0 or 1 in training; {outside:,} cell(s) "
                "beyond were moved to the nearer one."
            )
            numbers = np.clip(numbers, 0, 1)
        return numbers

    def cells(self, values: np.ndarray) -> pa.Array:
        import pyarrow as pa

        return pa.array(values[:, 0] > 0.5).cast(arrow_type(self.dtype))

    def reader(self) -> Callable[[Any], float]:
        return _flag


def _flag_or_nan(said: str) -> float:
    if said.lower() in (*TRUE, *FALSE):
        return float(said.lower() in TRUE)
    return float(said) if re.match(NUMBER, said) else np.nan


def _flag(cell: Any) -> float:
    if cell.__class__ is str and (said := cell.strip().lower()) in (*TRUE, *FALSE):
        return float(said in TRUE)
    number = number_of(cell)
    return min(max(number, 0.0), 1.0) if number == number else number
