"""One file of named arrays, mapped into memory: a header, and sections that are read when they are first asked for.

.. math:: file = magic, version, n, \\quad n\\ bytes\\ of\\ JSON, CRC, \\quad sections\\ at\\ multiples\\ of\\ 64

Reading trusts nothing: types are those of a short list, and every section lies where the one before it ends, within the
file. A section is held against its CRC32 when it is first used; one larger than ``QUICK`` only by
:meth:`Sections.check`, because looking at all of it would cost more than what is asked of it.
"""

from __future__ import annotations

import json
import math
import os
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from isthmus.errors import FileError
from isthmus.files import MAX_HEADER_BYTES, open_file, parse_json, write_atomic

#: As PNG's: a transfer that changes line ends, or clears the eighth bit, is noticed at once.
MAGIC = b"\x89IDX\r\n\x1a\n"
VERSION = 1
#: Bytes of a section that is checked whenever it is used.
QUICK = 32 << 20

_HEAD = struct.Struct("<8sII")
_SUM = struct.Struct("<I")
_ALIGNED = 64
_AGAIN = "Copy it again, or build it again."
#: Types that a section may have, as numpy calls them on a machine that writes the least digit first.
_TYPES = {name: np.dtype(name) for name in ("<f4", "|i1", "|u1", "<u2", "<i4", "<i8")}


@dataclass(frozen=True)
class _Section:
    dtype: np.dtype
    shape: tuple[int, ...]
    begin: int
    size: int
    crc: int


def write(path: str | os.PathLike[str], said: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
    """Put a file of ``arrays`` at ``path``, whole or not at all."""
    ordered = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    listed = {}
    for name, array in ordered.items():
        assert array.dtype.str in _TYPES, f"{name} is {array.dtype}"
        listed[name] = [array.dtype.str, list(array.shape), zlib.crc32(_bytes(array))]
    text = json.dumps({**said, "sections": listed}, allow_nan=False, ensure_ascii=False, separators=(",", ":")).encode()
    parse_json(text)  # what would be refused when it is read is refused while there is still something to save
    head = _HEAD.pack(MAGIC, VERSION, len(text)) + text

    def fill(file: BinaryIO) -> None:
        file.write(head + _SUM.pack(zlib.crc32(head)))
        at = len(head) + _SUM.size
        for array in ordered.values():
            file.write(bytes(-at % _ALIGNED))
            file.write(_bytes(array))
            at += -at % _ALIGNED + array.nbytes

    write_atomic(path, fill)


def is_sections(path: str | os.PathLike[str]) -> bool:
    """Whether a file begins as one of these does."""
    with open_file(path) as file:
        return file.read(len(MAGIC)) == MAGIC


class Sections:
    """A file of arrays that is open: ``said`` is what it says of itself."""

    def __init__(self, path: str | os.PathLike[str]):
        self.path = Path(path)
        with open_file(path) as file:
            size = os.fstat(file.fileno()).st_size
            try:
                self.said, self._listed = _read_head(file, size, self.path)
            except ValueError as error:
                if isinstance(error, FileError):
                    raise
                raise FileError(f"{self.path} is damaged: {error} {_AGAIN}") from error
            # private, so that arrays can be handed to whoever wants to write to them, and the file never changes
            self._data = np.memmap(file, np.uint8, mode="c") if size else np.zeros(0, np.uint8)
        self._used: dict[str, np.ndarray] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._listed

    @property
    def names(self) -> list[str]:
        return list(self._listed)

    def n_bytes(self, name: str) -> int:
        return self._listed[name].size if name in self._listed else 0

    def shape(self, name: str) -> tuple[int, ...]:
        return self._listed[name].shape

    def array(self, name: str, dtype: str, shape: tuple[int | None, ...]) -> np.ndarray:
        """A section of that type and shape, where None is any length; mapped, not copied.

        Raises:
            FileError: it is not there, of another form, or damaged.
        """
        if name in self._used:
            return self._used[name]
        found = self._listed.get(name)
        if found is None:
            raise FileError(f"{self.path} is damaged: it holds no {name}. {_AGAIN}")
        fits = len(found.shape) == len(shape) and all(b in (None, a) for a, b in zip(found.shape, shape, strict=True))
        if found.dtype.str != dtype or not fits:
            raise FileError(f"{self.path} is damaged: its {name} is {found.dtype} {found.shape}. {_AGAIN}")
        raw = self._data[found.begin : found.begin + found.size]
        if found.size <= QUICK and zlib.crc32(raw) != found.crc:
            raise FileError(f"{self.path} is damaged: its {name} does not match its checksum. {_AGAIN}")
        # an ndarray, and no memmap, which would look after the file in every slice
        self._used[name] = np.asarray(raw).view(found.dtype).reshape(found.shape)
        return self._used[name]

    def check(self) -> list[str]:
        """The sections that do not match their checksums; everything is read for this."""
        return [name for name, s in self._listed.items() if zlib.crc32(self._data[s.begin : s.begin + s.size]) != s.crc]


def _read_head(file: BinaryIO, size: int, path: Path) -> tuple[dict[str, Any], dict[str, _Section]]:
    start = file.read(_HEAD.size)
    if not start.startswith(MAGIC):
        near = len(start) >= 8 and sum(a == b for a, b in zip(start, MAGIC, strict=False)) >= 5
        what = "is damaged at its start" if near else "is not an index that isthmus index wrote"
        raise FileError(f"{path} {what}. {_AGAIN if near else 'Name one, or make one: isthmus index MODEL DATA -o.'}")
    if len(start) < _HEAD.size:
        raise ValueError("it was cut short.")
    _, version, n = _HEAD.unpack(start)
    if n > MAX_HEADER_BYTES or _HEAD.size + n + _SUM.size > size:
        raise ValueError("it was cut short, or its start is wrong.")
    text, crc = file.read(n), file.read(_SUM.size)
    if len(crc) < _SUM.size or zlib.crc32(start + text) != _SUM.unpack(crc)[0]:
        raise ValueError("its header does not match its checksum.")
    if version != VERSION:  # behind the checksum: a flipped bit is no newer version
        raise FileError(
            f"{path} was written by a newer isthmus: it has format {version}, this one reads {VERSION}. "
            "Install a newer isthmus (pip install -U isthmus)."
        )
    said = parse_json(text)
    listed = said.pop("sections", None)
    if not isinstance(listed, dict):
        raise ValueError("its header lists no sections.")
    at, sections = _HEAD.size + n + _SUM.size, {}
    for name, one in listed.items():
        section = _section(name, one, at + -at % _ALIGNED)
        at = section.begin + section.size
        if at > size:
            raise ValueError(f"it was cut short: {name} ends at {at:,}, the file at {size:,}.")
        sections[name] = section
    if at != size:
        raise ValueError(f"it goes on after its end: {at:,} bytes expected, {size:,} found.")
    return said, sections


def _section(name: str, one: Any, begin: int) -> _Section:
    match one:
        case [str(dtype), list(shape), int(crc)] if dtype in _TYPES and 1 <= len(shape) <= 3:
            pass
        case _:
            raise ValueError(f"its header does not say what {name!r} is.")
    if not all(type(n) is int and 0 <= n < 2**40 for n in shape):
        raise ValueError(f"the shape of {name!r} is impossible.")
    size = math.prod(shape) * _TYPES[dtype].itemsize
    return _Section(_TYPES[dtype], tuple(shape), begin, size, crc)


def _bytes(array: np.ndarray) -> memoryview:
    return memoryview(array.reshape(-1).view(np.uint8))
