"""A compressed file comes back as it was, or it says what is wrong: never other bytes, never much memory."""

import json
import random
import struct
import zlib

import pytest

from isthmus.data.container import MAGIC, MAX_CELLS, is_container, pack, unpack, write
from isthmus.errors import FileError

HEADER = {"codec": "rows", "model": "0" * 64, "rows": 60, "cells_per_row": 3, "raw_bytes": 720, "origin": "größe"}
CHUNKS = [(20, bytes(range(100))), (20, b"second" * 30), (20, b"\0" * 57)]


def raw(header, body=b"", *, version=1, crc=None, magic=MAGIC):
    """A file with this header, however wrong it is, and right checksums."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    head = struct.pack("<8sII", magic, version, len(text)) + text
    data = head + struct.pack("<I", zlib.crc32(head) if crc is None else crc) + body
    return data + struct.pack("<I", zlib.crc32(data))


def test_what_is_packed_is_read(tmp_path):
    write(tmp_path / "a.isz", pack(HEADER, CHUNKS))
    found = unpack(tmp_path / "a.isz")
    assert is_container(tmp_path / "a.isz")
    assert found.header == HEADER
    assert found.rows == 60
    assert not found.remarks
    assert [(chunk.rows, found.read(chunk)) for chunk in found.chunks] == CHUNKS


def test_a_damaged_chunk_loses_itself_alone():
    data = bytearray(pack(HEADER, CHUNKS))
    data[data.index(b"second") + 3] ^= 4
    found = unpack(bytes(data))
    assert [found.read(chunk) for chunk in found.chunks] == [CHUNKS[0][1], None, CHUNKS[2][1]]
    assert "does not match its checksum" in found.remarks[0]


def test_what_comes_behind_a_cut_is_lost():
    data = pack(HEADER, CHUNKS)
    found = unpack(data[:-70])
    assert [found.read(chunk) is None for chunk in found.chunks] == [False, True, True]
    assert "was cut short" in found.remarks[0]
    assert "goes on after its end" in unpack(data + b"x").remarks[0]


HOSTILE = {
    "empty": b"",
    "another file": b"PK\x03\x04" + bytes(100),
    "line ends changed": pack(HEADER, CHUNKS).replace(b"\r\n", b"\n", 1),
    "magic alone": MAGIC,
    "header of four gigabytes": struct.pack("<8sII", MAGIC, 1, 2**32 - 1) + b"{}",
    "header checksum": raw({**HEADER, "chunks": []}, crc=1),
    "a list": raw(b"[]"),
    "no chunks": raw(HEADER),
    "chunks no numbers": raw({**HEADER, "chunks": [["a", 1, 1]]}),
    "negative chunk": raw({**HEADER, "chunks": [[60, -1, 1]]}),
    "truth for a number": raw({**HEADER, "chunks": [[60, True, 1]]}),
    "rows do not add up": raw({**HEADER, "chunks": [[59, 0, 0]]}),
    "a giant chunk": raw({**HEADER, "rows": MAX_CELLS, "chunks": [[MAX_CELLS, 0, 0]]}),
    "a bomb": raw({**HEADER, "raw_bytes": 2**50, "chunks": [[60, 0, 0]]}),
    "a wide bomb": raw({**HEADER, "rows": 1, "cells_per_row": 2**39, "chunks": [[1, 0, 0]]}),
    "many little bombs": raw({**HEADER, "rows": 300_000 * 300, "chunks": [[300_000, 0, 0]] * 300}),
    "deep": raw(b'{"a":' + b"[" * 10_000 + b"]" * 10_000 + b"}"),
    "nan": raw(b'{"rows":NaN}'),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_refused(name):
    with pytest.raises(FileError) as error:
        unpack(HOSTILE[name])
    assert str(error.value).endswith(".")
    assert len(str(error.value)) < 400


def test_a_newer_version_says_so():
    with pytest.raises(FileError, match="newer isthmus"):
        unpack(raw({**HEADER, "chunks": []}, version=3))


def test_very_even_rows_are_given_room():
    """A file may claim a thousand bytes of rows for each of its own: so that it is a promise, and no bomb."""
    header = {**HEADER, "rows": 20, "cells_per_row": 1, "raw_bytes": 10**8}
    data = pack(header, [(20, b"little")])
    assert 10**5 <= len(data) < 1.01 * 10**5
    assert unpack(data).header == header


def test_no_damage_goes_unnoticed(damaged):
    """Flips, cuts, swaps and insertions: an error, or chunks that are whole or known to be lost."""
    data, chance = pack(HEADER, CHUNKS), random.Random(0)
    for _ in range(2000):
        broken = damaged(data, chance)
        try:
            found = unpack(broken)
        except FileError:
            continue
        assert found.header == HEADER
        for chunk, (_, whole) in zip(found.chunks, CHUNKS, strict=True):
            assert found.read(chunk) in (whole, None)
        assert found.remarks or broken == data
