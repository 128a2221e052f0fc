import pytest
import torch

from isthmus.core.autoencoder import Net
from isthmus.core.objectives import ELBO, OBJECTIVES
from isthmus.errors import SpecError
from isthmus.spec import Part, Spec


def net_of(**changes):
    torch.manual_seed(0)
    body = Part("mlp", {"widths": [8]})
    return Net(Spec(encoder=body, decoder=body, bottleneck=Part("gaussian"), latent_dim=2, **changes), (5,))


@pytest.mark.parametrize("beta", [0.0, 1.0, 4.0])
def test_the_elbo_is_reconstruction_plus_beta_times_rate(beta):
    net = net_of(objective=Part("elbo", {"beta": beta})).eval()
    trace = net.trace(torch.randn(6, 5))
    terms = net.objective(trace)
    torch.testing.assert_close(terms["rate"], beta * trace.code.rate)
    torch.testing.assert_close(terms["reconstruction"], -trace.p.log_prob(trace.x))
    torch.testing.assert_close(net.losses(x=trace.x).groups["main"], sum(terms.values()).mean())


def test_the_reconstruction_may_be_left_to_a_critic():
    net = net_of(objective=Part("elbo", {"reconstruction": {"start": 1, "end": 0}})).eval()
    trace = net.trace(torch.randn(6, 5))
    for trace.progress in (0.0, 0.25, 1.0):
        nats = net.objective(trace)["reconstruction"]
        torch.testing.assert_close(nats, -(1 - trace.progress) * trace.p.log_prob(trace.x))


def test_beta_may_grow_with_training():
    net = net_of(objective=Part("elbo", {"beta": {"start": 0, "end": 2, "over": 0.5}})).eval()
    x, found = torch.randn(6, 5), []
    for net.progress in (0.0, 0.25, 0.5, 1.0):
        found.append(float(net.losses(x=x).terms["rate"]))
    rate = net.trace(x).code.rate.mean().item()
    assert found == pytest.approx([0, rate, 2 * rate, 2 * rate])


def test_reconstruction_ignores_what_the_code_costs():
    net = net_of().eval()
    assert net.objective(net.trace(torch.randn(6, 5))).keys() == {"reconstruction"}


def test_the_elbo_bounds_the_evidence():
    """On a linear-gaussian model log p(x) is known: log N(x; b, WWᵀ + σ²I) ≥ ELBO, whatever the encoder says."""
    torch.manual_seed(0)
    spec = Spec(
        encoder=Part("linear"), decoder=Part("linear"), bottleneck=Part("gaussian"), latent_dim=2,
        likelihood=Part("gaussian", {"sigma": 0.7}), objective=Part("elbo"),
    )  # fmt: skip
    net = Net(spec, (5,)).double().train()
    head = net.likelihood.head.layer
    covariance = head.weight @ head.weight.T + 0.49 * torch.eye(5, dtype=torch.float64)
    evidence = torch.distributions.MultivariateNormal(head.bias, covariance)
    x = torch.randn(8, 5, dtype=torch.float64)
    elbo = -torch.stack([sum(net.objective(net.trace(x)).values()) for _ in range(3000)]).mean(0)
    assert (elbo < evidence.log_prob(x)).all()


def test_repr():
    assert repr(ELBO(beta=4.0)) == "ELBO(beta=4, reconstruction=1)"
    assert repr(ELBO(beta={"start": 0, "end": 1})) == "ELBO(beta=0→1, reconstruction=1)"


class TestIWAE:
    def bound(self, samples, repeats, x, net):
        objective = OBJECTIVES["iwae"](samples=samples)
        torch.manual_seed(0)
        with torch.no_grad():
            trace = net.trace(x=x)
            return torch.stack([objective(trace)["bound"].mean() for _ in range(repeats)])

    def net(self):
        torch.manual_seed(1)
        likelihood = Part("gaussian", {"sigma": 0.7})
        spec = Spec(encoder=Part("mlp"), decoder=Part("mlp"), bottleneck=Part("gaussian"), likelihood=likelihood,
                    objective=Part("elbo"), latent_dim=2)  # fmt: skip
        return Net(spec, (5,)).double().train()

    def test_one_sample_is_the_elbo_in_the_mean(self):
        net, x = self.net(), torch.randn(6, 5, dtype=torch.float64)
        draws = self.bound(1, 4000, x, net)
        torch.manual_seed(0)
        with torch.no_grad():
            elbos = torch.stack([sum(net.objective(net.trace(x=x)).values()).mean() for _ in range(4000)])
        error = (draws.var() / 4000 + elbos.var() / 4000).sqrt()
        assert abs(draws.mean() - elbos.mean()) < 4 * error

    def test_more_samples_are_a_tighter_bound(self):
        net, x = self.net(), torch.randn(6, 5, dtype=torch.float64)
        means = [self.bound(k, 400, x, net).mean() for k in (1, 4, 16, 64)]
        assert means == sorted(means, reverse=True)
        assert means[-1] < means[0]

    def test_many_samples_find_the_likelihood_of_a_linear_gaussian(self):
        """x = W z + b + σ ε is N(b, W Wᵀ + σ² I), in closed form."""
        torch.manual_seed(2)
        spec = Spec(encoder=Part("linear"), decoder=Part("linear"), bottleneck=Part("gaussian"),
                    likelihood=Part("gaussian", {"sigma": 0.8}), objective=Part("iwae"), latent_dim=2)  # fmt: skip
        net, x = Net(spec, (3,)).double().train(), torch.randn(4, 3, dtype=torch.float64)
        with torch.no_grad():  # codes are drawn from the prior, which is wide enough for any row
            for head in (net.bottleneck.mu, net.bottleneck.log_var):
                head.layer.weight.zero_()
                head.layer.bias.zero_()
        layer = net.likelihood.head.layer
        covariance = layer.weight @ layer.weight.T + 0.64 * torch.eye(3, dtype=torch.float64)
        exact = torch.distributions.MultivariateNormal(layer.bias, covariance).log_prob(x).mean().detach()
        assert -self.bound(5000, 4, x, net).mean() == pytest.approx(float(exact), abs=0.02)

    def test_it_needs_a_noisy_code(self):
        net = Net(Spec(encoder=Part("mlp"), decoder=Part("mlp"), latent_dim=2, objective=Part("iwae")), (5,))
        with pytest.raises(SpecError, match="bottleneck='gaussian'"):
            net.losses(x=torch.randn(3, 5))


class TestMasked:
    def given(self, **options):
        """A network under half-hidden rows, of which some entries are missing as well, and its trace."""
        torch.manual_seed(0)
        spec = Spec(
            encoder=Part("mlp"), decoder=Part("mlp"), latent_dim=2, likelihood=Part("gaussian", {"sigma": 0.5}),
            corruption=Part("masking", {"rate": 0.5}), objective=Part("masked", options), tell_missing=True,
        )  # fmt: skip
        net = Net(spec, (1, 6, 6)).double().train()
        x = torch.randn(8, 1, 6, 6, dtype=torch.float64)
        return net, net.trace(x, observed=torch.rand(x.shape) < 0.8)

    @pytest.mark.parametrize("options", [{}, {"normalize": 3}])
    def test_only_hidden_entries_count_and_pull(self, options):
        net, trace = self.given(**options)
        asked = trace.corrupted.hidden & trace.observed
        mean = trace.p.mean.detach().requires_grad_()
        trace.p.mean = mean
        (nats,) = net.objective(trace).values()
        (pull,) = torch.autograd.grad(nats.sum(), mean)
        assert torch.equal(pull != 0, asked)
        if not options:  # else visible entries say how strong a patch is, which is no prediction
            trace.x = torch.where(asked, trace.x, 99.0)
            torch.testing.assert_close(*net.objective(trace).values(), nats)

    def test_it_is_the_mean_over_hidden_entries_times_their_number(self):
        net, trace = self.given()
        trace.observed = None
        hidden = trace.corrupted.hidden.flatten(1)
        squares = (trace.x - trace.p.mean).square().flatten(1)
        mean = (squares * hidden).sum(1) / hidden.sum(1)
        constant = 0.5 * torch.log(torch.tensor(2 * torch.pi * 0.25, dtype=torch.float64))
        expected = hidden.sum(1) * (mean / (2 * 0.25) + constant)
        torch.testing.assert_close(net.objective(trace)["reconstruction"], expected)

    def test_where_nothing_is_hidden_it_is_the_reconstruction(self):
        net, trace = self.given()
        trace = net.eval().trace(trace.x, observed=trace.observed)
        (whole,) = OBJECTIVES["reconstruction"]()(trace).values()
        torch.testing.assert_close(net.objective(trace)["reconstruction"], whole)

    def test_normalized_errors_do_not_know_the_contrast_of_a_patch(self):
        """As long as it is not nearly flat beside the others."""
        objective = OBJECTIVES["masked"](normalize=3)
        torch.manual_seed(0)
        x = torch.randn(1, 1, 6, 6, dtype=torch.float64)
        x[..., :3, :3] *= 100
        flat = torch.cat([x[..., :3, :3].reshape(-1), x[..., 3:, 3:].reshape(-1)]).reshape(2, 9)
        strong, faint = objective._weights(x, 3)[0, 0, 0, 0], objective._weights(x, 3)[0, 0, 3, 3]
        variance = flat.var(1, correction=0)
        usual = torch.stack([v.var(correction=0) for v in x[0, 0].unfold(0, 3, 3).unfold(1, 3, 3).reshape(4, 9)]).mean()
        torch.testing.assert_close(strong, usual / (variance[0] + 0.1 * usual))
        torch.testing.assert_close(faint, usual / (variance[1] + 0.1 * usual))
        assert OBJECTIVES["masked"](normalize=3)._weights(torch.zeros(2, 1, 4, 4), 3).isfinite().all()

    def test_sides_that_are_none(self):
        with pytest.raises(ValueError, match="normalize is the side"):
            OBJECTIVES["masked"](normalize=1)


class TestCapacity:
    def test_it_is_how_far_the_mean_rate_is_from_the_capacity(self):
        net = net_of(objective=Part("capacity", {"gamma": 3.0, "capacity": 1.5})).eval()
        for scale in (0.1, 20.0):  # codes that cost too little, and too much
            trace = net.trace(scale * torch.randn(6, 5))
            terms = net.objective(trace)
            torch.testing.assert_close(terms["capacity"].mean(), 3 * (trace.code.rate.mean() - 1.5).abs())
            torch.testing.assert_close(terms["reconstruction"], -trace.p.log_prob(trace.x))

    def test_it_pulls_the_rate_towards_the_capacity_from_both_sides(self):
        for capacity, sign in ((0.0, 1), (1e3, -1)):
            net = net_of(objective=Part("capacity", {"gamma": 3.0, "capacity": capacity})).train()
            trace = net.trace(torch.randn(6, 5))
            (pull,) = torch.autograd.grad(net.objective(trace)["capacity"].mean(), trace.code.rate)
            torch.testing.assert_close(pull, torch.full((6,), sign * 3 / 6))

    def test_the_capacity_may_grow_with_training(self):
        growing = {"start": 0, "end": 8, "over": 0.5}
        net = net_of(objective=Part("capacity", {"gamma": 1.0, "capacity": growing})).eval()
        x = torch.randn(6, 5)
        rate = net.trace(x).code.rate.mean().item()
        for net.progress in (0.0, 0.25, 1.0):
            expected = abs(rate - min(net.progress / 0.5, 1) * 8)
            assert float(net.losses(x=x).terms["capacity"]) == pytest.approx(expected, rel=1e-5)

    def test_a_negative_price(self):
        with pytest.raises(ValueError, match="gamma"):
            OBJECTIVES["capacity"](gamma=-1.0)
