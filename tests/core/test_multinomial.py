"""The multinomial of words: likest where shares agree, and the corruption that drops words."""

import pytest
import torch

from isthmus.core.corruptions import Words
from isthmus.core.likelihoods import Multinomial
from isthmus.core.networks.dense import MLP
from isthmus.core.recognition import recognised

G = torch.Generator().manual_seed(0)
X = torch.rand(50, 12, generator=G) * (torch.rand(50, 12, generator=G) < 0.4)


def given(entries=8):
    likelihood = Multinomial((3,), (12,), entries=entries)
    return likelihood, likelihood(torch.randn(50, 3, generator=G))


def test_nats_are_those_of_the_softmax():
    likelihood, p = given(12)
    likelihood.length.fill_(5.0)
    p = likelihood(torch.randn(50, 3, generator=G))
    weights = X / X.sum(1, keepdim=True).clamp(min=1e-12)
    torch.testing.assert_close(p.log_prob(X), 5 * (weights * p.logs).sum(1))
    # twice the same words are the same document
    torch.testing.assert_close(p.log_prob(2 * X), p.log_prob(X))


def test_it_speaks_of_the_first_entries_alone():
    _, p = given(8)
    other = X.clone()
    other[:, 8:] = 0
    assert torch.equal(p.log_prob(other), p.log_prob(X))
    assert (p.mean[:, 8:] == 0).all()
    assert (p.sample()[:, 8:] == 0).all()
    torch.testing.assert_close(p.mean.sum(1), torch.ones(50))


def test_the_error_is_zero_where_shares_agree_and_never_below():
    likelihood, p = given(12)
    unseen = likelihood.error(X, None, X)
    assert (unseen >= -1e-6).all()
    assert (unseen < 0.06).all()  # what unexpected words are believed to have is taken from the others
    assert (likelihood.error(X, None, p.expected) > unseen).all()
    assert likelihood.error(torch.zeros(1, 12), None, p.expected[:1]) == 0


def test_draws_follow_the_shares():
    likelihood, _ = given(8)
    likelihood.length.fill_(40.0)
    p = likelihood(torch.randn(1, 3).expand(3000, 3))
    torch.testing.assert_close(p.sample(G).mean(0), p.mean[0], atol=0.01, rtol=0)


def test_it_begins_at_the_shares_of_all_rows():
    from isthmus.core.autoencoder import Net
    from isthmus.spec import Part, Spec

    spec = Spec(Part("linear"), Part("linear"), likelihood=Part("multinomial", {"entries": 8}), latent_dim=2)
    net = Net(spec, (12,))
    net.start_from(x=X)
    net.likelihood.start_linear(MLP((2,), (12,)), torch.zeros(12, 2), torch.zeros(12))
    shares = X[:, :8].mean(0) / X[:, :8].mean(0).sum()
    torch.testing.assert_close(net.decode(torch.randn(1, 2)).logs[0].exp(), shares, atol=0.01, rtol=0)
    assert float(net.likelihood.amount) == pytest.approx(float(X[:, :8].sum(1).mean()))


def test_half_of_the_words_are_dropped_and_the_length_stays():
    x = torch.rand(400, 200, generator=G) + 0.1
    x[:, 100:] = 0
    torch.manual_seed(0)
    seen = Words(rate=0.5)(x, None)
    assert seen.hidden is None
    assert (seen.x[:, 100:] == 0).all()
    assert (seen.x[:, :100] != 0).float().mean() == pytest.approx(0.5, abs=0.01)
    torch.testing.assert_close(seen.x.norm(dim=1), x.norm(dim=1))
    kept = seen.x[:, :100] != 0
    ratio = seen.x[:, :100] / x[:, :100]  # what is left is in proportion
    assert all(row[there].std() < 1e-4 for row, there in zip(ratio, kept, strict=True))
    assert (Words()(torch.zeros(3, 5), None).x == 0).all()


def test_halves_are_recognised_by_place():
    z = torch.eye(5)
    assert torch.equal(recognised(z, 3 * z), torch.ones(5))
    assert torch.equal(recognised(z, z.roll(1, 0)), torch.full((5,), 1 / (1 + 1 + 3 / 2)))
    alike = recognised(torch.ones(5, 2), torch.ones(5, 2))
    assert torch.equal(alike, torch.full((5,), 1 / 3))
