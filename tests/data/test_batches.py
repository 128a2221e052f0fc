import pytest
import torch

from isthmus.data.batches import InMemory, in_order


@pytest.mark.parametrize(("n", "size"), [(1, 8), (7, 8), (8, 8), (9, 8), (100, 7), (64, 1), (5, 100), (129, 128)])
def test_every_row_once_and_batches_of_one_size(n, size):
    x = torch.arange(n)
    batches = InMemory({"x": x, "twice": 2 * x}, size, seed=3)
    for epoch in range(3):
        seen = list(batches.epoch(epoch))
        sizes = [len(b["x"]) for b in seen]
        assert len(seen) == len(batches) == -(-n // size)
        assert max(sizes) - min(sizes) <= 1
        assert min(sizes) > 0
        assert max(sizes) <= size
        assert torch.cat([b["x"] for b in seen]).sort().values.equal(x)
        assert all(torch.equal(b["twice"], 2 * b["x"]) for b in seen), "what belongs together stays together"


def order(epoch, seed, n=200):
    return torch.cat([b["x"] for b in InMemory({"x": torch.arange(n)}, 16, seed).epoch(epoch)]).tolist()


def test_the_order_is_a_matter_of_seed_and_epoch_alone():
    torch.manual_seed(0)
    state = torch.get_rng_state()
    assert order(0, 5) == order(0, 5)
    assert order(0, 5) != order(1, 5)
    assert order(0, 5) != order(0, 6)
    assert torch.equal(torch.get_rng_state(), state), "nobody else's generator is touched"


def test_large_seeds():
    assert order(3, 2**31 - 2) != order(2, 2**31 - 2)


def test_from_the_middle_on_the_same_batches():
    batches = InMemory({"x": torch.arange(50)}, 8, seed=1)
    whole = [b["x"].tolist() for b in batches.epoch(2)]
    for start in range(len(batches) + 1):
        assert [b["x"].tolist() for b in batches.epoch(2, start)] == whole[start:]


def test_in_order_is_in_order_without_copies():
    x = torch.arange(10)
    parts = list(in_order({"x": x, "y": -x}, 4))
    assert [p["x"].tolist() for p in parts] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert parts[1]["y"].tolist() == [-4, -5, -6, -7]
    assert parts[0]["x"].data_ptr() == x.data_ptr()
