"""Labels are the same, wherever they stand."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from isthmus.data.labels import find_labels, nothing
from isthmus.data.source import open_rows
from isthmus.errors import DataError, SpecError

WORDS = ["good", "crack", None, "good"]
TABLE = pa.table({"a": [1.0, 2, 3, 4], "y": WORDS})


def test_a_column_a_file_and_an_array_say_the_same(tmp_path):
    rows = open_rows(TABLE)
    (tmp_path / "y.txt").write_text("good\ncrack\nNA\ngood\n")
    np.save(tmp_path / "y.npy", np.array(["good", "crack", "", "good"]))
    np.savez(tmp_path / "y.npz", of=np.array(["good", "crack", "", "good"]), other=np.arange(3))
    pq.write_table(TABLE.select(["y"]), tmp_path / "y.parquet")
    files = [str(tmp_path / name) for name in ("y.txt", "y.npy", "y.npz:of", "y.parquet")]
    for said in ("y", WORDS, np.array(WORDS, object), TABLE["y"], *files):
        found = find_labels(rows, said)
        assert [None if nothing(cell) else cell for cell in found.cells] == WORDS
        assert found.each(lambda cells: np.array([cell == "crack" for cell in cells])).tolist() == [0, 1, 0, 0]
        assert found.bare().data.column_names == (["a"] if isinstance(said, str) and said == "y" else ["a", "y"])


def test_large_rows_say_the_same_as_rows_in_memory(tmp_path):
    pq.write_table(TABLE, tmp_path / "rows.parquet", row_group_size=2)
    whole, large = (open_rows(tmp_path / "rows.parquet", stream=stream) for stream in (False, True))
    length = [
        find_labels(rows, "y").each(lambda cells: np.array([len(cell or "") for cell in cells]))
        for rows in (whole, large)
    ]
    assert length[0].tolist() == length[1].tolist() == [4, 5, 0, 4]


def test_the_folder_that_each_file_is_in(tmp_path):
    for i, name in enumerate(("good", "crack", "good")):
        (tmp_path / name).mkdir(exist_ok=True)
        Image.fromarray(np.full((4, 4), i, np.uint8)).save(tmp_path / name / f"{i}.png")
    rows = open_rows(tmp_path)
    assert find_labels(rows, "folder").cells.tolist() == ["crack", "good", "good"]
    with pytest.raises(SpecError, match="no folder with a folder for each label"):
        find_labels(open_rows(tmp_path / "good"), "folder")


@pytest.mark.parametrize(("rows", "said", "why"), [
    (TABLE, "Y", "No column is called 'Y'. Known: a, y"),
    (TABLE, ["a"], "4 rows and 1 labels"),
    (np.zeros((3, 2)), "y", "has no columns"),
])  # fmt: skip
def test_labels_that_are_not_there(rows, said, why):
    with pytest.raises(DataError, match=why):
        find_labels(open_rows(rows), said)


def test_a_file_of_several_columns_is_no_file_of_labels(tmp_path):
    pq.write_table(TABLE, tmp_path / "two.parquet")
    with pytest.raises(DataError, match="one label a row, in one column"):
        find_labels(open_rows(TABLE), str(tmp_path / "two.parquet"))
