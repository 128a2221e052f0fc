import torch
from torch.distributions import MultivariateNormal, Normal

from isthmus.core.priors import FullGaussian, StandardNormal


def codes(n=2000):
    g = torch.Generator().manual_seed(0)
    mix = torch.tensor([[2.0, 0.0, 0.0], [1.0, 0.5, 0.0], [0.0, 0.3, 0.1]])
    return torch.randn(n, 3, generator=g) @ mix.T + torch.tensor([1.0, -2.0, 0.5])


def test_standard_normal_is_torchs():
    z = codes(10)
    torch.testing.assert_close(StandardNormal((3,)).log_prob(z), Normal(0.0, 1.0).log_prob(z).sum(1))


def test_full_gaussian_is_torchs():
    prior, z = FullGaussian((3,)), codes()
    prior.fit(z)
    theirs = MultivariateNormal(prior.center, scale_tril=prior.factor)
    torch.testing.assert_close(prior.log_prob(z), theirs.log_prob(z), rtol=1e-4, atol=1e-4)


def test_full_gaussian_has_the_moments_of_the_codes():
    prior, z = FullGaussian((3,)), codes()
    prior.fit(z)
    torch.testing.assert_close(prior.center, z.mean(0))
    covariance = torch.cov(z.T)
    ridge = 1e-3 * covariance.diagonal().mean() * torch.eye(3)
    torch.testing.assert_close(prior.factor @ prior.factor.T, covariance + ridge, rtol=1e-4, atol=1e-4)


def test_its_draws_look_like_the_codes():
    prior, z = FullGaussian((3,)), codes()
    prior.fit(z)
    drawn = prior.sample(50_000, torch.Generator().manual_seed(1))
    torch.testing.assert_close(drawn.mean(0), z.mean(0), rtol=0, atol=0.05)
    torch.testing.assert_close(torch.cov(drawn.T), torch.cov(z.T), rtol=0.05, atol=0.05)


def test_before_any_fit_it_is_the_standard_normal():
    z = codes(10)
    torch.testing.assert_close(FullGaussian((3,)).log_prob(z), StandardNormal((3,)).log_prob(z))


def test_one_code_or_constant_ones_are_no_reason_to_break():
    for z in (codes(1), torch.ones(5, 3), torch.zeros(50, 3), codes(2)):
        prior = FullGaussian((3,))
        prior.fit(z)
        assert prior.log_prob(z).isfinite().all()
