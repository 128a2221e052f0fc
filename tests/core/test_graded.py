import math

import pytest
import torch

from isthmus.core.graded import Graded


def given(n=4):
    torch.manual_seed(0)
    x = torch.rand(n, 2, 8, 8)
    q = torch.linspace(0, 1, n)
    return Graded((3, 8, 8), (2, 8, 8)), torch.cat([x + 0.1, q[:, None, None, None].expand(n, 1, 8, 8)], 1), x, q


def test_it_is_the_rate_distortion_loss():
    """−log p is the squared error times λ = 1 / 2σ², and what no picture changes."""
    likelihood, h, x, q = given()
    sigma = likelihood.sigma(q)
    nats = -likelihood(h).log_prob(x)
    rest = 128 * (sigma.log() + 0.5 * math.log(2 * math.pi))
    torch.testing.assert_close(nats - rest, 128 * 0.01 / (2 * sigma**2))
    assert sigma[0] == pytest.approx(22 / 255)
    assert sigma[-1] == pytest.approx(2 / 255)


def test_draws_have_the_deviation_of_their_quality():
    likelihood, h, x, q = given()
    p = likelihood(h)
    g = torch.Generator().manual_seed(0)
    apart = torch.stack([p.sample(g) - p.mean for _ in range(50)]).std((0, 2, 3, 4))
    torch.testing.assert_close(apart, likelihood.sigma(q), rtol=0.05, atol=0)
    assert likelihood(h).log_probs(x, torch.zeros_like(x)).abs().max() == 0


def test_qualities_go_from_coarse_to_fine():
    with pytest.raises(ValueError, match="fine ≤ coarse"):
        Graded((2, 8, 8), (1, 8, 8), coarse=0.1, fine=0.2)
