import itertools
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from isthmus.data.batches import InMemory, Streamed, in_order
from isthmus.data.large import ahead
from isthmus.data.sparse import Sparse


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


def test_symmetries_are_drawn_for_every_batch_and_done_to_what_belongs_together():
    x = torch.arange(60.0).view(30, 2)
    ways = (lambda t: t, lambda t: t.flip(1))
    batches = InMemory({"x": x, "target": -x, "condition": x[:, :1]}, 3, seed=2, symmetries=ways)
    seen = list(batches.epoch(0))
    mirrored = [bool((b["x"][:, 0] > b["x"][:, 1]).all()) for b in seen]
    assert 0 < sum(mirrored) < len(seen)
    assert all(torch.equal(b["target"], -b["x"]) for b in seen)
    assert all(torch.equal(b["condition"], b["x"].amin(1, keepdim=True)) for b in seen), "what is none stays"
    assert all(torch.equal(a["x"], b["x"]) for a, b in zip(seen[4:], batches.epoch(0, 4), strict=True))


def test_in_order_is_in_order_without_copies():
    x = torch.arange(10)
    parts = list(in_order({"x": x, "y": -x}, 4))
    assert [p["x"].tolist() for p in parts] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert parts[1]["y"].tolist() == [-4, -5, -6, -7]
    assert parts[0]["x"].data_ptr() == x.data_ptr()


# -- rows that are read while they are trained on ---------------------------------------------------


def streamed(counts, size=16, seed=0, buffer=10**9, gaps=()):
    """Rows are numbers that count on through the blocks; blocks in ``gaps`` say of entries whether they are there."""
    begins = np.concatenate([[0], np.cumsum(counts)])

    def read(block):
        for some in np.array_split(np.arange(begins[block], begins[block + 1]), 3):
            x = torch.from_numpy(some).float()
            if len(x):
                yield {"x": x, "observed": x % 2 == 0} if block in gaps else {"x": x}

    return Streamed(counts, read, size, seed, buffer=buffer)


COUNTS = [100, 1, 0, 57, 300, 42]


@pytest.mark.parametrize("buffer", [1, 60, 200, 10**9])
@pytest.mark.parametrize("size", [1, 7, 64, 1000])
def test_streamed_rows_come_once_in_batches_of_one_size(buffer, size):
    batches = streamed(COUNTS, size, buffer=buffer)
    for epoch in range(2):
        seen = [b["x"] for b in batches.epoch(epoch)]
        sizes = list(map(len, seen))
        assert len(seen) == len(batches) == len(InMemory({"x": torch.arange(500)}, size))
        assert max(sizes) - min(sizes) <= 1
        assert sizes == [len(b["x"]) for b in InMemory({"x": torch.arange(500)}, size).epoch(epoch)]
        assert torch.cat(seen).sort().values.equal(torch.arange(500.0))


@pytest.mark.parametrize("buffer", [1, 150, 10**9])
def test_streamed_from_the_middle_on_the_same_batches(buffer):
    batches = streamed(COUNTS, 23, buffer=buffer, gaps=(4,))
    whole = list(batches.epoch(3))
    for start in range(len(batches) + 1):
        rest = list(batches.epoch(3, start))
        assert [b["x"].tolist() for b in rest] == [b["x"].tolist() for b in whole[start:]]
        assert [b.keys() for b in rest] == [b.keys() for b in whole[start:]]


def test_going_on_reads_nothing_that_is_over():
    read = []
    batches = streamed([50] * 10, 25, buffer=100)
    inner, batches.read = batches.read, lambda block: read.append(block) or inner(block)
    list(batches.epoch(0, start=len(batches) - 2))
    assert len(read) == 2


def test_rows_that_fit_in_the_buffer_are_read_once():
    read = []
    batches = streamed([50] * 10, 25, buffer=500)
    inner, batches.read = batches.read, lambda block: read.append(block) or inner(block)
    orders = [torch.cat([b["x"] for b in batches.epoch(k)]).tolist() for k in range(3)]
    assert read == list(range(10))
    assert orders[0] != orders[1] != orders[2]


def test_the_streamed_order_is_a_matter_of_seed_and_epoch_alone():
    def order(epoch, seed, buffer=200):
        return torch.cat([b["x"] for b in streamed(COUNTS, 16, seed, buffer).epoch(epoch)]).tolist()

    state = torch.get_rng_state()
    assert order(0, 5) == order(0, 5)
    assert order(0, 5) != order(1, 5)
    assert order(0, 5) != order(0, 6)
    assert torch.equal(torch.get_rng_state(), state)


def test_a_buffer_mixes_its_blocks():
    """The mean place of early rows is that of all: a batch is no stretch of the file."""
    first = torch.cat([b["x"] for b in itertools.islice(streamed([100] * 50, 50, buffer=5000).epoch(0), 10)])
    assert abs(float(first.mean()) - 2500) < 3 * 1443 / 500**0.5


def test_what_one_block_says_of_gaps_is_said_of_all():
    batches = streamed([40, 40, 40], 10, buffer=80, gaps=(1,))
    for b in batches.epoch(0):
        if "observed" in b:
            inside = (b["x"] >= 40) & (b["x"] < 80)
            assert torch.equal(b["observed"], ~inside | (b["x"] % 2 == 0))
    assert any("observed" in b for b in batches.epoch(0))


def test_sparse_rows_that_stream_come_once_each_and_dense():
    g = torch.Generator().manual_seed(0)
    x = torch.rand(95, 12, generator=g) * (torch.rand(95, 12, generator=g) < 0.2)
    x[7] = 0
    x[:, 0] = torch.arange(95)
    counts = [10] * 9 + [5]

    def sparse(rows):
        there = rows != 0
        starts = torch.cat([torch.zeros(1, dtype=torch.long), there.sum(1).cumsum(0)])
        return Sparse(starts, there.nonzero()[:, 1].int(), rows[there], rows.shape[1])

    def read(block):
        rows = x[10 * block : 10 * block + counts[block]]
        yield {"x": sparse(rows[:3])}
        yield {"x": sparse(rows[3:])}

    batches = Streamed(counts, read, 16, seed=1, buffer=25)
    whole = list(batches.epoch(0))
    assert [len(b["x"]) for b in whole] == [16] * 5 + [15]
    found = torch.cat([b["x"] for b in whole])
    assert not torch.equal(found, x)
    assert torch.equal(found[found[:, 0].argsort()], x)
    assert torch.equal(torch.cat([b["x"] for b in batches.epoch(0, 4)]), found[64:])


def test_the_thread_that_reads_computes_alone_and_no_other_does():
    def asked():
        yield torch.get_num_threads()

    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        assert next(ahead(asked())) == 1
        assert torch.get_num_threads() == 3
        with ThreadPoolExecutor(1) as another:
            assert another.submit(torch.get_num_threads).result() == 3
    finally:
        torch.set_num_threads(before)
