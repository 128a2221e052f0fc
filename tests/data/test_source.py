import io
import os
import struct
import sys
import time
import zlib

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest
import scipy.sparse
import torch
from PIL import Image

from isthmus.data.rows import Rows
from isthmus.data.samples import EXAMPLES
from isthmus.data.source import open_rows
from isthmus.errors import DataError, FileError, UserError

TABLE = pa.table({"a": [1, 2, 3], "b": ["x", None, "z"]})
G = np.random.default_rng(0)


@pytest.fixture
def csv(tmp_path):
    def write(text, name="rows.csv", encoding="utf8"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode(encoding))
        return str(path)

    return write


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "pictures"
    (folder / "deep").mkdir(parents=True)
    for i in range(12):
        Image.fromarray(G.integers(0, 255, (9, 7), dtype=np.uint8)).save(folder / f"p{i}.png")
    Image.fromarray(G.integers(0, 255, (9, 7, 3), dtype=np.uint8)).save(folder / "deep" / "q.jpg")
    return folder


# --- Rows


@pytest.mark.parametrize(
    "rows",
    [
        Rows("array", np.arange(10).reshape(5, 2)),
        Rows("table", pa.table({"a": range(5)})),
        Rows("image", [f"{i}.png" for i in range(5)], names=tuple(f"{i}.png" for i in range(5))),
    ],
    ids=["array", "table", "image"],
)
def test_take_and_chunks_give_the_rows_back(rows):
    def listed(rows):
        return rows.data.to_pylist() if rows.kind == "table" else list(map(str, rows.data))

    assert [len(part) for part in rows.chunks(2)] == [2, 2, 1]
    assert [row for part in rows.chunks(2) for row in listed(part)] == listed(rows)
    assert listed(rows.take([3, 0])) == [listed(rows)[3], listed(rows)[0]]
    assert listed(rows.take(np.array([False, True, False, False, True]))) == [
        listed(rows)[1],
        listed(rows)[4],
    ]
    assert len(rows.take([])) == 0
    if rows.names:
        assert rows.take([3]).names == ("3.png",)


# --- tables on disk


@pytest.mark.parametrize("suffix", ["parquet", "arrow", "feather", "csv"])
def test_table_files_hold_what_was_written(tmp_path, suffix):
    path = tmp_path / f"t.{suffix}"
    if suffix == "parquet":
        pq.write_table(TABLE, path)
    elif suffix == "csv":
        path.write_text("a,b\n1,x\n2,\n3,z\n")
    else:
        pyarrow.feather.write_feather(TABLE, str(path))
    rows = open_rows(path)
    assert rows.kind == "table"
    assert rows.data.to_pylist() == TABLE.to_pylist()


def test_arrow_streams_are_read_too(tmp_path):
    with pa.ipc.new_stream(str(tmp_path / "s.arrow"), TABLE.schema) as stream:
        stream.write_table(TABLE)
    assert open_rows(tmp_path / "s.arrow").data.to_pylist() == TABLE.to_pylist()


def test_the_index_of_pandas_is_no_column(tmp_path):
    frame = pd.DataFrame({"a": [1, 2]}, index=["r", "s"])
    frame.to_parquet(tmp_path / "p.parquet")
    frame.reset_index(drop=True).to_csv(tmp_path / "p.csv")
    for source in (frame, tmp_path / "p.parquet", tmp_path / "p.csv"):
        assert open_rows(source).data.column_names == ["a"]


def test_missing_cells_have_many_spellings(csv):
    table = open_rows(
        csv("n,s\n" + "".join(f"{null},{null}\n" for null in ("NA", "NaN", "null", "None", "?", '""')) + "1.5,x\n")
    ).data
    assert table["n"].to_pylist() == [None] * 6 + [1.5]
    assert table["s"].to_pylist() == [None] * 6 + ["x"]


def test_spaces_hide_neither_numbers_nor_missing_cells(csv):
    table = open_rows(csv("age, job, w\n39, Clerk, 3\n40, ?, ?\n")).data
    assert table.to_pydict() == {"age": [39, 40], "job": ["Clerk", None], "w": [3, None]}


def test_infinite_numbers(csv):
    assert open_rows(csv("a\ninf\n-inf\n1\n")).data["a"].to_pylist() == [float("inf"), float("-inf"), 1.0]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "latin-1"])
def test_encodings(csv, encoding):
    rows = open_rows(csv("é,b\n1,ü\n", encoding=encoding))
    assert rows.data.to_pylist() == [{"é": 1, "b": "ü"}]
    assert ("Latin-1" in " ".join(rows.remarks)) == (encoding == "latin-1")


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_delimiters(csv, delimiter):
    assert open_rows(csv(f"a{delimiter}b\n1{delimiter}2\n")).data.to_pylist() == [{"a": 1, "b": 2}]


def test_a_first_line_of_numbers_is_a_row(csv):
    rows = open_rows(csv("1.5,2\n3,4\n"))
    assert rows.data.to_pylist() == [{"x0": 1.5, "x1": 2}, {"x0": 3.0, "x1": 4}]
    assert "no header" in rows.remarks[0]
    assert open_rows(csv("0,1\n3,4\n")).data.to_pylist() == [{"0": 3, "1": 4}]


def test_standard_input(monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"a,b\n1,2\n")))
    assert open_rows("-").data.to_pylist() == [{"a": 1, "b": 2}]


def test_a_column_may_change_its_type_late(csv):
    rows = open_rows(csv("a\n" + "1\n" * 400_000 + "2.5\nx\n")).data
    assert rows["a"].to_pylist()[-3:] == ["1", "2.5", "x"]


# --- arrays on disk


def test_numpy_files(tmp_path):
    x, y = G.normal(size=(4, 3)), np.arange(4)
    np.save(tmp_path / "x.npy", x)
    np.savez_compressed(tmp_path / "one.npz", x=x, y=y)
    np.savez(tmp_path / "two.npz", train=x, test=x[:2], y=y)
    assert np.array_equal(open_rows(tmp_path / "x.npy").data, x)
    assert np.array_equal(open_rows(tmp_path / "one.npz").data, x)
    assert np.array_equal(open_rows(f"{tmp_path}/two.npz:test").data, x[:2])
    with pytest.raises(FileError, match=r"holds 3 arrays: train \(4, 3\).*two.npz:train.*file.npz:key"):
        open_rows(tmp_path / "two.npz")
    with pytest.raises(FileError, match=r"no array 'tets'.*two.npz:test"):
        open_rows(f"{tmp_path}/two.npz:tets")


# --- everything that is wrong


def test_files_that_are_not_what_they_say(tmp_path, csv):
    pq.write_table(TABLE, tmp_path / "whole.parquet")
    np.save(tmp_path / "whole.npy", np.zeros((9, 9)))
    np.savez(tmp_path / "whole.npz", np.zeros((9, 9)))
    for name in ("whole.parquet", "whole.npy", "whole.npz"):
        content = (tmp_path / name).read_bytes()
        for cut in (1, len(content) // 2, len(content) - 8):
            (tmp_path / f"cut.{name[6:]}").write_bytes(content[:cut])
            with pytest.raises(FileError, match="damaged, cut short"):
                open_rows(tmp_path / f"cut.{name[6:]}")
    np.save(tmp_path / "pickle.npy", np.array([{1: 2}]), allow_pickle=True)
    np.savez(tmp_path / "pickle.npz", np.array([[{1: 2}]]))
    for name in ("pickle.npy", "pickle.npz"):
        with pytest.raises(FileError, match="could run code"):
            open_rows(tmp_path / name)
    header = np.lib.format.magic(1, 0)
    claim = b"{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000, 1000000), }\n"
    (tmp_path / "hostile.npy").write_bytes(header + struct.pack("<H", len(claim)) + claim)

    began = time.perf_counter()
    for source, words in {
        csv("", "empty.csv"): "empty",
        csv(" \n", "blank.csv"): "empty",
        csv("a,b\n1,2\n3\n", "ragged.csv"): "Expected 2 columns, got 1",
        csv(bytes(range(256)) * 99, "binary.csv"): "binary data",
        csv((tmp_path / "whole.parquet").read_bytes(), "renamed.csv"): "looks like a Parquet file",
        str(tmp_path / "hostile.npy"): "damaged",
        csv("x", "rows.xlsx"): "Export the rows",
        str(tmp_path / "whole.parket"): "Did you mean '.*whole.parquet'",
        str(tmp_path / "no" / "rows.csv"): "does not exist",
        str(tmp_path / "*.tsv"): "No file matches",
        "example:irs": "Did you mean 'iris'",
    }.items():
        with pytest.raises(UserError, match=words):
            open_rows(source)
    assert time.perf_counter() - began < 2


def test_no_rows(csv):
    for source in (csv("a,b\n"), np.zeros((0, 3)), [], pa.table({"a": pa.array([], pa.int64())})):
        with pytest.raises(DataError, match=r"0 sample\(s\)"):
            open_rows(source)


@pytest.mark.parametrize("source", [pd.DataFrame([[1, 2]], columns=["a", "a"]), "a,a\n1,2\n"], ids=["frame", "csv"])
def test_columns_of_one_name(csv, source):
    with pytest.raises(DataError, match="more than one column called 'a'"):
        open_rows(csv(source) if isinstance(source, str) else source)


# --- objects


@pytest.mark.parametrize(
    "frame",
    [
        pd.DataFrame({"a": [1, 2, 3], "b": ["x", None, "z"]}, index=[7, 8, 9]),
        pl.DataFrame({"a": [1, 2, 3], "b": ["x", None, "z"]}),
        pl.LazyFrame({"a": [1, 2, 3], "b": ["x", None, "z"]}),
        TABLE,
        TABLE.to_batches()[0],
        Rows("table", TABLE),
    ],
    ids=lambda frame: type(frame).__name__,
)
def test_frames(frame):
    assert open_rows(frame).data.to_pylist() == TABLE.to_pylist()


def test_pandas_columns_of_mixed_cells_are_text():
    frame = pd.DataFrame({"m": [1, "x", None, float("nan"), pd.NA], 3: 1})
    assert open_rows(frame).data.to_pydict() == {"m": ["1", "x", None, None, None], "3": [1] * 5}


@pytest.mark.parametrize(
    ("array", "kind"),
    [
        (np.zeros((3, 2)), "array"),
        (np.zeros((3, 2), np.uint8), "array"),
        (np.zeros((3, 4, 4), np.uint8), "image"),
        (np.zeros((3, 4, 4, 3), np.uint16), "image"),
        (np.zeros((3, 4, 4), np.float32), "array"),
        (torch.zeros(3, 2, dtype=torch.bfloat16, requires_grad=True), "array"),
        ([torch.zeros(2), torch.ones(2)], "array"),
        ([[1, 2], [3, 4]], "array"),
        ([[1, "a"], [2, "b"]], "table"),
        (np.array([["1", "2.5"]]), "array"),
        (np.array([[1, 2.5]], dtype=object), "array"),
        (np.array([(1, "a")], dtype=[("p", int), ("q", "U3")]), "table"),
    ],
)
def test_kinds(array, kind):
    assert open_rows(array).kind == kind


@pytest.mark.parametrize(
    ("source", "error", "words"),
    [
        (np.zeros(3), ValueError, "Reshape your data"),
        (pd.Series([1.0, 2.0]), ValueError, "Reshape your data"),
        (
            np.zeros((12, 0)),
            ValueError,
            r"0 feature\(s\) \(shape=\(\d*, 0\)\) while a minimum of \d* is required.",
        ),
        (np.zeros((3, 2), complex), ValueError, "Complex data not supported"),
        (np.array([[1, "a"]], dtype=object), ValueError, "could not convert string to float"),
        (np.array([[1, {}]], dtype=object), TypeError, "argument must be .* string.* number"),
        (scipy.sparse.csr_array(np.eye(3) * 1j), ValueError, "Complex data not supported"),
        (scipy.sparse.csr_matrix((3, 0)), ValueError, "needs 1 column at least"),
        (torch.eye(3).to_sparse(), TypeError, "sparse"),
        ([[1, 2], [3]], ValueError, r"lengths such as \[1, 2\]"),
        (3, TypeError, "Pass a file"),
    ],
)
def test_objects_that_are_no_rows(source, error, words):
    with pytest.raises(UserError, match=words) as caught:
        open_rows(source)
    assert isinstance(caught.value, error)


# --- pictures


def test_a_folder_is_read_in_natural_order(pictures):
    rows = open_rows(pictures)
    assert rows.kind == "image"
    assert rows.names == ("deep/q.jpg", *(f"p{i}.png" for i in range(12)))
    assert open_rows(str(pictures / "*.png")).names[2].endswith("p2.png")
    assert len(open_rows([pictures / "p1.png", pictures / "p0.png"])) == 2
    assert len(open_rows(pictures / "p1.png")) == 1


def _png(width, height):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(bytes(99))) + chunk(b"IEND", b"")


def test_pictures_that_cannot_be_used_are_named(pictures):
    jpeg, png = (pictures / "deep" / "q.jpg").read_bytes(), (pictures / "p1.png").read_bytes()
    bad = {
        "cut.jpg": (jpeg[: len(jpeg) // 2], "truncated"),
        "cut.png": (png[: len(png) // 2], "truncated"),
        "text.png": (b"hello", "not a picture in one"),
        "readme.txt": (b"hello", "not a picture"),
        "bomb.png": (_png(10_000, 10_000), "larger than 89,000,000 pixels"),
        "bigger.png": (_png(60_000, 60_000), "larger than 89,000,000 pixels"),
        "postscript.png": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not a picture"),
    }
    for name, (content, _) in bad.items():
        (pictures / name).write_bytes(content)
    (pictures / ".DS_Store").write_bytes(b"x")
    rows = open_rows(pictures)
    assert len(rows) == 13
    assert {skipped.name for skipped in rows.skipped} == set(bad)
    for skipped in rows.skipped:
        assert bad[skipped.name][1] in skipped.reason.lower()
    with pytest.raises(FileError, match="strict=False"):
        open_rows(pictures, strict=True)
    with pytest.raises(FileError, match=r"No picture .* 'cut.png' is damaged"):
        open_rows(pictures / "cut.png")


def test_a_folder_without_pictures(tmp_path):
    np.savez(tmp_path / "rows.npz", a=np.zeros((2, 2)))
    with pytest.raises(FileError, match=r"holds no pictures.*'rows.npz': open that file"):
        open_rows(tmp_path)
    (tmp_path / "rows.csv").write_text("a\n1\n")
    assert open_rows(tmp_path).kind == "table"
    assert open_rows(str(tmp_path / "*.csv")).kind == "table"


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples(name):
    rows = open_rows(f"example:{name}")
    assert len(rows) >= 100
    assert rows.kind == {"digits": "image", "docstrings": "text"}.get(name, "table")
    assert EXAMPLES[name].licence


def test_recordings_without_a_row_are_told_and_left_out(tmp_path):
    (tmp_path / "a.csv").write_text("time,x\n")
    (tmp_path / "b.csv").write_text("time,x\n1,2\n2,3\n")
    for stream in (False, True):
        rows = open_rows(tmp_path, kind="series", stream=stream)
        assert "a.csv holds no rows." in rows.remarks
    assert open_rows(tmp_path, kind="series").names == ("b.csv",)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="nothing is closed to the superuser")
def test_what_lies_in_a_closed_folder_is_told(tmp_path):
    (tmp_path / "shut").mkdir()
    (tmp_path / "shut" / "a.csv").write_text("x\n1\n")
    (tmp_path / "shut").chmod(0)
    try:
        with pytest.raises(FileError, match="cannot be looked at: you have no permission"):
            open_rows(tmp_path / "shut" / "a.csv")
        with pytest.raises(FileError, match="No file matches"):
            open_rows(str(tmp_path / "shut" / "*.csv"))
    finally:
        (tmp_path / "shut").chmod(0o755)


def test_a_name_that_no_file_can_have():
    with pytest.raises(FileError, match=r"cannot be looked at: File name too long|There is no file"):
        open_rows("x" * 5000)
