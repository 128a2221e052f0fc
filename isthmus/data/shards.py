"""Vectors in shards: ``.npy`` or ``.safetensors`` files of one width, mapped into memory a stretch at a time."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from isthmus.data.files import PICKLED
from isthmus.data.large import AT_ONCE, Large, Stamped, mark_of
from isthmus.errors import DataError, FileError

SUFFIXES = (".npy", ".safetensors")
#: Bytes of a block.
_BLOCK = 1 << 23
#: Bytes that the header of a .safetensors file may have.
_HEADER = 100 << 20

_DTYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1",
    "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "u1", "BOOL": "?",
}  # fmt: skip


class Shards(Large):
    """Arrays (n, …) in files, one below the other."""

    kind: ClassVar[str] = "array"

    def __init__(self, paths: Sequence[Path], names: Sequence[str], origin: str, key: str | None = None):
        """Look at every header; ``key`` names the tensor of ``.safetensors`` files that hold several.

        Raises:
            FileError: a file is damaged, cut short, or holds no such tensor.
            DataError: the shards differ in width.
        """
        self.origin = origin
        self.files = [_Shard(path, name, key) for path, name in zip(paths, names, strict=True)]
        first = next((file for file in self.files if file.rows), self.files[0])
        for file in self.files:
            if file.shape != first.shape:
                raise DataError(
                    f"Shards of {origin} have rows of one shape; those of {first.name!r} have {_shape(first.shape)} "
                    f"and those of {file.name!r} {_shape(file.shape)}. Leave out what does not belong."
                )
            if file.dtype.kind != first.dtype.kind:
                raise DataError(
                    f"Shards of {origin} are of one kind; {first.name!r} is {first.dtype} and {file.name!r} "
                    f"{file.dtype}. Convert one of them."
                )
        self.row_shape, self.dtype = first.shape, np.result_type(*(file.dtype for file in self.files))
        self.remarks = [f"{file.name} holds no rows." for file in self.files if not file.rows]
        step = max(1, min(AT_ONCE, _BLOCK // max(1, self.width * self.dtype.itemsize)))
        self.blocks = [(i, at) for i, file in enumerate(self.files) for at in range(0, file.rows, step)]
        super().__init__([min(step, self.files[i].rows - at) for i, at in self.blocks])

    @property
    def ndim(self) -> int:
        return 1 + len(self.row_shape)

    @property
    def width(self) -> int:
        return max(1, math.prod(self.row_shape))

    @property
    def n_bytes(self) -> float:
        return float(len(self) * self.width * self.dtype.itemsize)

    def mark(self) -> str:
        return mark_of(self.files, f"{self.row_shape} {self.dtype}")

    def read(self, block: int) -> Iterator[np.ndarray]:
        which, at = self.blocks[block]
        yield self.files[which].rows_at(slice(at, at + int(self.counts[block]))).astype(self.dtype, copy=False)

    def pick(self, places: np.ndarray) -> np.ndarray:
        # row by row, which asks the disk for few pages of each file
        ends = np.cumsum([file.rows for file in self.files])
        found = np.empty((len(places), *self.row_shape), self.dtype)
        for file, end in zip(self.files, ends, strict=True):
            first, last = np.searchsorted(places, (end - file.rows, end))
            if first < last:
                found[first:last] = file.rows_at(places[first:last] - (end - file.rows))
        return found


class _Shard(Stamped):
    """One file: where in it the numbers begin, and of what shape and type they are."""

    def __init__(self, path: Path, name: str, key: str | None):
        super().__init__(path, name)
        read = _npy_header if path.suffix.lower() == ".npy" else _safetensors_header
        with self.open() as file:
            shape, self.dtype, self.offset, self.half = read(file, name, key)
        if len(shape) < 2 or 0 in shape[1:]:
            raise DataError(f"Shards hold rows of numbers, (n, width); {name!r} has shape {shape}.")
        self.rows, self.shape = shape[0], shape[1:]
        needed = self.offset + math.prod(shape) * self.dtype.itemsize
        if needed > self.size:
            raise FileError(
                f"{name!r} is cut short: its header promises {shape[0]:,} rows, {needed:,} bytes, and it has "
                f"{self.size:,}. Write it again, or leave it out."
            )
        if self.half:
            self.dtype = np.dtype(np.float32)

    def rows_at(self, which: Any) -> np.ndarray:
        """Some rows, copied: the map is gone afterwards, so that it counts for no memory."""
        with self.open() as file:
            raw = np.dtype("<u2") if self.half else self.dtype
            begin, shape = self.offset, (self.rows, *self.shape)
            if isinstance(which, slice):
                begin += which.start * math.prod(self.shape) * raw.itemsize
                shape, which = (which.stop - which.start, *self.shape), slice(None)
            found = np.array(np.memmap(file, raw, "r", begin, shape)[which])
        return (found.astype("<u4") << 16).view("<f4") if self.half else found


def _npy_header(file: Any, name: str, key: str | None) -> tuple[tuple[int, ...], np.dtype, int, bool]:
    try:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read(file)
    except ValueError as error:
        raise FileError(f"{name!r} cannot be read as .npy: it is damaged or something else ({error}).") from error
    if dtype.hasobject:
        raise FileError(f"{name!r} {PICKLED}")
    if dtype.kind not in "biuf":
        raise DataError(f"Shards hold numbers; {name!r} is {dtype}. Convert it: array.astype(float).")
    if fortran and len(shape) > 1 and shape[0] > 1:
        raise DataError(
            f"{name!r} stores columns first, so its rows cannot be read one by one. "
            "Write it with np.save(file, np.ascontiguousarray(array))."
        )
    return shape, dtype, file.tell(), False


def _safetensors_header(file: Any, name: str, key: str | None) -> tuple[tuple[int, ...], np.dtype, int, bool]:
    try:
        length = int.from_bytes(file.read(8), "little")
        if not 0 < length <= _HEADER:
            raise ValueError(f"a header of {length} bytes")
        held = {k: v for k, v in json.loads(file.read(length)).items() if k != "__metadata__"}
        shapes = {k: tuple(map(int, v["shape"])) for k, v in held.items()}
        offsets = {k: int(v["data_offsets"][0]) for k, v in held.items()}
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise FileError(
            f"{name!r} cannot be read as .safetensors: it is damaged or something else ({error})."
        ) from error
    listed = ", ".join(f"{k} {shape}" for k, shape in list(shapes.items())[:12])
    if key is None:
        wide = [k for k, shape in shapes.items() if len(shape) >= 2]
        if len(wide) != 1:
            raise FileError(
                f"{name!r} holds {len(shapes)} tensors: {listed or 'none'}. Say which, as in "
                f"'{Path(name).name}:{(wide or list(shapes) or ['key'])[0]}' (file.safetensors:key)."
            )
        key = wide[0]
    elif key not in held:
        raise FileError(f"{name!r} holds no tensor {key!r}. It holds: {listed}.")
    kind = held[key].get("dtype")
    if kind not in _DTYPES:
        raise DataError(f"The tensor {key!r} of {name!r} is {kind}; known: {', '.join(_DTYPES)}. Convert it.")
    return shapes[key], np.dtype(_DTYPES[kind]), 8 + length + offsets[key], kind == "BF16"


def _shape(shape: tuple[int, ...]) -> str:
    return f"{shape[0]:,} numbers" if len(shape) == 1 else f"shape {shape}"
