import torch

from isthmus.core.kmeans import kmeans, means, nearest


def test_the_nearest_is_the_nearest():
    torch.manual_seed(0)
    x, centres = torch.randn(2, 40, 3, dtype=torch.float64), torch.randn(2, 7, 3, dtype=torch.float64)
    assert torch.equal(nearest(x, centres), torch.cdist(x, centres).argmin(2))


def test_many_vectors_are_compared_in_parts(monkeypatch):
    x, centres = torch.randn(2, 40, 3), torch.randn(2, 7, 3)
    whole = nearest(x, centres)
    monkeypatch.setattr("isthmus.core.kmeans._CHUNK", 16)
    assert torch.equal(nearest(x, centres), whole)


def test_shares_and_sums_are_those_of_each_label():
    x, labels = torch.randn(1, 50, 2), torch.randint(4, (1, 50))
    shares, sums = means(x, labels, 4)
    for k in range(4):
        torch.testing.assert_close(shares[0, k], (labels[0] == k).float().mean())
        torch.testing.assert_close(sums[0, k], x[0][labels[0] == k].sum(0) / 50)


def test_separate_clusters_are_found():
    """Sixteen clusters on a grid, far apart: every centre is the mean of one, in both groups."""
    torch.manual_seed(0)
    grid = torch.cartesian_prod(torch.arange(4.0), torch.arange(4.0)) * 10
    cluster = torch.arange(1600) % 16
    x = torch.stack([grid[cluster] + 0.1 * torch.randn(1600, 2) for _ in range(2)])
    found = kmeans(x, 16)
    for group in range(2):
        expected = torch.stack([x[group][cluster == k].mean(0) for k in range(16)])
        order = torch.cdist(expected, found[group]).argmin(1)
        assert order.unique().numel() == 16
        torch.testing.assert_close(found[group][order], expected)


def test_fewer_vectors_than_centres():
    x = torch.tensor([[[0.0], [1.0], [5.0]]])
    assert set(kmeans(x, 8).flatten().round(decimals=4).tolist()) == {0.0, 1.0, 5.0}
