import numpy as np
import pytest

from isthmus.core.lists import Lists, n_lists
from isthmus.core.scan import Kept, again, best, unit

G = np.random.default_rng(0)


@pytest.fixture(scope="module")
def many():
    pytest.importorskip("faiss")
    centres = G.normal(size=(40, 12))
    rows = unit(centres[G.integers(0, 40, 6000)] + 0.4 * G.normal(size=(6000, 12)))
    return rows, Lists.fit(Kept(rows))


def test_the_nearest_are_among_the_candidates(many):
    rows, lists = many
    queries = rows[:200]
    found = again(queries, Kept(rows), lists.nearest(queries, 100, 32), 10)[1]
    truth = best(queries, Kept(rows), 10)[1]
    recall = np.mean([len(np.intersect1d(a, b)) / 10 for a, b in zip(found, truth, strict=True)])
    assert recall > 0.95


def test_rows_that_are_added_are_found_and_those_taken_are_not(many):
    rows, lists = many
    new = unit(G.normal(size=(5, 12)))
    more = lists.with_rows(Kept(np.concatenate([rows, new])), range(6000, 6005))
    found = again(new, Kept(np.concatenate([rows, new])), more.nearest(new, 50, 8), 1)[1]
    assert found[:, 0].tolist() == [6000, 6001, 6002, 6003, 6004]
    fewer = more.take(np.arange(6000, 6005))
    assert set(fewer.nearest(new, 10, len(lists.centres)).ravel().tolist()) == {-1, 0, 1, 2, 3, 4}


def test_plain_arrays_are_all_there_is(many):
    rows, lists = many
    again_made = Lists(*(np.array(a) for a in (lists.centres, lists.codewords, lists.cell, lists.packed)))
    assert np.array_equal(again_made.nearest(rows[:50], 20, 8), lists.nearest(rows[:50], 20, 8))
    assert len(lists.centres) == n_lists(6000)
