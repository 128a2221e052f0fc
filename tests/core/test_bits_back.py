"""Rows come back, for what the ELBO says, on whatever the network is asked with."""

import numpy as np
import pytest
import torch

from isthmus.core.autoencoder import Net
from isthmus.core.bits_back import BitsBack
from isthmus.core.exact import NotExact
from isthmus.spec import Part, Spec

#: Likelihood, its options, the shape of a row, and its levels.
LAWS = {
    "bernoulli": ({}, (30,), 2),
    "pixels": ({"components": 2}, (1, 6, 5), 256),
    "categorical": ({"levels": 5}, (20,), 5),
    "gaussian": ({"sigma": 0.1}, (1, 6, 5), 64),
    "learned": ({"sigma": "learned", "link": "sigmoid"}, (1, 6, 5), 64),
}


def given(name, n=300, seed=0, body="mlp", dim=4):
    options, shape, levels = LAWS[name]
    name = "gaussian" if name == "learned" else name
    part = Part(body, {"widths": [16]})
    torch.manual_seed(seed)
    net = Net(
        Spec(encoder=part, decoder=part, latent_dim=dim, bottleneck=Part("gaussian"), objective=Part("elbo"),
             likelihood=Part(name, options), prior=Part("standard_normal")),
        shape,
    ).eval()  # fmt: skip
    with torch.no_grad():
        for p in net.parameters():
            p += 0.3 * torch.randn_like(p) * (p.ndim > 1)
        rows = net.decode(torch.randn(n, *net.bottleneck.code_shape)).sample(torch.Generator().manual_seed(seed))
        rows = rows * (1 if name in ("bernoulli", "categorical") else levels - 1)
    return net, rows.round().clamp(0, levels - 1).long().flatten(1).numpy(), levels


def elbo_bits(net, rows, levels, draws=20):
    """−ELBO in bits per row, of levels that have their interval's mass, by the network as it is."""
    x = torch.from_numpy(rows).float().reshape(-1, *net.shape)
    x = x if type(net.likelihood).__name__ == "Categorical" else x / (levels - 1)
    total = 0.0
    with torch.no_grad():
        for _ in range(draws):
            code = net.bottleneck(net.encoded(net.features(x)))
            z = code.aux["mu"] + torch.randn_like(code.aux["mu"]) * (code.aux["log_var"] / 2).exp()
            p = net.decode(z)
            # far from the mean a law is surer than a coder can be: there every level keeps a little
            if net.spec.likelihood.kind == "gaussian":
                law = torch.distributions.Normal(p.mean.double(), p.variance.double().sqrt())
                half = 0.5 / (levels - 1)
                top = torch.where(x >= 1, 1.0, law.cdf(x + half))
                mass = top - torch.where(x <= 0, 0.0, law.cdf(x - half))
                nats = (mass + (1 / levels - mass) * 2**-16).log().flatten(1).sum(1)
            elif net.spec.likelihood.kind == "pixels":
                nats = (p.log_probs(x).double().exp() * (1 - 2**-16) + 2**-16 / levels).log().flatten(1).sum(1)
            else:
                nats = p.log_prob(x)
            total += float((code.rate - nats).mean()) / draws
    return total / np.log(2)


@pytest.mark.parametrize("name", LAWS)
def test_rows_come_back_for_what_the_elbo_says(name):
    net, rows, levels = given(name)
    coder = BitsBack(net, levels)
    data = coder.encode(rows)
    assert np.array_equal(coder.decode(data, len(rows)), rows)
    # less what lies at the bottom of the stack and the list of groups, some dozen bytes a file
    bits = 8 * (len(data) - 60) / len(rows)
    expected = elbo_bits(net, rows, levels)
    assert bits == pytest.approx(expected, rel=0.03)


def test_few_rows_and_surprising_ones_come_back_too():
    net, rows, levels = given("pixels")
    coder = BitsBack(net, levels)
    chance = np.random.default_rng(0)
    for odd in (rows[:0], rows[:1], chance.integers(0, 256, (7, 30)), np.zeros((3, 30), int), np.full((2, 30), 255)):
        assert np.array_equal(coder.decode(coder.encode(odd), len(odd)), odd)


@pytest.mark.parametrize("body", ["mlp", "conv"])
def test_the_bytes_are_the_same_however_they_are_made(body):
    net, rows, levels = given("pixels", 40, body=body)
    data = BitsBack(net, levels).encode(rows)
    threads = torch.get_num_threads()
    try:
        for n in (1, 3):
            torch.set_num_threads(n)
            with torch.backends.mkldnn.flags(enabled=n == 1):
                coder = BitsBack(net.double() if n == 3 else net, levels)
                assert coder.encode(rows) == data
                assert np.array_equal(coder.decode(data, len(rows)), rows)
    finally:
        torch.set_num_threads(threads)


def test_what_was_not_coded_so_is_found_out():
    net, rows, levels = given("bernoulli")
    coder = BitsBack(net, levels)
    data = bytearray(coder.encode(rows))
    data[len(data) // 2] ^= 16
    with pytest.raises(ValueError, match="do not end where they began"):
        coder.decode(bytes(data), len(rows))
    other, _, _ = given("bernoulli", seed=1)
    data[len(data) // 2] ^= 16
    with pytest.raises(ValueError, match="do not end where they began"):
        BitsBack(other, levels).decode(bytes(data), len(rows))


def test_models_that_give_nothing_back_say_why():
    spec = Spec(encoder=Part("mlp"), decoder=Part("mlp"), latent_dim=2)
    with pytest.raises(NotExact, match="variational"):
        BitsBack(Net(spec, (5,)), 2)
    net, _, _ = given("pixels")
    with pytest.raises(NotExact, match="levels"):
        BitsBack(net, 16)
