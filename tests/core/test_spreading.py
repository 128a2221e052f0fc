import torch

from isthmus.core.spreading import Graph


def moons(n=200, seed=0):
    """Two half circles, each round the end of the other."""
    g = torch.Generator().manual_seed(seed)
    angle = torch.rand(n, generator=g) * torch.pi
    side = torch.arange(n) % 2
    x = torch.stack([angle.cos(), angle.sin()], 1)
    x[side == 1] = torch.tensor([1.0, 0.5]) - x[side == 1]
    return x + 0.05 * torch.randn(n, 2, generator=g), side


def test_one_label_each_tells_two_moons():
    z, side = moons()
    seeds = torch.zeros(200, 2)
    seeds[0, 0] = seeds[1, 1] = 1
    told = Graph.of(z).spread(seeds).argmax(1)
    assert (told == side).float().mean() > 0.97
    nearest = ((z - z[0]).norm(dim=1) > (z - z[1]).norm(dim=1)).long()
    assert (nearest == side).float().mean() < 0.9, "distances alone do not follow the moons"


def test_it_is_the_matrix_of_the_paper():
    z, _ = moons(40)
    graph, n = Graph.of(z, 5), 40
    w = torch.zeros(n, n).scatter_(1, graph.places, graph.weights)
    s = w + w.T
    f = torch.rand(n, 3)
    torch.testing.assert_close(graph._step(f), s @ f)
    # its largest eigenvalue is 1, so that what goes round neither grows nor is lost
    assert abs(float(torch.linalg.eigvalsh(s.double())[-1]) - 1) < 1e-5
    y = torch.zeros(n, 1)
    y[3] = 1
    exact = torch.linalg.solve(torch.eye(n) - 0.99 * s, 0.01 * y)
    told = graph.spread(y)
    assert torch.corrcoef(torch.stack([exact[:, 0], told[:, 0]]))[0, 1] > 0.99


def test_many_labels_of_a_class_do_not_drown_the_other():
    z, side = moons()
    seeds = torch.zeros(200, 2)
    seeds[torch.arange(0, 100, 2), 0] = 1
    seeds[1, 1] = 1
    assert (Graph.of(z).spread(seeds).argmax(1) == side).float().mean() > 0.95


def test_few_rows_and_copies():
    seeds = torch.tensor([[1.0, 0], [0, 1], [0, 0]])
    assert Graph.of(torch.tensor([[0.0], [5.0], [0.1]])).spread(seeds)[2].argmax() == 0
    assert Graph.of(torch.zeros(3, 2)).spread(seeds).isfinite().all()
