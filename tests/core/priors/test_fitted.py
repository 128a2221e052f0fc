import pytest
import torch
from torch.distributions import MultivariateNormal, Normal

from isthmus.core.priors import PRIORS, FullGaussian, StandardNormal


def codes(n=2000):
    g = torch.Generator().manual_seed(0)
    mix = torch.tensor([[2.0, 0.0, 0.0], [1.0, 0.5, 0.0], [0.0, 0.3, 0.1]])
    return torch.randn(n, 3, generator=g) @ mix.T + torch.tensor([1.0, -2.0, 0.5])


def test_standard_normal_is_torchs():
    z = codes(10)
    torch.testing.assert_close(StandardNormal((3,), (6,)).log_prob(z), Normal(0.0, 1.0).log_prob(z).sum(1))


def test_full_gaussian_is_torchs():
    prior, z = FullGaussian((3,), (6,)), codes()
    prior.fit(z)
    theirs = MultivariateNormal(prior.center, scale_tril=prior.factor)
    torch.testing.assert_close(prior.log_prob(z), theirs.log_prob(z), rtol=1e-4, atol=1e-4)


def test_full_gaussian_has_the_moments_of_the_codes():
    prior, z = FullGaussian((3,), (6,)), codes()
    prior.fit(z)
    torch.testing.assert_close(prior.center, z.mean(0))
    covariance = torch.cov(z.T)
    ridge = 1e-3 * covariance.diagonal().mean() * torch.eye(3)
    torch.testing.assert_close(prior.factor @ prior.factor.T, covariance + ridge, rtol=1e-4, atol=1e-4)


def test_its_draws_look_like_the_codes():
    prior, z = FullGaussian((3,), (6,)), codes()
    prior.fit(z)
    drawn = prior.sample(50_000, torch.Generator().manual_seed(1))
    torch.testing.assert_close(drawn.mean(0), z.mean(0), rtol=0, atol=0.05)
    torch.testing.assert_close(torch.cov(drawn.T), torch.cov(z.T), rtol=0.05, atol=0.05)


def test_before_any_fit_it_is_the_standard_normal():
    z = codes(10)
    torch.testing.assert_close(FullGaussian((3,), (6,)).log_prob(z), StandardNormal((3,), (6,)).log_prob(z))


def test_one_code_or_constant_ones_are_no_reason_to_break():
    for z in (codes(1), torch.ones(5, 3), torch.zeros(50, 3), codes(2)):
        prior = FullGaussian((3,), (6,))
        prior.fit(z)
        assert prior.log_prob(z).isfinite().all()


class TestMixture:
    def heaps(self, n=600):
        g = torch.Generator().manual_seed(0)
        centers = torch.tensor([[0.0, 6.0], [6.0, 0.0], [-6.0, -6.0]])
        return centers.repeat(n // 3, 1) + torch.randn(n, 2, generator=g)

    def test_bic_finds_the_heaps(self):
        prior = PRIORS["mixture"]((2,), (6,))
        prior.fit(self.heaps())
        assert int((prior.weights > 0).sum()) == 3
        torch.testing.assert_close(prior.weights[:3], torch.full((3,), 1 / 3), atol=0.01, rtol=0)

    def test_the_density_integrates_to_one(self):
        prior = PRIORS["mixture"]((2,), (6,))
        prior.fit(self.heaps())
        axis = torch.linspace(-14, 14, 281)
        grid = torch.cartesian_prod(axis, axis)
        assert float(prior.log_prob(grid).exp().sum()) * 0.1**2 == pytest.approx(1, abs=1e-3)

    def test_draws_are_of_the_density(self):
        prior = PRIORS["mixture"]((2,), (6,))
        prior.fit(self.heaps())
        drawn = prior.sample(3000, generator=torch.Generator().manual_seed(0))
        apart = torch.cdist(drawn, self.heaps(3)[:3] * 0 + torch.tensor([[0.0, 6.0], [6.0, 0.0], [-6.0, -6.0]]))
        share = torch.bincount(apart.argmin(1)) / 3000
        torch.testing.assert_close(share, torch.full((3,), 1 / 3), atol=0.03, rtol=0)
        assert apart.min(1).values.max() < 6

    def test_few_rows_are_one_heap(self):
        prior = PRIORS["mixture"]((4,), (6,))
        prior.fit(torch.randn(3, 4))
        assert prior.log_prob(torch.zeros(2, 4)).isfinite().all()

    def test_it_fits_better_than_one_gaussian(self):
        one, many = PRIORS["gaussian"]((2,), (6,)), PRIORS["mixture"]((2,), (6,))
        z = self.heaps()
        one.fit(z)
        many.fit(z)
        assert many.log_prob(z).mean() > one.log_prob(z).mean() + 0.5
