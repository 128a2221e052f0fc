"""What is written is read back the same."""

import json
import os

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from PIL import Image

from isthmus.data.sink import save_rows, to_pandas
from isthmus.data.source import open_rows
from isthmus.errors import FileError

G = np.random.default_rng(0)
TABLE = pa.table({"a": [1.5, None, -2.0], "b": ["x", None, "y, z"], "c": [1, 2, 3]})


@pytest.mark.parametrize("ending", ["csv", "tsv", "parquet", "arrow", "feather"])
def test_tables(tmp_path, ending):
    path = tmp_path / f"rows.{ending}"
    assert save_rows(TABLE, path) == [path]
    assert open_rows(str(path)).data.to_pylist() == TABLE.to_pylist()


@pytest.mark.parametrize("ending", ["csv", "tsv", "parquet", "arrow", "feather"])
def test_arrays_as_tables(tmp_path, ending):
    x = G.normal(size=(6, 2, 3)).astype(np.float32)
    save_rows(x, tmp_path / f"rows.{ending}")
    back = open_rows(str(tmp_path / f"rows.{ending}")).data
    assert back.column_names == [f"x{i}" for i in range(6)]
    np.testing.assert_allclose(np.column_stack([c.to_numpy() for c in back.columns]), x.reshape(6, 6), rtol=1e-6)


@pytest.mark.parametrize("ending", ["npy", "npz"])
def test_arrays(tmp_path, ending):
    x = G.normal(size=(6, 2, 3)).astype(np.float32)
    save_rows(x, tmp_path / f"rows.{ending}")
    back = open_rows(str(tmp_path / f"rows.{ending}")).data
    assert back.dtype == x.dtype
    assert np.array_equal(back, x)


def test_tables_of_numbers_as_arrays(tmp_path):
    save_rows(TABLE.select(["a", "c"]), tmp_path / "rows.npy")
    np.testing.assert_array_equal(np.load(tmp_path / "rows.npy"), [[1.5, 1], [np.nan, 2], [-2, 3]])
    with pytest.raises(FileError, match=r"not all numbers: write them as \.parquet or \.csv"):
        save_rows(TABLE, tmp_path / "other.npy")
    assert not (tmp_path / "other.npy").exists()


def test_lines_of_json(tmp_path):
    save_rows(TABLE, tmp_path / "rows.jsonl")
    assert [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()] == TABLE.to_pylist()


def test_endings_in_capitals(tmp_path):
    save_rows(TABLE, tmp_path / "rows.CSV")
    assert (tmp_path / "rows.CSV").read_text().startswith('"a"')


def test_unknown_endings(tmp_path):
    with pytest.raises(FileError, match=r"Cannot write rows as '\.xlsx'.*Known: \.arrow, \.csv"):
        save_rows(TABLE, tmp_path / "rows.xlsx")
    with pytest.raises(FileError, match="images were expected"):
        save_rows(TABLE, tmp_path / "rows")


@pytest.mark.parametrize("name", ["rows.csv", "rows.npy", "rows.parquet"])
def test_a_directory_is_never_replaced(tmp_path, name):
    (tmp_path / name).mkdir()
    with pytest.raises(FileError, match=r"folder|directory"):
        save_rows(G.normal(size=(3, 2)), tmp_path / name)
    assert (tmp_path / name).is_dir()


@pytest.mark.parametrize("name", ["rows.csv", "rows.npy", "rows.npz", "rows.parquet", "rows.feather", "rows.jsonl"])
def test_a_full_disk_leaves_the_old_file(tmp_path, monkeypatch, name):
    path = tmp_path / name
    path.write_bytes(b"old")

    def full(*_):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(FileError, match=r"space|full"):
        save_rows(G.normal(size=(3, 2)), path)
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == [name], "and nothing else"


class TestImages:
    @pytest.mark.parametrize("shape", [(5, 7), (5, 7, 1), (5, 7, 3), (5, 7, 4)])
    def test_every_pixel_comes_back(self, tmp_path, shape):
        images = G.integers(0, 256, (12, *shape), dtype=np.uint8)
        files = save_rows(images, tmp_path / "out")
        assert [f.name for f in files][:2] == ["00.png", "01.png"]
        back = np.stack([np.asarray(Image.open(f)) for f in files])
        assert np.array_equal(back, images.reshape(back.shape))

    @pytest.mark.parametrize("channels", [(), (3,)])
    def test_a_sheet_shows_them_all(self, tmp_path, channels):
        images = G.integers(1, 256, (7, 4, 6, *channels), dtype=np.uint8)
        (path,) = save_rows(images, tmp_path / "sheet.png")
        sheet = np.asarray(Image.open(path))
        assert sheet.shape == (8 * 4 * 4, 8 * 2 * 6, *channels)  # six pixels are too few to look at
        assert np.array_equal(sheet[::8, ::8].repeat(8, 0).repeat(8, 1), sheet)
        sheet = sheet[::8, ::8]
        for i, image in enumerate(images):
            down, across = divmod(i, 2)
            assert np.array_equal(sheet[4 * down : 4 * down + 4, 6 * across : 6 * across + 6], image)
        assert not sheet[12:, 6:].any()
        with pytest.raises(FileError, match="sheet of images"):
            save_rows(np.zeros((2, 3)), tmp_path / "sheet.png")

    def test_sixteen_bits(self, tmp_path):
        images = G.integers(0, 65536, (2, 5, 7), dtype=np.uint16)
        files = save_rows(images, tmp_path / "out")
        assert np.array_equal(np.stack([np.asarray(Image.open(f)) for f in files]), images)

    @pytest.mark.parametrize("shape", [(1, 5), (5, 1), (1, 1), (1, 5, 3), (1, 5, 1)])
    def test_thin_ones(self, tmp_path, shape):
        images = G.integers(0, 256, (2, *shape), dtype=np.uint8)
        files = save_rows(images, tmp_path / "out")
        back = np.stack([np.asarray(Image.open(f)) for f in files])
        assert back.shape[1:3] == shape[:2]
        assert np.array_equal(back.reshape(images.shape), images)

    def test_under_their_own_names(self, tmp_path):
        images = G.integers(0, 256, (3, 4, 4), dtype=np.uint8)
        files = save_rows(images, tmp_path / "out", ["a.png", "deep/b.tif", "c.jpg"])
        assert [str(f.relative_to(tmp_path / "out")) for f in files] == ["a.png", "deep/b.tif", "c.png"]
        assert all(np.array_equal(np.asarray(Image.open(f)), i) for f, i in zip(files, images, strict=True))

    def test_no_picture_replaces_another(self, tmp_path):
        """a.jpg and a.png of one folder both come back as PNG."""
        images = G.integers(0, 256, (2, 4, 4), dtype=np.uint8)
        files = save_rows(images, tmp_path / "out", ["a.jpg", "a.png"])
        assert len(set(files)) == 2

    def test_a_file_where_the_folder_should_be(self, tmp_path):
        (tmp_path / "out").write_text("mine")
        with pytest.raises(FileError, match="is a file, not a folder"):
            save_rows(np.zeros((1, 4, 4), np.uint8), tmp_path / "out")
        assert (tmp_path / "out").read_text() == "mine"


def test_pandas():
    frame = to_pandas(TABLE)
    assert isinstance(frame, pd.DataFrame)
    assert frame.columns.tolist() == ["a", "b", "c"]


@pytest.mark.parametrize("ending", [".parquet", ".arrow", ".jsonl"])
def test_series_of_unequal_length_are_cells(tmp_path, ending):
    series = [np.array([1.5, 2.0]), np.array([5.0])]
    (path,) = save_rows(series, tmp_path / f"s{ending}")
    if ending == ".jsonl":
        assert path.read_text().splitlines() == ['{"series": [1.5, 2.0]}', '{"series": [5.0]}']
    else:
        assert [row["series"] for row in open_rows(path).data.to_pylist()] == [[1.5, 2.0], [5.0]]


@pytest.mark.parametrize("ending", [".csv", ".npy", ".npz"])
def test_files_of_columns_cannot_hold_them(tmp_path, ending):
    with pytest.raises(FileError, match="Series of unequal length"):
        save_rows([np.zeros(2), np.zeros(3)], tmp_path / f"s{ending}")
    assert not list(tmp_path.iterdir())
