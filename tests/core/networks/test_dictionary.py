import pytest
import torch

from isthmus.core.autoencoder import Net
from isthmus.core.networks.dictionary import Dictionary, geometric_median
from isthmus.spec import Part, Spec
from isthmus.training.flat import FlatGroup


def net_of(shape=(5,), **changes):
    torch.manual_seed(0)
    spec = Spec(encoder=Part("linear"), decoder=Part("dictionary"), bottleneck=Part("topk", {"k": 2}), latent_dim=9)
    return Net(spec.replace(**changes), shape)


def test_the_atoms_stay_of_length_one_through_training():
    net = net_of().train()
    group, x = FlatGroup(net.groups()["main"]), torch.randn(64, 5)
    before = net.decoder.weight.detach().clone()
    for _ in range(20):
        net.losses(x=x).groups["main"].backward()
        net.project_gradients()
        group.step(0.05)
        net.project()
        group.gradient.zero_()
        torch.testing.assert_close(net.decoder.weight.norm(dim=1), torch.ones(9))
    assert (net.decoder.weight - before).abs().max() > 0.1


def test_the_projected_gradient_is_orthogonal_and_keeps_the_rest():
    decoder = Dictionary((9,), (5,)).double()
    with torch.no_grad():
        decoder.project()
    gradient = torch.randn(9, 5, dtype=torch.float64)
    decoder.weight.grad = gradient.clone()
    decoder.project_gradient()
    atoms = decoder.weight.detach()
    torch.testing.assert_close((decoder.weight.grad * atoms).sum(1), torch.zeros(9, dtype=torch.float64))
    taken = gradient - decoder.weight.grad
    torch.testing.assert_close(taken, (taken * atoms).sum(1, keepdim=True) * atoms)  # along the atoms alone
    again = decoder.weight.grad.clone()
    decoder.project_gradient()
    torch.testing.assert_close(decoder.weight.grad, again)


def test_rows_of_any_shape_come_back_in_it():
    net = net_of((2, 4, 3))
    assert net.trace(torch.randn(3, 2, 4, 3)).p.mean.shape == (3, 2, 4, 3)
    assert net.likelihood.head.layer is None


def distances(point, rows):
    return (rows - point).norm(dim=1).sum()


def test_the_geometric_median_is_the_minimiser():
    """Against a minimiser that knows nothing but the sum of distances."""
    torch.manual_seed(0)
    rows = torch.randn(60, 3, dtype=torch.float64).exp()
    point = rows.mean(0).requires_grad_()
    search = torch.optim.LBFGS([point], max_iter=500, tolerance_grad=1e-12, line_search_fn="strong_wolfe")

    def closure():
        search.zero_grad()
        total = distances(point, rows)
        total.backward()
        return total

    search.step(closure)
    torch.testing.assert_close(geometric_median(rows), point.detach(), rtol=1e-4, atol=1e-5)


def test_on_a_line_it_is_the_median():
    torch.testing.assert_close(
        geometric_median(torch.tensor([[0.0], [1.0], [2.0], [50.0], [9.0]])), torch.tensor([2.0])
    )


def test_a_third_of_the_rows_anywhere_moves_it_little():
    torch.manual_seed(0)
    rows = torch.randn(900, 4)
    spoilt = torch.cat([rows[:600], rows[600:] + 1e6])
    assert geometric_median(spoilt).norm() < 2
    assert spoilt.mean(0).norm() > 1e5


def test_equal_rows_have_a_median():
    torch.testing.assert_close(geometric_median(torch.full((5, 3), 7.0)), torch.full((3,), 7.0))


@pytest.mark.parametrize("likelihood", [Part("bernoulli"), Part("gaussian", {"link": "sigmoid"})])
def test_a_center_is_no_logit(likelihood):
    """Where the decoder's output is not the expectation itself, the median is in other units."""
    net = net_of(likelihood=likelihood)
    net.start_from(x=torch.rand(50, 5))
    assert (net.decoder.bias == 0).all()


def test_the_center_knows_missing_entries():
    net = net_of()
    x = torch.full((50, 5), 3.0)
    net.start_from(x=x)
    torch.testing.assert_close(net.decoder.bias.detach(), torch.full((5,), 3.0))
