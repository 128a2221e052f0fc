"""The footer of a Parquet file: row groups that were written elsewhere, made those of one file.

A Parquet file is its row groups one behind the other and a footer that says where each column of each begins. So two
files become one by moving the second's row groups behind the first's, and adding so many bytes to the places in its
footer. pyarrow cannot add to a file that was begun; this reads and writes the little that it takes.

References:
    Apache Parquet, File Format, https://parquet.apache.org/docs/file-format/ (parquet.thrift).
    Apache Thrift, Compact protocol, https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

_MAGIC = b"PAR1"
#: Kinds of values in the compact protocol.
_TRUE, _FALSE, _BYTE, _I16, _I32, _I64, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = range(1, 13)
#: Where in FileMetaData the rows are counted and the row groups listed.
_ROWS, _GROUPS = 3, 4
#: Fields that hold places in the file, by what they stand in: RowGroup, ColumnChunk, ColumnMetaData.
_GROUP_PLACES, _CHUNK_PLACES, _META_PLACES = (5,), (2, 4, 6), (9, 10, 11, 14)
_COLUMNS, _META = 1, 3

Fields = dict[int, tuple[int, Any]]


@dataclass
class Footer:
    """What a footer says, with every row group as the bytes that it takes there."""

    fields: Fields
    groups: list[bytes]

    @classmethod
    def read(cls, data: bytes, by: int = 0) -> Footer:
        """From the bytes between the row groups and the length; every place ``by`` bytes further on."""
        fields = _Reader(data).struct()
        groups = fields.pop(_GROUPS)[1][1]
        for group in groups if by else ():
            _shift(group, _GROUP_PLACES, by)
            for chunk in group[_COLUMNS][1][1]:
                _shift(chunk, _CHUNK_PLACES, by)
                _shift(chunk[_META][1], _META_PLACES, by)
        return cls(fields, [_struct(group) for group in groups])

    @classmethod
    def of_file(cls, written: bytes, at: int) -> tuple[bytes, Footer]:
        """A whole Parquet file → its row groups, without the bytes that begin it, and its footer once they stand ``at``
        this place of another.
        """
        length = int.from_bytes(written[-8:-4], "little")
        assert written[:4] == written[-4:] == _MAGIC
        return written[4 : -8 - length], cls.read(written[-8 - length : -8], at - len(_MAGIC))

    def add(self, other: Footer) -> None:
        """More row groups of the same columns."""
        kind, rows = self.fields[_ROWS]
        self.fields = {**self.fields, _ROWS: (kind, rows + other.fields[_ROWS][1])}
        self.groups += other.groups

    def written(self) -> bytes:
        """What ends a file."""
        fields = dict(sorted({**self.fields, _GROUPS: (_LIST, (_STRUCT, self.groups))}.items()))
        data = _struct(fields)
        return data + len(data).to_bytes(4, "little") + _MAGIC


def _shift(fields: Fields, places: tuple[int, ...], by: int) -> None:
    for place in places:
        # 0 stands for nowhere
        if place in fields and fields[place][1]:
            kind, value = fields[place]
            fields[place] = (kind, value + by)


class _Reader:
    """Values of the compact protocol, one after the other."""

    def __init__(self, data: bytes):
        self.data, self.at = data, 0

    def struct(self) -> Fields:
        found: Fields = {}
        number = 0
        while head := self._byte():
            number = number + (head >> 4) if head >> 4 else self._whole()
            kind = head & 15
            # of a field that is yes or no, the kind is the value
            found[number] = (kind, kind == _TRUE) if kind in (_TRUE, _FALSE) else (kind, self._value(kind))
        return found

    def _value(self, kind: int) -> Any:
        if kind in (_I16, _I32, _I64):
            return self._whole()
        if kind == _BINARY:
            return self._bytes(self._varint())
        if kind == _STRUCT:
            return self.struct()
        if kind in (_LIST, _SET):
            head = self._byte()
            n = head >> 4 if head >> 4 < 15 else self._varint()
            return head & 15, [self._value(head & 15) for _ in range(n)]
        if kind in (_BYTE, _TRUE, _FALSE):
            return self._byte()
        if kind == _DOUBLE:
            return struct.unpack("<d", self._bytes(8))[0]
        if kind == _MAP:
            n = self._varint()
            kinds = self._byte() if n else 0
            return kinds, [(self._value(kinds >> 4), self._value(kinds & 15)) for _ in range(n)]
        raise ValueError(f"a footer holds a value of the unknown kind {kind}")

    def _byte(self) -> int:
        self.at += 1
        return self.data[self.at - 1]

    def _bytes(self, n: int) -> bytes:
        self.at += n
        return self.data[self.at - n : self.at]

    def _varint(self) -> int:
        value = shift = 0
        while True:
            byte = self._byte()
            value |= (byte & 127) << shift
            if byte < 128:
                return value
            shift += 7

    def _whole(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)


def _struct(fields: Fields | bytes) -> bytes:
    if isinstance(fields, bytes):
        return fields
    out, before = bytearray(), 0
    for number, (kind, value) in fields.items():
        if 0 < number - before < 16:
            out.append((number - before) << 4 | kind)
        else:
            out.append(kind)
            out += _varint(_zigzag(number))
        if kind not in (_TRUE, _FALSE):
            out += b"".join(_written(kind, value))
        before = number
    return bytes(out) + b"\0"


def _written(kind: int, value: Any) -> Iterator[bytes]:
    if kind in (_I16, _I32, _I64):
        yield _varint(_zigzag(value))
    elif kind == _BINARY:
        yield _varint(len(value)) + value
    elif kind == _STRUCT:
        yield _struct(value)
    elif kind in (_LIST, _SET):
        each, items = value
        yield bytes([len(items) << 4 | each]) if len(items) < 15 else bytes([0xF0 | each]) + _varint(len(items))
        for item in items:
            yield from _written(each, item)
    elif kind in (_BYTE, _TRUE, _FALSE):
        yield bytes([value])
    elif kind == _DOUBLE:
        yield struct.pack("<d", value)
    else:
        kinds, pairs = value
        yield _varint(len(pairs)) + (bytes([kinds]) if pairs else b"")
        for key, one in pairs:
            yield from _written(kinds >> 4, key)
            yield from _written(kinds & 15, one)


def _zigzag(value: int) -> int:
    return value << 1 if value >= 0 else (-value << 1) - 1


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)
