"""Text files of every encoding, or the reason why they are none."""

import gzip
import json
import random

import numpy as np
import pandas as pd
import pytest

from isthmus.data.documents import LONGEST
from isthmus.data.source import open_rows
from isthmus.errors import FileError, UserError

LINES = ["the naïve café", "zwei Straßen", "", "猫が好き", "آب و هوا"]


def write(folder, name, data):
    path = folder / name
    path.write_bytes(data)
    return path


def test_every_line_is_a_document_and_empty_ones_keep_their_place(tmp_path):
    rows = open_rows(write(tmp_path, "a.txt", "\n".join(LINES).encode() + b"\n"))
    assert (rows.kind, rows.data) == ("text", LINES)
    assert rows.remarks == ("1 of 5 lines of a.txt are empty: documents without a word.",)


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_unicode_in_any_encoding(tmp_path, encoding, ending):
    mark = {"utf-16-le": "\ufeff", "utf-16-be": "\ufeff"}.get(encoding, "")
    # 0x0A is half of these letters, and no end of a line
    lines = [*LINES, "\u0a0a\u010a end"]
    rows = open_rows(write(tmp_path, "a.txt", (mark + ending.join(lines)).encode(encoding)))
    assert rows.data == lines
    assert any("UTF-16" in said for said in rows.remarks) == encoding.startswith("utf-16")


def test_mixed_encodings_are_told_line_by_line(tmp_path):
    rows = open_rows(write(tmp_path, "a.txt", "café\n".encode() + "naïve\n".encode("latin-1") + b"plain\n"))
    assert rows.data == ["café", "naïve", "plain"]
    assert rows.remarks == ("1 of 3 lines of a.txt are not UTF-8; they were read as Latin-1.",)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (gzip.compress(b"text", mtime=0), "gzip"),
        (b"PK\x03\x04 and more", "zip"),
        (b"some\x00thing", "binary"),
        ("zwei Wege\n".encode("utf-16-le"), "UTF-16 without the mark"),
        ("zwei Wege\n".encode("utf-32"), "looks like UTF-32"),
        (bytes(random.Random(0).choices(range(1, 256), k=4000)), "binary"),
        (b"word " * 60_000 + b"\n\x00\x00", "line 2 holds binary"),
        (b"", "empty"),
    ],
)
def test_binary_posing_as_text(tmp_path, data, words):
    with pytest.raises(FileError, match=words):
        open_rows(write(tmp_path, "a.txt", data))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_one_endless_line_is_read_up_to_a_bound(tmp_path, encoding):
    import tracemalloc

    path = tmp_path / "a.txt"
    with path.open("wb") as file:
        file.write("first\n".encode(encoding))
        block = ("ü word " * 1000).encode(encoding).removeprefix("\ufeff".encode(encoding)[:2] * (encoding != "utf-8"))
        for _ in range(100_000_000 // len(block)):
            file.write(block)
        file.write("\nlast".encode(encoding)[2 * (encoding == "utf-16") :])
    tracemalloc.start()
    rows = open_rows(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (rows.data[0], rows.data[2]) == ("first", "last")
    assert len(rows.data[1].encode("utf-16-le" if encoding == "utf-16" else encoding)) in range(
        LONGEST - 3, LONGEST + 1
    )
    assert any("longer than 1 MiB" in said for said in rows.remarks)
    assert peak < 12 * LONGEST


def test_a_folder_of_texts(tmp_path):
    for name, data in (
        ("b/2.txt", b"two"),
        ("a/10.txt", b"ten"),
        ("a/9.txt", "neün".encode("latin-1")),
        ("c.pdf", b""),
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        write(tmp_path, name, data)
    write(tmp_path, "bad.txt", b"\x00\x01")
    rows = open_rows(tmp_path)
    assert (rows.kind, rows.data) == ("text", ["neün", "ten", "two"])
    assert rows.names == ("a/9.txt", "a/10.txt", "b/2.txt")
    assert [(s.name, s.reason) for s in rows.skipped] == [
        ("c.pdf", "not a text (.txt)"),
        ("bad.txt", "holds binary data"),
    ]
    assert rows.remarks == ("a/9.txt is not UTF-8, read as Latin-1.",)
    with pytest.raises(FileError, match=r"c\.pdf"):
        open_rows(tmp_path, strict=True)
    assert open_rows(str(tmp_path / "a" / "*.txt")).data == ["neün", "ten"]


def test_a_list_of_strings_is_text_unless_it_names_files(tmp_path):
    assert open_rows(["a list", "of strings"]).data == ["a list", "of strings"]
    path = write(tmp_path, "a.txt", b"inside")
    assert open_rows([str(path)]).data == ["inside"]
    with pytest.raises(FileError, match=r"no file 'missing\.csv'"):
        open_rows(["missing.csv", "other.png"])
    for column in (pd.Series(["one", "two"]), np.array(["one", "two"]), np.array(["one", "two"], object)):
        rows = open_rows(column)
        assert (rows.kind, rows.data) == ("text", ["one", "two"])


def test_json_lines_become_a_table(tmp_path):
    lines = [{"title": "one", "n": 1}, {"title": "zwei ü", "tags": ["a"]}, {"n": "three"}]
    data = "\n\n".join(json.dumps(line, ensure_ascii=False) for line in lines).encode()
    table = open_rows(write(tmp_path, "a.jsonl", data)).data
    assert table.to_pydict() == {
        "title": ["one", "zwei ü", None], "n": ["1", None, "three"], "tags": [None, '["a"]', None],
    }  # fmt: skip
    assert open_rows(write(tmp_path, "b.jsonl", b'"one"\n"two"')).data.to_pydict() == {"text": ["one", "two"]}


@pytest.mark.parametrize("data", [b'{"a": 1}\n{"a": ', b"[1, 2", b"\x00{}", b"{}\n{}"])
def test_json_that_is_none(tmp_path, data):
    with pytest.raises(UserError):
        open_rows(write(tmp_path, "a.jsonl", data))
