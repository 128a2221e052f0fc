r"""Rows into few bytes and back: exactly, or with a promised error. The model says what is to be expected.

.. math:: \text{bits} \approx -\log_2 p(q \mid \text{what the model and the cells before expect})

Every chunk of rows is coded in several ways, of which the smallest is kept and said: what the autoencoder leaves over,
what PCA of the same size does, what earlier cells of a row do, what the row above does, what the steps before do in
recordings, bits-back where the model is variational, or zstd. Each is decoded again before anything is written.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from isthmus.core import waves
from isthmus.core.arithmetic import ONE
from isthmus.core.entropy import joined, parted
from isthmus.core.integers import Columns, decode, encode
from isthmus.data.container import MAX_CELLS, Chunk, Container, pack, unpack, write
from isthmus.data.large import too_large
from isthmus.data.listing import watched
from isthmus.data.rows import Rows
from isthmus.errors import FileError, SpecError
from isthmus.tasks.base import Result
from isthmus.tasks.besides import Beside, besides
from isthmus.tasks.codes import Returned
from isthmus.tasks.foresight import Foresight
from isthmus.tasks.given_back import given_back
from isthmus.tasks.packing import (
    STATES,
    Cells,
    Form,
    error_of,
    form_of,
    from_cells,
    opened,
    safe_names,
    to_cells,
)
from isthmus.tasks.pictures_packed import (
    BackPictures,
    InspectedPictures,
    PackedPictures,
    compress_pictures,
    decompress_pictures,
    packs_pictures,
)
from isthmus.tasks.runs import Runs

if TYPE_CHECKING:
    from isthmus.model import Model
    from isthmus.tasks.compress_large import Packing, Unpacking

#: How a chunk may be coded; the number is its first byte in the file.
WAYS = ("zstd", "columns", "rows", "autoencoder", "PCA", "bits-back", "waves")
#: Columns that are told by the steps before them at most: each is walked by itself.
_MOST_WAVES = 16
#: Steps of a code to try: so many to its deviation.
_FINENESS, _MIDDLE = (1, 2, 4, 8, 16, 32), 2
#: Cells, and rows at least, that ways are tried on before those near the best are taken for all of the chunk.
_TRIAL, _LEAST_TRIAL, _NEAR = 100_000, 256, 1.1
_LEVEL = 19
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


def compress(
    model: Model,
    rows: Any,
    *,
    max_error: str | None = None,
    quality: int | None = None,
    bpp: float | None = None,
    chunk_rows: int | None = None,
    compare: bool = True,
) -> Packed | PackedPictures | Packing:
    """Rows → a file of few bytes, which this model reads on any machine. Of rows that are read in stretches a chunk is
    written as soon as it is coded, so nothing is done before it is known where to.

    A model that was fitted ``--for compress`` takes pictures of any size, with a loss.

    Args:
        max_error: the largest error of any number: 0.01 in the column's units, 1% of its spread, or price=0.5,1%
            for single columns; without it all comes back exactly.
        quality: of pictures, from 1 (small) to 100 (near); 50 where nothing is said.
    bpp: the most bits per pixel that each picture may take; it gets the best quality that is no longer.
    chunk_rows: rows (of recordings: steps) that are lost together where the file is damaged; by default about a
        million cells.
    compare: hold the size against zstd, xz, Parquet, PNG and WebP; of pictures against JPEG, WebP and AVIF that
        come as near.
    """
    rows = model.open(rows)
    if packs_pictures(model):
        if max_error is not None or chunk_rows is not None:
            raise SpecError("Pictures take quality or bpp, and are a chunk each: leave max_error and chunk_rows out.")
        return compress_pictures(model, rows, quality=quality, bpp=bpp, compare=compare)
    if quality is not None or bpp is not None:
        raise SpecError(
            "quality and bpp are for pictures, and this model is none for them: isthmus fit PICTURES --for compress. "
            "For rows say max_error (--max-error)."
        )
    if rows.large:
        from isthmus.tasks.compress_large import Packing

        return Packing(model, rows, max_error, chunk_rows, compare)
    runs = Runs.of(rows)
    data = opened(rows, model.modality) if runs is None else runs.data
    together = model.modality.kind == "image" or "global" in getattr(_scaling(model), "kinds", [])
    form = form_of(data, max_error, together or model.modality.kind == "series")
    width = max(1, len(form.columns))
    step = max(1, MAX_CELLS // width)
    if chunk_rows is not None:
        if chunk_rows < 1:
            raise SpecError(f"chunk_rows is a number of at least 1, got {chunk_rows}.")
        step = min(step, int(chunk_rows))
    coder = _Coder(model, form)
    chunks, ways, largest, zstd = [], Counter[str](), 0.0, 0
    n = len(data)
    cuts = runs.cuts(step) if runs else [(begin, min(begin + step, n)) for begin in range(0, n, step)]
    for begin, end in watched(cuts, f"{rows.origin}: coded and read back", "chunks", len(cuts), every=1):
        part = _slice(data, begin, end - begin)
        cells = to_cells(part, form)
        some = rows.replace(kind="steps", data=part, names=None, beside={}) if runs else rows._slice(begin, end - begin)
        if runs or model.on_recordings:
            coder.lengths = runs.within(begin, end) if runs else [end - begin]
        way, coded, plain = coder.encode(cells, some)
        again = coder.decode(coded, end - begin)
        largest = max(largest, _checked(part, from_cells(again, form, end - begin), form))
        ways[way] += 1
        zstd += plain
        chunks.append((end - begin, coded))
    names = None if rows.names is None or runs else list(rows.names)
    header = {
        "codec": "rows", "model": model.fingerprint, "kind": model.modality.kind, "rows": n,
        "cells_per_row": width, "raw_bytes": int(data.nbytes), "form": form.to_json(), "names": names,
        "origin": rows.origin, "max_error": max_error, **({"runs": runs.to_json()} if runs else {}),
    }  # fmt: skip
    packed = pack(header, chunks)
    unpack(packed)  # what would be refused when it is read is refused now
    steps = {column.name: column.step for column in form.columns if column.step is not None}
    promised = {name: error_of(s) for name, s in steps.items()}
    if form.shape is not None and len(set(promised.values())) == 1:
        promised = {"every number": next(iter(promised.values()))}
    remarks = [f"the model predicts nothing here: {coder.why}"] if coder.why and not runs else []
    if max_error is None and any(column.how == "raw" for column in form.columns):
        remarks.append("numbers with fractions are kept to the last bit, which models cannot predict: "
                       "max_error=1% (--max-error 1%) makes far smaller files")  # fmt: skip
    beside = besides(data, form, coder.lay, zstd, max_error is None) if compare else []
    if compare and runs and max_error is None and (flac := runs.flac()):
        beside.append(flac)
    return Packed(
        packed, n, int(data.nbytes), dict(ways), promised or None, largest if promised else None, beside,
        sum(t.numel() * t.element_size() for t in model.net.state_dict().values()), remarks,
    )  # fmt: skip


@dataclass(frozen=True)
class Inspected:
    """What a compressed file says of itself, for which no model is needed."""

    container: Container
    form: Form
    ways: dict[str, int]
    damaged: int

    @classmethod
    def of(cls, source: Any) -> Inspected | InspectedPictures:
        container = unpack(source)
        if container.header["codec"] == "pictures":
            return InspectedPictures.of(container)
        ways, damaged = Counter[str](), 0
        for chunk in container.chunks:
            data = container.read(chunk)
            damaged += data is None
            if data:
                ways[WAYS[data[0]] if data[0] < len(WAYS) else "unknown"] += 1
        return cls(container, _form_in(container), dict(ways), damaged)

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


def _form_in(container: Container) -> Form:
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


def decompress(model: Model, packed: Any, *, salvage: bool = False) -> Returned | BackPictures | Unpacking:
    """A file that compress wrote (its path, or its bytes) → the rows that went into it; a table that memory should not
    hold is written chunk by chunk.

    Args:
        salvage: bring back the rows of undamaged chunks where others are damaged, instead of refusing the file.
    """
    if isinstance(packed, Packed | PackedPictures):
        packed = packed.data
    container = unpack(packed)
    header = container.header
    if header["codec"] not in ("rows", "pictures"):
        raise FileError(f"{container.origin} uses the codec {header['codec'][:30]!r}, which this isthmus lacks.")
    # the short head of a single picture has the beginning of it
    if not header["model"] or not model.fingerprint.startswith(header["model"]):
        raise FileError(
            f"{container.origin} was compressed with another model (it begins {header['model'][:12]}, this one "
            f"{model.fingerprint[:12]}). Bring the model file that compressed it."
        )
    names = safe_names(header.get("names"), container.rows)
    if header["codec"] == "pictures":
        return decompress_pictures(container, model, names, lambda *lost: _told(lost[0], lost[1], salvage, lost[2]))
    form, runs = _form_in(container), _runs_in(container)
    coder = _Coder(model, form, room=_ROOM * header["raw_bytes"] + _MORE)
    if form.shape is None and model.modality.kind == "table" and too_large(header["raw_bytes"], None):
        from isthmus.tasks.compress_large import Unpacking

        return Unpacking(container, coder, form, salvage)
    pieces, kept, lost, at = [], [], [], 0
    n = len(container.chunks)
    for number, chunk in enumerate(watched(container.chunks, f"{container.origin}: read", "chunks", n, every=1)):
        found = _read(container, chunk, coder, form)
        (lost if found is None else kept).append((number, at, at + chunk.rows))
        if found is not None:
            pieces.append(found)
        at += chunk.rows
    remark = _told(container, lost, salvage, bool(pieces))
    back = _joined(pieces, form)
    if runs is not None:
        back, names, torn = runs.back(back, [(begin, end) for _, begin, end in kept])
        back = back[0] if len(back) == 1 and names is not None else back
        return Returned(back, names, remark=f"{remark}; {torn}" if remark and torn else remark)
    if names is not None:
        names = tuple(name for _, begin, end in kept for name in names[begin:end])
    if model.modality.kind == "text" and form.shape is None:
        back = back.column(0).to_pylist()
    return Returned(back, names, remark=remark)


def _read(container: Container, chunk: Chunk, coder: _Coder, form: Form) -> Any:
    """The rows of a chunk, None where it is damaged."""
    data = container.read(chunk)
    if data is None:
        return None
    try:
        return from_cells(coder.decode(data, chunk.rows), form, chunk.rows)
    except (KeyboardInterrupt, SystemExit, MemoryError):
        raise
    except BaseException as error:  # the checksum is right, so somebody made it so; a panic is no Exception
        raise FileError(
            f"{container.origin} holds a chunk that no isthmus wrote: {_one_line(error)}. Do not trust this file."
        ) from error


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200].rstrip(".") or type(error).__name__


def _told(container: Container, lost: Sequence[tuple[int, int, int]], salvage: bool, any_left: bool) -> str | None:
    """What is wrong with a file, as a remark, or as an error where rows are missing and nobody said to go on."""
    if not lost:
        return None if not container.remarks else f"{container.remarks[0]}, yet every chunk of it is whole"
    n = sum(end - begin for _, begin, end in lost)
    listed = ", ".join(f"{begin:,} to {end - 1:,}" for _, begin, end in lost[:8]) + (", …" if len(lost) > 8 else "")
    said = f"{n:,} of {container.rows:,} rows are lost, {listed}: {len(lost)} of {len(container.chunks)} chunks"
    if not any_left:
        raise FileError(f"{container.origin} is damaged: {said}. Copy or download it again.")
    if not salvage:
        raise FileError(
            f"{container.origin} is damaged: {said}. Copy or download it again, or take the other rows with "
            "salvage=True (--salvage)."
        )
    return said


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


def _scaling(model: Model) -> Any:
    return getattr(model.modality, "scaling", None)


# --- chunks ---------------------------------------------------------------------------------------------------


class _Coder:
    """Whole numbers ⇄ the bytes of a chunk. What was found to be a good step for codes is kept for the next chunk."""

    def __init__(self, model: Model, form: Form, room: int = 1 << 40):
        self.model, self.form, self.room = model, form, room
        self.levels = tuple(form.columns[j].n_levels for j in form.coded)
        self.foresight = Foresight(model, form)
        self.offsets = _offsets(form, len(self.levels))
        self.fineness: dict[str, int] = {}
        #: how long the runs of recordings are in the chunk that is coded; None where rows do not follow each other
        self.lengths: list[int] | None = None
        #: the ways that were near the best on some rows of the first chunk; the others are not tried again
        self.near: list[str] = []
        self.bits_back, reason = given_back(model, form)
        nothing = self.bits_back is None and "autoencoder" not in self.foresight.ways
        self.why = f"{self.foresight.why}; {reason}" if nothing and self.levels else ""

    def encode(self, cells: Cells, rows: Rows) -> tuple[str, bytes, int]:
        """How the chunk is smallest, its bytes, and how many zstd would take."""
        marked = np.flatnonzero(cells.states.any(0))
        head: dict[str, Any] = {"states": marked.tolist(), "side": list(cells.side)}
        packed = [_zstd(data) for data in cells.side.values()]
        states = b""
        if len(marked):
            columns = Columns(len(cells.states), (STATES,) * len(marked))
            states = encode(cells.states[:, marked].astype(np.int64), columns, ())
        head["sizes"] = [len(data) for data in cells.side.values()]
        # nothing at all where there is nothing to say: some files are little more than these
        said = json.dumps(head).encode() if len(marked) or packed else b""
        common = [said, states, _zstd(cells.kept.tobytes()) if len(cells.kept) else b"", joined(packed)]
        bodies = {"zstd": _plain_bytes(cells.q, self.levels, self.form.shape is not None)}
        if self.levels:
            bodies |= self._bodies(cells, rows)
        way = min(bodies, key=lambda name: len(bodies[name]))
        sizes = {name: 1 + len(joined([*common, body])) for name, body in bodies.items()}
        coded = bytes([WAYS.index(way)]) + joined([*common, bodies[way]])
        return way, coded, sizes["zstd"]

    def decode(self, data: bytes, n: int) -> Cells:
        """Raises ValueError and the like for bytes that no coder wrote."""
        if not data or data[0] >= len(WAYS):
            raise ValueError("its way of coding is unknown")
        head_bytes, states_bytes, kept_bytes, side_bytes, body = parted(data[1:], 5)
        head = json.loads(head_bytes) if head_bytes else {"states": [], "side": [], "sizes": []}
        k = len(self.levels)
        marked, side, sizes = (list(map(int, head[name])) for name in ("states", "side", "sizes"))
        if any(not 0 <= j < k for j in marked) or len(set(marked)) != len(marked):
            raise ValueError("it marks columns that it does not have")
        if side != [j for j in range(len(self.form.columns)) if self.form.columns[j].how in ("raw", "text")]:
            raise ValueError("its columns of bytes are others")
        states = np.zeros((n, k), np.uint8)
        if marked:
            states[:, marked] = decode(states_bytes, Columns(n, (STATES,) * len(marked))).astype(np.uint8)
        kept = np.frombuffer(self._unzstd(kept_bytes) if kept_bytes else b"", np.float64)
        raws = [self._unzstd(one, size) for one, size in zip(parted(side_bytes, len(side)), sizes, strict=True)]
        q = self._body(WAYS[data[0]], body, n, states) if k else np.zeros((n, 0), np.int64)
        return Cells(q, states, kept, dict(zip(side, raws, strict=True)))

    def lay(self, data: Any) -> tuple[list[bytes], Any]:
        """Some rows as bytes, as other packers do best with them, and as they come back."""
        cells = to_cells(data, self.form)
        rest = b"".join([cells.states.tobytes() if cells.states.any() else b"", *cells.side.values()])
        layouts = [one for _, one in laid_out(cells.q, self.levels, self.form.shape is not None)]
        return [one + rest for one in layouts], from_cells(cells, self.form, len(data))

    def _bodies(self, cells: Cells, rows: Rows) -> dict[str, bytes]:
        """The chunk in every way that promises to be the smallest."""
        tries, trial = self._ways(cells, rows), self._trial
        if self.near:
            tries = {way: tries[way] for way in tries if way in self.near}
        elif len(rows) > trial:
            some = Cells(cells.q[:trial], cells.states[:trial], cells.kept, {})
            sizes = {way: _size(code, some, next(rows.chunks(trial))) for way, code in tries.items()}
            best = sorted((way for way in sizes if sizes[way] < math.inf), key=lambda way: sizes[way])
            self.near = [way for way in best[:2] if sizes[way] <= _NEAR * sizes[best[0]]]
            tries = {way: tries[way] for way in self.near}
        found = {}
        for way, code in tries.items():
            try:
                found[way] = code(cells, rows)
            except (ValueError, OverflowError):  # numbers too far apart, or beyond the levels: zstd takes them
                continue
        return found

    @property
    def _trial(self) -> int:
        return max(_LEAST_TRIAL, _TRIAL // max(1, len(self.levels)))

    def _ways(self, cells: Cells, rows: Rows) -> dict[str, Callable[[Cells, Rows], bytes]]:
        ways: dict[str, Callable[[Cells, Rows], bytes]] = {"columns": lambda cells, _: self._columns(cells)}
        if len(rows) > 2:
            ways["rows"] = lambda cells, _: self._columns(cells, down=True)
        if self.lengths is not None and 0 < self.levels.count(0) <= _MOST_WAVES:
            ways["waves"] = lambda cells, _: self._waves(cells)
        for way in self.foresight.ways:
            ways[way] = lambda cells, rows, way=way: self._foreseen(way, cells, rows)
        if self.bits_back is not None:
            ways["bits-back"] = lambda cells, _: self.bits_back.encode(cells)
        return ways

    def _columns(self, cells: Cells, *, down: bool = False) -> bytes:
        q = cells.q
        if down:
            number = np.array(self.levels) == 0
            q = q.copy()
            q[1:, number] -= cells.q[:-1, number]
            if cells.states.any():
                raise ValueError("rows with holes have no differences")
        return encode(q, self._what(cells.states), self.offsets)

    def _waves(self, cells: Cells) -> bytes:
        assert self.lengths is not None
        number, rest = np.array(self.levels) == 0, b""
        # of the rows that a way is tried on, runs end where these do
        ends = np.minimum(np.cumsum(self.lengths), len(cells.q))
        if not number.all():
            levels = tuple(level for level in self.levels if level)
            present = cells.states[:, ~number] == 0
            rest = encode(cells.q[:, ~number], Columns(len(present), levels, None if present.all() else present))
        lengths = np.diff(ends, prepend=0).tolist()
        return joined([waves.encode(_carried(cells.q[:, number], cells.states[:, number]), lengths), rest])

    def _foreseen(self, way: str, cells: Cells, rows: Rows) -> bytes:
        z = self.foresight.codes(way, rows)
        if way not in self.fineness:
            most = min(len(rows), self._trial)
            few = Cells(cells.q[:most], cells.states[:most], cells.kept, {})
            best = self._finest(way, few, z[:most])
            if most == len(rows):
                return best
        return self._with_code(way, cells, z, self.fineness[way])

    def _finest(self, way: str, cells: Cells, z: np.ndarray) -> bytes:
        """Find the step of codes from which finer and coarser ones are longer, and what it gives."""
        found = {at: self._with_code(way, cells, z, _FINENESS[at]) for at in (_MIDDLE, _MIDDLE + 1)}
        step = 1 if len(found[_MIDDLE + 1]) < len(found[_MIDDLE]) else -1
        at = _MIDDLE + max(step, 0)
        while 0 <= at + step < len(_FINENESS):
            found[at + step] = self._with_code(way, cells, z, _FINENESS[at + step])
            if len(found[at + step]) >= len(found[at]):
                break
            at += step
        self.fineness[way] = _FINENESS[at]
        return found[at]

    def _with_code(self, way: str, cells: Cells, z: np.ndarray, fineness: int) -> bytes:
        steps = np.clip(np.rint(z.std(0) * ONE / fineness), 1, 1 << 24).astype(np.int64)
        codes = np.rint(np.clip(z * ONE / steps, -(2**20), 2**20)).astype(np.int64)
        written = encode(codes, Columns(len(z), (0,) * len(steps)), _offsets(None, len(steps)))
        hints = self.foresight.hints(way, codes * steps)
        rest = encode(cells.q, self._what(cells.states, hints), self.offsets)
        return joined([steps.astype("<i4").tobytes(), written, rest])

    def _body(self, way: str, body: bytes, n: int, states: np.ndarray) -> np.ndarray:
        if way == "zstd":
            return _from_plain(self._unzstd(body[1:]), body[:1], n, self.levels)
        if way in ("columns", "rows"):
            q = decode(body, self._what(states, n=n))
            if way == "rows":
                number = np.array(self.levels) == 0
                q[:, number] = q[:, number].cumsum(0)
            return q
        if way == "waves":
            coded, rest = parted(body, 2)
            q, number = np.zeros((n, len(self.levels)), np.int64), np.array(self.levels) == 0
            if not 0 < number.sum() <= _MOST_WAVES:
                raise ValueError("such columns are not told by the steps before them")
            q[:, number] = waves.decode(coded, n, int(number.sum()))
            if not number.all():
                levels, present = tuple(level for level in self.levels if level), states[:, ~number] == 0
                q[:, ~number] = decode(rest, Columns(n, levels, None if present.all() else present))
            return q
        if way == "bits-back":
            if self.bits_back is None:
                raise ValueError("this model gives no bits back")
            return self.bits_back.decode(body, n, states)
        if way not in self.foresight.ways:
            raise ValueError(f"this model has no {way} for such rows")
        steps_bytes, written, rest = parted(body, 3)
        steps = np.frombuffer(steps_bytes, "<i4").astype(np.int64)
        if len(steps) != math.prod(self.foresight.shape(way)):
            raise ValueError("its codes are not of this model's size")
        codes = decode(written, Columns(n, (0,) * len(steps)))
        hints = self.foresight.hints(way, codes * steps)
        return decode(rest, self._what(states, hints, n))

    def _what(self, states: np.ndarray, hints: np.ndarray | None = None, n: int | None = None) -> Columns:
        present = None if not states.any() else states == 0
        return Columns(len(states) if n is None else n, self.levels, present, hints)

    def _unzstd(self, data: bytes, size: int | None = None) -> bytes:
        """Unpack as many bytes as the frame says, if rows of this size can need them."""
        import zstandard

        said = zstandard.frame_content_size(data)
        if said < 0 or said > self.room or (size is not None and said != size):
            raise ValueError("a section of it claims an impossible size")
        return zstandard.ZstdDecompressor(max_window_size=1 << 27).decompress(data)


def _carried(q: np.ndarray, states: np.ndarray) -> np.ndarray:
    """With what was last there in place of what is missing."""
    if not states.any():
        return q
    at = np.where(states == 0, np.arange(len(q))[:, None], 0)
    return np.take_along_axis(q, np.maximum.accumulate(at, axis=0), axis=0)


def _size(code: Callable[[Cells, Rows], bytes], cells: Cells, rows: Rows) -> float:
    try:
        return len(code(cells, rows))
    except (ValueError, OverflowError):
        return math.inf


def _offsets(form: Form | None, k: int) -> tuple[int, ...]:
    """How far back lie the cells that tell of a cell: a dozen, and in pictures and channels the neighbours."""
    shape = None if form is None else form.shape
    if shape is not None and len(shape) >= 2:
        inner = shape[-1] if len(shape) == 3 else 1
        wide = shape[1] * inner if len(shape) == 3 else shape[1]
        near = [1, 2, inner, 2 * inner, wide, wide - inner, wide + inner, 2 * wide, 3 * wide]
    else:
        near = list(range(1, 13))
    return tuple(sorted({offset for offset in near if 0 < offset < k}))


# --- zstd -----------------------------------------------------------------------------------------------------


def _zstd(data: bytes, level: int = _LEVEL) -> bytes:
    import zstandard

    return zstandard.ZstdCompressor(level=level).compress(data)


def laid_out(q: np.ndarray, levels: Sequence[int], along: bool) -> list[tuple[int, bytes]]:
    """Whole numbers as bytes in the ways that zstd and xz do best with: differences along rows, columns one after the
    other, these as differences, and rows as they are. Each has a number that tells which it is and of what type.
    """
    number = np.array(levels) == 0
    down = q.copy()
    down[1:, number] -= q[:-1, number]
    found = {1: q.T, 2: down.T, 3: q}
    if along and number.all():
        found[0] = np.diff(q, axis=1, prepend=0)
    told = []
    for which, values in found.items():
        low, high = (int(values.min()), int(values.max())) if values.size else (0, 0)
        size = next(i for i, t in enumerate(_TYPES) if np.iinfo(t).min <= low and high <= np.iinfo(t).max)
        told.append((which * len(_TYPES) + size, np.ascontiguousarray(values).astype(_TYPES[size]).tobytes()))
    return told


_TYPES = ("<u1", "<i1", "<u2", "<i2", "<i4", "<i8")


def _plain_bytes(q: np.ndarray, levels: Sequence[int], along: bool) -> bytes:
    quick = sorted(laid_out(q, levels, along), key=lambda one: len(_zstd(one[1], 3)))
    return min((bytes([kind]) + _zstd(data) for kind, data in quick[:2]), key=len)


def _from_plain(data: bytes, kind: bytes, n: int, levels: Sequence[int]) -> np.ndarray:
    which, size = divmod(kind[0] if kind else 255, len(_TYPES))
    k = len(levels)
    if which > 3 or len(data) != n * k * np.dtype(_TYPES[size]).itemsize:
        raise ValueError("its plain numbers are not as many as they should be")
    values = np.frombuffer(data, _TYPES[size]).astype(np.int64)
    if which in (0, 3):
        return values.reshape(n, k) if which else values.reshape(n, k).cumsum(1)
    q = np.ascontiguousarray(values.reshape(k, n).T)
    if which == 2:
        number = np.array(levels) == 0
        q[:, number] = q[:, number].cumsum(0)
    return q
