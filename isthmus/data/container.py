"""The compressed file (.isz): a header, and chunks of rows that stand or fall each by itself.

.. math:: file = magic, version, n, \\quad n\\ bytes\\ of\\ JSON, CRC, \\quad the\\ chunks' bytes, CRC

A single picture has a shorter head: *magic, version, model, CRC*, and its one chunk.

A chunk whose CRC32 does not match is lost and named; the others come back. Reading trusts nothing: sizes are held
against the file before anything is allocated, and rows against what a chunk may hold.
"""

from __future__ import annotations

import json
import os
import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from isthmus.errors import FileError
from isthmus.files import MAX_HEADER_BYTES, open_file, parse_json, write_atomic

#: As PNG's: a transfer that changes line ends, or clears the eighth bit, is noticed at once.
MAGIC = b"\x89ISZ\r\n\x1a\n"
VERSION = 1
#: Rows times columns of one chunk: what decoding it allocates is some hundred bytes for each at most.
MAX_CELLS = 1 << 20
#: Raw bytes, and cells, for a byte of file, beyond ``SMALL``: else a small file could ask for all the memory. Rows that
#: are more even than that are written with so much room.
MAX_RATIO, SMALL = 1000, 16 << 20

#: A file of one picture has a short head: magic, version, the beginning of the model's name, CRC32; then its chunk.
ONE_PICTURE = 2
_SHORT = struct.Struct("<8sB4sI")

_AGAIN = "Copy or download it again."
_HEAD = struct.Struct("<8sII")
_SUM = struct.Struct("<I")
SUM_SIZE = _SUM.size
#: Bytes that are copied at once.
_COPIED = 1 << 22


@dataclass(frozen=True)
class Chunk:
    """Some rows of the file: how many, where their bytes lie, and their CRC32."""

    rows: int
    begin: int
    size: int
    crc: int


class OnDisk:
    """The bytes of a file, read where they are asked for; of one that was cut short meanwhile there are fewer."""

    def __init__(self, path: str | os.PathLike[str]):
        self.path = path
        with open_file(path) as file:
            self._size = os.fstat(file.fileno()).st_size

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, where: slice) -> bytes:
        begin, end, _ = where.indices(self._size)
        with open_file(self.path) as file:
            file.seek(begin)
            return file.read(max(0, end - begin))


@dataclass(frozen=True)
class Container:
    """What a file says of itself, and its bytes. ``remarks`` is what is wrong and could be told."""

    header: dict[str, Any]
    chunks: tuple[Chunk, ...]
    data: bytes | OnDisk
    origin: str
    remarks: tuple[str, ...]

    @property
    def rows(self) -> int:
        return sum(chunk.rows for chunk in self.chunks)

    def read(self, chunk: Chunk) -> bytes | None:
        """The bytes of a chunk, None where they are damaged or missing."""
        data = self.data[chunk.begin : chunk.begin + chunk.size]
        return data if len(data) == chunk.size and zlib.crc32(data) == chunk.crc else None


def pack(header: Mapping[str, Any], chunks: Sequence[tuple[int, bytes]]) -> bytes:
    """One file: what it says of itself, and chunks of (rows, bytes)."""
    head = head_of(header, [[rows, len(data), zlib.crc32(data)] for rows, data in chunks])
    body = b"".join([head, *(data for _, data in chunks)])
    return body + _SUM.pack(zlib.crc32(body))


def head_of(header: Mapping[str, Any], listed: Sequence[Sequence[int]]) -> bytes:
    """What stands before the chunks, of which (rows, bytes, CRC32) are listed."""
    said = {**header, "chunks": [list(one) for one in listed]}
    claimed = max(header["raw_bytes"], header["rows"] * header["cells_per_row"])
    if claimed > SMALL and (short := claimed // MAX_RATIO + 1 - sum(size for _, size, _ in listed)) > 0:
        said["room"] = " " * short
    text = json.dumps(said, allow_nan=False, ensure_ascii=False, separators=(",", ":")).encode()
    parse_json(text)  # what would be refused when it is read is refused while there is still something to save
    head = _HEAD.pack(MAGIC, VERSION, len(text)) + text
    return head + _SUM.pack(zlib.crc32(head))


def write_from(
    path: str | os.PathLike[str], header: Mapping[str, Any], listed: Sequence[Sequence[int]], chunks: BinaryIO
) -> int:
    """Put a file at ``path``, whole or not at all, whose chunks stand in a file already; the bytes that it has."""
    head = head_of(header, listed)
    size = len(head) + sum(n for _, n, _ in listed) + SUM_SIZE
    _check(header, [Chunk(rows, 0, n, crc) for rows, n, crc in listed], size)

    def copy(file: BinaryIO) -> None:
        file.write(head)
        crc = zlib.crc32(head)
        chunks.seek(0)
        while data := chunks.read(_COPIED):
            file.write(data)
            crc = zlib.crc32(data, crc)
        file.write(_SUM.pack(crc))

    write_atomic(path, copy)
    return size


def pack_one(model: str, chunk: bytes) -> bytes:
    """A file of one picture, whose head is so short that it counts for little beside a thumbnail."""
    named = bytes.fromhex(model[:8])
    return _SHORT.pack(MAGIC, ONE_PICTURE, named, zlib.crc32(named + chunk)) + chunk


def write(path: str | os.PathLike[str], data: bytes) -> None:
    """Put a packed file at ``path``, whole or not at all."""
    write_atomic(path, lambda file: file.write(data) and None)


def is_container(path: str | os.PathLike[str]) -> bool:
    """Whether a file begins as a compressed one does."""
    with open_file(path) as file:
        return file.read(len(MAGIC)) == MAGIC


def unpack(source: str | os.PathLike[str] | bytes) -> Container:
    """Open a compressed file, or its bytes; chunks are checked when they are read.

    Raises FileError where its header is damaged, of a newer version, impossible, or not one at all.
    """
    if isinstance(source, bytes):
        data, origin = source, "the compressed rows"
    else:
        data, origin = OnDisk(source), str(Path(source))
    try:
        return _unpack(data, origin)
    except ValueError as error:
        if isinstance(error, FileError):
            raise
        raise FileError(f"{origin} is damaged: {error} {_AGAIN}") from error


def _crc(data: bytes | OnDisk, end: int) -> int:
    """Of all bytes before ``end``."""
    crc = 0
    for begin in range(0, end, _COPIED):
        crc = zlib.crc32(data[begin : min(end, begin + _COPIED)], crc)
    return crc


def _unpack(data: bytes | OnDisk, origin: str) -> Container:
    if data[: len(MAGIC)] != MAGIC:
        near = sum(a == b for a, b in zip(data[:8], MAGIC, strict=False)) >= 5
        what = "is damaged at its start" if near else "is not a file that isthmus compress wrote"
        raise FileError(f"{origin} {what}. {_AGAIN if near else 'Name a file that ends in .isz.'}")
    if data[len(MAGIC) : len(MAGIC) + 1] == bytes([ONE_PICTURE]):
        return _one_picture(data, origin)
    if len(data) < _HEAD.size:
        raise ValueError("it was cut short.")
    _, version, n = _HEAD.unpack(data[: _HEAD.size])
    end = _HEAD.size + n
    if n > MAX_HEADER_BYTES or end + _SUM.size > len(data):
        raise ValueError("it was cut short, or its start is wrong.")
    if zlib.crc32(data[:end]) != _SUM.unpack(data[end : end + _SUM.size])[0]:
        raise ValueError("its header does not match its checksum.")
    if version != VERSION:  # behind the checksum: a flipped bit is no newer version
        raise FileError(
            f"{origin} was written by a newer isthmus: it has format {version}, this one reads {VERSION}. "
            "Install a newer isthmus (pip install -U isthmus)."
        )
    header = parse_json(data[_HEAD.size : end])
    chunks, begin = [], end + _SUM.size
    for said in _listed(header.pop("chunks", None)):
        chunks.append(Chunk(said[0], begin, said[1], said[2]))
        begin += said[1]
    header.pop("room", None)
    _check(header, chunks, len(data))
    remarks = []
    if begin + _SUM.size != len(data):
        short = "was cut short" if len(data) < begin + _SUM.size else "goes on after its end"
        remarks.append(f"{origin} {short}: {begin + _SUM.size:,} bytes expected, {len(data):,} found")
    elif _crc(data, begin) != _SUM.unpack(data[begin : begin + _SUM.size])[0]:
        remarks.append(f"{origin} does not match its checksum")
    return Container(header, tuple(chunks), data, origin, tuple(remarks))


def _one_picture(data: bytes, origin: str) -> Container:
    if len(data) < _SHORT.size:
        raise ValueError("it was cut short.")
    _, _, model, crc = _SHORT.unpack(data[: _SHORT.size])
    chunk = data[_SHORT.size :]
    if zlib.crc32(model + chunk) != crc:
        raise ValueError("it does not match its checksum: it was cut short, or changed.")
    header = {"codec": "pictures", "model": model.hex(), "rows": 1, "cells_per_row": 0, "raw_bytes": 0}
    return Container(header, (Chunk(1, _SHORT.size, len(chunk), zlib.crc32(chunk)),), data, origin, ())


def _listed(said: Any) -> list[list[int]]:
    """The list of chunks as whole numbers that are possible."""
    if not isinstance(said, list):
        raise ValueError("its header lists no chunks.")
    for one in said:
        if not (isinstance(one, list) and len(one) == 3 and all(type(n) is int and 0 <= n < 2**40 for n in one)):
            raise ValueError("its list of chunks is not made of rows, bytes and checksums.")
    return said


def _check(header: Mapping[str, Any], chunks: Sequence[Chunk], size: int) -> None:
    """Refuse a header that asks for more memory than its rows could need."""
    match header:
        case {"codec": str(), "model": str(), "rows": int(rows), "cells_per_row": int(width), "raw_bytes": int(raw)}:
            pass
        case _:
            raise ValueError("its header does not say codec, model, rows, cells_per_row and raw_bytes.")
    if rows != sum(chunk.rows for chunk in chunks) or not 0 <= width < 2**40 or not 0 <= raw < 2**60:
        raise ValueError("its header contradicts itself.")
    if any(chunk.rows * width > max(MAX_CELLS, width) for chunk in chunks):
        raise ValueError(f"a chunk of it claims more than {MAX_CELLS:,} cells.")
    if raw > max(SMALL, MAX_RATIO * size) or rows * width > max(SMALL, MAX_RATIO * size):
        raise ValueError(f"it claims {raw:,} bytes of rows in {size:,}.")
