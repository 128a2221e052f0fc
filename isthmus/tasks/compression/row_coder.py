r"""Rows as whole numbers ⇄ the bytes of a chunk: coded in every way that promises to be short, and the shortest kept.

.. math:: \text{bits} \approx -\log_2 p(q \mid \text{what the model and the cells before expect})

The ways are what the autoencoder leaves over, what PCA of the same size does, what earlier cells of a row do, what the
row above does, what the steps before do in recordings, bits-back where the model is variational, or zstd.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from isthmus.core import waves
from isthmus.core.arithmetic import ONE
from isthmus.core.entropy import joined, parted
from isthmus.core.integers import Columns, decode, encode
from isthmus.data.rows import Rows
from isthmus.tasks.compression.foresight import Foresight
from isthmus.tasks.compression.given_back import given_back
from isthmus.tasks.compression.packing import STATES, Cells, Form, from_cells, to_cells

if TYPE_CHECKING:
    from isthmus.model import Model

#: How a chunk may be coded; the number is its first byte in the file.
WAYS = ("zstd", "columns", "rows", "autoencoder", "PCA", "bits-back", "waves")
#: Columns that are told by the steps before them at most: each is walked by itself.
_MOST_WAVES = 16
#: Steps of a code to try: so many to its deviation.
_FINENESS, _MIDDLE = (1, 2, 4, 8, 16, 32), 2
#: Cells, and rows at least, that ways are tried on before those near the best are taken for all of the chunk.
_TRIAL, _LEAST_TRIAL, _NEAR = 100_000, 256, 1.1
_LEVEL = 19


class RowCoder:
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

    def state(self) -> dict[str, Any]:
        """What the first chunk found for those behind it, JSON."""
        return {"fineness": dict(self.fineness), "near": list(self.near)}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.fineness, self.near = dict(state["fineness"]), list(state["near"])

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
