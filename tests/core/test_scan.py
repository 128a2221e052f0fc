import numpy as np
import pytest

from isthmus.core import scan
from isthmus.core.bits import Bits
from isthmus.core.lists import Lists, n_lists
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


class TestBits:
    def test_few_bits_differ_where_the_angle_is_small(self, rows):
        bits = Bits.fit(rows)
        other = unit(rows + 0.05 * G.normal(size=rows.shape))
        differing = np.unpackbits(bits.of(rows) ^ bits.of(other), axis=1).mean(1)
        # on average the angle ÷ π, about the middle
        a, b = rows - bits.middle, other - bits.middle
        angle = np.arccos(np.einsum("nd,nd->n", a, b) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1))
        assert differing.mean() == pytest.approx((angle / np.pi).mean(), rel=0.1)

    @pytest.mark.parametrize("width", [3, 64, 100, 130])
    def test_there_are_whole_words_of_them(self, width):
        bits = Bits.fit(G.normal(size=(10, width)).astype(np.float32))
        assert bits.of(np.zeros((2, width), np.float32)).shape[1] % 8 == 0
        assert bits.planes.shape[1] >= max(128, width)

    def test_without_faiss_the_same_rows_are_found(self, rows, monkeypatch):
        bits = Bits.fit(rows)
        bits.bits = bits.of(rows)
        queries = unit(G.normal(size=(10, 16)))

        def apart(places):
            bytes_ = bits.of(queries)[:, None] ^ bits.bits[places]
            return np.sort(np.unpackbits(bytes_, axis=2).sum(2), axis=1)

        with_faiss = apart(bits.nearest(queries, 20))
        monkeypatch.setattr("isthmus.core.bits._faiss", lambda: None)
        assert np.array_equal(with_faiss, apart(bits.nearest(queries, 20)))


@pytest.fixture(scope="module")
def many():
    pytest.importorskip("faiss")
    centres = G.normal(size=(40, 12))
    rows = unit(centres[G.integers(0, 40, 6000)] + 0.4 * G.normal(size=(6000, 12)))
    return rows, Lists.fit(Kept(rows))


class TestLists:
    def test_the_nearest_are_among_the_candidates(self, many):
        rows, lists = many
        queries = rows[:200]
        found = again(queries, Kept(rows), lists.nearest(queries, 100, 32), 10)[1]
        truth = exact(queries, rows, 10)[1]
        recall = np.mean([len(np.intersect1d(a, b)) / 10 for a, b in zip(found, truth, strict=True)])
        assert recall > 0.95

    def test_rows_that_are_added_are_found_and_those_taken_are_not(self, many):
        rows, lists = many
        new = unit(G.normal(size=(5, 12)))
        more = lists.with_rows(Kept(np.concatenate([rows, new])), range(6000, 6005))
        assert (more.nearest(new, 1, 8)[:, 0] == np.arange(6000, 6005)).all()
        fewer = more.take(np.arange(6000, 6005))
        assert set(fewer.nearest(new, 10, len(lists.centres)).ravel().tolist()) == {-1, 0, 1, 2, 3, 4}

    def test_plain_arrays_are_all_there_is(self, many):
        rows, lists = many
        again_made = Lists(*(np.array(a) for a in (lists.centres, lists.codewords, lists.cell, lists.packed)))
        assert np.array_equal(again_made.nearest(rows[:50], 20, 8), lists.nearest(rows[:50], 20, 8))
        assert len(lists.centres) == n_lists(6000)
