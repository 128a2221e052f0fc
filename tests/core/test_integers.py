import contextlib
import zlib

import hypothesis.extra.numpy as arrays
import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from isthmus.core.integers import (
    MOST,
    Columns,
    decode,
    encode,
)

#: What bytes that nobody coded may raise; the caller calls it damage.
DAMAGE = (ValueError, IndexError, KeyError, OverflowError, zlib.error)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_whatever_goes_in_comes_back(data):
    n, d = data.draw(st.integers(1, 40)), data.draw(st.integers(1, 6))
    levels = tuple(data.draw(st.sampled_from([0, 0, 1, 3, 200])) for _ in range(d))
    size = data.draw(st.sampled_from([1, 5, 300, 10**6, MOST // 3]))
    q = data.draw(arrays.arrays(np.int64, (n, d), elements=st.integers(-size, size)))
    q = np.where(np.array(levels) > 0, np.abs(q) % np.maximum(levels, 1), q)
    present = data.draw(st.none() | arrays.arrays(np.bool_, (n, d)))
    hints = data.draw(st.none() | arrays.arrays(np.int64, (n, d), elements=st.integers(-(2**62), 2**62)))
    offsets = data.draw(st.sampled_from([(), (1,), (1, 2, 5)]))
    columns = Columns(n, levels, present, hints)
    back = decode(encode(q, columns, offsets), columns)
    there = np.ones((n, d), bool) if present is None else present
    assert np.array_equal(back[there], q[there])


def walk(n=1000, d=20, seed=0):
    chance = np.random.default_rng(seed)
    return np.rint(chance.normal(size=(n, d)).cumsum(1) * 20).astype(np.int64)


def test_it_costs_what_is_left_over():
    """A random walk of σ = 20 steps costs log2(20 √(2πe)) bits a cell, whatever the level."""
    q = walk(4000) + 1_000_000
    ideal = np.log2(20 * np.sqrt(2 * np.pi * np.e)) * q.size / 8
    found = len(encode(q, Columns(*q.shape[:1], (0,) * 20), (1, 2)))
    assert ideal < found < 1.03 * ideal


def test_a_hint_is_worth_what_it_tells():
    q = walk()
    told = (q << 8) + np.random.default_rng(1).integers(-256, 256, q.shape)
    alone = len(encode(q, Columns(len(q), (0,) * 20), ()))
    assert len(encode(q, Columns(len(q), (0,) * 20, None, told), ())) < 0.25 * alone


def test_a_category_is_told_by_others_and_by_the_cell_above():
    chance = np.random.default_rng(2)
    first = np.repeat(chance.integers(0, 50, 100), 40)  # long runs
    q = np.column_stack([first, first * 7 % 50, chance.integers(0, 50, 4000)])
    columns = Columns(len(q), (50, 50, 50))
    data = encode(q, columns)
    assert np.array_equal(decode(data, columns), q)
    assert len(data) < 4000 * np.log2(50) / 8 * 1.2 + 800  # as if the third were alone
    # and numbers of few values are such categories too
    numbers = Columns(len(q), (0, 0, 0))
    assert len(encode(q * 977 - 12_345, numbers)) < 1.1 * len(data) + 500


def test_numbers_too_far_apart_are_refused():
    with pytest.raises(ValueError, match="too far apart"):
        encode(np.array([[0], [0], [MOST]]), Columns(3, (0,)))


def test_bytes_that_nobody_coded_do_no_harm():
    q = np.column_stack([walk(200, 4), walk(200, 1, 3)[:, 0] % 7])
    columns = Columns(200, (0, 0, 0, 0, 7))
    data, chance = encode(q, columns), np.random.default_rng(0)
    for _ in range(200):
        broken = bytearray(data)
        for at in chance.integers(0, len(data), chance.integers(1, 4)):
            broken[at] ^= 1 << chance.integers(0, 8)
        with contextlib.suppress(*DAMAGE):
            assert decode(bytes(broken), columns).shape == q.shape
