r"""Rows ⇄ whole numbers: what of a cell is kept, and the error that is promised for it.

.. math:: q = \lfloor x / s \rceil, \quad \hat x = s\,q, \quad s = 2 \varepsilon (1 - 2^{-10})
    \quad\Rightarrow\quad |x - \hat x| \le \varepsilon

The grid is fixed before anybody predicts anything, so the promise rests on it alone. Whole numbers, categories, dates,
yes and no, and missing cells come back as they were; every cell that would break the promise (by the last digits of
its type) is kept as it is. Numbers that somebody wrote with a few decimals (12.99) are whole numbers too, of
hundredths: dividing by 100 gives the same bits as reading the text did.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from isthmus.core.integers import MOST
from isthmus.data.pictures import open_picture
from isthmus.data.rows import Rows
from isthmus.errors import DataError, FileError, SpecError, unknown

#: The part of a step that is left for rounding to the type of the rows.
_MARGIN = 2.0**-10
#: A column of texts is one of categories up to so many; beyond, it is text.
_MOST_LEVELS = 1024
#: Quartiles of more cells than this are the same to three digits.
_SAMPLE = 200_000
#: The length of a text that is missing.
_NO_TEXT = (1 << 32) - 1
#: Decimals that numbers may have been written with, and the share of them that has to be so.
_DECIMALS, _WRITTEN = 6, 0.99
_PER = tuple(10**k for k in range(_DECIMALS + 1))
#: Arrow's and NumPy's names of their types.
_FLOATS = ("float", "double", "float32", "float64")
#: What stands in place of a number.
NULL, NAN, INFINITE, MINUS_INFINITE, AS_IT_IS = 1, 2, 3, 4, 5
STATES = 6


@dataclass(frozen=True)
class Column:
    """How one column is kept.

    ``how`` is ``"number"`` (on a grid of ``step``, or exact where that is None), ``"level"`` (one of ``levels``),
    ``"raw"`` (its bytes) or ``"text"``. ``dtype`` is NumPy's or Arrow's name of its type. Exact numbers with decimals
    are whole ones, of which ``per`` make one.
    """

    name: str
    dtype: str
    how: str
    step: float | None = None
    levels: tuple[str, ...] = ()
    per: int = 0

    @property
    def unit(self) -> float:
        """What a whole number counts."""
        return self.step if self.step is not None else 1.0 / (self.per or 1)

    @property
    def n_levels(self) -> int:
        """0 for a number, k for a category of k levels."""
        return max(1, len(self.levels)) if self.how == "level" else 0

    def to_json(self) -> list[Any]:
        said = [self.name, self.dtype, self.how, self.step, list(self.levels)]
        return [*said, self.per] if self.per else said


@dataclass(frozen=True)
class Form:
    """What rows are, without what they hold. ``shape`` is that of a row of an array, None of a table."""

    shape: tuple[int, ...] | None
    columns: tuple[Column, ...]

    @property
    def coded(self) -> list[int]:
        """The columns that are whole numbers here."""
        return [j for j, column in enumerate(self.columns) if column.how in ("number", "level")]

    def to_json(self) -> dict[str, Any]:
        """Columns that are alike but for their names are said once."""
        listed = [column.to_json() for column in self.columns]
        if self.shape is not None and len({json.dumps(one[1:]) for one in listed}) == 1:
            return {"shape": list(self.shape), "alike": listed[0]}
        return {"shape": None if self.shape is None else list(self.shape), "columns": listed}

    @classmethod
    def from_json(cls, said: Any) -> Form:
        """Raises ValueError for what cannot be a form."""
        if not isinstance(said, dict):
            raise ValueError("its form is no object.")
        shape = said.get("shape")
        if shape is not None:
            if not isinstance(shape, list) or not all(type(n) is int and 0 < n < 2**31 for n in shape):
                raise ValueError("the shape of its rows is impossible.")
            if len(shape) > 8 or int(np.prod(np.array(shape, float))) > 1 << 24:
                raise ValueError("the shape of its rows is impossible.")
            shape = tuple(shape)
        if "alike" in said:
            one = _column(said["alike"])
            if shape is None:
                raise ValueError("its form has no shape.")
            return cls(shape, (one,) * int(np.prod(shape)))
        columns = tuple(map(_column, said.get("columns") or ()))
        if not columns or (shape is not None and len(columns) != int(np.prod(shape))):
            raise ValueError("its columns do not match the shape of its rows.")
        return cls(shape, columns)


def _column(said: Any) -> Column:
    match said:
        case [str(name), str(dtype), "number" | "level" | "raw" | "text" as how, step, list(levels), *rest]:
            good = rest == [] or (len(rest) == 1 and rest[0] in _PER and step is None and how == "number")
            good = good and (not rest or dtype in _FLOATS)
            good = good and (step is None or (isinstance(step, float | int) and 0 < step < 1e300))
            if good and all(isinstance(level, str) for level in levels) and len(levels) <= _MOST_LEVELS:
                return Column(name, dtype, how, step if step is None else float(step), tuple(levels), *rest)
    raise ValueError("a column of it is impossible.")


# --- what the rows are ----------------------------------------------------------------------------------------


def opened(rows: Rows, modality: Any) -> Any:
    """The rows as one ndarray or ``pyarrow.Table``: pictures as they are, never resized.

    Raises DataError for what cannot be kept so.
    """
    if rows.kind == "text":
        import pyarrow as pa

        return pa.table({"text": rows.data})
    if rows.kind == "table":
        return rows.data
    if rows.kind == "image" and isinstance(rows.data, list):
        return _pictures(rows, modality)
    if isinstance(rows.data, np.ndarray):
        if rows.data.dtype.kind not in "fiub":
            raise DataError(f"{rows.origin} holds {rows.data.dtype}; numbers can be compressed.")
        return rows.data
    raise DataError(
        f"{rows.origin} holds {rows.kind} of their own lengths, which cannot be compressed yet. Bring windows of one "
        "length, or a table."
    )


def _pictures(rows: Rows, modality: Any) -> np.ndarray:
    wanted = {1: "L", 3: "RGB", 4: "RGBA"}[modality.channels]
    high = np.dtype("uint16" if modality.high > 255 else "uint8")
    out = np.empty((len(rows), *modality.size, modality.channels), high)
    for i, path in enumerate(rows.data):
        with open_picture(path) as picture:
            found = (picture.size[::-1], "L" if picture.mode.startswith("I") and high.itemsize == 2 else picture.mode)
            if found != (modality.size, wanted):
                raise DataError(
                    f"{path} is {found[0][0]} x {found[0][1]} ({picture.mode}), and this model takes pictures of "
                    f"{modality.size[0]} x {modality.size[1]} ({wanted}): it would not come back as it is. Fit with "
                    "pictures of this kind."
                )
            out[i] = np.asarray(picture).reshape(out.shape[1:])
    return out[..., 0] if modality.channels == 1 else out


def promised(said: Any, names: Sequence[str]) -> dict[str, str] | None:
    """``0.01``, ``1%`` or ``price=0.5,1%`` → column (or "" for every other) → its error; None keeps all exactly."""
    if said is None:
        return None
    found: dict[str, str] = {}
    for one in str(said).split(","):
        name, _, value = one.strip().rpartition("=")
        if name and name not in names:
            raise unknown("column", name, names)
        try:
            good = float(value.removesuffix("%")) > 0
        except ValueError:
            good = False
        if not good or not np.isfinite(float(value.removesuffix("%"))):
            raise SpecError(
                f"max_error is a number above 0 in the column's units, or a share of its spread such as 1%, and "
                f"NAME=… for single columns; got {one.strip()!r}."
            )
        found[name] = value
    return found


def form_of(data: Any, max_error: Any, together: bool = False) -> Form:
    """How every column is to be kept. ``together``: deviations are of all columns of an array as one."""
    if isinstance(data, np.ndarray):
        flat = data.reshape(len(data), -1)
        names = [f"x{j}" for j in range(flat.shape[1])]
        errors = promised(max_error, names)
        steps = _steps(flat, names, errors, together)
        shape, dtype = data.shape[1:], data.dtype.name
        exact = data.dtype.kind in "iu" and data.dtype != np.uint64
        per = 0 if errors is not None or data.dtype.name not in _FLOATS else _per(flat)
        exact = exact or per > 0
        if data.dtype.kind == "b":
            return Form(shape, tuple(Column(n, dtype, "level", None, ("false", "true")) for n in names))
        return Form(shape, tuple(
            Column(name, dtype, "number" if exact or step is not None else "raw", None if exact else step, (), per)
            for name, step in zip(names, steps, strict=True)
        ))  # fmt: skip
    errors = promised(max_error, data.column_names)
    return Form(None, tuple(_form(name, column, errors) for name, column in
                            zip(data.column_names, data.columns, strict=True)))  # fmt: skip


def _steps(
    flat: np.ndarray, names: Sequence[str], errors: Mapping[str, str] | None, together: bool
) -> list[float | None]:
    if errors is None or flat.dtype.kind != "f":
        return [None] * len(names)
    wide = flat.astype(np.float64)
    wide[~np.isfinite(wide)] = np.nan
    deviation = np.repeat(_deviations(wide.reshape(-1, 1)), flat.shape[1]) if together else _deviations(wide)
    return [_step(errors.get(name, errors.get("")), float(s)) for name, s in zip(names, deviation, strict=True)]


def _deviations(values: np.ndarray) -> np.ndarray:
    """The spread of every column, 0 where there is nothing: the standard deviation, or what it would be of a gaussian
    with these quartiles where that is smaller and not 0, so that one cell of 10⁹ does not loosen every promise.
    """
    there = np.isfinite(values)
    n = np.maximum(there.sum(0), 1)
    filled = np.where(there, values, 0.0)
    size = np.abs(filled).max(0)  # squares of what is within 1 do not overflow
    size[size == 0] = 1.0
    filled = filled / size
    away = np.where(there, filled - filled.sum(0) / n, 0.0)
    deviation = np.sqrt(np.square(away).sum(0) / n) * size
    few = np.where(there, values, np.nan)[:: max(1, len(values) // _SAMPLE)]
    few[:, ~np.isfinite(few).any(0)] = 0.0
    low, high = np.nanquantile(few, (0.25, 0.75), axis=0)
    quartiles = (high - low) / 1.349
    return np.where(quartiles > 0, np.minimum(deviation, quartiles), deviation)


def _step(said: str | None, deviation: float) -> float | None:
    """Twice the error, less a margin; None where the column is to be exact."""
    if said is None:
        return None
    error = float(said.removesuffix("%")) * (deviation / 100 if said.endswith("%") else 1.0)
    step = 2 * error * (1 - _MARGIN)
    return step if 1e-290 < step < 1e290 else None


def _per(values: np.ndarray) -> int:
    """How many whole numbers make one, where nearly all numbers were written with a few decimals; else 0."""
    bits = values[np.isnan(values)].view(f"u{values.dtype.itemsize}")
    if not values.size or (bits != np.array(np.nan, values.dtype).view(bits.dtype)).any():  # a NaN that says something
        return 0
    few = values.ravel()[:: max(1, values.size // _SAMPLE)]
    for per in _PER:
        if all((_in_parts(some, per)[1] == 0).mean() >= _WRITTEN for some in (few, values)):
            return per
    return 0


def _in_parts(values: np.ndarray, per: int) -> tuple[np.ndarray, np.ndarray]:
    """Numbers as whole ones of which ``per`` make one, and where these do not give the same bits."""
    wide = values.astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        at = np.rint(wide * per)
        holds = np.isfinite(at) & (np.abs(at) < MOST // 4)
        q = np.where(holds, at, 0.0).astype(np.int64)
        back = off_parts(q, per, values.dtype)
        holds &= (back == values) & (np.signbit(back) == np.signbit(values))
    states = np.where(holds, 0, AS_IT_IS).astype(np.uint8)
    states[np.isnan(wide)] = NAN
    states[np.isposinf(wide)], states[np.isneginf(wide)] = INFINITE, MINUS_INFINITE
    return np.where(holds, q, 0), states


def off_parts(q: np.ndarray, per: int, dtype: np.dtype) -> np.ndarray:
    """Whole numbers of which ``per`` make one, as numbers of the type that they had."""
    return (q / float(per)).astype(dtype)


def error_of(step: float) -> float:
    """The error that a step promises."""
    return step / 2 / (1 - _MARGIN)


def _form(name: str, raw: Any, errors: Mapping[str, str] | None, n: int | None = None) -> Column:
    """How a column is kept; ``n`` is how many cells there are where ``raw`` are not all of them."""
    import pyarrow as pa
    import pyarrow.compute as pc

    type_ = raw.type.value_type if pa.types.is_dictionary(raw.type) else raw.type
    said = str(type_)
    if pa.types.is_boolean(type_):
        return Column(name, said, "level", None, ("false", "true"))
    if pa.types.is_floating(type_):
        wide = raw.cast(pa.float64()).to_numpy()
        step = None if errors is None else _step(
            errors.get(name, errors.get("")), float(_deviations(np.asarray(wide)[:, None])[0])
        )  # fmt: skip
        per = _per(np.asarray(raw.drop_null().to_numpy())) if step is None and said != "halffloat" else 0
        return Column(name, said, "raw" if step is None and not per else "number", step, (), per)
    if pa.types.is_integer(type_) or pa.types.is_temporal(type_):
        ticks = _whole(raw, type_)
        if ticks is None:
            return Column(name, said, "raw")
        low, high = pc.min_max(ticks).as_py().values()
        return Column(name, said, "number" if low is not None and high - low < MOST else "raw")
    if pa.types.is_string(type_) or pa.types.is_large_string(type_) or pa.types.is_string_view(type_):
        texts = raw.cast(pa.large_string())
        levels = sorted(text for text in pc.unique(texts).to_pylist() if text is not None)
        if len(levels) <= min(_MOST_LEVELS, max(16, (len(raw) if n is None else n) // 4)) and all(
            len(level) < 200 for level in levels
        ):
            return Column(name, said, "level", None, tuple(levels))
        return Column(name, said, "text")
    if pa.types.is_null(type_):
        return Column(name, said, "level", None, ("",))
    raise DataError(f"The column {name!r} is {type_}, which cannot be compressed. Leave it out, or cast it.")


def _whole(raw: Any, type_: Any) -> Any:
    """Whole numbers or ticks as int64; None where they do not fit."""
    import pyarrow as pa

    try:
        if pa.types.is_temporal(type_) and type_.bit_width == 32:
            raw = raw.cast(pa.int32())
        return raw.cast(pa.int64())
    except pa.ArrowInvalid:
        return None


# --- cells ⇄ whole numbers ------------------------------------------------------------------------------------


@dataclass
class Cells:
    """The coded columns of some rows: ``q`` (n, k) int64, ``states`` (n, k) uint8 (0 where q holds), the numbers that
    stand as they are, and columns that are no whole numbers, as bytes by column.
    """

    q: np.ndarray
    states: np.ndarray
    kept: np.ndarray
    side: dict[int, bytes]


def to_cells(data: Any, form: Form) -> Cells:
    """Some rows of :func:`opened` data → whole numbers."""
    if isinstance(data, np.ndarray):
        return _array_cells(data.reshape(len(data), -1), form)
    qs, states, kept, side = [], [], [np.zeros(0)], {}
    for j, column in enumerate(form.columns):
        raw = data.column(j)
        if column.how in ("raw", "text"):
            side[j] = _side(raw, column)
            continue
        q, state, values = _table_cells(raw, column)
        qs.append(q)
        states.append(state)
        kept.append(values)
    n = data.num_rows
    return Cells(
        np.column_stack(qs) if qs else np.zeros((n, 0), np.int64),
        np.column_stack(states) if states else np.zeros((n, 0), np.uint8),
        np.concatenate(kept),
        side,
    )


def _array_cells(flat: np.ndarray, form: Form) -> Cells:
    coded = form.coded
    side = {j: _shuffled(flat[:, j]) for j, column in enumerate(form.columns) if column.how == "raw"}
    values = flat if len(coded) == flat.shape[1] else flat[:, coded]
    if coded and form.columns[coded[0]].per:
        q, states = _in_parts(values, form.columns[coded[0]].per)
        return Cells(q, states, values.T[states.T == AS_IT_IS].astype(np.float64), side)
    if not coded or form.columns[coded[0]].step is None:
        return Cells(values.astype(np.int64), np.zeros(values.shape, np.uint8), np.zeros(0), side)
    steps = np.array([form.columns[j].step for j in coded])
    q, states = _on_grid(values, steps, values.dtype)
    kept = values.T[states.T == AS_IT_IS].astype(np.float64)  # column by column, as tables have them
    return Cells(q, states, kept, side)


def _on_grid(values: np.ndarray, steps: Any, dtype: np.dtype) -> tuple[np.ndarray, np.ndarray]:
    """Numbers as multiples of their steps, and where these do not keep the promise."""
    wide = values.astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        at = np.rint(wide / steps)
        holds = np.isfinite(at) & (np.abs(at) < MOST // 4)
        q = np.where(holds, at, 0.0).astype(np.int64)
        back = off_grid(q, steps, dtype).astype(np.float64)
        holds &= np.abs(wide - back) <= error_of(steps)
    states = np.where(holds, 0, AS_IT_IS).astype(np.uint8)
    states[np.isnan(wide)] = NAN
    states[np.isposinf(wide)], states[np.isneginf(wide)] = INFINITE, MINUS_INFINITE
    return np.where(holds, q, 0), states


def off_grid(q: np.ndarray, steps: Any, dtype: np.dtype) -> np.ndarray:
    """Multiples as numbers of the type that they had."""
    with np.errstate(over="ignore"):
        return (q * steps).astype(dtype)


def _off(q: np.ndarray, column: Column, dtype: np.dtype) -> np.ndarray:
    return off_parts(q, column.per, dtype) if column.per else off_grid(q, column.step, dtype)


def _table_cells(raw: Any, column: Column) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    import pyarrow as pa

    raw = raw.combine_chunks() if isinstance(raw, pa.ChunkedArray) else raw
    if pa.types.is_dictionary(raw.type):
        raw = raw.cast(raw.type.value_type)
    null = raw.is_null().to_numpy(zero_copy_only=False)
    if column.how == "level":
        if pa.types.is_null(raw.type):
            return np.zeros(len(raw), np.int64), np.full(len(raw), NULL, np.uint8), np.zeros(0)
        text = raw.cast(pa.int8()).cast(pa.string()) if pa.types.is_boolean(raw.type) else raw.cast(pa.large_string())
        known = ("0", "1") if pa.types.is_boolean(raw.type) else column.levels
        encoded = text.dictionary_encode()
        number = {level: i for i, level in enumerate(known)}
        places = np.array([number[level] for level in encoded.dictionary.to_pylist()] + [0], np.int64)
        q = places[encoded.indices.fill_null(len(places) - 1).to_numpy(zero_copy_only=False)]
        return q, null.astype(np.uint8) * NULL, np.zeros(0)
    if column.per:
        values = raw.to_numpy(zero_copy_only=False)
        q, states = _in_parts(values, column.per)
        states[null] = NULL
        return q, states, values[states == AS_IT_IS].astype(np.float64)
    if column.step is None:
        q = _whole(raw, raw.type).fill_null(0).to_numpy(zero_copy_only=False)
        return q.astype(np.int64), null.astype(np.uint8) * NULL, np.zeros(0)
    dtype = np.dtype(raw.type.to_pandas_dtype())
    values = raw.cast(pa.float64()).to_numpy(zero_copy_only=False)
    q, states = _on_grid(values, column.step, dtype)
    states[null] = NULL
    return q, states, values[states == AS_IT_IS].astype(np.float64)


def from_cells(cells: Cells, form: Form, n: int) -> Any:
    """Whole numbers → rows as they were: an ndarray or a ``pyarrow.Table``."""
    if form.shape is not None:
        return _array_of(cells, form, n)
    import pyarrow as pa

    given, at, i = [], 0, 0
    for j, column in enumerate(form.columns):
        type_ = _arrow(column.dtype)
        if column.how in ("raw", "text"):
            given.append(_from_side(cells.side[j], column, type_, n))
            continue
        q, states = cells.q[:, i], cells.states[:, i]
        i += 1
        null = states == NULL
        if column.how == "level":
            if pa.types.is_null(type_):
                given.append(pa.nulls(n))
            elif pa.types.is_boolean(type_):
                given.append(pa.array(q == 1, mask=null))
            else:
                levels = pa.array(column.levels or ("",), pa.large_string())
                given.append(levels.take(pa.array(np.clip(q, 0, len(levels) - 1), mask=null)).cast(type_))
        elif column.step is None and not column.per:
            ticks = pa.array(q, mask=null)
            given.append((ticks.cast(pa.int32()) if type_.bit_width == 32 else ticks).cast(type_))
        else:
            values = _off(q, column, np.dtype(type_.to_pandas_dtype())).astype(np.float64)
            values, at = _restored(values, states, cells.kept, at)
            given.append(pa.array(values, mask=null).cast(type_))
    return pa.table(given, names=[column.name for column in form.columns])


def _array_of(cells: Cells, form: Form, n: int) -> np.ndarray:
    assert form.shape is not None
    dtype = np.dtype(form.columns[0].dtype)
    out = np.empty((n, len(form.columns)), dtype)
    coded = form.coded
    if coded:
        steps = [form.columns[j].step for j in coded]
        if steps[0] is None and not form.columns[coded[0]].per:
            values = cells.q
        else:
            per = form.columns[coded[0]].per
            values = (off_parts(cells.q, per, dtype) if per else off_grid(cells.q, np.array(steps), dtype)).astype(
                float
            )
            flat, _ = _restored(values.T, cells.states.T, cells.kept, 0)
            values = flat.T
        out[:, coded] = values.astype(dtype)
    for j, data in cells.side.items():
        out[:, j] = _unshuffled(data, dtype, n)
    return out.reshape(n, *form.shape)


def _restored(values: np.ndarray, states: np.ndarray, kept: np.ndarray, at: int) -> tuple[np.ndarray, int]:
    """Numbers with what stands in place of some of them."""
    if not states.any():
        return values, at
    values = values.copy()
    values[states == NAN] = np.nan
    values[states == INFINITE], values[states == MINUS_INFINITE] = np.inf, -np.inf
    which = states == AS_IT_IS
    count = int(which.sum())
    if at + count > len(kept):
        raise ValueError("numbers that stand as they are are missing.")
    values[which] = kept[at : at + count]
    return values, at + count


# --- what is no whole number ----------------------------------------------------------------------------------


def _shuffled(values: np.ndarray) -> bytes:
    """The first byte of all, then the second, …: neighbours are alike then."""
    plain = np.ascontiguousarray(values)
    return plain.view(np.uint8).reshape(len(plain), -1).T.tobytes()


def _unshuffled(data: bytes, dtype: np.dtype, n: int) -> np.ndarray:
    if len(data) != n * dtype.itemsize:
        raise ValueError("a column of it is not as long as it should be.")
    return np.ascontiguousarray(np.frombuffer(data, np.uint8).reshape(dtype.itemsize, n).T).view(dtype).ravel()


def _side(raw: Any, column: Column) -> bytes:
    import pyarrow as pa

    raw = raw.combine_chunks() if isinstance(raw, pa.ChunkedArray) else raw
    if pa.types.is_dictionary(raw.type):
        raw = raw.cast(raw.type.value_type)
    if column.how == "text":
        texts = [None if text is None else text.encode() for text in raw.to_pylist()]
        sizes = np.array([_NO_TEXT if text is None else len(text) for text in texts], "<u4")
        return sizes.tobytes() + b"".join(text for text in texts if text is not None)
    null = np.packbits(raw.is_null().to_numpy(zero_copy_only=False)).tobytes()
    plain = raw.fill_null(0) if not pa.types.is_temporal(raw.type) else _whole(raw, raw.type).fill_null(0)
    return null + _shuffled(plain.to_numpy(zero_copy_only=False))


def _from_side(data: bytes, column: Column, type_: Any, n: int) -> Any:
    import pyarrow as pa

    if column.how == "text":
        sizes = np.frombuffer(data[: 4 * n], "<u4").astype(np.int64)
        null = sizes == _NO_TEXT
        ends = 4 * n + np.where(null, 0, sizes).cumsum()
        if len(sizes) != n or (n and ends[-1] != len(data)):
            raise ValueError("a column of texts is damaged.")
        begins = np.concatenate([[4 * n], ends[:-1]]) if n else ends
        texts = [None if no else data[a:b].decode() for no, a, b in zip(null, begins, ends, strict=True)]
        return pa.array(texts, pa.large_string()).cast(type_)
    nulls = (n + 7) // 8
    null = np.unpackbits(np.frombuffer(data[:nulls], np.uint8), count=n).astype(bool)
    if pa.types.is_temporal(type_):
        ticks = pa.array(_unshuffled(data[nulls:], np.dtype(np.int64), n), mask=null)
        return (ticks.cast(pa.int32()) if type_.bit_width == 32 else ticks).cast(type_)
    return pa.array(_unshuffled(data[nulls:], np.dtype(type_.to_pandas_dtype()), n), type_, mask=null)


def _arrow(said: str) -> Any:
    """A type of Arrow by its name. Raises ValueError for one that is not kept."""
    import re

    import pyarrow as pa

    if found := re.fullmatch(r"timestamp\[(s|ms|us|ns), tz=([\w/+:-]{1,64})\]", said):
        return pa.timestamp(*found.groups())
    if said == "string_view":
        return pa.string_view()
    if said not in ("string", "large_string", "null", "bool") and not re.fullmatch(
        r"u?int(8|16|32|64)|halffloat|float|double|(date|time)(32|64)\[\w+\]|timestamp\[\w+\]|duration\[\w+\]", said
    ):
        raise ValueError(f"a column of it has the unknown type {said[:30]!r}.")
    return pa.type_for_alias(said)


def safe_names(names: Any, n: int) -> tuple[str, ...] | None:
    """Names of files that stay within their folder, one a row."""
    if names is None:
        return None
    good = isinstance(names, list) and len(names) == n and all(isinstance(name, str) for name in names)
    if not good or any(name.startswith(("/", "\\")) or ":" in name or "\0" in name or not name
                       or ".." in name.replace("\\", "/").split("/") for name in names):  # fmt: skip
        raise FileError("The names of the files in it are not names within a folder. Do not trust this file.")
    return tuple(names)
