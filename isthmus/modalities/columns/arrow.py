"""Arrow columns as they come, and numbers back as columns of a type: what the kinds of columns share."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from isthmus.modalities.array import cast

if TYPE_CHECKING:
    import pyarrow as pa

#: Ticks of a second by unit of time.
TICKS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


def plain(raw: pa.ChunkedArray) -> pa.Array:
    """One piece, texts in one type, without dictionary; empty texts are missing."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_dictionary(raw.type):
        raw = raw.cast(raw.type.value_type)
    if raw.num_chunks == 1:
        whole = raw.chunk(0)
    else:
        whole = pa.concat_arrays(raw.chunks) if raw.num_chunks else pa.array([], raw.type)
    if is_text(whole.type):
        if pa.types.is_string_view(whole.type):
            whole = whole.cast(pa.large_string())
        empty = pc.equal(whole, "")
        if pc.any(empty).as_py():
            whole = pc.if_else(empty, pa.scalar(None, whole.type), whole)
    return whole


def is_text(type_: pa.DataType) -> bool:
    import pyarrow as pa

    return pa.types.is_string(type_) or pa.types.is_large_string(type_) or pa.types.is_string_view(type_)


def as_text(raw: pa.Array, dtype: str) -> pa.Array:
    """Cells as text, alike for the integer 3 and the 3.0 that a missing cell makes of it elsewhere."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if is_text(raw.type):
        return raw
    if pa.types.is_floating(raw.type):
        raw = pc.if_else(pc.is_nan(raw), pa.scalar(None, raw.type), raw)
        whole = pc.all(pc.equal(raw, pc.floor(raw))).as_py()
        if whole and dtype.lstrip("u").startswith("int"):
            raw = raw.cast(pa.int64())
    return raw.cast(pa.string())


def returned(type_: pa.DataType) -> str:
    """The type that categories and yes/no are given back in."""
    import pyarrow as pa

    return "double" if pa.types.is_decimal(type_) else str(type_)


def arrow_type(said: str) -> pa.DataType:
    import pyarrow as pa

    if found := re.fullmatch(r"timestamp\[(\w+), tz=(.+)\]", said):
        return pa.timestamp(*found.groups())
    try:
        return pa.type_for_alias({"large_string": "large_string", "halffloat": "float16"}.get(said, said))
    except ValueError:
        return pa.string()


def seconds(raw: pa.Array) -> np.ndarray:
    """Dates, times and durations as seconds."""
    import pyarrow as pa

    if pa.types.is_date(raw.type):
        raw = raw.cast(pa.timestamp("s"))
    ticks = raw.cast(pa.int32()).cast(pa.int64()) if pa.types.is_time32(raw.type) else raw.cast(pa.int64())
    return ticks.to_numpy(zero_copy_only=False) / TICKS[raw.type.unit]


def from_numbers(numbers: np.ndarray, type_: pa.DataType) -> pa.Array:
    """Raw numbers, or seconds, as a column of ``type_``."""
    import pyarrow as pa

    if not pa.types.is_temporal(type_):
        return pa.array(cast(numbers, np.dtype(type_.to_pandas_dtype())))
    if pa.types.is_date(type_):
        days = cast(numbers / 86400, np.dtype(np.int32))
        return pa.array(days).cast(pa.date32()).cast(type_)
    ticks = numbers * TICKS[type_.unit]
    if pa.types.is_time(type_):
        ticks = np.clip(ticks, 0, 86400 * TICKS[type_.unit] - 1)
    whole = cast(ticks, np.dtype(np.int32 if pa.types.is_time32(type_) else np.int64))
    return pa.array(whole).cast(type_)


def repeated(value: Any, type_: pa.DataType, n: int) -> pa.Array:
    import pyarrow as pa

    if pa.types.is_temporal(type_):
        return from_numbers(np.full(n, value), type_)
    return pa.repeat(pa.scalar(value).cast(type_), n)


def counts(raw: pa.Array) -> dict[str, int]:
    counted = raw.drop_null().value_counts()
    return dict(zip(counted.field("values").to_pylist(), counted.field("counts").to_pylist(), strict=True))


def listed(names: Iterable[str], most: int = 6) -> str:
    names = list(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(map(repr, names[:most])) + more
