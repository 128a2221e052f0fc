import math

import pytest
import torch

from isthmus.core.bottlenecks import BOTTLENECKS
from isthmus.core.networks.dense import MLP


def fsq(levels, dim=3):
    torch.manual_seed(0)
    return BOTTLENECKS["fsq"]((5,), dim, levels=levels)


@pytest.mark.parametrize("levels", [2, 3, 4, 5, 8])
def test_every_level_and_no_other_is_taken(levels):
    bottleneck = fsq(levels)
    z = bottleneck.mode(torch.randn(5000, 5) * 20)
    found = torch.unique(z.detach().round(decimals=5))
    torch.testing.assert_close(found, torch.linspace(-1, 1, levels), atol=1e-4, rtol=0)


def test_the_gradient_passes_as_if_nothing_were_rounded():
    bottleneck, h = fsq(5), torch.randn(4, 5, requires_grad=True)
    (through,) = torch.autograd.grad(bottleneck.mode(h).sum(), h)
    (smooth,) = torch.autograd.grad(torch.tanh(bottleneck.head(h)).sum(), h)
    torch.testing.assert_close(through, smooth)


def test_the_rate_is_that_of_an_even_code():
    code = fsq(8, dim=4)(torch.randn(7, 5))
    torch.testing.assert_close(code.rate, torch.full((7,), 4 * math.log(8)))


def test_training_and_use_take_the_same_code():
    bottleneck, h = fsq(8), torch.randn(6, 5)
    assert torch.equal(bottleneck.train()(h).z, bottleneck.eval().mode(h))


def test_one_level_says_nothing():
    with pytest.raises(ValueError, match="at least 2"):
        fsq(1)


def test_it_starts_near_pca():
    """Whitened scores halved, through tanh, rounded to the nearest level."""
    bottleneck = BOTTLENECKS["fsq"]((8,), 3, levels=9)
    body = MLP((5,), (3,), widths=[3], linear_path=True)
    weight, bias, x = torch.randn(3, 5) / 3, torch.randn(3) / 3, torch.randn(40, 5)
    bottleneck.start_linear(body, weight, bias)
    expected = torch.tanh((x @ weight.T + bias) / 2)
    torch.testing.assert_close(bottleneck.mode(body(x)), expected, atol=0.126, rtol=0)


def test_every_combination_of_levels_is_a_code():
    """The implied codebook: 3³ codes for three numbers of three levels, each of which some row takes."""
    codes = fsq(3).mode(torch.randn(20_000, 5) * 5).detach().round(decimals=4).unique(dim=0)
    expected = torch.cartesian_prod(*[torch.tensor([-1.0, 0.0, 1.0])] * 3)
    torch.testing.assert_close(codes, expected, atol=1e-3, rtol=0)
