import numpy as np
import pyarrow as pa
import pytest

from isthmus.data.source import open_rows
from isthmus.errors import DataError, SpecError
from isthmus.modalities.array import Array

G = np.random.default_rng(0)


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "int64", "int8", "uint64", "bool"])
@pytest.mark.parametrize("scaling", ["auto", "none", "global", "standard", "robust"])
def test_round_trip_in_the_same_type(dtype, scaling):
    x = (G.normal(size=(50, 6)) * 20).astype(np.int64).clip(-100, 100)
    x = (abs(x) if dtype == "uint64" else x).astype(dtype)
    array = Array.fit(open_rows(x), scaling=scaling)
    back = array.from_tensors(array.to_tensors(open_rows(x))["x"])
    assert back.dtype == x.dtype
    assert np.allclose(back, x, rtol=1e-3 if dtype == "float16" else 1e-5, atol=1e-4)


def test_whole_numbers_stay_in_their_range():
    x = np.array([[0, 255], [255, 0], [3, 7]], np.int16).astype(np.uint8)
    array = Array.fit(open_rows(x))
    tensor = array.to_tensors(open_rows(x))["x"]
    assert array.from_tensors(tensor + 99).max() == 255
    assert array.from_tensors(tensor - 99).min() == 0


def test_pixels_share_one_range():
    pixels = Array.fit(open_rows(G.integers(0, 256, (500, 64))))
    assert set(pixels.scaling.kinds) == {"global"}
    assert set(Array.fit(open_rows(G.normal(size=(500, 64)))).scaling.kinds) == {"standard"}


def test_rows_of_more_axes_come_back_in_shape():
    x = G.normal(size=(20, 5, 3))
    array = Array.fit(open_rows(x))
    assert array.shape == (15,)
    assert len(array.names) == 15
    assert np.allclose(array.from_tensors(array.to_tensors(open_rows(x))["x"]), x, atol=1e-5)


def test_missing_and_infinite_cells_are_masked():
    x = G.normal(size=(30, 3))
    x[4, 1], x[5, 2] = np.nan, np.inf
    array = Array.fit(open_rows(x))
    batch = array.to_tensors(open_rows(x))
    assert np.array_equal(batch["observed"].numpy(), np.isfinite(x))
    assert batch["x"][4, 1] == 0
    assert batch["x"][5, 2] == 0
    assert any("1 infinite" in said for said in array.describe())
    assert array.remarks(open_rows(x))
    assert "observed" not in array.to_tensors(open_rows(x[:4]))


def test_another_width_is_said_in_the_words_of_scikit_learn():
    array = Array.fit(open_rows(G.normal(size=(9, 4))))
    with pytest.raises(DataError, match="X has 3 features, but Autoencoder is expecting 4 features as input"):
        array.to_tensors(open_rows(G.normal(size=(9, 3))))


def test_tables_of_numbers_serve_as_arrays():
    x = G.normal(size=(9, 2))
    array = Array.fit(open_rows(x))
    table = open_rows(pa.table({"a": x[:, 0], "b": x[:, 1]}))
    assert np.array_equal(array.to_tensors(table)["x"], array.to_tensors(open_rows(x))["x"])
    with pytest.raises(DataError, match=r"'b'.*string"):
        array.to_tensors(open_rows(pa.table({"a": [1.0], "b": ["x"]})))


def test_unknown_scaling():
    with pytest.raises(SpecError, match="Did you mean 'robust'"):
        Array.fit(open_rows(G.normal(size=(9, 2))), scaling="robsut")
