import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isthmus.data.tiles import GRID, Tiles, _begins, worst_of


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 900), st.sampled_from([32, 64, 256]))
def test_tiles_hold_every_pixel_and_overlap(length, side):
    begins = np.array(_begins(length, side))
    assert begins[0] == 0
    assert (begins % GRID == 0).all()
    assert begins[-1] + side >= length
    assert begins[-1] + side < max(length, side) + GRID
    assert (np.diff(begins) <= side - side // 8).all()


def test_what_tiles_say_of_a_pixel_is_put_together_at_its_place():
    """Tiles that say where they are give back a picture of places, in pictures of several sizes."""
    sizes = np.array([[100, 70], [32, 32], [20, 150]])
    tiles = Tiles.cut([None] * 3, sizes, 32)
    rows, columns = np.meshgrid(np.arange(32), np.arange(32), indexing="ij")
    said = np.stack([[rows + top, columns + left] for _, top, left in tiles.places]).transpose(0, 2, 3, 1)
    for (height, width), whole in zip(sizes, tiles.join(said), strict=True):
        assert whole.shape == (height, width, 2)
        assert (whole[..., 0] == np.arange(height)[:, None]).all()
        assert (whole[..., 1] == np.arange(width)).all()
    cells = said[:, ::GRID, ::GRID]
    whole = tiles.join(cells, GRID)[0]
    assert whole.shape == (13, 9, 2)
    assert (whole[..., 0] == GRID * np.arange(13)[:, None]).all()


def test_the_worst_tile_of_each_picture_is_told():
    tiles = Tiles.cut([None] * 2, np.array([[32, 80], [32, 32]]), 32)
    assert tiles.picture.tolist() == [0, 0, 0, 1]
    scores, which = worst_of(tiles, np.array([1.0, 5.0, 2.0, 0.5]))
    assert scores.tolist() == [5.0, 0.5]
    assert which.tolist() == [1, 3]


def test_chosen_tiles_stay_at_their_places():
    tiles = Tiles.cut([None], np.array([[64, 64]]), 32)
    with pytest.raises(IndexError):
        tiles[len(tiles)]
    assert tiles[[2, 0]].places.tolist() == tiles.places[[2, 0]].tolist()
