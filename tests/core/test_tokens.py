import numpy as np

from isthmus.core.tokens import as_small_floats, low_bits, residuals_of, small_floats, token_of


def test_tokens_and_small_floats():
    values = np.concatenate([np.arange(-300, 300), np.array([2**40, -(2**40), 12_345_678, -1])])
    tokens = token_of(values)[0]
    back, used = residuals_of(tokens, low_bits(values))
    assert np.array_equal(back, values)
    assert used == token_of(values)[1].sum()
    counts = np.arange(1, 300_000, 7)
    near = small_floats(as_small_floats(counts))
    assert (np.abs(near / counts - 1) < 1 / 30).all()
    assert (np.diff(near) >= 0).all()
    assert small_floats(as_small_floats(np.zeros(1, np.int64))) == 0
