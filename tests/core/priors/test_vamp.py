import copy

import pytest
import torch
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal, kl_divergence

from isthmus.core.autoencoder import Net
from isthmus.core.parts import Code
from isthmus.core.posterior import Posterior
from isthmus.core.priors import PRIORS
from isthmus.errors import SpecError
from isthmus.spec import Part, Spec


def net_of(pseudo_inputs=7, **changes):
    torch.manual_seed(0)
    body = Part("mlp", {"widths": [8]})
    spec = Spec(encoder=body, decoder=body, bottleneck=Part("gaussian"), likelihood=Part("gaussian", {"sigma": 0.5}),
                prior=Part("vamp", {"pseudo_inputs": pseudo_inputs}), objective=Part("elbo"), latent_dim=2)  # fmt: skip
    net = Net(spec.replace(**changes), (5,)).double()
    net.start_from(x=rows())
    return net


def rows(n=40):
    return torch.randn(n, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def theirs(net):
    """The mixture of the encoder's posteriors, as torch has it."""
    with torch.no_grad():
        q = Posterior.of(net.bottleneck(net.encoded(net.prior.inputs)), "")
    parts = Independent(Normal(q.mu, (q.log_var / 2).exp()), 1)
    return MixtureSameFamily(Categorical(torch.ones(len(q.mu)).double()), parts)


def test_it_is_the_mixture_of_the_encoders_posteriors():
    net, z = net_of(), torch.randn(30, 2, dtype=torch.float64)
    net.trace(rows())
    torch.testing.assert_close(net.prior.log_prob(z), theirs(net).log_prob(z))


def test_one_pseudo_input_is_one_gaussian():
    net, z = net_of(1), torch.randn(30, 2, dtype=torch.float64)
    net.eval()
    code = net.trace(rows()).code
    gaussian = theirs(net).component_distribution
    torch.testing.assert_close(net.prior.log_prob(z), gaussian.log_prob(z[:, None])[:, 0])
    q = Independent(Normal(code.aux["mu"], (code.aux["log_var"] / 2).exp()), 1)
    one = Independent(Normal(gaussian.base_dist.loc[0], gaussian.base_dist.scale[0]), 1)
    torch.testing.assert_close(net.code_nats(code), kl_divergence(q, one))


def test_the_rate_at_use_bounds_the_divergence():
    """−log mean exp(−KL(q ‖ q_k)) ≥ E_q[log q − log p], and beats the nearest component alone."""
    net = net_of().eval()
    code = net.trace(rows()).code
    q = Posterior.of(code, "")
    z = q.sample(20_000, generator=torch.Generator().manual_seed(0))
    exact = (q.log_prob(z) - theirs(net).log_prob(z)).mean(0)
    bound = net.code_nats(code)
    assert (bound > exact - 0.02).all()
    assert (bound - exact).mean() < 0.5


def test_the_elbo_counts_the_rate_against_it():
    net = net_of().train()
    trace = net.trace(rows())
    q = Posterior.of(trace.code, "")
    expected = q.log_prob(trace.code.z) - theirs(net).log_prob(trace.code.z)
    torch.testing.assert_close(net.objective(trace)["rate"], expected)


def test_its_gradient_is_that_of_the_mixture():
    """By finite differences in one entry of one pseudo-input."""
    net = net_of(3).eval()
    z, step = torch.randn(6, 2, dtype=torch.float64), 1e-6

    def nats():
        net.renew_prior()
        return net.prior.log_prob(z).sum()

    (slope,) = torch.autograd.grad(nats(), net.prior.inputs)
    found = []
    for sign in (1, -1):
        with torch.no_grad():
            net.prior.inputs[1, 2] += sign * step
            found.append(nats())
            net.prior.inputs[1, 2] -= sign * step
    assert float(slope[1, 2]) == pytest.approx(float(found[0] - found[1]) / (2 * step), rel=1e-4)


def test_pseudo_inputs_begin_at_rows_and_stay_among_them():
    net, x = net_of(20), rows()
    nearest = torch.cdist(net.prior.inputs, x).min(1).values
    assert nearest.max() < 0.2 * torch.cdist(x, x).fill_diagonal_(9).min(1).values.median()
    with torch.no_grad():
        net.prior.inputs += 100
    net.project()
    assert torch.equal(net.prior.inputs.amax(0), x.amax(0))


def test_more_pseudo_inputs_than_rows_do_not_coincide():
    net = net_of(100)
    assert torch.cdist(net.prior.inputs, net.prior.inputs).fill_diagonal_(9).min() > 0


class TestAfterTraining:
    def test_the_mixture_is_kept_when_the_encoder_moves(self):
        net, z = net_of().eval(), torch.randn(30, 2, dtype=torch.float64)
        net.renew_prior()
        expected = theirs(net).log_prob(z)
        net.prior.fit(z)
        with torch.no_grad():
            net.encoder.layers[0].weight.zero_()
        net.trace(rows())
        torch.testing.assert_close(net.prior.log_prob(z), expected)
        again = net_of().eval()
        again.load_state_dict(net.state_dict())
        torch.testing.assert_close(again.prior.log_prob(z), expected)

    def test_more_training_follows_the_encoder_again(self):
        net, z = net_of().eval(), torch.randn(30, 2, dtype=torch.float64)
        net.renew_prior()
        net.prior.fit(z)
        net.train().trace(rows())
        with torch.no_grad():
            net.encoder.layers[0].weight.mul_(2)
        net.eval().trace(rows())
        torch.testing.assert_close(net.prior.log_prob(z), theirs(net).log_prob(z))

    def test_draws_come_from_the_mixture(self):
        net = net_of(3).eval()
        net.renew_prior()
        net.prior.fit(torch.zeros(1, 2))
        drawn = net.prior.sample(40_000, torch.Generator().manual_seed(0))
        torch.testing.assert_close(drawn.double().mean(0), theirs(net).mean, atol=0.02, rtol=0)
        torch.testing.assert_close(drawn.double().var(0), theirs(net).variance, atol=0.02, rtol=0.03)


def test_a_network_in_the_middle_of_training_can_be_copied():
    net = net_of().train()
    net.losses(x=rows()).groups["main"].backward()
    again = copy.deepcopy(net)
    torch.manual_seed(5)
    loss = net.losses(x=rows()).groups["main"]
    torch.manual_seed(5)
    assert torch.equal(again.losses(x=rows()).groups["main"], loss)


def test_codes_without_digits_to_lose_stay_exact_in_float32():
    """σ² of e⁻¹⁴ beside codes of size 100: the expanded square would cancel in float32."""
    prior = PRIORS["vamp"]((2,), (5,), pseudo_inputs=2)
    prior.mu.copy_(torch.tensor([[100.0, -100.0], [50.0, 3.0]]))
    prior.log_var.fill_(-14.0)
    z = torch.tensor([[100.0005, -100.0]])
    q = Posterior(prior.mu[:1], prior.log_var[:1])
    torch.testing.assert_close(prior.log_prob(z), q.log_prob(z) - torch.tensor(2.0).log(), rtol=1e-3, atol=0)


def test_it_needs_a_noisy_code():
    with pytest.raises(SpecError, match="The prior 'vamp' needs a noisy code"):
        net_of(bottleneck=Part("plain"))
    with pytest.raises(SpecError, match="needs a noisy code"):
        PRIORS["vamp"]((2,), (5,)).rate(Code(torch.zeros(1, 2), torch.zeros(1)))
    with pytest.raises(ValueError, match="at least 1"):
        PRIORS["vamp"]((2,), (5,), pseudo_inputs=0)
