import pytest
import torch
from torch.distributions import Normal, kl_divergence

from isthmus.core.bottlenecks.gaussian import Gaussian
from isthmus.core.parts import Finished


@pytest.fixture
def h():
    return torch.randn(40, 6, generator=torch.Generator().manual_seed(0))


def test_the_rate_is_the_divergence_from_the_prior(h):
    code = Gaussian((6,), 3)(h)
    posterior = Normal(code.aux["mu"], (code.aux["log_var"] / 2).exp())
    torch.testing.assert_close(code.rate, kl_divergence(posterior, Normal(0.0, 1.0)).sum(1))
    torch.testing.assert_close(code.rate, code.aux["rates"].sum(1))


def test_the_rate_is_what_sampling_finds(h):
    """Monte Carlo: E_q[log q(z|x) − log p(z)]."""
    torch.manual_seed(0)
    bottleneck = Gaussian((6,), 3)
    code = bottleneck(h[:4])
    mu, sigma = code.aux["mu"], (code.aux["log_var"] / 2).exp()
    many = bottleneck.train()(h[:4].repeat(40_000, 1)).z.reshape(40_000, 4, 3)
    nats = Normal(mu, sigma).log_prob(many) - Normal(0.0, 1.0).log_prob(many)
    found = nats.sum(2)
    error = 5 * found.std(0) / len(found) ** 0.5
    assert ((found.mean(0) - code.rate).abs() < error).all()


def test_training_draws_from_the_posterior(h):
    torch.manual_seed(0)
    bottleneck = Gaussian((6,), 3).train()
    z = torch.stack([bottleneck(h[:2]).z for _ in range(4000)])
    code = bottleneck(h[:2])
    torch.testing.assert_close(z.mean(0), code.aux["mu"], atol=0.03, rtol=0)
    torch.testing.assert_close(z.var(0), code.aux["log_var"].exp(), atol=0, rtol=0.12)


def test_at_use_the_mean(h):
    bottleneck = Gaussian((6,), 3).eval()
    assert torch.equal(bottleneck(h).z, bottleneck.mode(h))
    assert torch.equal(bottleneck(h).z, bottleneck(h).aux["mu"])


def test_it_begins_with_little_noise(h):
    assert (Gaussian((6,), 3)(h).aux["log_var"] < -1).all()


def test_free_bits_are_a_floor_for_the_batch(h):
    bottleneck = Gaussian((6,), 3, free_bits=0.7).train()
    with torch.no_grad():
        for head in (bottleneck.mu, bottleneck.log_var):
            head.layer.weight.zero_()
            head.layer.bias.zero_()
    code = bottleneck(h)
    torch.testing.assert_close(code.rate, torch.full((40,), 3 * 0.7))
    (g,) = torch.autograd.grad(code.rate.mean(), bottleneck.mu.layer.bias)
    assert (g == 0).all(), "below the floor nothing pulls"
    with torch.no_grad():
        bottleneck.mu.layer.bias[0] = 3.0
    code = bottleneck(h)
    torch.testing.assert_close(code.rate, torch.full((40,), 4.5 + 2 * 0.7))


def test_free_bits_do_not_touch_a_rate_above_them(h):
    torch.manual_seed(0)
    free = Gaussian((6,), 3, free_bits=1e-6).train()
    code = free(h)
    torch.testing.assert_close(code.rate.mean(), code.aux["rates"].sum(1).mean())


def test_free_bits_do_not_mix_rows_at_use(h):
    """The floor is a matter of training; a score is of one row."""
    bottleneck = Gaussian((6,), 3, free_bits=0.5).eval()
    torch.testing.assert_close(bottleneck(h).rate[:1], bottleneck(h[:1]).rate)


def test_extreme_noise_stays_finite(h):
    code = Gaussian((6,), 3).train()(1e6 * h)
    assert code.rate.isfinite().all()
    assert code.z.isfinite().all()


def test_behind_a_finished_encoder():
    """A person's encoder that returns (batch, dim) already: μ and log σ² cannot both be its output."""
    bottleneck = Gaussian(Finished((3,)), 3)
    h = torch.randn(5, 3)
    code = bottleneck(h)
    assert not torch.equal(code.aux["mu"], code.aux["log_var"])


def test_repr():
    assert "Gaussian(\n  dim=3, free_bits=0.5" in repr(Gaussian((6,), 3, free_bits=0.5))
