import numpy as np
import pytest

from isthmus.core.drift import Watch


def run(n, k, rate, seed, *, shift=0.0, wide=1.0, start=0, known=128, block=32):
    """The row by which a change is seen, or None."""
    g = np.random.default_rng(seed)
    watch = Watch([g.normal(size=known) for _ in range(k)], false_rate=rate, seed=seed)
    for begin in range(0, n, block):
        rows = g.normal(size=(block, k))
        if watch.see(rows * wide + shift if begin >= start else rows):
            return begin + block
    return None


@pytest.mark.parametrize(("n", "k", "rate"), [(2000, 1, 1e-4), (1000, 4, 1e-4)])
def test_rows_of_one_kind_are_seldom_called_a_change(n, k, rate):
    """P(remark within n rows) ≤ n · rate; in 120 runs, three standard deviations above it."""
    runs = 120
    false = sum(run(n, k, rate, seed) is not None for seed in range(runs))
    bound = n * rate
    assert false <= runs * bound + 3 * np.sqrt(runs * bound * (1 - bound))
    assert false > 0  # it is a watch that can bark


def test_the_wealth_grows_by_one_a_row_on_average():
    """R − t is a martingale: without bias however few rows are known."""
    ends = []
    for seed in range(400):
        g = np.random.default_rng(seed)
        watch = Watch([g.normal(size=20)], false_rate=1e-12, seed=seed)
        watch.see(g.normal(size=(20, 1)))
        ends.append(watch.evidence)
    assert np.mean(ends) == pytest.approx(20, abs=4 * np.std(ends) / 20)


@pytest.mark.parametrize(("shift", "wide", "within"), [(0.5, 1, 700), (2, 1, 200), (-2, 1, 200), (0, 3, 400)])
def test_a_change_is_seen(shift, wide, within):
    seen = run(4096, 3, 1e-6, seed=1, shift=shift, wide=wide, start=1024)
    assert seen is not None
    assert 1024 < seen <= 1024 + within


def test_a_few_anomalies_are_no_change():
    g = np.random.default_rng(0)
    watch = Watch([g.normal(size=500)], false_rate=1e-6)
    rows = g.normal(size=(20_000, 1))
    rows[::100] += 50
    assert not any(watch.see(part) for part in np.split(rows, 200))


def test_a_long_stream_of_usual_rows_makes_no_remark():
    """Far longer than what is known: the error that a few known rows have must not be taken for a change."""
    for seed in range(4):
        assert run(30_000, 2, 1e-6, seed, known=200, block=500) is None


def test_the_size_of_the_blocks_does_not_matter():
    """The same rows, the same ranks, the same wealth."""
    g = np.random.default_rng(0)
    known, rows = g.normal(size=300), g.normal(size=(640, 1))
    ends = []
    for block in (1, 64, 640):
        watch = Watch([known], false_rate=1e-12)
        for part in np.split(rows, 640 // block):
            watch.see(part)
        ends.append(watch.wealth)
    np.testing.assert_allclose(ends[0], ends[1], rtol=1e-6)
    np.testing.assert_allclose(ends[0], ends[2], rtol=1e-6)


def test_equal_numbers_are_no_change():
    watch = Watch([np.zeros(100)], false_rate=1e-4)
    assert not any(watch.see(np.zeros((32, 1))) for _ in range(60))


def test_after_a_change_it_begins_anew():
    g = np.random.default_rng(0)
    watch = Watch([g.normal(size=500)], false_rate=1e-6)
    assert any(watch.see(part) for part in np.split(g.normal(size=(512, 1)) + 3, 16))
    assert not any(watch.see(part) for part in np.split(g.normal(size=(2048, 1)) + 3, 64))
    assert any(watch.see(part) for part in np.split(g.normal(size=(512, 1)), 16))
