import pytest
import torch
from torch.distributions import MultivariateNormal, Normal

from isthmus.core.autoencoder import Net
from isthmus.core.evidence import log_evidence
from isthmus.core.parts import Code
from isthmus.core.posterior import Posterior
from isthmus.errors import SpecError
from isthmus.spec import Part, Spec

G = torch.Generator().manual_seed(0)


def linear_gaussian(prior="standard_normal"):
    torch.manual_seed(2)
    spec = Spec(encoder=Part("linear"), decoder=Part("linear"), bottleneck=Part("gaussian"),
                likelihood=Part("gaussian", {"sigma": 0.75}), prior=Part(prior), latent_dim=2)  # fmt: skip
    net = Net(spec, (5,)).double().eval()
    with torch.no_grad():  # a proposal that is wide enough for any row, and knows nothing of it
        for head, says in ((net.bottleneck.mu, 0.0), (net.bottleneck.log_var, 1.0)):
            head.layer.weight.zero_()
            head.layer.bias.fill_(says)
    return net


def marginal(net, mean=0.0, covariance=None):
    """x = W z + b + σ ε with z ~ N(mean, covariance) is normal, in closed form."""
    layer = net.likelihood.head.layer
    covariance = torch.eye(2, dtype=torch.float64) if covariance is None else covariance
    mean = torch.zeros(2, dtype=torch.float64) + mean
    spread = layer.weight @ covariance @ layer.weight.T + 0.5625 * torch.eye(5, dtype=torch.float64)
    return MultivariateNormal((layer.weight @ mean + layer.bias).detach(), spread.detach())


def test_it_is_torchs_normal():
    q = Posterior(torch.randn(4, 3, 2, generator=G), torch.randn(4, 3, 2, generator=G))
    z = q.sample(5, generator=G)
    assert z.shape == (5, 4, 3, 2)
    theirs = Normal(q.mu, (q.log_var / 2).exp()).log_prob(z).sum((2, 3))
    torch.testing.assert_close(q.log_prob(z), theirs)
    torch.testing.assert_close(q.log_prob(z[0]), theirs[0])


def test_draws_have_its_moments():
    q = Posterior(torch.tensor([[1.0, -2.0]]), torch.tensor([[0.0, -2.0]]))
    z = q.sample(100_000, generator=G)[:, 0]
    torch.testing.assert_close(z.mean(0), q.mu[0], atol=0.02, rtol=0)
    torch.testing.assert_close(z.var(0), q.log_var[0].exp(), atol=0.02, rtol=0)


def test_a_code_without_noise_has_none():
    with pytest.raises(SpecError, match=r"The prior 'vamp' needs a noisy code. Say bottleneck='gaussian'"):
        Posterior.of(Code(torch.zeros(1, 2), torch.zeros(1)), "The prior 'vamp'")


class TestLogEvidence:
    x = torch.randn(20, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))

    def test_it_is_the_likelihood_of_a_linear_gaussian(self):
        net = linear_gaussian()
        found = log_evidence(net, 4000, G, self.x)
        torch.testing.assert_close(found, marginal(net).log_prob(self.x), atol=0.2, rtol=0)
        assert (found - marginal(net).log_prob(self.x)).mean().abs() < 0.03

    def test_the_exact_posterior_needs_one_draw(self):
        """p(x, z) / q(z | x) is p(x) for every z, where q is the posterior."""
        net = linear_gaussian()
        weight, bias = net.likelihood.head.layer.weight, net.likelihood.head.layer.bias
        with torch.no_grad():  # W with orthogonal columns, so that the posterior has independent entries
            weight.copy_(torch.linalg.qr(weight).Q * torch.tensor([1.5, 0.6]))
            precision = 1 + weight.square().sum(0) / 0.5625
            net.bottleneck.mu.layer.weight.copy_(weight.T / 0.5625 / precision[:, None])
            net.bottleneck.mu.layer.bias.copy_(-net.bottleneck.mu.layer.weight @ bias)
            net.bottleneck.log_var.layer.weight.zero_()
            net.bottleneck.log_var.layer.bias.copy_(-precision.log())
        for samples in (1, 3):
            found = log_evidence(net, samples, G, self.x)
            torch.testing.assert_close(found, marginal(net).log_prob(self.x), atol=1e-9, rtol=0)

    def test_what_is_not_observed_is_integrated_out(self):
        net = linear_gaussian()
        observed = torch.ones_like(self.x, dtype=torch.bool)
        observed[:, 3:] = False
        exact = marginal(net)
        exact = MultivariateNormal(exact.loc[:3], exact.covariance_matrix[:3, :3])
        found = log_evidence(net, 4000, G, self.x, observed)
        assert (found - exact.log_prob(self.x[:, :3])).mean().abs() < 0.05

    def test_it_is_that_of_the_prior_that_is_sampled(self):
        net = linear_gaussian("gaussian")
        g = torch.Generator().manual_seed(0)
        net.prior.fit(torch.randn(1000, 2, dtype=torch.float64, generator=g) * 0.5 + 1.0)
        covariance = net.prior.factor @ net.prior.factor.T
        found = log_evidence(net, 4000, G, self.x)
        assert (found - marginal(net, net.prior.center, covariance).log_prob(self.x)).mean().abs() < 0.05

    def test_more_draws_are_a_tighter_bound(self):
        net = linear_gaussian()
        means = [torch.stack([log_evidence(net, k, G, self.x).mean() for _ in range(200)]).mean() for k in (1, 4, 16)]
        assert means == sorted(means)
        assert means[0] + 0.05 < means[-1] <= marginal(net).log_prob(self.x).mean() + 0.02
