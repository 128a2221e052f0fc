import pytest
import torch

from isthmus.core.layout import _pushed, _weights, graph, lay_out
from isthmus.core.nearest import nearest


def blobs(n=60, groups=4, width=6, seed=0):
    g = torch.Generator().manual_seed(seed)
    which = torch.arange(n) % groups
    return torch.eye(width)[which] * 8 + torch.randn(n, width, generator=g), which


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("dim", [2, 3])
def test_groups_stay_together_and_apart(dim):
    rows, which = blobs(200)
    places = lay_out(rows, dim, generator=seeded())
    assert places.shape == (200, dim)
    near = nearest(places, places, 5, itself=False)[1]
    assert (which[near] == which[:, None]).float().mean() > 0.99
    torch.testing.assert_close(places.mean(0), torch.zeros(dim), atol=1e-4, rtol=0)
    assert places.square().mean().item() == pytest.approx(1)


def test_the_same_seed_gives_the_same_map_and_leaves_the_persons_numbers_alone():
    rows, _ = blobs()
    before = torch.get_rng_state()
    first, again, other = (lay_out(rows, generator=seeded(s), steps=30) for s in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_graph_has_every_edge_both_ways_and_of_one_weight():
    rows, _ = blobs()
    heads, tails, weights = graph(rows, 5)
    dense = torch.zeros(60, 60).index_put_((heads, tails), weights)
    assert torch.equal(dense, dense.T)
    assert len(weights) == (dense > 0).sum()
    near = nearest(rows, rows, 5, itself=False)[1]
    assert (dense.gather(1, near) > 0).all()
    assert dense.diagonal().sum() == 0


def test_weights_of_neighbours_sum_to_the_logarithm_of_their_number():
    distances = torch.rand(20, 8, generator=seeded()).sort(1).values
    weights = _weights(distances)
    torch.testing.assert_close(weights.sum(1), torch.full((20,), 3.0), rtol=1e-3, atol=0)
    assert (weights[:, 0] == 1).all()


def test_the_pushing_apart_is_the_sum_over_all_pairs_in_the_mean():
    y = torch.randn(40, 2, generator=seeded())
    away = y[:, None] - y[None]
    near = 1 / (1 + away.square().sum(2, keepdim=True))
    exact = (near.square() * away).sum(1) / 39
    g = seeded(1)
    found = [_pushed(y, 40, g) for _ in range(300)]
    torch.testing.assert_close(torch.stack([force for force, _ in found]).mean(0), exact, atol=5e-3, rtol=0)
    expected = float((near.sum() - 40) / (40 * 39))
    assert sum(seen for _, seen in found) / len(found) == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize("n", [2, 3, 7])
def test_few_rows_have_places(n):
    assert lay_out(torch.randn(n, 4, generator=seeded()), generator=seeded()).isfinite().all()


def test_copies_lie_together():
    rows, _ = blobs(40)
    places = lay_out(torch.cat([rows, rows[:1].expand(30, -1)]), generator=seeded())
    assert places.isfinite().all()
    assert places[40:].std(0).max() < 0.5


def test_rows_narrower_than_the_map():
    assert lay_out(torch.randn(30, 1, generator=seeded()), 2, generator=seeded()).shape == (30, 2)
