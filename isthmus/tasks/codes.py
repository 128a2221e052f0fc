"""Codes: rows into them, back out of them, and through them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from isthmus.data.large import enough
from isthmus.data.rows import Rows
from isthmus.data.sink import as_table, save_rows, to_pandas
from isthmus.data.source import open_rows
from isthmus.errors import DataError, SpecError, unknown
from isthmus.modalities.long import Grid, LargeWindows, tracks_of
from isthmus.tasks.base import Result
from isthmus.tasks.detection.stamps import back_over_time
from isthmus.tasks.sweep import Sweep

if TYPE_CHECKING:
    from isthmus.model import Model
    from isthmus.sampling import Sampling

#: Values of a column that are listed.
_FEW = 20
#: What columns of codes are called, with a number behind it.
_CODE = "code_"


@dataclass
class Codes(Result):
    """``codes`` (n, *code_shape), float32; ``beside`` are columns that say which row each is of, where there are any:
    its file, and what of a table the model does not look at (an identifier, a label).
    """

    codes: np.ndarray
    beside: Any = None

    def to_table(self) -> Any:
        """A column per number of the code, after those beside it."""
        table = _as_table(self.codes)
        for at, name in enumerate(() if self.beside is None else self.beside.column_names):
            table = table.add_column(at, name, self.beside[name])
        return table

    def save(self, path: Path) -> list[Path]:
        data = self.codes if Path(path).suffix in (".npy", ".npz") else self.to_table()
        return save_rows(data, path)

    def glimpse(self) -> list[str]:
        return first_rows(self.to_table())

    def summary(self) -> list[str]:
        return [codes_words(len(self.codes), self.codes.shape[1:])]

    def to_json(self) -> dict[str, Any]:
        return {"rows": len(self.codes), "code_shape": list(self.codes.shape[1:])}


@dataclass
class Returned(Result):
    """Rows out of the decoder: ndarray, ``pyarrow.Table``, images or series; ``names`` are the files of a folder."""

    rows: Any
    names: tuple[str, ...] | None = None
    came: str = "came back"
    remark: str | None = None

    @property
    def _n(self) -> int:
        return self.rows.shape[0] if hasattr(self.rows, "tocsr") else len(self.rows)

    def to_table(self) -> Any:
        return _as_table(self.rows, "x") if isinstance(self.rows, np.ndarray) else as_table(self.rows)

    def to_frame(self) -> Any:
        if hasattr(self.rows, "tocsr"):
            raise DataError("A sparse matrix is no frame: take .rows, or save it as .npz.")
        return to_pandas(self.to_table())

    def save(self, path: Path) -> list[Path]:
        return save_rows(self.rows, path, self.names)

    def glimpse(self) -> list[str]:
        if isinstance(self.rows, np.ndarray):
            return first_rows(_as_table(self.rows, "x")) if self.rows.ndim == 2 else []
        if isinstance(self.rows, list) and all(isinstance(row, str) for row in self.rows):
            return [*self.rows[:5], *["…"] * (len(self.rows) > 5)]
        return first_rows(self.rows) if hasattr(self.rows, "column_names") else []

    def summary(self) -> list[str]:
        return [f"{self._n:,} rows {self.came}", *([f"! {self.remark}"] if self.remark else [])]

    def to_json(self) -> dict[str, Any]:
        return {"rows": self._n, **({"remark": self.remark} if self.remark else {})}


@dataclass
class Sampled(Returned):
    """Rows that were drawn; ``refused`` drafts were training rows, and ``by`` is the density of codes in words."""

    refused: int = 0
    by: str = ""

    def summary(self) -> list[str]:
        refused = [
            f"{self.refused:,} drafts were taken for training rows (as 3 in 1,000 new ones are, by chance): drawn again"
        ] * bool(self.refused)
        first, *rest = super().summary()
        return [first, self.by, *refused, *rest]

    def to_json(self) -> dict[str, Any]:
        return {**super().to_json(), "refused": self.refused, "density": self.by}


def first_rows(table: Any, rows: int = 5, columns: int = 8) -> list[str]:
    """The beginning of a table as aligned text."""
    some = table.slice(0, rows).select(table.column_names[:columns])
    cells = [
        [name, *(f"{cell:.4g}" if isinstance(cell, float) else str(cell) for cell in column.to_pylist())]
        for name, column in zip(some.column_names, some.columns, strict=True)
    ]
    wide = [[f"{cell:>{max(map(len, column))}}" for cell in column] for column in cells]
    more = "  …" if len(table.column_names) > columns else ""
    return ["  ".join(line) + more for line in zip(*wide, strict=True)] + ["…"] * (len(table) > rows)


def encode(model: Model, rows: Any) -> Codes | Sweep:
    """Rows → codes: the mode of each, the same every time."""
    rows = model.open(rows).listed()
    if rows.large:
        shape = list(model.net.bottleneck.code_shape)
        counted = Counted(lambda n: codes_words(n, shape), {"code_shape": shape})
        if model.on_recordings:
            rows = Rows("windows", LargeWindows(Grid(tracks_of(rows), model.modality.layout)), rows.origin)
        return Sweep(model, rows, lambda some: _encoded(model, some), counted, "encode", Codes.to_table)
    return _encoded(model, rows)


def _encoded(model: Model, rows: Rows) -> Codes:
    codes = model.encode(rows)
    if len(codes) != len(rows):  # windows of recordings are no rows
        return Codes(codes)
    import pyarrow as pa

    if rows.names is not None:
        return Codes(codes, pa.table({"row": list(rows.names)}))
    # of texts all columns but the texts say which they are of
    used = getattr(model.modality, "columns", ()) if model.modality.sparse else model.modality.looks_at
    if rows.kind != "table" or not used:
        return Codes(codes)
    aside = [n for n in rows.data.column_names if n not in set(used) and not n.startswith(_CODE)]
    return Codes(codes, rows.data.select(aside) if aside else None)


class Counted:
    """How many rows all stretches had, and what the first of them gave."""

    def __init__(self, words: Callable[[int], str], more: Mapping[str, Any] | None = None):
        self.words, self.more, self.n, self.first = words, dict(more or {}), 0, list[str]()

    def add(self, found: Result, rows: Rows) -> None:
        self.first = self.first or found.glimpse()
        self.n += len(rows)

    def state(self) -> dict[str, Any]:
        return {"n": self.n, "first": self.first}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.n, self.first = state["n"], state["first"]

    def summary(self) -> list[str]:
        return [self.words(self.n)]

    def to_json(self) -> dict[str, Any]:
        return {"rows": self.n, **self.more}


def codes_words(n: int, shape: Sequence[int]) -> str:
    return f"{n:,} codes of {' × '.join(map(str, shape))} numbers"


def decode(model: Model, codes: Any, *, condition: str | None = None) -> Returned:
    """Codes (an array, or a file that holds one) → rows as the model's own looked.

    Args:
        condition: What steers a conditional model: a value, or NAME=VALUE,NAME=VALUE where several columns do.
    """
    if isinstance(codes, str | Path):
        rows = open_rows(codes)
        if rows.kind == "table":
            names = rows.data.column_names
            # what stands beside the codes is not of them
            mine = [name for name in names if name.startswith(_CODE)] or names
            codes = np.column_stack([rows.data[name].to_numpy() for name in mine])
        else:
            codes = rows.data
    return Returned(model.decode(codes, condition=said_condition(condition)))


def reconstruct(model: Model, rows: Any, *, condition: str | None = None) -> Returned | Sweep:
    """Rows → what comes back through the isthmus.

    Args:
        condition: Decode a conditional model under this instead of the row's own: what the condition says changes,
            what the code says stays. A value, or NAME=VALUE,NAME=VALUE where several columns do.
    """
    rows = model.open(rows).listed()
    if rows.large:
        counted = Counted(lambda n: f"{n:,} rows came back")

        grid = Grid(tracks_of(rows), model.modality.layout) if model.on_recordings else None

        def look(some: Rows) -> Returned | Sweep:
            if grid is not None:
                return Returned(back_over_time(model, grid.part(some)))
            return reconstruct(model, some, condition=condition)

        rows = rows if grid is None else rows.replace(kind="places", data=grid.tracks)
        return Sweep(model, rows, look, counted, "reconstruct", Returned.to_table)
    if condition is not None:
        return Returned(model.decode(model.encode(rows), condition=said_condition(condition)), rows.names)
    return Returned(model.reconstruct(rows), rows.names)


def sample(
    model: Model,
    *,
    n: int = 64,
    seed: int = 0,
    noise: bool | None = None,
    condition: str | None = None,
    like: str | None = None,
    where: str | None = None,
    copies: bool = False,
) -> Sampled:
    """New rows: codes drawn from the density that held-out codes chose, decoded.

    Args:
        n: how many rows.
        seed: the same seed gives the same rows.
        noise: draw every entry from the likelihood too, instead of what the decoder expects; of the cells of tables
            by itself.
        condition: What steers a conditional model: a value, or NAME=VALUE,NAME=VALUE where several columns do.
        like: draw rows like these alone; the density of codes is chosen anew on them.
        where: of a table ``like``, the rows with NAME=VALUE alone: a label, say.
        copies: let rows of a table through that are training rows, cell by cell, instead of drawing them again.
    """
    if where is not None and like is None:
        raise SpecError("--where chooses among the rows of --like: say which these are.")
    sampling = (
        None if like is None else model.sampling_of(like if where is None else rows_where(open_rows(like), where))
    )
    drawn = model.draw(
        n, seed=seed, noise=noise, condition=said_condition(condition), copies=copies, sampling=sampling
    )  # fmt: skip
    remark = model.sampling_remark(sampling)
    by = drawn_by(sampling or model.sampling)
    return Sampled(drawn.rows, came="were drawn", remark=remark, refused=drawn.refused, by=by)


def rows_where(rows: Rows, said: str) -> Rows:
    """The rows of a table whose cells are what ``said`` says: ``colour=red``."""
    import pyarrow as pa
    import pyarrow.compute as pc

    name, equals, value = said.partition("=")
    if rows.kind != "table":
        raise SpecError(f"--where chooses among the rows of a table, and {rows.origin} is none.")
    if not equals or name not in rows.data.column_names:
        raise unknown("column", name, rows.data.column_names)
    pieces = rows.data.column(name) if rows.large else [rows.data[name]]
    type_ = rows.data.schema.field(name).type
    number = pa.types.is_integer(type_) or pa.types.is_floating(type_)
    if number:
        try:
            float(value)
        except ValueError:
            raise DataError(f"The column {name!r} holds numbers, and {value!r} is none.") from None
    same, known = [], set[str]()
    for column in pieces:
        found = pc.equal(column.cast("double"), float(value)) if number else pc.equal(column.cast("string"), value)
        same.append(pc.fill_null(found, False).to_numpy())
        if len(known) <= _FEW:
            known |= {str(cell) for cell in pc.unique(column.drop_null()).to_pylist()[:1000]}
    places = np.flatnonzero(np.concatenate(same))
    if not len(places):
        raise unknown(f"value of {name!r}", value, sorted(known) if len(known) <= _FEW else (), DataError)
    if rows.large and len(places) > (most := enough(rows.data.width)[0]):
        places = np.sort(np.random.default_rng(0).choice(places, most, replace=False))
    return rows.pick(places)


def drawn_by(sampling: Sampling) -> str:
    """The density of codes that was chosen, beside the others, in words."""
    k = sampling.part.options.get("components")
    name = sampling.part.kind.replace("_", " ") + (f" of {k}" if k and sampling.part.kind == "mixture" else "")
    others = {kind.replace("_", " "): nats for kind, nats in (sampling.nats or {}).items()}
    if name not in others:
        return f"codes are drawn from: {name}"
    beside = ", ".join(f"{kind} {nats:.1f}" for kind, nats in others.items() if kind != name)
    return f"codes are drawn from: {name} ({others[name]:.1f} nats a held-out code; {beside})"


def said_condition(said: str | None) -> Any:
    """``"red"`` as it is, ``"colour=red,size=2"`` by name."""
    if said is None or "=" not in said:
        return said
    return dict(pair.partition("=")[::2] for pair in said.split(","))


def _as_table(values: np.ndarray, name: str = _CODE) -> Any:
    import pyarrow as pa

    flat = values.reshape(len(values), -1)
    return pa.table({f"{name}{i}": flat[:, i] for i in range(flat.shape[1])})
