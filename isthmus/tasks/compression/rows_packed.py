"""Rows in memory into few bytes and back, a chunk after the other, each decoded again before anything is written.

.. math:: \\text{file} = \\text{how every column is kept}, \\; \\text{the chunks of}\\; q_1, q_2, \\dots

What is common to them and to rows that are read in stretches stands here too: what is counted over chunks, and what is
said of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

from isthmus.data.container import MAX_CELLS, Chunk, Container, pack, unpack, write
from isthmus.data.listing import watched
from isthmus.data.rows import Rows
from isthmus.errors import FileError, SpecError
from isthmus.tasks.base import Result
from isthmus.tasks.codes import Returned
from isthmus.tasks.compression.besides import Beside, besides
from isthmus.tasks.compression.codec import Codec, losses, read
from isthmus.tasks.compression.packing import Cells, Form, error_of, form_of, from_cells, opened, safe_names, to_cells
from isthmus.tasks.compression.row_coder import WAYS, RowCoder
from isthmus.tasks.compression.runs import Runs

if TYPE_CHECKING:
    from isthmus.model import Model

#: What stands in the header of files of rows.
NAME = "rows"
REFUSAL = (
    "quality and bpp are for pictures, and this model is none for them: isthmus fit PICTURES --for compress. "
    "For rows say max_error (--max-error)."
)
#: A section of a file may unpack to this many bytes for a byte of raw rows, and this many beyond.
_ROOM, _MORE = 2, 1 << 20


@dataclass
class Packed(Result):
    """Compressed rows: ``data`` is the file. ``ways`` counts chunks by how they were coded."""

    data: bytes
    rows: int
    raw_bytes: int
    ways: dict[str, int]
    #: The largest promised error over columns, and the largest found, as a share of what is promised; None: exact.
    promised: dict[str, float] | None
    largest: float | None
    beside: list[Beside]
    model_bytes: int
    remarks: list[str]
    #: Coding and reading back, without what others make of the rows.
    seconds: float

    def to_table(self) -> Any:
        import pyarrow as pa

        names = ["isthmus", *(one.name for one in self.beside)]
        return pa.table({"by": names, "bytes": [len(self.data), *(one.size for one in self.beside)]})

    def save(self, path: Path) -> list[Path]:
        path = Path(path)
        if path.suffix.lower() != ".isz":
            raise FileError(f"Compressed rows are written as .isz, not {path.name!r}.")
        write(path, self.data)
        return [path]

    def summary(self) -> list[str]:
        size = len(self.data)
        said = [f"{self.rows:,} rows: {self.raw_bytes:,} bytes became {size:,}, "
                f"{self.raw_bytes / size:.1f} times fewer"]  # fmt: skip
        if self.promised is None:
            said.append("every cell comes back as it was")
        else:
            listed = ", ".join(f"{name} {error:.3g}" for name, error in list(self.promised.items())[:6])
            more = ", …" if len(self.promised) > 6 else ""
            said.append(f"promised error: {listed}{more}; the largest found is {self.largest:.1%} of it; "
                        "whole numbers, categories and missing cells are exact")  # fmt: skip
        n = sum(self.ways.values())
        said.append("smallest: " + ", ".join(f"{way} in {k} of {n} chunks" for way, k in self.ways.items()))
        if self.beside:
            said.append("as exact, by others: " + ", ".join(map(str, self.beside)))
            best = min(self.beside, key=lambda one: one.size)
            share = size / best.size
            if share < 1:
                said.append(f"the file is {1 - share:.0%} smaller than the best of them, {best.name}")
            else:
                said.append(f"! {best.name} is {1 - 1 / share:.0%} smaller than this file: use it for these rows")
        said.append(f"to read it, the model is needed too ({self.model_bytes:,} bytes of numbers)")
        return [*said, *(f"! {remark}" for remark in self.remarks)]

    def to_json(self) -> dict[str, Any]:
        return {
            "rows": self.rows,
            "raw_bytes": self.raw_bytes,
            "bytes": len(self.data),
            "ways": self.ways,
            "promised": self.promised,
            "largest_share_of_promise": self.largest,
            "beside": {one.name: one.size for one in self.beside},
            "model_bytes": self.model_bytes,
            "remarks": self.remarks,
        }


class Tally:
    """A coder, and what is counted over the chunks that it coded."""

    def __init__(self, model: Model, form: Form, max_error: str | None):
        self.model, self.form, self.max_error = model, form, max_error
        self.coder = RowCoder(model, form)
        self.ways = Counter[str]()
        self.zstd, self.largest, self.seconds = 0, 0.0, 0.0

    def encode(self, data: Any, rows: Rows) -> bytes:
        """The bytes of a chunk, which came back from them as promised."""
        began = perf_counter()
        way, coded, plain = self.coder.encode(to_cells(data, self.form), rows)
        back = from_cells(self.coder.decode(coded, len(data)), self.form, len(data))
        self.largest = max(self.largest, _checked(data, back, self.form))
        self.ways[way] += 1
        self.zstd += plain
        self.seconds += perf_counter() - began
        return coded

    def state(self) -> dict[str, Any]:
        """What is known so far, JSON, with which :meth:`restore` goes on as if nothing had been between."""
        return {"ways": dict(self.ways), "zstd": self.zstd, "largest": self.largest, **self.coder.state()}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.ways, self.zstd, self.largest = Counter(state["ways"]), state["zstd"], state["largest"]
        self.coder.restore(state)

    def header(self, n: int, raw_bytes: int, names: list[str] | None, origin: str) -> dict[str, Any]:
        """What a file of so many rows says of itself."""
        return {
            "codec": NAME, "model": self.model.fingerprint, "kind": self.model.modality.kind, "rows": n,
            "cells_per_row": max(1, len(self.form.columns)), "raw_bytes": raw_bytes, "form": self.form.to_json(),
            "names": names, "origin": origin, "max_error": self.max_error,
        }  # fmt: skip

    def besides(self, data: Any, n: int) -> list[Beside]:
        """What others make of ``n`` rows, of which ``data`` are the first."""
        return besides(data, self.form, self.coder.lay, self.zstd, self.max_error is None, n)

    def packed(self, data: bytes, n: int, raw_bytes: int, beside: list[Beside], why: str) -> Packed:
        """What is said of a file; ``why`` the model has nothing to say of such rows, where that is so."""
        promised = {column.name: error_of(column.step) for column in self.form.columns if column.step is not None}
        if self.form.shape is not None and len(set(promised.values())) == 1:
            promised = {"every number": next(iter(promised.values()))}
        remarks = [f"the model predicts nothing here: {why}"] if why else []
        if self.max_error is None and any(column.how == "raw" for column in self.form.columns):
            remarks.append("numbers with fractions are kept to the last bit, which models cannot predict: "
                           "max_error=1% (--max-error 1%) makes far smaller files")  # fmt: skip
        weight = sum(t.numel() * t.element_size() for t in self.model.net.state_dict().values())
        return Packed(
            data, n, raw_bytes, dict(self.ways), promised or None, self.largest if promised else None, beside, weight,
            remarks, self.seconds,
        )  # fmt: skip


def rows_per_chunk(form: Form, chunk_rows: int | None) -> int:
    """How many rows stand or fall together."""
    most = max(1, MAX_CELLS // max(1, len(form.columns)))
    if chunk_rows is None:
        return most
    if chunk_rows < 1:
        raise SpecError(f"chunk_rows is a number of at least 1, got {chunk_rows}.")
    return min(most, int(chunk_rows))


def scaled_together(model: Model) -> bool:
    """Whether all numbers have one scale."""
    return "global" in getattr(getattr(model.modality, "scaling", None), "kinds", [])


class InMemory(Codec):
    """Rows of every kind: tables, arrays, pictures of one size, texts, and recordings as one long array."""

    name, refusal = NAME, REFUSAL

    def packs(self, model: Model, rows: Rows) -> bool:
        return True

    def reads(self, model: Model, container: Container) -> bool:
        return True

    def pack(
        self, model: Model, rows: Rows, *, compare: bool, max_error: str | None = None, chunk_rows: int | None = None
    ) -> Packed:
        runs = Runs.of(rows)
        data = opened(rows, model.modality) if runs is None else runs.data
        form = form_of(data, max_error, model.modality.kind in ("image", "series") or scaled_together(model))
        step, n, chunks = rows_per_chunk(form, chunk_rows), len(data), []
        tally = Tally(model, form, max_error)
        cuts = runs.cuts(step) if runs else [(begin, min(begin + step, n)) for begin in range(0, n, step)]
        for begin, end in watched(cuts, f"{rows.origin}: coded and read back", "chunks", len(cuts), every=1):
            part = _slice(data, begin, end - begin)
            if runs or model.on_recordings:
                tally.coder.lengths = runs.within(begin, end) if runs else [end - begin]
            chunks.append((end - begin, tally.encode(part, _some(rows, begin, part, runs))))
        names = None if rows.names is None or runs else list(rows.names)
        header = tally.header(n, int(data.nbytes), names, rows.origin) | ({"runs": runs.to_json()} if runs else {})
        packed = pack(header, chunks)
        unpack(packed)  # what would be refused when it is read is refused now
        beside = tally.besides(data, n) if compare else []
        if compare and runs and max_error is None and (flac := runs.flac()):
            beside.append(flac)
        return tally.packed(packed, n, int(data.nbytes), beside, "" if runs else tally.coder.why)

    def unpack(self, model: Model, container: Container, salvage: bool) -> Returned:
        names = safe_names(container.header.get("names"), container.rows)
        runs, rows = _runs_in(container), RowReader(model, container)
        pieces, kept, lost, at = [], [], [], 0
        chunks = watched(container.chunks, f"{container.origin}: read", "chunks", len(container.chunks), every=1)
        for chunk in chunks:
            found = rows.read(chunk)
            (lost if found is None else kept).append((at, at + chunk.rows))
            if found is not None:
                pieces.append(found)
            at += chunk.rows
        remark = losses(container, lost, salvage, bool(pieces))
        back = _joined(pieces, rows.form)
        if runs is not None:
            back, names, torn = runs.back(back, kept)
            back = back[0] if len(back) == 1 and names is not None else back
            return Returned(back, names, remark=f"{remark}; {torn}" if remark and torn else remark)
        if names is not None:
            names = tuple(name for begin, end in kept for name in names[begin:end])
        if model.modality.kind == "text" and rows.form.shape is None:
            back = back.column(0).to_pylist()
        return Returned(back, names, remark=remark)

    def inspect(self, container: Container) -> InspectedRows:
        return InspectedRows.of(container)


class RowReader:
    """A model, and a file of rows that it coded: chunks → rows."""

    def __init__(self, model: Model, container: Container):
        self.container, self.form = container, form_in(container)
        self.coder = RowCoder(model, self.form, room=_ROOM * container.header["raw_bytes"] + _MORE)

    def read(self, chunk: Chunk) -> Any:
        """The rows of a chunk, None where it is damaged."""

        def decode(data: bytes) -> Any:
            return from_cells(self.coder.decode(data, chunk.rows), self.form, chunk.rows)

        return read(self.container, chunk, decode)


@dataclass(frozen=True)
class InspectedRows:
    """What a compressed file says of itself, for which no model is needed."""

    container: Container
    form: Form
    ways: dict[str, int]
    damaged: int

    @classmethod
    def of(cls, container: Container) -> InspectedRows:
        ways, damaged = Counter[str](), 0
        for chunk in container.chunks:
            data = container.read(chunk)
            damaged += data is None
            if data:
                ways[WAYS[data[0]] if data[0] < len(WAYS) else "unknown"] += 1
        return cls(container, form_in(container), dict(ways), damaged)

    def summary(self) -> list[str]:
        header, form = self.container.header, self.form
        if form.shape is None:
            hows = Counter(column.how for column in form.columns)
            what = f"a table of {len(form.columns)} columns: " + ", ".join(f"{n} {how}" for how, n in hows.items())
        else:
            size = " x ".join(map(str, form.shape)) or "single"
            what = f"rows of {size} numbers ({form.columns[0].dtype})"
        if (runs := _runs_in(self.container)) is not None:
            what = f"{len(runs.lengths)} recordings, {what}"
        n = len(self.container.chunks)
        steps = [error_of(column.step) for column in form.columns if column.step is not None]
        error = "none: every cell as it was" if not steps else (
            f"at most {header.get('max_error')}: {min(steps):.3g} to {max(steps):.3g} in {len(steps)} columns"
        )  # fmt: skip
        whole = "all whole" if not self.damaged else f"{self.damaged} DAMAGED"
        size = len(self.container.data)
        return [
            f"compressed  {self.container.rows:,} rows, {size:,} bytes for {header['raw_bytes']:,} "
            f"({header['raw_bytes'] / size:.1f} times fewer)",
            f"rows        {what}",
            f"error       {error}",
            f"chunks      {n} ({whole}); " + ", ".join(f"{way} {k}" for way, k in self.ways.items()),
            f"model       {header['model'][:16]}…, of the kind {header.get('kind')}: isthmus decompress asks for it",
            *(f"! {remark}" for remark in self.container.remarks),
        ]

    def to_json(self) -> dict[str, Any]:
        header = self.container.header
        said = {name: header.get(name) for name in ("rows", "raw_bytes", "model", "kind", "max_error", "origin")}
        return {**said, "bytes": len(self.container.data), "chunks": len(self.container.chunks), "ways": self.ways,
                "damaged": self.damaged, "remarks": list(self.container.remarks)}  # fmt: skip


def form_in(container: Container) -> Form:
    try:
        form = Form.from_json(container.header.get("form"))
        if len(form.columns) != container.header["cells_per_row"]:
            raise ValueError("its header contradicts itself.")
    except (ValueError, TypeError) as error:
        raise FileError(f"{container.origin} is damaged: {error} Copy or download it again.") from error
    return form


def _runs_in(container: Container) -> Runs | None:
    if "runs" not in container.header:
        return None
    try:
        return Runs.from_json(container.header["runs"], container.rows)
    except ValueError as error:
        if isinstance(error, FileError):
            raise
        raise FileError(f"{container.origin} is damaged: {error} Copy or download it again.") from error


def _joined(pieces: list[Any], form: Form) -> Any:
    if form.shape is not None:
        empty = np.zeros((0, *form.shape), np.dtype(form.columns[0].dtype))
        return np.concatenate(pieces) if pieces else empty
    import pyarrow as pa

    return pa.concat_tables(pieces) if pieces else from_cells(to_nothing(form), form, 0)


def to_nothing(form: Form) -> Cells:
    """No rows at all."""
    k = len(form.coded)
    side = {j: b"" for j, c in enumerate(form.columns) if c.how in ("raw", "text")}
    return Cells(np.zeros((0, k), np.int64), np.zeros((0, k), np.uint8), np.zeros(0), side)


def _some(rows: Rows, begin: int, part: Any, runs: Runs | None) -> Rows:
    """The rows that ``part`` holds; of recordings its steps."""
    if runs:
        return rows.replace(kind="steps", data=part, names=None, beside={})
    return rows._slice(begin, len(part))


def _slice(data: Any, start: int, step: int) -> Any:
    return data[start : start + step] if isinstance(data, np.ndarray) else data.slice(start, step)


def _checked(before: Any, after: Any, form: Form) -> float:
    """Hold what comes back against what went in: the largest error as a share of what is promised."""
    wrong = AssertionError("what was coded did not come back as promised")
    largest = 0.0
    for j, column in enumerate(form.columns if form.shape is None else form.columns[:1]):
        if form.shape is None:
            one, other = before.column(j), after.column(j)
            if column.step is None:
                same, other = one.cast(other.type).combine_chunks(), other.combine_chunks()
                if not (same.equals(other) or _same_floats(same, other)):
                    raise wrong
                continue
            one, other = (np.asarray(x.cast("float64").to_numpy()) for x in (one, other))
            step: Any = column.step
        elif column.step is None:
            if before.tobytes() != after.tobytes():
                raise wrong
            continue
        else:
            one, other = (x.reshape(len(x), -1).astype(np.float64) for x in (before, after))
            step = np.array([c.step for c in form.columns])
        there = np.isfinite(one)
        if not np.array_equal(there, np.isfinite(other)) or not np.array_equal(
            one[~there], other[~there], equal_nan=True
        ):
            raise wrong
        share = np.where(there, np.abs(np.where(there, one, 0.0) - np.where(there, other, 0.0)), 0.0) / error_of(step)
        largest = max(largest, float(share.max(initial=0.0)))
    if largest > 1:
        raise wrong
    return largest


def _same_floats(one: Any, other: Any) -> bool:
    """Whether floats are the same where NaN is among them."""
    a, b = (x.to_numpy(zero_copy_only=False) for x in (one, other))
    return a.dtype.kind == "f" and one.null_count == other.null_count and np.array_equal(a, b, equal_nan=True)
