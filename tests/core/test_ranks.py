import numpy as np

from isthmus.core.ranks import fused


def test_first_in_all_is_one_and_in_none_of_them_is_not_listed():
    rows, scores, places = fused([np.array([5, 1, 2]), np.array([5, 9])], 10)
    assert rows[0] == 5
    assert scores[0] == 1.0
    assert set(rows.tolist()) == {5, 1, 2, 9}
    assert places[rows == 9].tolist() == [[0, 2]]


def test_scores_are_the_sum_over_rankings():
    rows, scores, _ = fused([np.array([3, 4]), np.array([4])], 2, slow=60)
    expected = {3: 0.5 * 61 / 61, 4: 0.5 * (61 / 62 + 61 / 61)}
    assert rows.tolist() == [4, 3]
    assert np.allclose(scores, [expected[row] for row in rows.tolist()])


def test_one_ranking_stays_as_it_is():
    order = np.random.default_rng(0).permutation(50)
    assert np.array_equal(fused([order, np.zeros(0, np.int64)], 50)[0], order)
