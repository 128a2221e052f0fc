"""Rows of several sides cost what the sides cost, and each is told by its own law."""

import pytest
import torch

from isthmus.core.autoencoder import Net
from isthmus.core.joint import Joint
from isthmus.core.likelihoods import LIKELIHOODS, Gaussian, Mixed, Multinomial
from isthmus.core.parts import make
from isthmus.errors import SpecError
from isthmus.spec import Part, Spec

SIDES = [
    {"entries": 3, "of": {"kind": "mixed", "levels": [0, 1, 4], "sigma": 0.5}},
    {"entries": 20, "of": {"kind": "multinomial"}},
    {"entries": 6, "of": {"kind": "gaussian", "sigma": 2.0}},
]


def given(n=30):
    g = torch.Generator().manual_seed(0)
    numbers = torch.stack([torch.randn(n, generator=g), torch.randint(2, (n,), generator=g).float(),
                           torch.randint(4, (n,), generator=g).float()], 1)  # fmt: skip
    words = torch.rand(n, 20, generator=g) * (torch.rand(n, 20, generator=g) < 0.3) + 0.01
    return torch.cat([numbers, words, 3 * torch.randn(n, 6, generator=g)], 1)


def net():
    torch.manual_seed(0)
    spec = Spec(
        encoder=Part("mlp", {"widths": [16]}), decoder=Part("mlp", {"widths": [16]}), latent_dim=4,
        likelihood=Part("joint", {"sides": SIDES}),
    )  # fmt: skip
    return Net(spec, (29,))


def test_nats_are_those_of_the_sides():
    likelihood, x, h = (
        make(LIKELIHOODS, "likelihood", Part("joint", {"sides": SIDES}), (5,), (29,)),
        given(),
        torch.randn(30, 5),
    )
    assert isinstance(likelihood, Joint)
    assert [type(side) for side in likelihood.sides] == [Mixed, Multinomial, Gaussian]
    alone = sum(side(h).log_prob(x[:, at]) for side, at in zip(likelihood.sides, likelihood.places, strict=True))
    torch.testing.assert_close(likelihood(h).log_prob(x), alone)


def test_each_side_begins_at_its_own_rows():
    """The words' usual shares are taken from the words, not from the numbers beside them."""
    model, x = net(), given()
    model.start_from(x=x)
    words, of_words = x[:, 3:23], model.likelihood.sides[1]
    torch.testing.assert_close(of_words.amount, words.sum(1).mean())
    shares = (words.mean(0) + 0.1 / len(words)).log()
    torch.testing.assert_close(of_words.head.layer.bias.log_softmax(0), shares.log_softmax(0))


def test_the_mean_row_leaves_one_of_every_side():
    model, x = net(), given()
    model.start_from(x=x)
    shown = model.likelihood.represent(x)
    left = model.likelihood.error(shown, None, shown.mean(0).expand_as(shown))
    assert float(left.mean()) == pytest.approx(3.0, rel=1e-5)
    # a side that comes back wholly takes its one away
    back = shown.mean(0).expand_as(shown).clone()
    back[:, model.likelihood.of_features[2]] = shown[:, model.likelihood.of_features[2]]
    assert float(model.likelihood.error(shown, None, back).mean()) == pytest.approx(2.0, rel=1e-5)


def test_sides_that_do_not_fill_the_row_are_refused():
    with pytest.raises(SpecError, match=r"sides have an entry or more each, \(30,\) together"):
        make(LIKELIHOODS, "likelihood", Part("joint", {"sides": SIDES}), (5,), (30,))
