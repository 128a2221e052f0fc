import datetime

import numpy as np
import pyarrow as pa
import pytest

from isthmus.data.seen import Seen, row_hashes

G = np.random.default_rng(0)


def table(n=4000, start=0):
    return pa.table({
        "a": G.normal(size=n), "i": np.arange(start, start + n), "c": G.choice(list("xyz"), n), "b": G.random(n) < 0.5,
        "d": [datetime.date(2024, 1, 1) + datetime.timedelta(days=int(k)) for k in G.integers(0, 99, n)],
    })  # fmt: skip


def test_no_row_is_forgotten_and_few_are_taken_for_seen():
    known, new = table(), table(start=10**6)
    seen = Seen.of(known)
    assert seen.holds(known).all()
    assert seen.holds(new).mean() < 0.01
    assert len(seen.bits) == 1.5 * len(known)


@pytest.mark.parametrize("column", ["a", "i", "c", "b", "d"])
def test_one_other_cell_makes_another_row(column):
    known = table()
    other = known[column].combine_chunks()
    changed = known.set_column(known.column_names.index(column), column, other.take(np.roll(np.arange(4000), 1)))
    same = (np.array(known[column].to_pylist(), object) == np.array(changed[column].to_pylist(), object)).mean()
    assert (row_hashes(known) == row_hashes(changed)).mean() == pytest.approx(same)


def test_missing_cells_are_cells():
    rows = pa.table({"a": [None, 0.0, None], "c": ["", None, None], "i": pa.array([None, 0, None], pa.int64())})
    first, then, last = row_hashes(rows)
    assert len({first, then, last}) == 3


def test_what_float32_makes_of_a_number_is_the_same():
    numbers = np.round(np.exp(G.normal(5, 2, 5000)), 2)
    close = numbers.astype(np.float32).astype(np.float64)
    assert (row_hashes(pa.table({"a": numbers})) == row_hashes(pa.table({"a": close}))).mean() > 0.98
    assert row_hashes(pa.table({"a": [0.0]})) == row_hashes(pa.table({"a": [-0.0]}))


def test_numbers_that_are_hardly_any():
    assert len(set(row_hashes(pa.table({"a": [np.inf, 1e300, 1e-300, np.nan, 5e-324]})))) >= 3
