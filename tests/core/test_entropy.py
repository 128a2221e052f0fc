import numpy as np

from isthmus.core.entropy import Reader, Stack, Writer, filler


def test_tables_cost_what_their_entropy_says():
    chance = np.random.default_rng(0)
    counts = np.array([700, 200, 0, 80, 20])
    symbols = chance.choice(5, 20_000, p=counts / counts.sum())
    writer = Writer()
    writer.put(symbols, counts)
    writer.put(np.zeros(50, np.int64), np.array([3]))  # one symbol alone says nothing
    writer.put_each(symbols[:100], symbols[:100] * 0 + 7, {7: counts})
    data = writer.bytes()
    p = counts[counts > 0] / counts.sum()
    assert len(data) * 8 < 20_100 * -(p * np.log2(p)).sum() * 1.02 + 64
    reader = Reader(data)
    assert np.array_equal(reader.take(20_000, counts), symbols)
    assert not reader.take(50, np.array([3])).any()
    assert [reader.take_one(7, counts) for _ in range(100)] == symbols[:100].tolist()


def test_what_is_taken_can_be_put_back():
    """Drawing is decoding: a stack that gives symbols under any law takes them again and is what it was."""
    chance = np.random.default_rng(1)
    weights = chance.random((300, 37)) ** 4
    below = np.concatenate([np.zeros((300, 1)), weights.cumsum(1), np.repeat(weights.sum(1)[:, None], 27, 1)], 1)

    def law(k):
        return below[np.arange(300), np.minimum(k, 64)]

    stack = Stack(filler(200), seal=True)
    before = stack.words()
    bits = stack.bits
    values = stack.take_levels(300, law, 6)
    assert values.max() < 37
    price = -np.log2(weights[np.arange(300), values] / weights.sum(1)).sum()
    assert abs((bits - stack.bits) - price) < 0.01 * price + 64
    even = stack.take_even(20, 4096)
    p = chance.random(500)
    coins = stack.take_bits(p)
    stack.put_bits(coins, p)
    stack.put_even(even, 4096)
    stack.put_levels(values, law, 6)
    assert np.array_equal(stack.words(), before)
