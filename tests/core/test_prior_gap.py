import math

import pytest
import torch

from isthmus.core.prior_gap import mmd_p_value, prior_gap
from isthmus.core.priors.gaussian import StandardNormal


def normal(n, d, seed):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


def test_codes_that_are_where_the_prior_is():
    found = prior_gap(StandardNormal((3,), (3,)), normal(2000, 3, 0))
    assert found.nats < 0.02
    assert found.p_value > 0.05


def test_codes_elsewhere_cost_the_divergence():
    """KL(N(m, s²) ‖ N(0, 1)) = ½(s² + m² − 1 − log s²) per dimension."""
    m, s = 1.5, 0.5
    found = prior_gap(StandardNormal((2,), (2,)), m + s * normal(4000, 2, 0))
    assert found.nats == pytest.approx(2 * 0.5 * (s**2 + m**2 - 1 - math.log(s**2)), rel=0.03)
    assert found.p_value == pytest.approx(1 / 401)


def test_two_hills_with_the_moments_of_the_prior_are_told_from_it():
    side = torch.sign(normal(2000, 1, 1))
    z = torch.cat([0.95 * side + (1 - 0.95**2) ** 0.5 * normal(2000, 1, 2), normal(2000, 1, 3)], 1)
    found = prior_gap(StandardNormal((2,), (2,)), z)
    assert found.nats > 0.2
    assert found.p_value < 0.01


def test_it_is_the_same_every_time():
    prior, z = StandardNormal((2,), (2,)), normal(300, 2, 0)
    assert prior_gap(prior, z) == prior_gap(prior, z)


def test_the_p_value_keeps_its_promise():
    p = torch.tensor([mmd_p_value(normal(60, 4, i), normal(60, 4, 1000 + i), 99) for i in range(200)])
    # four standard errors of a share of 0.1 and of a mean of ½ among 200
    assert float((p <= 0.1).float().mean()) == pytest.approx(0.1, abs=4 * (0.09 / 200) ** 0.5)
    assert float(p.mean()) == pytest.approx(0.5, abs=4 * (1 / 12 / 200) ** 0.5)
