"""Sparse rows give what dense rows give, wherever batches are cut."""

import pytest
import torch

from isthmus.data.batches import InMemory, in_order
from isthmus.data.sparse import Sparse, dense

G = torch.Generator().manual_seed(0)
DENSE = torch.randn(23, 40, generator=G) * (torch.rand(23, 40, generator=G) < 0.1)
DENSE[[3, 22]] = 0  # rows without an entry, the last one among them


def sparse(x=DENSE):
    rows, columns = x.nonzero(as_tuple=True)
    starts = torch.searchsorted(rows, torch.arange(len(x) + 1))
    return Sparse(starts, columns.int(), x[rows, columns], x.shape[1])


@pytest.mark.parametrize("cut", [slice(None), slice(2, 9), slice(20, 99), slice(9, 2), slice(0, 23, 5), slice(3, 4)])
def test_slices(cut):
    assert torch.equal(sparse()[cut].dense(), DENSE[cut])
    assert len(sparse()[cut]) == len(DENSE[cut])


def test_rows_in_any_order_and_more_than_once():
    order = torch.tensor([22, 0, 7, 7, 3])
    assert torch.equal(sparse().index_select(0, order).dense(), DENSE[order])
    assert sparse().shape == DENSE.shape


def test_batches_are_those_of_dense_rows():
    beside = torch.arange(23)
    for one, two in zip(
        InMemory({"x": sparse(), "y": beside}, 5, seed=3).epoch(1),
        InMemory({"x": DENSE, "y": beside}, 5, seed=3).epoch(1),
        strict=True,
    ):
        assert torch.equal(one["x"], two["x"])
        assert torch.equal(one["y"], two["y"])
    assert torch.equal(torch.cat([b["x"] for b in in_order({"x": sparse()}, 4)]), DENSE)
    assert torch.equal(dense({"x": sparse()})["x"], DENSE)
