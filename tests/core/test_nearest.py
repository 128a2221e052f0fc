import pytest
import torch

from isthmus.core import nearest as module
from isthmus.core.nearest import nearest


@pytest.mark.parametrize("itself", [True, False])
def test_it_finds_what_looking_at_every_pair_finds(itself, monkeypatch):
    monkeypatch.setattr(module, "_AT_ONCE", 700)  # several blocks, the last one short
    torch.manual_seed(0)
    rows = torch.randn(100, 5) + 1000  # far from 0, where squares lose digits
    queries = rows if not itself else torch.randn(33, 5) + 1000
    apart = torch.cdist(queries.double(), rows.double(), compute_mode="donot_use_mm_for_euclid_dist")
    if not itself:
        apart.fill_diagonal_(torch.inf)
    expected = apart.topk(4, largest=False)
    distances, places = nearest(queries, rows, 4, itself=itself)
    assert torch.equal(places, expected.indices)
    assert torch.allclose(distances.double(), expected.values, atol=1e-3)


def test_copies_are_neighbours_though_the_row_itself_is_not():
    rows = torch.zeros(3, 2)
    _, places = nearest(rows, rows, 2, itself=False)
    assert all(i not in near for i, near in enumerate(places.tolist()))


@pytest.mark.parametrize("k", [0, 4])
def test_more_than_there_is_is_refused(k):
    with pytest.raises(ValueError, match="between 1 and 3"):
        nearest(torch.zeros(1, 2), torch.zeros(3, 2), k)
