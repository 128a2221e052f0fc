"""Tables: named columns, each of its own kind (:mod:`isthmus.modalities.columns`), with missing cells.

.. math:: x = (\\text{entries of columns of one law}, \\; \\text{words}, \\; \\text{pixels}, \\dots)

Where a column has a law of its own (texts, pictures), the row's likelihood is the product of them all.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from torch import Tensor

from isthmus.data.rows import Rows
from isthmus.errors import DataError, SpecError, unknown
from isthmus.modalities.array import BLOCK, with_missing
from isthmus.modalities.base import Modality
from isthmus.modalities.columns import COLUMNS, Aside, Column, Sentences, Studied
from isthmus.modalities.columns.arrow import is_text, listed, plain, seconds
from isthmus.modalities.columns.study import study
from isthmus.modalities.scaling import HOWS, Scaling, one_range

if TYPE_CHECKING:
    import pyarrow as pa

#: What ``kinds={column: ...}`` may say.
KINDS = (*(kind for kind in COLUMNS if kind != "aside"), "ignore")
#: Bytes that rows with texts and pictures may take: they are dense.
_MOST_BYTES = 8 << 30


class Table(Modality):
    """Columns with names.

    Arguments:
        columns: What became of each raw column, in the raw order, as :meth:`Column.to_json` says it.
        scaling: State of the :class:`~isthmus.modalities.scaling.Scaling` of the entries that are scaled.
        seen: What was noticed while fitting, for :meth:`describe`.
    """

    kind = "table"

    def __init__(self, columns: list[dict[str, Any]], scaling: dict[str, Any], seen: list[str]):
        self.columns = [_column(said) for said in columns]
        used = [column for column in self.columns if column.width]
        #: The columns that are used, in the order of their entries: those that one law speaks of together go first.
        self.used = [c for c in used if not c.alone] + [c for c in used if c.alone]
        self._by_name = {column.name: column for column in self.used}
        ends = np.cumsum([0, *(column.width for column in self.used)]).tolist()
        self.places = [slice(a, b) for a, b in pairwise(ends)]
        self.scaling = Scaling(**scaling)
        self.seen = list(seen)
        #: The entries that are scaled.
        self.scaled = [place.start for c, place in zip(self.used, self.places, strict=True) if c.scaled]
        #: The same as slices of them and of all entries, which are quicker than places.
        breaks = [i for i in range(1, len(self.scaled)) if self.scaled[i] != self.scaled[i - 1] + 1]
        edges = [0, *breaks, len(self.scaled)] if self.scaled else []
        self._runs = [(slice(a, b), slice(self.scaled[a], self.scaled[a] + b - a)) for a, b in pairwise(edges)]
        if len(self.scaling) != len(self.scaled):
            raise SpecError(f"{len(self.scaled)} entries are scaled, and the scaling is of {len(self.scaling)}.")

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
        Texts are categories, numbers where they read as such, sentences, or paths of pictures. Dates become seconds,
        and where they stand in the day, the week and the year. Constant columns and identifiers are set aside and
        named by :meth:`describe`.

        Arguments:
            rows: A table, or an array whose columns are then called x0, x1, ….
            kinds: ``{column: "numeric" | "boolean" | "categorical" | "hashed" | "date" | "text" | "image" |
                "ignore"}`` where you know better.
            max_levels: Categories of a column that have a level each, the most frequent ones; where there are more,
                the others share buckets.
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
        studied = Studied(rows.origin, max_levels, len(rows), folder=rows.folder, census=rows.census)
        found: list[tuple[Column, np.ndarray | None]] = [
            study(name, plain(raw), kinds.get(name), studied)
            for name, raw in zip(table.column_names, table.columns, strict=True)
        ]
        columns = [column for column, _ in found]
        scalings = [numbers[:, None] for _, numbers in found if numbers is not None]
        if not any(column.width for column in columns):
            why = " ".join(f"{c.name!r} {c.reason}." for c in columns[:5] if isinstance(c, Aside))
            raise DataError(
                f"No column of {rows.origin} can be used: {why} Say kinds={{column: kind}} to use one all the same."
            )
        # a column of thousands of entries varies as much as all columns of one entry together
        single = sum(len(column.laws) for column in columns if not column.alone)
        for column in columns:
            if column.alone:
                column.weight *= max(single, 1) ** 0.5
        # numbers alone are scaled as an array of them would be
        alone = all(column.kind in ("numeric", "aside") for column in columns)
        if scaling == "auto" and alone and one_range(np.hstack(scalings)):
            scaling = "global"
        if scaling == "global" and scalings:
            state = Scaling.fit(np.hstack(scalings), "global")
        else:
            state = Scaling.join([Scaling.fit(numbers, scaling) for numbers in scalings])
        return cls([column.to_json() for column in columns], state.to_json(), studied.seen)

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.places[-1].stop,)

    @property
    def names(self) -> list[str]:
        return [name for column in self.used for name in column.names]

    @property
    def looks_at(self) -> list[str]:
        return [column.name for column in self.used]

    @property
    def groups(self) -> list[tuple[str, slice]] | None:
        if all(column.width == 1 for column in self.used):
            return None
        return [(column.name, place) for column, place in zip(self.used, self.places, strict=True)]

    def told(self, name: str, observed: Any, expected: Any) -> tuple[str, str] | None:
        return self._by_name[name].told(observed, expected)

    def to_tensors(self, rows: Rows) -> dict[str, Tensor]:
        n, d = len(rows), self.shape[0]
        if self.groups is not None and 4 * n * d > _MOST_BYTES:
            raise DataError(
                f"{n:,} rows of {d:,} entries (texts and pictures have many) take {4 * n * d / 2**30:.1f} GiB, more "
                f"than {_MOST_BYTES >> 30} GiB. Take fewer rows at once, or leave a column out: NAME=ignore."
            )
        cells, _ = self._read(rows)
        x = np.empty((n, d), np.float32)
        # entries of one column go into the matrix by blocks, and those of wide columns by themselves
        single = [(j, k) for k, place in enumerate(self.places) for j in range(place.start, place.stop)]
        single = [(j, k) for j, k in single if not self.used[k].alone]
        scaled = set(self.scaled)
        others = [(j, k) for j, k in single if j not in scaled]
        of = dict(single)
        step = max(1, BLOCK // max(1, len(single)))
        for start in range(0, n, step):
            part = slice(start, start + step)
            # by blocks of rows: columns go into the matrix while it is in the cache
            if self.scaled:
                raw = np.empty((len(x[part]), len(self.scaled)))
                for i, j in enumerate(self.scaled):
                    column = cells[of[j]]
                    raw[:, i] = column[part] if column.ndim == 1 else column[part, 0]
                y = self.scaling.forward(raw)
                for here, there in self._runs:
                    x[part, there] = y[:, here]
            for j, k in others:
                column = cells[k]
                x[part, j] = column[part] if column.ndim == 1 else column[part, j - self.places[k].start]
        for k, place in enumerate(self.places):
            if self.used[k].alone:
                x[:, place] = cells[k]
        return with_missing(x)

    def from_tensors(self, x: Tensor, like: Rows | None = None) -> pa.Table:
        """As brought, without the columns set aside unless constant. Unseen categories are null."""
        import pyarrow as pa

        values = x.detach().cpu().flatten(1).numpy()
        raw = np.empty((len(self.scaled), len(values)))
        step = max(1, BLOCK // max(1, len(self.used)))
        for start in range(0, len(values), step):
            part = slice(start, start + step)
            raw[:, part] = self.scaling.inverse(values[part, self.scaled]).T
        numbers = dict(zip(self.scaled, raw, strict=True))
        at = {column.name: place for column, place in zip(self.used, self.places, strict=True)}
        given = {}
        for column in self.columns:
            if isinstance(column, Aside):
                if column.value is not None:
                    given[column.name] = column.cells(values)
                continue
            place = at[column.name]
            entries = numbers[place.start][:, None] if column.scaled else values[:, place]
            given[column.name] = column.cells(entries)
        return pa.table(given)

    def parts(self) -> dict[str, Any]:
        together = [c for c in self.used if not c.alone]
        levels = [law for column in together for law in column.laws]
        likelihood: dict[str, Any] = {"kind": "mixed", "levels": levels} if any(levels) else {"kind": "gaussian"}
        # distances say little of categories, and the columns beside them much
        detector = {"kind": "committee" if any(level > 1 for level in levels) else "neighbours"}
        if len(together) < len(self.used):
            sides = [{"entries": len(levels), "of": likelihood}] if levels else []
            sides += [{"entries": c.width, "of": c.likelihood()} for c in self.used if c.alone]
            # and nothing where hundreds of words or pixels stand beside a few numbers
            likelihood, detector = {"kind": "joint", "sides": sides}, {"kind": "likelihood"}
        return {"encoder": {"kind": "mlp"}, "decoder": {"kind": "mlp"}, "likelihood": likelihood, "detector": detector}

    def describe(self) -> list[str]:
        counts = {kind: sum(c.kind == kind for c in self.used) for kind in COLUMNS}
        said = [
            f"{len(self.used)} of {len(self.columns)} columns are used: "
            + ", ".join(f"{n} {k}" for k, n in counts.items() if n)
            + "."
        ]
        of = {place.start: column.name for column, place in zip(self.used, self.places, strict=True)}
        heavy = [of[j] for j, kind in zip(self.scaled, self.scaling.kinds, strict=True) if kind == "asinh"]
        if heavy:
            said.append(f"Heavy tails, so scaled through asinh: {listed(heavy)}.")
        return [*said, *(line for column in self.columns for line in column.describe()), *self.seen]

    def remarks(self, rows: Rows) -> list[str]:
        """Extra columns, unseen categories, cells that could not be read, constants that changed."""
        table, remarks = self._found(rows)
        for column in self.used:
            raw = plain(table[column.name])
            if isinstance(column, Sentences):
                remarks += column.remarks(raw)
            elif not column.alone and not column.silent(raw.type):
                _cells(column, raw, rows, remarks)
        return remarks + self._changes(table)

    def to_json(self) -> dict[str, Any]:
        return {
            "columns": [column.to_json() for column in self.columns],
            "scaling": self.scaling.to_json(),
            "seen": self.seen,
        }

    def __repr__(self) -> str:
        return f"Table({', '.join(map(repr, self.columns))})"

    def _read(self, rows: Rows) -> tuple[list[np.ndarray], list[str]]:
        """The used columns as numbers with NaN for missing cells, not yet scaled; and what was unusual."""
        table, remarks = self._found(rows)
        cells = [_cells(column, plain(table[column.name]), rows, remarks) for column in self.used]
        return cells, remarks

    def _found(self, rows: Rows) -> tuple[pa.Table, list[str]]:
        """The table, which holds every used column, and which columns it holds beyond them."""
        table = as_table(rows, [column.name for column in self.columns])
        known, found = {column.name for column in self.columns}, set(table.column_names)
        extra = [name for name in table.column_names if name not in known]
        absent = [column.name for column in self.columns if column.width and column.name not in found]
        if absent:
            near = {name: difflib.get_close_matches(name, extra, n=1, cutoff=0.7) for name in absent}
            hints = [f"Is {match[0]!r} the renamed {name!r}?" for name, match in near.items() if match]
            said = f"The column {absent[0]!r} is" if len(absent) == 1 else f"The columns {listed(absent)} are"
            raise DataError(
                f"{said} missing in {rows.origin}. {' '.join(hints[:3])}{' ' if hints else ''}"
                f"The model was trained with: {listed(self.looks_at, 20)}."
            )
        return table, [f"Not known from training, so not used: {listed(extra)}."] if extra else []

    def _changes(self, table: pa.Table) -> list[str]:
        """What was constant in training and no longer is."""
        said = []
        for column in self.columns:
            if not isinstance(column, Aside) or column.value is None or column.name not in table.column_names:
                continue
            if changed := _changed(column, plain(table[column.name])):
                said.append(
                    f"The column {column.name!r} always held {column.value!r} in training and was set aside; "
                    f"{changed:,} of {len(table):,} rows differ, which no score can see."
                )
        return said


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


def _column(said: Mapping[str, Any]) -> Column:
    kind = said.get("kind")
    if kind not in COLUMNS:
        raise unknown("kind of column", kind, COLUMNS)
    return COLUMNS[kind](**{name: value for name, value in said.items() if name != "kind"})


def _cells(column: Column, raw: pa.Array, rows: Rows, remarks: list[str]) -> np.ndarray:
    """The cells of one column as numbers with NaN where missing. Appends what was unusual to ``remarks``."""
    if raw.null_count == len(raw):
        return np.full(len(raw) if column.width == 1 else (len(raw), column.width), np.nan)
    return column.numbers(raw, rows.origin, remarks, rows.folder)


def _changed(column: Aside, raw: pa.Array) -> int:
    """How many cells of a column that was constant in training differ from what it held."""
    import pyarrow as pa
    import pyarrow.compute as pc

    try:
        if isinstance(column.value, str) or is_text(raw.type):
            return pc.sum(pc.not_equal(raw.cast(pa.string()), str(column.value))).as_py() or 0
        numbers = (
            seconds(raw) if pa.types.is_temporal(raw.type) else raw.cast(pa.float64()).to_numpy(zero_copy_only=False)
        )
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        # of a type that cannot be compared, so surely not what it was
        return len(raw) - raw.null_count
    return int(((numbers != column.value) & ~np.isnan(numbers)).sum())
