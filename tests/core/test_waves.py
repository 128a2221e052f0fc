"""Numbers along time come back, whatever their runs, for about what a predictor that knows their law would pay."""

import numpy as np
import pytest

from isthmus.core import integers, waves


def tones(n, seed=0, scale=2000.0):
    """A resonance that drifts, driven by noise."""
    chance = np.random.default_rng(seed)
    x, pole = np.zeros(n), 0.97
    angle = 0.3 + 0.2 * np.sin(np.arange(n) / 900)
    noise = chance.normal(size=n)
    for t in range(2, n):
        x[t] = 2 * pole * np.cos(angle[t]) * x[t - 1] - pole**2 * x[t - 2] + noise[t]
    return np.rint(x * scale / 10).astype(np.int64), scale / 10


@pytest.mark.parametrize("lengths", [[900], [300, 1, 0, 2, 400, 197], [5] * 40, [1], []])
def test_runs_of_any_length_come_back(lengths):
    x, _ = tones(max(sum(lengths), 3))
    q = np.stack([x, np.roll(x, 1) + 3, np.arange(len(x)) * 1000 + 10**12], 1)[: sum(lengths)]
    for columns in (1, 2, 3):
        data = waves.encode(q[:, :columns], lengths)
        assert np.array_equal(waves.decode(data, len(q), columns), q[:, :columns])


def test_a_drifting_tone_costs_little_more_than_its_noise():
    x, deviation = tones(12_000)
    data = waves.encode(x[:, None], [5000, 7000])
    noise = np.log2(deviation * np.sqrt(2 * np.pi * np.e))
    bits = 8 * len(data) / len(x)
    assert noise < bits < noise + 0.3
    # weights that stay as they are pay for the drift
    rows = x[: 8 * 1500].reshape(8, 1500)
    fixed = integers.encode(rows, integers.Columns(8, (0,) * 1500), (1, 2, 3, 4))
    assert len(data) < 0.97 * len(fixed)


def test_a_column_that_another_tells_costs_nearly_nothing():
    x, _ = tones(3000)
    alone = len(waves.encode(x[:, None], [1000] * 3))
    assert len(waves.encode(np.stack([x, 3 * x + 1], 1), [1000] * 3)) < 1.1 * alone


def test_what_nobody_wrote_is_refused_or_comes_to_an_end():
    x, _ = tones(1500)
    data, chance = waves.encode(x[:, None], [700, 800]), np.random.default_rng(0)
    for wrong in (data[:40], data + b"1234", b""):
        with pytest.raises(ValueError, match=r"its|what"):
            waves.decode(wrong, 1500, 1)
    with pytest.raises(ValueError, match="runs"):
        waves.decode(data, 1499, 1)
    for _ in range(10):
        broken = bytearray(data)
        broken[chance.integers(len(broken) if chance.random() < 0.5 else 300)] ^= 1 << chance.integers(8)
        try:
            waves.decode(bytes(broken), 1500, 1)
        except Exception as error:
            assert isinstance(error, (ValueError, IndexError, OverflowError)), error  # noqa: PT017


def test_numbers_too_far_apart_are_refused():
    with pytest.raises(ValueError, match="far apart"):
        waves.encode(np.array([[0], [0], [1 << 40]]), [3])
