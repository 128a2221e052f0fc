import pytest
import torch

from isthmus.core.priors.laplace import Laplace


def fitted(scales, n=200_000):
    torch.manual_seed(0)
    prior = Laplace((len(scales),), (6,))
    prior.fit(torch.distributions.Laplace(0.0, torch.tensor(scales)).sample((n,)))
    return prior


def test_it_finds_the_scales_and_has_their_density():
    scales = [0.2, 1.0, 5.0]
    prior, z = fitted(scales), torch.randn(50, 3)
    torch.testing.assert_close(prior.scale, torch.tensor(scales), rtol=0.02, atol=0)
    exact = torch.distributions.Laplace(0.0, prior.scale).log_prob(z).sum(1)
    torch.testing.assert_close(prior.log_prob(z), exact)


def test_its_draws_have_the_scales():
    prior = fitted([0.2, 1.0, 5.0])
    torch.testing.assert_close(prior.sample(200_000).abs().mean(0), prior.scale, rtol=0.02, atol=0)


def test_a_latent_that_no_row_uses_is_strange_and_not_impossible():
    prior = Laplace((3,), (6,))
    prior.fit(torch.tensor([[1.0, 0.0, 2.0], [3.0, 0.0, 0.0]]))
    nats = -prior.log_prob(torch.tensor([[1.0, 0.5, 1.0], [1.0, 0.0, 1.0]]))
    assert nats.isfinite().all()
    assert nats[0] - nats[1] == pytest.approx(500, rel=1e-4)  # half a unit over a thousandth of the mean scale, 1
    prior.fit(torch.zeros(4, 3))
    assert prior.log_prob(torch.zeros(1, 3)).isfinite().all()
