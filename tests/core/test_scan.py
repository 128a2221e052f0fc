import numpy as np
import pytest

from isthmus.core import scan
from isthmus.core.scan import Kept, again, best, eight_bits, unit

G = np.random.default_rng(0)


@pytest.fixture
def rows():
    return unit(G.normal(size=(500, 16)))


def exact(queries, rows, k):
    cosines = queries.astype(np.float64) @ rows.T.astype(np.float64)
    places = np.argsort(-cosines, axis=1)[:, :k]
    return np.take_along_axis(cosines, places, 1), places


@pytest.mark.parametrize("among", [None, np.arange(3, 400, 7)])
def test_the_best_are_what_looking_at_all_finds(rows, among, monkeypatch):
    monkeypatch.setattr(scan, "_BLOCK", 37)
    queries = unit(G.normal(size=(20, 16)))
    chosen = np.arange(500) if among is None else among
    expected, places = exact(queries, rows[chosen], 5)
    found, where = best(queries, Kept(rows), 5, among)
    assert np.array_equal(where, chosen[places])
    assert np.allclose(found, expected, atol=1e-6)


def test_more_than_there_are_gives_all(rows):
    assert best(rows[:2], Kept(rows[:3]), 10)[1].shape == (2, 3)
    assert best(rows[:2], Kept(rows), 10, np.zeros(0, np.int64))[1].shape == (2, 0)


def test_eight_bits_keep_directions(rows):
    kept = Kept(eight_bits(rows))
    back = kept.take(np.arange(500)).numpy()
    assert kept.numbers.nbytes * 4 == rows.nbytes
    assert np.allclose(np.linalg.norm(back, axis=1), 1, atol=1e-6)
    assert (np.einsum("nd,nd->n", back, rows) > 0.9999).all()


def test_a_code_of_zeros_stays_one():
    assert not unit(np.zeros((1, 3))).any()
    assert not Kept(eight_bits(np.zeros((1, 3), np.float32))).take(np.array([0])).any()


def test_candidates_are_put_in_order_and_none_is_last(rows):
    queries = rows[:1]
    candidates = np.array([[7, -1, 0, 3]])
    cosines, places = again(queries, Kept(rows), candidates, 4)
    assert places[0, 0] == 0
    assert places[0, -1] == -1
    assert np.isneginf(cosines[0, -1])
