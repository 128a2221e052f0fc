"""Signals as pages one pixel high: sounds, tables of numbers over time and arrays, written back as they came.

.. math:: (time, channels) \\to (1, time, channels)

What takes pictures of any size piece by piece then takes signals of any length, too.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from isthmus.data.files import READERS
from isthmus.data.images import Change, ImageFile, Page, in_dtype, listed, of_files
from isthmus.data.rows import Rows
from isthmus.data.sink import save_rows
from isthmus.data.sounds import SUFFIXES, Sound, read_sound, write_sound
from isthmus.errors import DataError, FileError
from isthmus.files import write_atomic

#: Tables, whose columns of numbers are channels; and arrays.
TABLES, ARRAYS = (".csv", ".tsv", ".parquet", ".arrow", ".feather"), (".npy",)
ALLOWED = " ".join((*SUFFIXES, *TABLES, *ARRAYS))


class SoundFile(ImageFile):
    """A WAV file: rate, sample format, title and the like stay."""

    def __init__(self, path: Path):
        self.path, self._sound = path, read_sound(path)
        samples = self._sound.samples
        self.shapes, self.dtype = [(1, len(samples), 1 if samples.ndim == 1 else samples.shape[1])], samples.dtype

    def _read(self, index: int) -> np.ndarray:
        return self._sound.samples.reshape(self.shapes[0])

    def _copy(self, path: Path, change: Change) -> None:
        new = in_dtype(change(0, self._read(0)), self.dtype)
        sound: Sound = self._sound.of(new.reshape(self._sound.samples.shape))
        write_atomic(path, lambda file: write_sound(sound, file))


class TableFile(ImageFile):
    """A table whose rows follow each other in time: columns of numbers are channels, all others stay, types too.

    A column that is called as time is (``time``, ``timestamp``, …) is none.
    """

    def __init__(self, path: Path):
        import pyarrow.types as types

        self.path = path
        self.table, said = READERS[path.suffix.lower()](path)
        self.remarks = tuple(said)
        self.columns = [
            field.name
            for field in self.table.schema
            if (types.is_floating(field.type) or types.is_integer(field.type)) and field.name.lower() not in _TIMES
        ]
        if not self.columns or not self.table.num_rows:
            raise FileError("a table without columns of numbers, or without rows")
        self.shapes, self.dtype = [(1, self.table.num_rows, len(self.columns))], np.dtype(np.float64)

    def _read(self, index: int) -> np.ndarray:
        import pyarrow as pa

        cells = [self.table[name].cast(pa.float64()).to_numpy() for name in self.columns]
        return np.column_stack(cells)[None]

    def _copy(self, path: Path, change: Change) -> None:
        import pyarrow as pa
        import pyarrow.types as types

        new, table = change(0, self._read(0))[0], self.table
        for name, values in zip(self.columns, new.T, strict=True):
            place = table.schema.get_field_index(name)
            whole = types.is_integer(table.schema.field(place).type)
            cells = pa.array(np.rint(values) if whole else values, from_pandas=True)
            table = table.set_column(place, name, cells.cast(table.schema.field(place).type, safe=False))
        save_rows(table, path)


class ArrayFile(ImageFile):
    """An ``.npy`` of signals: (time,), (n, time) or (n, time, channels)."""

    def __init__(self, path: Path):
        self.path = path
        self.array, _ = READERS[path.suffix.lower()](path)
        pages = _pages(self.array)
        self.shapes, self.dtype = [page.shape for page in pages], self.array.dtype

    def _read(self, index: int) -> np.ndarray:
        return _pages(self.array)[index]

    def _copy(self, path: Path, change: Change) -> None:
        new = [in_dtype(change(i, page), self.dtype) for i, page in enumerate(_pages(self.array))]
        save_rows(np.concatenate(new).reshape(self.array.shape), path)


#: Names of columns that are the time, whatever they hold.
_TIMES = ("time", "timestamp", "datetime", "date", "ts", "t", "step", "index")


def open_signal(path: Path) -> ImageFile:
    """The file at ``path``, of whatever kind it is.

    Raises:
        FileError: it is missing, damaged, or holds no signal that isthmus reads.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    for kinds, cls in ((SUFFIXES, SoundFile), (TABLES, TableFile), (ARRAYS, ArrayFile)):
        if suffix in kinds:
            return cls(path)
    raise FileError(f"not a signal ({ALLOWED})")


def are_signals(source: Any) -> bool:
    """Whether a path, or a list or folder of them, is one of signals by its endings. An array may be anything."""
    if isinstance(source, str | os.PathLike) and Path(source).is_dir():
        source = [path for path in Path(source).rglob("*") if path.is_file() and not path.name.startswith(".")]
    if isinstance(source, str | os.PathLike):
        source = [source]
    if not isinstance(source, list | tuple) or not source:
        return False
    return all(
        isinstance(one, str | os.PathLike) and Path(one).suffix.lower() in (*SUFFIXES, *TABLES) for one in source
    )


def open_signals(source: Any, strict: bool = False) -> Rows:
    """Signals as rows that keep their length: files, a folder, a glob, or arrays.

    Arrays are (time,), (n, time), (n, time, channels), or a list of (time[, channels]).
    """
    if (files := listed(source)) is not None:
        return of_files(*files, strict, "signals", open_signal, ALLOWED)
    if hasattr(source, "detach"):
        source = source.detach().cpu().numpy()
    if isinstance(source, list | tuple):
        found = [page for one in source for page in _pages(_as_signal(np.asarray(one)))]
    else:
        found = _pages(np.asarray(source))
    return Rows("signals", [Page(page.shape, page.dtype, array=page) for page in found], "the signals")


def _as_signal(one: np.ndarray) -> np.ndarray:
    return one[None] if one.ndim == 2 else one


def _pages(array: np.ndarray) -> list[np.ndarray]:
    """Signals (1, time, channels) of an array."""
    if array.ndim not in (1, 2, 3) or 0 in array.shape or array.dtype.kind not in "iuf":
        raise DataError(
            "Signals are an array of numbers (time,), (n, time) or (n, time, channels), or a list of such as "
            f"(time[, channels]); got {array.dtype} of shape {array.shape}."
        )
    whole = {1: (1, -1, 1), 2: (*array.shape, 1)}.get(array.ndim, array.shape)
    return list(array.reshape(whole)[:, None])
