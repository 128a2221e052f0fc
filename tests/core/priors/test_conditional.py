"""A prior for every condition."""

import torch
from torch.distributions import Normal, kl_divergence

from isthmus.core.autoencoder import Net
from isthmus.core.parts import Code
from isthmus.core.priors import PRIORS
from isthmus.data.batches import InMemory
from isthmus.spec import Part, Plan, Spec
from isthmus.training.loop import train


def steered(n=3, d=2):
    """A prior that three labels steer, to places of its own choice."""
    prior = PRIORS["conditional"]((d,), (6,))
    prior.steer(n)
    torch.manual_seed(0)
    torch.nn.init.normal_(prior.where.weight)
    return prior.double()


def test_it_begins_as_the_standard_normal():
    prior = PRIORS["conditional"]((2,), (6,))
    prior.steer(3)
    z = torch.randn(5, 2)
    prior.renew(None, torch.eye(3)[[0, 1, 2, 0, 1]])
    torch.testing.assert_close(prior.log_prob(z), Normal(0.0, 1.0).log_prob(z).sum(1))


def test_every_label_has_a_normal_of_its_own():
    prior, labels = steered(), torch.eye(3, dtype=torch.float64)[[0, 2, 1]]
    prior.renew(None, labels)
    mu, log_var = prior.where(labels).chunk(2, 1)
    own = Normal(mu, (log_var / 2).exp())
    z = torch.randn(3, 2, dtype=torch.float64)
    torch.testing.assert_close(prior.log_prob(z), own.log_prob(z).sum(1))
    several = torch.randn(4, 3, 2, dtype=torch.float64)  # codes outermost, as IWAE has them
    torch.testing.assert_close(prior.log_prob(several.flatten(0, 1)), own.log_prob(several).sum(2).flatten())
    drawn = prior.sample(3 * 20_000, torch.Generator().manual_seed(0)).reshape(-1, 3, 2)
    torch.testing.assert_close(drawn.mean(0), mu, atol=0.03, rtol=0)


def test_the_rate_is_the_divergence():
    prior, labels = steered(), torch.eye(3, dtype=torch.float64)
    prior.renew(None, labels)
    mu, log_var = torch.randn(2, 3, 2, dtype=torch.float64)
    theirs, theirs_log_var = prior.where(labels).chunk(2, 1)
    expected = kl_divergence(Normal(mu, (log_var / 2).exp()), Normal(theirs, (theirs_log_var / 2).exp())).sum(1)
    code = Code(mu, torch.zeros(3), {"mu": mu, "log_var": log_var})
    torch.testing.assert_close(prior.rate(code), expected)


def test_it_finds_where_the_codes_of_a_label_are():
    """A decoder that does not see the label: the code has to tell it, and the prior learns what it says."""
    torch.manual_seed(0)
    labels = torch.arange(600) % 2
    x = torch.randn(600, 4) * 0.3 + labels[:, None] * 4 - 2
    body = Part("linear")
    spec = Spec(encoder=body, decoder=body, bottleneck=Part("gaussian"), objective=Part("elbo"), latent_dim=1,
                prior=Part("conditional"), condition_dim=2)  # fmt: skip
    net = Net(spec, (4,))
    with torch.no_grad():
        net.likelihood.head.layer.weight[:, 1:] = 0
    net.likelihood.head.layer.weight.register_hook(lambda g: g * torch.tensor([1.0, 0.0, 0.0]))
    condition = torch.eye(2)[labels]
    train(net, InMemory({"x": x, "condition": condition}, 50, 0), Plan(epochs=40, batch_size=50, learning_rate=0.02))
    means = torch.stack([net.encode(x[labels == k]).mean(0) for k in (0, 1)])
    where = net.prior.where(torch.eye(2))[:, :1]
    torch.testing.assert_close(where, means, atol=0.25, rtol=0)
    assert (means[0] - means[1]).abs() > 1
