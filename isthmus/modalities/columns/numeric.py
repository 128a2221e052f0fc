"""Numbers: one entry, scaled by itself (see :mod:`isthmus.modalities.scaling`), through asinh where tails are heavy.

.. math:: y = \\mathrm{scaling}(x)
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from isthmus.data.files import NULLS
from isthmus.errors import DataError
from isthmus.modalities.columns.arrow import arrow_type, from_numbers, is_text
from isthmus.modalities.columns.base import Column, Studied

if TYPE_CHECKING:
    import pyarrow as pa

#: At use, a column of which less than this can be read has changed its meaning.
READABLE = 0.5

NUMBER = r"^[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?$|^[-+]?(?i:inf|infinity|nan)$"
# a missing cell among numbers written as text; among categories, "?" may be one
ABSENT = {*NULLS, "-"}


class Numeric(Column):
    """A number. What was written as text comes back as a number."""

    kind = "numeric"
    scaled = True

    def __init__(self, name: str, dtype: str):
        self.name, self.dtype = name, dtype

    @classmethod
    def fit(cls, name: str, raw: pa.Array, studied: Studied) -> Self:
        return cls.learned(name, raw, studied)[0]

    @classmethod
    def learned(cls, name: str, raw: pa.Array, studied: Studied) -> tuple[Self, np.ndarray]:
        """The column and its numbers, NaN where missing or infinite."""
        import pyarrow as pa

        dtype, seen = str(raw.type), studied.seen
        before = len(seen)
        numbers = cls(name, dtype).numbers(raw, studied.origin, seen)
        if is_text(raw.type):
            seen.insert(before, f"The column {name!r} holds numbers written as text; they are given back as numbers.")
            whole = bool(np.all(np.mod(numbers[np.isfinite(numbers)], 1) == 0))
            dtype = "int64" if whole else "double"
        elif pa.types.is_decimal(raw.type):
            dtype = "double"
        if infinite := int(np.isinf(numbers).sum()):
            seen.append(f"The column {name!r} holds {infinite:,} infinite cell(s), taken as missing.")
            numbers = np.where(np.isinf(numbers), np.nan, numbers)
        return cls(name, dtype), numbers

    def numbers(self, raw: pa.Array, origin: str, remarks: list[str], folder: str | None = None) -> np.ndarray:
        if is_text(raw.type):
            return parsed(self, raw, origin, remarks, _number_or_nan, "numbers")
        return read_numbers(self, raw, origin)

    def silent(self, type_: pa.DataType) -> bool:
        import pyarrow as pa

        return pa.types.is_floating(type_) or pa.types.is_integer(type_)

    def cells(self, values: np.ndarray) -> pa.Array:
        return from_numbers(values[:, 0], arrow_type(self.dtype))

    def reader(self) -> Callable[[Any], float]:
        return number_of


def read_numbers(column: Column, raw: pa.Array, origin: str) -> np.ndarray:
    """Cells that are no text as float64, NaN where missing."""
    import pyarrow as pa

    type_ = raw.type
    if pa.types.is_temporal(type_) or pa.types.is_nested(type_) or pa.types.is_binary(type_):
        raise DataError(
            f"The column {column.name!r} of {origin} should be {column.kind}; it is {type_}. Convert it to numbers."
        )
    if raw.null_count == 0 and not pa.types.is_boolean(type_) and not pa.types.is_decimal(type_):
        return raw.to_numpy(zero_copy_only=False)
    # whole numbers beyond 2⁵³ are rounded, as they are in a column without gaps
    return raw.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)


def parsed(
    column: Column, raw: pa.Array, origin: str, remarks: list[str], number: Callable[[str], float], what: str
) -> np.ndarray:
    """Numbers written as text. A few other cells become missing; most is an error."""
    texts = raw.dictionary_encode()
    numbers, bad = [], []
    for text in texts.dictionary.to_pylist():
        said = text.strip()
        numbers.append(number(said))
        bad.append(np.isnan(numbers[-1]) and said not in ABSENT and said.lower() != "nan")
    # the last entry is for missing cells
    index = texts.indices.fill_null(len(numbers)).to_numpy(zero_copy_only=False)
    found, wrong = np.array([*numbers, np.nan])[index], np.array([*bad, False])[index]
    if n_bad := int(wrong.sum()):
        n_found = len(raw) - raw.null_count
        first = raw[int(wrong.argmax())].as_py()
        if n_bad > (1 - READABLE) * n_found:
            raise DataError(
                f"The column {column.name!r} of {origin} should hold {what}; {n_bad:,} of "
                f"{n_found:,} cells do not, "
                f"the first is {first!r}. Convert the column, or train again with "
                f"kinds={{{column.name!r}: 'categorical'}}."
            )
        remarks.append(
            f"The column {column.name!r} holds {n_bad:,} cell(s) that are not numbers, such as "
            f"{first!r}; they count as missing."
        )
    return found


def _number_or_nan(said: str) -> float:
    return float(said) if re.match(NUMBER, said) else np.nan


def number_of(cell: Any) -> float:
    """One cell as a number, NaN where missing."""
    if cell.__class__ is str:
        try:
            # Python alone reads 1_000 and other scripts' digits as numbers
            if "_" in cell or not cell.isascii():
                raise ValueError
            return float(cell)
        except ValueError:
            if cell.strip() in ABSENT:
                return math.nan
            raise
    return math.nan if cell is None else float(cell)
