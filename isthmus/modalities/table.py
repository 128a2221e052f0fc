"""Tables: named columns of numbers, yes/no, categories and dates, with missing cells."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from torch import Tensor

from isthmus.data.files import NULLS
from isthmus.data.rows import Rows
from isthmus.errors import DataError, SpecError, unknown
from isthmus.modalities.array import BLOCK, cast, with_missing
from isthmus.modalities.base import Modality
from isthmus.modalities.scaling import HOWS, Scaling, one_range

if TYPE_CHECKING:
    import pyarrow as pa

#: What ``kinds={column: ...}`` may say.
KINDS = ("numeric", "boolean", "categorical", "ignore")

#: Texts that are this often numbers are numbers, and the rest is missing.
PARSED = 0.95
#: At use, a column of which less than this can be read has changed its meaning.
READABLE = 0.5

_NUMBER = r"^[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?$|^[-+]?(?i:inf|infinity|nan)$"
# 007 and 01234 are codes: as numbers they would lose their zeros
_CODE = r"^0\d+$"
_IDENTIFIER = re.compile(r"(?:^|[\W_])(?:id|idx|index|key|nr|rowid|uuid)$|[a-z](?:Id|ID)$|^unnamed", re.IGNORECASE)
# a missing cell among numbers written as text; among categories, "?" may be one
ABSENT = {*NULLS, "-"}
TRUE, FALSE = ("true", "yes", "y", "t", "1", "1.0"), ("false", "no", "n", "f", "0", "0.0")
_TICKS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


@dataclass(frozen=True)
class Column:
    """What became of one column of the raw table.

    ``kind`` is ``"numeric"``, ``"date"`` (a number too), ``"boolean"``, ``"categorical"`` or ``"aside"``
    (not used, for the ``reason``; ``value`` is what it always held, if it was constant). ``dtype`` is the
    Arrow type to give back. ``levels`` are the categories 1, 2, …; 0 is whatever was not seen in training.
    """

    name: str
    kind: str
    dtype: str
    levels: tuple[str, ...] = ()
    value: Any = None
    reason: str = ""

    def to_json(self) -> dict[str, Any]:
        said = asdict(self)
        return {key: said[key] for key in said if key in ("name", "kind", "dtype") or said[key] not in ((), None, "")}


class Table(Modality):
    """Columns with names.

    Arguments:
        columns: What became of each raw column, in the raw order, as :meth:`Column.to_json` says it.
        scaling: State of the :class:`~isthmus.modalities.scaling.Scaling` of the numeric and date columns.
        seen: What was noticed while fitting, for :meth:`describe`.
    """

    kind = "table"

    def __init__(self, columns: list[dict[str, Any]], scaling: dict[str, Any], seen: list[str]):
        self.columns = [Column(**{**said, "levels": tuple(said.get("levels", ()))}) for said in columns]
        self.used = [column for column in self.columns if column.kind != "aside"]
        self.scaling = Scaling(**scaling)
        self.seen = list(seen)
        self._numeric = [j for j, column in enumerate(self.used) if column.kind in ("numeric", "date")]

    @classmethod
    def fit(
        cls,
        rows: Rows,
        *,
        kinds: Mapping[str, str] | None = None,
        max_levels: int = 64,
        scaling: str = "auto",
    ) -> Self:
        """Learn the columns.

        Numbers are scaled each by itself (see :class:`Scaling`), or where a table of numbers
        has one range for most columns (pixels), all together. Numbers that are only 0 and 1 are yes/no.
        Texts are categories, or numbers where they read as such. Dates and times become seconds. Constant
        columns, identifiers and free text are set aside and named by :meth:`describe`.

        Arguments:
            rows: A table, or an array whose columns are then called x0, x1, ….
            kinds: ``{column: "numeric" | "boolean" | "categorical" | "ignore"}`` where you know better.
            max_levels: Categories kept per column, the most frequent ones; the rest counts as unseen.
            scaling: ``"auto"``, ``"none"``, ``"standard"``, ``"robust"`` or ``"global"`` for all numbers.

        Raises:
            DataError: No column can be used, or a column is not of the kind that ``kinds`` says.
        """
        table, kinds = as_table(rows), dict(kinds or {})
        for name, kind in kinds.items():
            if name not in table.column_names:
                raise unknown("column", name, table.column_names)
            if kind not in KINDS:
                raise unknown("kind of column", kind, KINDS)
        if scaling not in HOWS:
            raise unknown("scaling", scaling, HOWS)
        if max_levels < 1:
            raise SpecError(f"max_levels is at least 1; got {max_levels}.")
        columns, scalings, seen = [], [], []
        for name, raw in zip(table.column_names, table.columns, strict=True):
            column, numbers = _study(name, _plain(raw), kinds.get(name), max_levels, seen)
            columns.append(column)
            if column.kind in ("numeric", "date"):
                scalings.append(numbers[:, None])
        if all(column.kind == "aside" for column in columns):
            why = " ".join(f"{column.name!r} {column.reason}." for column in columns[:5])
            raise DataError(
                f"No column of {rows.origin} can be used: {why} Say kinds={{column: kind}} to use one all the same."
            )
        # numbers alone are scaled as an array of them would be
        alone = all(column.kind in ("numeric", "aside") for column in columns)
        if scaling == "auto" and alone and one_range(np.hstack(scalings)):
            scaling = "global"
        if scaling == "global" and scalings:
            state = Scaling.fit(np.hstack(scalings), "global")
        else:
            state = Scaling.join([Scaling.fit(numbers, scaling) for numbers in scalings])
        return cls([column.to_json() for column in columns], state.to_json(), seen)

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.used),)

    @property
    def names(self) -> list[str]:
        return [column.name for column in self.used]

    def to_tensors(self, rows: Rows) -> dict[str, Tensor]:
        cells, _ = self._read(rows)
        n, d = len(rows), len(self.used)
        x = np.empty((n, d), np.float32)
        others = [j for j in range(d) if j not in set(self._numeric)]
        step = max(1, BLOCK // d)
        for start in range(0, n, step):
            part = slice(start, start + step)
            # by blocks of rows: columns go into the matrix while it is in the cache
            if self._numeric:
                raw = np.empty((len(x[part]), len(self._numeric)))
                for i, j in enumerate(self._numeric):
                    raw[:, i] = cells[j][part]
                x[part, self._numeric] = self.scaling.forward(raw)
            for j in others:
                x[part, j] = cells[j][part]
        return with_missing(x)

    def from_tensors(self, x: Tensor, like: Rows | None = None) -> pa.Table:
        """As brought, without the columns set aside unless constant. Unseen categories are null."""
        import pyarrow as pa

        values = x.detach().cpu().flatten(1).numpy()
        raw = np.empty((len(self._numeric), len(values)))
        step = max(1, BLOCK // max(1, len(self.used)))
        for start in range(0, len(values), step):
            part = slice(start, start + step)
            raw[:, part] = self.scaling.inverse(values[part, self._numeric]).T
        numbers = iter(raw)
        given, used = {}, iter(range(len(self.used)))
        for column in self.columns:
            type_ = _arrow_type(column.dtype)
            if column.kind == "aside":
                if column.value is not None:
                    given[column.name] = _constant(column.value, type_, len(values))
                continue
            j = next(used)
            if column.kind == "categorical":
                level = np.clip(np.rint(values[:, j]), 0, len(column.levels)).astype(np.int64)
                given[column.name] = pa.array([None, *column.levels], pa.string()).take(pa.array(level)).cast(type_)
            elif column.kind == "boolean":
                given[column.name] = pa.array(values[:, j] > 0.5).cast(type_)
            else:
                given[column.name] = _from_numbers(next(numbers), type_)
        return pa.table(given)

    def parts(self) -> dict[str, Any]:
        levels = [{"numeric": 0, "date": 0, "boolean": 1}.get(c.kind, len(c.levels) + 1) for c in self.used]
        likelihood = {"kind": "mixed", "levels": levels} if any(levels) else {"kind": "gaussian"}
        return {
            "encoder": {"kind": "mlp"},
            "decoder": {"kind": "mlp"},
            "likelihood": likelihood,
            # distances say little of categories, and the columns beside them much
            "detector": {"kind": "committee" if any(level > 1 for level in levels) else "neighbours"},
        }

    def describe(self) -> list[str]:
        counts = {
            kind: sum(c.kind == kind for c in self.used) for kind in ("numeric", "boolean", "categorical", "date")
        }
        said = [
            f"{len(self.used)} of {len(self.columns)} columns are used: "
            + ", ".join(f"{n} {k}" for k, n in counts.items() if n)
            + "."
        ]
        heavy = [
            self.used[j].name for j, kind in zip(self._numeric, self.scaling.kinds, strict=True) if kind == "asinh"
        ]
        if heavy:
            said.append(f"Heavy tails, so scaled through asinh: {_listed(heavy)}.")
        said += [f"The column {c.name!r} was set aside: it {c.reason}." for c in self.columns if c.kind == "aside"]
        return said + self.seen

    def remarks(self, rows: Rows) -> list[str]:
        """Extra columns, unseen categories, cells that could not be read, constants that changed."""
        return self._read(rows)[1]

    def to_json(self) -> dict[str, Any]:
        columns = [
            {**column.to_json(), **({"levels": list(column.levels)} if column.levels else {})}
            for column in self.columns
        ]
        return {"columns": columns, "scaling": self.scaling.to_json(), "seen": self.seen}

    def __repr__(self) -> str:
        return f"Table({', '.join(f'{column.name}={column.kind}' for column in self.columns)})"

    def _read(self, rows: Rows) -> tuple[list[np.ndarray], list[str]]:
        """The used columns as numbers with NaN for missing cells, not yet scaled; and what was unusual."""
        table = as_table(rows, [column.name for column in self.columns])
        known, found = {column.name for column in self.columns}, set(table.column_names)
        extra = [name for name in table.column_names if name not in known]
        absent = [column.name for column in self.used if column.name not in found]
        if absent:
            near = {name: difflib.get_close_matches(name, extra, n=1, cutoff=0.7) for name in absent}
            hints = [f"Is {match[0]!r} the renamed {name!r}?" for name, match in near.items() if match]
            said = f"The column {absent[0]!r} is" if len(absent) == 1 else f"The columns {_listed(absent)} are"
            raise DataError(
                f"{said} missing in {rows.origin}. {' '.join(hints[:3])}{' ' if hints else ''}"
                f"The model was trained with: {_listed(self.names, 20)}."
            )
        remarks = [f"Not known from training, so not used: {_listed(extra)}."] if extra else []
        cells = [_cells(column, _plain(table[column.name]), rows.origin, remarks) for column in self.used]
        for column in self.columns:
            if column.kind != "aside" or column.value is None or column.name not in found:
                continue
            if changed := _changed(column, _plain(table[column.name])):
                remarks.append(
                    f"The column {column.name!r} always held {column.value!r} in training and was set aside; "
                    f"{changed:,} of {len(rows):,} rows differ, which no score can see."
                )
        return cells, remarks


def as_table(rows: Rows, names: list[str] | None = None) -> pa.Table:
    """Rows as a table; the columns of an array are called ``names``, else x0, x1, …."""
    if rows.kind == "table":
        return rows.data
    import pyarrow as pa

    if isinstance(rows.of_one_length().data, list):
        raise SpecError(f"Picture files cannot be used as kind='table' ({rows.origin}). Use kind='image'.")
    flat = rows.data.reshape(len(rows.data), -1)
    names = names or [f"x{j}" for j in range(flat.shape[1])]
    if len(names) != flat.shape[1]:
        raise DataError(f"X has {flat.shape[1]} features, but Autoencoder is expecting {len(names)} features as input.")
    return pa.table({name: flat[:, j] for j, name in enumerate(names)})


# --- training: what is this column? -----------------------------------------------------------------


def _study(name: str, raw: pa.Array, said: str | None, max_levels: int, seen: list[str]) -> tuple[Column, Any]:
    """Decide one column. Also gives its numbers if it is numeric or a date."""
    import pyarrow as pa

    type_, n_found = raw.type, len(raw) - raw.null_count
    aside = Column(name, "aside", str(type_))
    if said == "ignore":
        return Column(name, "aside", str(type_), reason="is to be ignored, as you said"), None
    if n_found == 0:
        return Column(name, "aside", "null", reason="has no value at all"), None
    if pa.types.is_nested(type_) or pa.types.is_binary(type_) or pa.types.is_large_binary(type_):
        return Column(name, "aside", str(type_), reason=f"is {type_}, neither number, text nor date"), None
    if said == "categorical":
        return _categorical(name, raw, max_levels, seen), None

    if pa.types.is_temporal(type_) and said != "boolean":
        seconds = _seconds(raw)
        if said is None and (value := _constant_of(seconds)) is not None:
            return Column(name, "aside", str(type_), value=value, reason=f"always holds {raw.drop_null()[0]}"), None
        return Column(name, "date", str(type_)), seconds

    dtype = str(type_)
    if _is_text(type_) and said is None:
        counts = _counts(raw)
        if len(counts) == 1:
            value = next(iter(counts))
            return Column(name, "aside", dtype, value=value, reason=f"always holds {value!r}"), None
        written = {text: n for text, n in counts.items() if text.strip() not in ABSENT}
        parsed = sum(n for text, n in written.items() if re.match(_NUMBER, text.strip()))
        coded = any(re.match(_CODE, text.strip()) for text in counts)
        if coded or not parsed or parsed < PARSED * sum(written.values()):
            if len(counts) > max(20, n_found / 2) or len(counts) == n_found >= 10:
                reason = f"holds {len(counts):,} different texts in {n_found:,} rows, like an identifier or free text"
                return Column(name, "aside", dtype, reason=reason), None
            return _categorical(name, raw, max_levels, seen), None
    if said == "boolean":
        _cells(Column(name, "boolean", dtype), raw, "the rows", seen)
        return Column(name, "boolean", "bool" if _is_text(type_) else _returned(type_)), None

    before = len(seen)
    numbers = _cells(Column(name, "numeric", dtype), raw, "the rows", seen)
    if _is_text(type_):
        seen.insert(before, f"The column {name!r} holds numbers written as text; they are given back as numbers.")
        whole = bool(np.all(np.mod(numbers[np.isfinite(numbers)], 1) == 0))
        dtype = "int64" if whole else "double"
    elif pa.types.is_decimal(type_):
        dtype = "double"
    if infinite := int(np.isinf(numbers).sum()):
        seen.append(f"The column {name!r} holds {infinite:,} infinite cell(s), taken as missing.")
        numbers = np.where(np.isinf(numbers), np.nan, numbers)
    if said == "numeric":
        return Column(name, "numeric", dtype), numbers
    if np.isnan(numbers).all():
        return Column(name, "aside", dtype, reason="has no finite value"), None
    if (value := _constant_of(numbers)) is not None:
        held = raw.drop_null()[0].as_py() if not _is_text(type_) else value
        held = held if isinstance(held, (bool, int, float)) and held == value else value
        return Column(name, "aside", dtype, value=held, reason=f"always holds {held!r}"), None
    finite = numbers if not np.isnan(numbers).any() else numbers[~np.isnan(numbers)]
    if pa.types.is_boolean(type_) or ((finite == 0) | (finite == 1)).all():
        return Column(name, "boolean", dtype), None
    if (
        _IDENTIFIER.search(name)
        and dtype.lstrip("u").startswith("int")
        and len(finite) >= 20
        and len(np.unique(finite)) == len(finite)
    ):
        return Column(name, "aside", aside.dtype, reason="numbers the rows, like an identifier"), None
    return Column(name, "numeric", dtype), numbers


def _categorical(name: str, raw: pa.Array, max_levels: int, seen: list[str]) -> Column:
    dtype = _returned(raw.type)
    counts = _counts(_text(raw, dtype))
    # by count, then by name, so that the order of the rows does not matter
    levels = sorted(counts, key=lambda level: (-counts[level], level))
    if len(levels) > max_levels:
        lost = sum(counts[level] for level in levels[max_levels:])
        seen.append(
            f"The column {name!r} has {len(levels):,} categories; the {max_levels} most frequent "
            "are kept, and "
            f"{lost:,} row(s) of the others count as unseen (max_levels={max_levels})."
        )
    return Column(name, "categorical", dtype, levels=tuple(levels[:max_levels]))


def _counts(raw: pa.Array) -> dict[str, int]:
    counted = raw.drop_null().value_counts()
    return dict(zip(counted.field("values").to_pylist(), counted.field("counts").to_pylist(), strict=True))


def _constant_of(numbers: np.ndarray) -> float | None:
    """The one finite value of these numbers, if there is only one."""
    low, high = np.fmin.reduce(numbers), np.fmax.reduce(numbers)
    return float(low) if low == high else None


# --- use: cells to numbers --------------------------------------------------------------------------


def _cells(column: Column, raw: pa.Array, origin: str, remarks: list[str]) -> np.ndarray:
    """The cells of one column as float64 with NaN where missing. Appends what was unusual to ``remarks``."""
    import pyarrow as pa

    if raw.null_count == len(raw):
        return np.full(len(raw), np.nan)
    if column.kind == "categorical":
        return _levels(column, raw, remarks)
    if column.kind == "date":
        return _date(column, raw, origin)
    type_ = raw.type
    if pa.types.is_temporal(type_) or pa.types.is_nested(type_) or pa.types.is_binary(type_):
        raise DataError(
            f"The column {column.name!r} of {origin} should be {column.kind}; it is {type_}. Convert it to numbers."
        )
    if _is_text(type_):
        numbers = _parsed(column, raw, origin, remarks)
    elif raw.null_count == 0 and not pa.types.is_boolean(type_) and not pa.types.is_decimal(type_):
        numbers = raw.to_numpy(zero_copy_only=False)
    else:
        numbers = raw.cast(pa.float64()).to_numpy(zero_copy_only=False)
    if column.kind == "boolean":
        # NaN passes through both
        outside = int(((numbers < 0) | (numbers > 1)).sum())
        if outside:
            remarks.append(
                f"The column {column.name!r} was only 0 or 1 in training; {outside:,} cell(s) "
                "beyond were moved to the nearer one."
            )
            numbers = np.clip(numbers, 0, 1)
    return numbers


def _levels(column: Column, raw: pa.Array, remarks: list[str]) -> np.ndarray:
    encoded = _text(raw, column.dtype).dictionary_encode()
    number = {level: i + 1 for i, level in enumerate(column.levels)}
    texts = encoded.dictionary.to_pylist()
    levels = np.array([float(number.get(text, 0)) for text in texts] + [np.nan])
    # the last entry is for missing cells
    index = encoded.indices.fill_null(len(texts)).to_numpy(zero_copy_only=False)
    found = levels[index]
    unseen = [text for text in texts if text not in number]
    if unseen:
        n = int((found == 0).sum())
        remarks.append(
            f"The column {column.name!r} holds {n:,} cell(s) of categories that were not kept in "
            f"training: {_listed(unseen)}."
        )
    return found


def _date(column: Column, raw: pa.Array, origin: str) -> np.ndarray:
    import pyarrow as pa

    if _is_text(raw.type):
        try:
            raw = raw.cast(pa.timestamp("us"))
        except pa.ArrowInvalid as error:
            raise DataError(
                f"The column {column.name!r} of {origin} should hold dates such as 2024-01-31 12:00:00: {error}."
            ) from None
    if not pa.types.is_temporal(raw.type):
        raise DataError(
            f"The column {column.name!r} of {origin} should hold {column.dtype}; it is {raw.type}. Convert it to dates."
        )
    return _seconds(raw)


def moment(column: Column, cell: Any) -> float:
    """One cell of a date column in seconds, NaN where missing."""
    import pyarrow as pa

    if cell is None or (isinstance(cell, str) and cell.strip() in ABSENT):
        return float("nan")
    raw = pa.array([cell.strip() if isinstance(cell, str) else cell])
    if _is_text(raw.type) and not column.dtype.startswith(("date", "timestamp")):
        raw = raw.cast(_arrow_type(column.dtype))
    return float(_date(column, raw, "the stream")[0])


def cell_text(cell: Any, dtype: str) -> str | None:
    """One cell of a categorical column as the text that its levels are: 3, 3.0 and "03" are "3" among whole numbers."""
    import pyarrow as pa

    whole = dtype.lstrip("u").startswith("int")
    if isinstance(cell, str) and (whole or dtype in ("double", "float", "halffloat")) and re.match(_NUMBER, cell):
        cell = float(cell) if not whole or not re.match(r"^[-+]?\d+$", cell) else int(cell)
    elif isinstance(cell, str) and dtype == "bool":
        cell = cell.lower()
    text: str | None = _text(pa.array([cell]), dtype)[0].as_py()
    return text


def _seconds(raw: pa.Array) -> np.ndarray:
    """Dates, times and durations as seconds."""
    import pyarrow as pa

    if pa.types.is_date(raw.type):
        raw = raw.cast(pa.timestamp("s"))
    ticks = raw.cast(pa.int32()).cast(pa.int64()) if pa.types.is_time32(raw.type) else raw.cast(pa.int64())
    return ticks.to_numpy(zero_copy_only=False) / _TICKS[raw.type.unit]


def _parsed(column: Column, raw: pa.Array, origin: str, remarks: list[str]) -> np.ndarray:
    """Numbers, or yes and no, written as text. A few other cells become missing; most is an error."""
    texts = raw.dictionary_encode()
    numbers, bad = [], []
    for text in texts.dictionary.to_pylist():
        said = text.strip()
        if column.kind == "boolean" and said.lower() in (*TRUE, *FALSE):
            numbers.append(float(said.lower() in TRUE))
        else:
            numbers.append(float(said) if re.match(_NUMBER, said) else np.nan)
        bad.append(np.isnan(numbers[-1]) and said not in ABSENT and said.lower() != "nan")
    # the last entry is for missing cells
    index = texts.indices.fill_null(len(numbers)).to_numpy(zero_copy_only=False)
    found, wrong = np.array([*numbers, np.nan])[index], np.array([*bad, False])[index]
    if n_bad := int(wrong.sum()):
        n_found = len(raw) - raw.null_count
        first = raw[int(wrong.argmax())].as_py()
        if n_bad > (1 - READABLE) * n_found:
            what = "yes or no" if column.kind == "boolean" else "numbers"
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


def _changed(column: Column, raw: pa.Array) -> int:
    """How many cells of a column that was constant in training differ from what it held."""
    import pyarrow as pa
    import pyarrow.compute as pc

    try:
        if isinstance(column.value, str) or _is_text(raw.type):
            return pc.sum(pc.not_equal(raw.cast(pa.string()), str(column.value))).as_py() or 0
        numbers = (
            _seconds(raw) if pa.types.is_temporal(raw.type) else raw.cast(pa.float64()).to_numpy(zero_copy_only=False)
        )
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        # of a type that cannot be compared, so surely not what it was
        return len(raw) - raw.null_count
    return int(((numbers != column.value) & ~np.isnan(numbers)).sum())


# --- Arrow types ------------------------------------------------------------------------------------


def _plain(raw: pa.ChunkedArray) -> pa.Array:
    """One piece, texts in one type, without dictionary; empty texts are missing."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_dictionary(raw.type):
        raw = raw.cast(raw.type.value_type)
    if raw.num_chunks == 1:
        whole = raw.chunk(0)
    else:
        whole = pa.concat_arrays(raw.chunks) if raw.num_chunks else pa.array([], raw.type)
    if _is_text(whole.type):
        if pa.types.is_string_view(whole.type):
            whole = whole.cast(pa.large_string())
        empty = pc.equal(whole, "")
        if pc.any(empty).as_py():
            whole = pc.if_else(empty, pa.scalar(None, whole.type), whole)
    return whole


def _is_text(type_: pa.DataType) -> bool:
    import pyarrow as pa

    return pa.types.is_string(type_) or pa.types.is_large_string(type_) or pa.types.is_string_view(type_)


def _text(raw: pa.Array, dtype: str) -> pa.Array:
    """Cells as text, alike for the integer 3 and the 3.0 that a missing cell makes of it elsewhere."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if _is_text(raw.type):
        return raw
    if pa.types.is_floating(raw.type):
        raw = pc.if_else(pc.is_nan(raw), pa.scalar(None, raw.type), raw)
        whole = pc.all(pc.equal(raw, pc.floor(raw))).as_py()
        if whole and dtype.lstrip("u").startswith("int"):
            raw = raw.cast(pa.int64())
    return raw.cast(pa.string())


def _returned(type_: pa.DataType) -> str:
    """The type that categories and yes/no are given back in."""
    import pyarrow as pa

    return "double" if pa.types.is_decimal(type_) else str(type_)


def _arrow_type(said: str) -> pa.DataType:
    import pyarrow as pa

    if found := re.fullmatch(r"timestamp\[(\w+), tz=(.+)\]", said):
        return pa.timestamp(*found.groups())
    try:
        return pa.type_for_alias({"large_string": "large_string", "halffloat": "float16"}.get(said, said))
    except ValueError:
        return pa.string()


def _from_numbers(numbers: np.ndarray, type_: pa.DataType) -> pa.Array:
    """Raw numbers, or seconds, as a column of ``type_``."""
    import pyarrow as pa

    if not pa.types.is_temporal(type_):
        return pa.array(cast(numbers, np.dtype(type_.to_pandas_dtype())))
    if pa.types.is_date(type_):
        days = cast(numbers / 86400, np.dtype(np.int32))
        return pa.array(days).cast(pa.date32()).cast(type_)
    ticks = numbers * _TICKS[type_.unit]
    if pa.types.is_time(type_):
        ticks = np.clip(ticks, 0, 86400 * _TICKS[type_.unit] - 1)
    whole = cast(ticks, np.dtype(np.int32 if pa.types.is_time32(type_) else np.int64))
    return pa.array(whole).cast(type_)


def _constant(value: Any, type_: pa.DataType, n: int) -> pa.Array:
    import pyarrow as pa

    if pa.types.is_temporal(type_):
        return _from_numbers(np.full(n, value), type_)
    return pa.repeat(pa.scalar(value).cast(type_), n)


def _listed(names: Iterable[str], most: int = 6) -> str:
    names = list(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(map(repr, names[:most])) + more
