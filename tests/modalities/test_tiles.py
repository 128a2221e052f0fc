import numpy as np
import pytest
from PIL import Image as PIL

from isthmus.data.rows import Rows
from isthmus.data.source import open_rows
from isthmus.errors import SpecError
from isthmus.modalities import fit_modality, modality_from_json, modality_to_json, tiles


@pytest.fixture
def folder(tmp_path):
    """Pictures of several sizes, one of them smaller than a tile."""
    g = np.random.default_rng(0)
    for i, size in enumerate([(100, 70), (64, 200), (20, 30)]):
        PIL.fromarray(g.integers(0, 255, (*size, 3), np.uint8)).save(tmp_path / f"{i}.png")
    return tmp_path


def test_pictures_come_back_from_their_tiles_as_they_were(folder):
    rows = open_rows(folder)
    face = fit_modality(rows, "tiles", side=64)
    x = face.to_tensors(face.samples(rows))["x"]
    assert x.shape[1:] == face.shape == (3, 64, 64)
    back = face.from_tensors(x, rows)
    for path, picture in zip(rows.data, back, strict=True):
        with PIL.open(path) as original:
            assert (picture == np.asarray(original)).all()


def test_an_array_of_pictures_comes_back_as_an_array():
    pictures = np.random.default_rng(0).integers(0, 255, (3, 90, 50), np.uint8)
    face = fit_modality(open_rows(pictures), "tiles", side=32)
    back = face.from_tensors(face.to_tensors(open_rows(pictures))["x"], open_rows(pictures))
    assert back.dtype == np.uint8
    assert (back == pictures).all()


def test_any_part_of_the_tiles_is_the_same_as_in_the_whole(folder):
    face = fit_modality(open_rows(folder), "tiles", side=32)
    every = face.samples(open_rows(folder))
    x = face.to_tensors(every)["x"]
    for begin in range(0, len(every), 5):
        some = every.take(np.arange(begin, min(begin + 5, len(every))))
        assert (face.to_tensors(some)["x"] == x[begin : begin + 5]).all()


def test_the_state_travels_as_json(folder):
    face = fit_modality(open_rows(folder), "tiles", side=64)
    again = modality_from_json(modality_to_json(face))
    assert again.to_json() == face.to_json()
    assert again.shape == face.shape


def test_of_too_many_tiles_evenly_spread_ones_are_learned_from(monkeypatch):
    pictures = np.stack([np.full((96, 96), i, np.uint8) for i in range(20)])
    face = fit_modality(open_rows(pictures), "tiles", side=32)
    monkeypatch.setattr(tiles, "MOST_NUMBERS", 50 * 32 * 32)
    rows = open_rows(pictures)
    x, wholes = face.to_tensors(rows)["x"], face.wholes(rows)
    assert len(x) == len(wholes) == 50
    assert set(wholes) == set(range(20))
    assert (x.amax((1, 2, 3)) * 255 == x.new_tensor(wholes)).all()
    assert len(face.to_tensors(face.samples(rows))["x"]) == 16 * 20  # at use all


@pytest.mark.parametrize("side", [0, 24, 33, "large", True])
def test_a_side_that_is_none_is_told(side):
    with pytest.raises(SpecError, match="side of a tile"):
        fit_modality(Rows("image", np.zeros((2, 64, 64), np.uint8)), "tiles", side=side)
