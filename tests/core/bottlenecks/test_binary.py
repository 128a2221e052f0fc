import math

import torch

from isthmus.core.bottlenecks import BOTTLENECKS
from isthmus.core.networks.dense import MLP


def binary(dim=3):
    torch.manual_seed(0)
    return BOTTLENECKS["binary"]((5,), dim)


def test_the_rate_is_the_divergence_from_fair_coins():
    """Counted out over the two sides of every coin."""
    bottleneck, h = binary().double(), 3 * torch.randn(50, 5, dtype=torch.float64)
    up = bottleneck.head(h).sigmoid()
    sides = torch.stack([up, 1 - up])
    torch.testing.assert_close(bottleneck(h).rate, (sides * (sides / 0.5).log()).sum((0, 2)))


def test_a_certain_coin_costs_one_bit_and_a_fair_one_nothing():
    bottleneck = binary()
    torch.nn.init.zeros_(bottleneck.head.layer.weight)
    for logit, nats in ((0.0, 0.0), (60.0, 3 * math.log(2)), (-1e4, 3 * math.log(2))):
        torch.nn.init.constant_(bottleneck.head.layer.bias, logit)
        rate = bottleneck(torch.randn(4, 5)).rate
        torch.testing.assert_close(rate, torch.full((4,), nats))
        (gradient,) = torch.autograd.grad(rate.sum(), bottleneck.head.layer.bias) if rate.requires_grad else (rate,)
        assert gradient.isfinite().all()


def test_coins_fall_as_they_are_loaded():
    bottleneck, h = binary().train(), torch.randn(4, 5)
    draws = torch.stack([bottleneck(h).z for _ in range(4000)]).detach()
    assert set(draws.unique().tolist()) == {-1.0, 1.0}
    p = bottleneck.head(h).sigmoid().detach()
    apart = (draws.mean(0) - (2 * p - 1)).abs()
    assert (apart < 5 * (4 * p * (1 - p) / 4000).sqrt() + 1e-6).all()


def test_at_use_the_likelier_side_is_up():
    bottleneck, h = binary().eval(), torch.randn(40, 5)
    assert torch.equal(bottleneck(h).z, torch.where(bottleneck.head(h) > 0, 1.0, -1.0))


def test_the_gradient_is_that_of_the_mean():
    bottleneck, h = binary().train(), torch.randn(4, 5, requires_grad=True)
    weights = torch.randn(4, 3)
    (through,) = torch.autograd.grad((bottleneck(h).z * weights).sum(), h)
    (mean,) = torch.autograd.grad(((bottleneck.head(h) / 2).tanh() * weights).sum(), h)
    torch.testing.assert_close(through, mean)


def test_it_starts_at_the_signs_of_pca():
    bottleneck = BOTTLENECKS["binary"]((8,), 3)
    body = MLP((5,), (3,), widths=[3], linear_path=True)
    weight, bias, x = torch.randn(3, 5), torch.randn(3), torch.randn(40, 5)
    bottleneck.start_linear(body, weight, bias)
    assert torch.equal(bottleneck.mode(body(x)), (x @ weight.T + bias).sign())
