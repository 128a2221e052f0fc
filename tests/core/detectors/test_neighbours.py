"""Distances that scikit-learn agrees with, copies, scales."""

import numpy as np
import pytest
import torch
from sklearn.neighbors import NearestNeighbors

from isthmus.core.autoencoder import Net
from isthmus.core.detectors.neighbours import Neighbours, largest
from isthmus.spec import Part, Spec

NET = Net(Spec(Part("linear"), Part("linear"), latent_dim=2), (5,)).eval()


def rows(n=300, seed=0):
    return torch.randn(n, 5, generator=torch.Generator().manual_seed(seed)) * torch.tensor([1.0, 2, 3, 4, 5])


def settled(x, **options):
    detector = Neighbours((5,), (5,), **options)
    detector.settle(NET, {"x": x}, torch.Generator().manual_seed(0))
    return detector


@torch.no_grad()
def test_without_a_local_share_it_is_the_distance_to_the_neighbours():
    x, fresh = rows(), rows(80, seed=1)
    scaled, mean, deviation = (x - x.mean(0)) / x.std(0, correction=0), x.mean(0), x.std(0, correction=0)
    theirs = NearestNeighbors(n_neighbors=5).fit(scaled).kneighbors((fresh - mean) / deviation)[0].mean(1)
    ours = settled(x, local=0.0, scales=["standard"])(NET, fresh).score.numpy()
    assert np.corrcoef(ours, np.log(theirs))[0, 1] > 0.9999


@torch.no_grad()
def test_a_training_row_leaves_itself_out():
    x = rows()
    detector = settled(x, local=0.0, scales=["standard"])
    scaled = (x - x.mean(0)) / x.std(0, correction=0)
    theirs = NearestNeighbors(n_neighbors=5).fit(scaled).kneighbors()[0].mean(1)
    assert np.corrcoef(detector(NET, x).score, np.log(theirs))[0, 1] > 0.9999


@torch.no_grad()
def test_dense_surroundings_forgive_less():
    """What is far for a dense cloud is near for a loose one; lone rows far from everything excuse nobody."""
    g = torch.Generator().manual_seed(0)
    x = torch.cat([torch.randn(200, 5, generator=g) * 0.1, 8 + torch.randn(400, 5, generator=g) * 3])
    beside_dense = torch.randn(50, 5, generator=g) * 0.6
    of_loose = 8 + torch.randn(200, 5, generator=g) * 3

    def told_apart(local):
        detector = settled(x, local=local, scales=["range"])
        strange, usual = detector(NET, beside_dense).score, detector(NET, of_loose).score
        return (strange[:, None] > usual).float().mean()

    assert told_apart(0.0) < 0.2
    assert told_apart(1.0) > told_apart(0.5) > told_apart(0.0)
    assert told_apart(1.0) > 0.8
    lone = torch.full((1, 5), -60.0)
    far = settled(torch.cat([x, lone]), local=1.0, scales=["range"])(NET, torch.full((1, 5), -50.0)).score
    assert far > settled(x, local=1.0, scales=["range"])(NET, of_loose).score.max()


@torch.no_grad()
def test_only_order_counts_for_ranks():
    x, fresh = rows(), rows(40, seed=1)
    plain = settled(x, scales=["rank"])(NET, fresh).score
    bent = settled(x.exp(), scales=["rank"])(NET, fresh.exp()).score
    torch.testing.assert_close(plain, bent, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_rows_that_come_many_times_are_usual():
    x = torch.cat([rows(200), rows(1, seed=9).expand(100, 5)])
    scores = settled(x)(NET, x).score
    assert scores[200:].max() < scores[:200].quantile(0.05)


def test_a_scale_that_is_none():
    from isthmus.core.detectors import DETECTORS
    from isthmus.core.parts import make
    from isthmus.errors import SpecError

    with pytest.raises(SpecError, match="scale"):
        make(DETECTORS, "detector", Part("neighbours", {"scales": ["standart"]}), (5,), (5,))


@torch.no_grad()
def test_it_keeps_no_more_rows_than_it_may():
    detector = settled(rows(500), most=100)
    assert detector.rows.shape == (100, 5)
    assert detector(NET, rows(500)).score.isfinite().all()


@torch.no_grad()
def test_what_was_expected_is_what_the_neighbours_are():
    x = torch.cat([rows(200), rows(200) + 50])
    found = settled(x)(NET, rows(5, seed=3) + 50)
    assert (found.expected - 50).abs().max() < 15, "the near cloud, not the mean of both"


@torch.no_grad()
@pytest.mark.parametrize("k", [1, 6])
@pytest.mark.parametrize("n", [2048, 2061])
def test_the_largest_in_groups_are_the_largest(n, k):
    values = torch.randn(40, n, generator=torch.Generator().manual_seed(n)).round(decimals=1)  # with ties
    found, where = largest(values, k)
    assert torch.equal(found, values.topk(k, dim=1).values)
    assert torch.equal(values.gather(1, where), found)
    assert all(len(row.unique()) == k for row in where)


@torch.no_grad()
@pytest.mark.parametrize("gaps", [False, True])
@pytest.mark.parametrize("levels", [[0, 7, 0, 1, 12], [0, 0, 0, 0, 0]])
def test_numbers_and_levels_by_themselves_are_the_distance_of_whole_rows(levels, gaps):
    """What is shared by all scales, left out where all is there, or looked up, beside plain distances."""
    g = torch.Generator().manual_seed(3)

    def drawn(n):
        columns = [
            torch.randn(n, generator=g) if k == 0 else torch.randint(max(k, 2), (n,), generator=g) for k in levels
        ]
        return torch.stack([column.float() for column in columns], 1)

    likelihood = Part("mixed", {"levels": levels}) if any(levels) else Part("gaussian")
    net = Net(Spec(Part("linear"), Part("linear"), likelihood=likelihood, latent_dim=2), (5,)).eval()
    detector = Neighbours(net.shape, net.likelihood.features_shape, local=0.0)
    detector.settle(net, {"x": drawn(2100)}, torch.Generator().manual_seed(0))
    x, there = drawn(130), torch.rand(130, 5, generator=g) < 0.9 if gaps else None
    features = net.likelihood.represent(x, there)
    known, seen = detector._place_known(), None if there is None else net.likelihood.reach(there)
    found = detector._apart(features if seen is None else features * seen, seen)
    for view, scale in enumerate(detector.scales):
        placed = detector._place(scale, features, known.numbers_at, known.levels_at)
        weight = torch.ones_like(placed) if seen is None else seen[:, known.order].float()
        apart = ((placed[:, None] - known.rows[view]).square() * weight[:, None]).sum(2)
        plain = apart.topk(5, dim=1, largest=False).values * (weight.shape[1] / weight.sum(1, keepdim=True))
        other = plain[:, 0] > 1e-4  # a row of which little is there is a copy of many
        assert other.sum() > 100
        torch.testing.assert_close(found.distance[view][other], plain.sqrt().mean(1)[other], rtol=1e-4, atol=1e-5)
