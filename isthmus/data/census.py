"""What the columns of a large table hold over all rows: how many cells are missing, the range, how often each value.

One pass over little: the footers of Parquet say ranges and what is missing, so that of it only texts are read, a CSV is
counted while its types are learned, and a column of more than ``MOST`` values is no longer counted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

#: Different values of a column that are counted.
MOST = 1 << 16
#: Values that are longer than this are not counted: they are texts.
_LONGEST = 256


@dataclass(frozen=True)
class Counted:
    """Of ``n`` cells ``missing`` are not there, texts that are ``empty`` among them; the others lie from ``low`` to
    ``high`` (None where they have no order).

    ``values`` is how often each stands, or None: nobody asked, or there are more than ``MOST``.
    """

    n: int
    missing: int = 0
    low: Any = None
    high: Any = None
    values: dict[Any, int] | None = None
    overflowed: bool = False
    empty: int = 0

    @property
    def there(self) -> int:
        """Cells that hold something."""
        return self.n - self.missing


class Tally:
    """Counts the cells of one column, piece by piece."""

    def __init__(self, values: bool = True):
        self.n = self.missing = self.empty = 0
        self.low: Any = None
        self.high: Any = None
        self.values: dict[Any, int] | None = {} if values else None
        self.overflowed, self._ordered = False, True
        #: The type of what was counted, or False where there were several: then it has to be counted again.
        self.type: Any = None

    @property
    def counts(self) -> bool:
        """Whether it still looks at each value."""
        return self.values is not None

    def stands(self, n: int, values: bool) -> bool:
        """Whether it is a count of ``n`` cells of one type, with their ``values`` where these are asked for."""
        return self.n == n and self.type is not False and (not values or self.counts or self.overflowed)

    def told(self) -> Counted:
        return Counted(self.n, self.missing, self.low, self.high, self.values, self.overflowed, self.empty)

    def bounds(self, n: int, missing: int, low: Any, high: Any) -> None:
        """Take in what is known of ``n`` cells without reading them."""
        self.n, self.missing = self.n + n, self.missing + missing
        if low is not None and self._ordered:
            try:
                self.low = low if self.low is None else min(self.low, low)
                self.high = high if self.high is None else max(self.high, high)
            except TypeError:  # a day in one file and a moment in another
                self.low, self.high, self._ordered = None, None, False

    def add(self, column: pa.ChunkedArray) -> None:
        """Take in cells. An empty text is missing, and so is a number that is none."""
        import pyarrow as pa
        import pyarrow.compute as pc

        type_ = column.type
        plain = type_.value_type if pa.types.is_dictionary(type_) else type_
        if plain != type_ and not _is_text(plain):
            column = column.cast(plain)
        if pa.types.is_float16(plain):  # of which nothing is counted as it is
            column = column.cast(pa.float32())
        missing, low, high = column.null_count, None, None
        if pa.types.is_floating(plain):
            missing += pc.sum(pc.is_nan(column)).as_py() or 0
        if self.counts or _is_text(plain):
            found = self._values(column, plain)
            empty = found.pop("", 0) if _is_text(plain) else 0
            self.empty, missing = self.empty + empty, missing + empty
            self._count(found)
        if not _is_text(plain) and not pa.types.is_null(plain):
            low, high = _range(column)
        self.bounds(len(column), missing, low, high)

    def repeat(self, value: Any, n: int) -> None:
        """Take in the same cell ``n`` times."""
        gone = n if value is None else 0
        low = None if value is None or isinstance(value, str) else value
        self.bounds(n, gone, low, low)
        if value is not None:
            self._count({value: n})

    def _values(self, column: pa.ChunkedArray, plain: pa.DataType) -> dict[Any, int]:
        import pyarrow as pa
        import pyarrow.compute as pc

        if not self.counts:  # how many texts are empty is asked all the same
            empty = pc.sum(pc.equal(column.cast(plain), "")).as_py() or 0
            return {"": empty}
        counted = column.drop_null().value_counts()
        values, n = counted.field("values"), counted.field("counts").to_pylist()
        if pa.types.is_dictionary(values.type):
            values = values.cast(plain)
        found = dict(zip(values.to_pylist(), n, strict=True))
        return {value: n for value, n in found.items() if value == value}

    def _count(self, found: dict[Any, int]) -> None:
        if self.values is None:
            return
        for value, n in found.items():
            self.values[value] = self.values.get(value, 0) + n
        long = any(isinstance(value, str) and len(value) > _LONGEST for value in found)
        if len(self.values) > MOST or long:
            self.values, self.overflowed = None, True


def counted(column: pa.ChunkedArray) -> Counted:
    """What a column in memory holds."""
    tally = Tally()
    tally.add(column)
    return tally.told()


def of_statistics(tally: Tally, chunk: Any, *, ordered: bool = True) -> bool:
    """Take in what the footer of a Parquet file says of a column's chunk, a range where cells are ``ordered``; False,
    and nothing taken, where it does not say.

    Statistics know nothing of NaN: of floats cells are missing that are null.
    """
    try:
        found = chunk.statistics
        if found is None or not found.has_null_count:
            return False
        if not ordered or found.null_count == chunk.num_values:
            low = high = None
        elif found.has_min_max:
            low, high = found.min, found.max
        else:
            return False
        tally.bounds(chunk.num_values, found.null_count, low, high)
    except (ImportError, ValueError, OverflowError, NotImplementedError):  # nanoseconds that Python has no type for
        return False
    return True


def _range(column: pa.ChunkedArray) -> tuple[Any, Any]:
    import pyarrow as pa
    import pyarrow.compute as pc

    try:
        found = pc.min_max(column).as_py()
    except (pa.ArrowNotImplementedError, ValueError, OverflowError):
        return None, None
    low, high = found["min"], found["max"]
    # all of them are NaN
    return (None, None) if low is None or low != low else (low, high)


def _is_text(type_: pa.DataType) -> bool:
    import pyarrow as pa

    return pa.types.is_string(type_) or pa.types.is_large_string(type_) or pa.types.is_string_view(type_)
