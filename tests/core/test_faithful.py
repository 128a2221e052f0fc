import pytest
import torch
from sklearn.manifold import trustworthiness

from isthmus.core.faithful import faithful


def rows(n=80, width=5, seed=0):
    return torch.randn(n, width, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("k", [3, 10])
def test_it_is_what_scikit_learn_says(k):
    x, z = rows(), rows(width=2, seed=1) + rows()[:, :2]
    found = faithful(x, z, k)
    assert found.trustworthiness == pytest.approx(trustworthiness(x.numpy(), z.numpy(), n_neighbors=k))
    assert found.continuity == pytest.approx(trustworthiness(z.numpy(), x.numpy(), n_neighbors=k))


def test_turned_and_stretched_rows_keep_everything():
    x = rows(width=3)
    turned = 7 * x @ torch.linalg.qr(rows(3, 3, seed=2))[0] + 4
    found = faithful(x, turned)
    for name in ("trustworthiness", "continuity", "agreement", "distances"):
        assert getattr(found, name) == pytest.approx(1)


def test_places_without_any_relation_keep_nothing():
    found = faithful(rows(500), rows(500, 2, seed=3))
    assert found.trustworthiness == pytest.approx(0.5, abs=0.05)
    assert found.agreement == pytest.approx(10 / 499, abs=0.01)
    assert found.distances == pytest.approx(0, abs=0.05)


def test_what_is_folded_onto_each_other_costs_trust_and_not_continuity():
    x = torch.linspace(-1, 1, 100)[:, None]
    found = faithful(x, x.abs() + 1e-4 * x, 4)
    assert found.continuity > found.trustworthiness
    assert found.agreement < 0.6


def test_few_rows_have_fewer_neighbours():
    assert faithful(rows(12), rows(12, 2), 10).k == 3


def test_equal_rows_are_no_trouble():
    found = faithful(torch.zeros(20, 3), torch.zeros(20, 2))
    assert 0 <= found.trustworthiness <= 1
    assert found.distances == 0
