"""Columns come back for what the ELBO says of them, or less, with cells missing and however the network is asked."""

import numpy as np
import pytest
import torch

from isthmus.core.autoencoder import Net
from isthmus.core.bits_back import Channel
from isthmus.core.tilted import Field, Fields, Tilted
from isthmus.spec import Part, Spec

#: A number on a fine grid, a coin, three categories of 4 levels, another number.
LEVELS = [0, 1, 4, 4, 4, 0]
STEPS = np.array([0.005, 1.0, 1.0, 1.0, 1.0, 0.004])


def given(n=2000, seed=0, tell_missing=False):
    torch.manual_seed(seed)
    part = Part("mlp", {"widths": [16]})
    spec = Spec(
        encoder=part, decoder=part, latent_dim=3, bottleneck=Part("gaussian"), objective=Part("elbo"),
        likelihood=Part("mixed", {"levels": LEVELS, "sigma": 0.4}), prior=Part("standard_normal"),
        tell_missing=tell_missing,
    )  # fmt: skip
    net = Net(spec, (6,)).eval()
    with torch.no_grad():
        for p in net.parameters():
            p += 0.3 * torch.randn_like(p) * (p.ndim > 1)
        rows = net.decode(torch.randn(n, 3)).sample(torch.Generator().manual_seed(seed)).double().numpy()
    return net, np.rint(rows / STEPS).astype(np.int64)


def fields():
    told = [slice(0, 1), slice(2, 3), slice(3, 7), slice(7, 11), slice(11, 15), slice(1, 2)]
    each = tuple(
        Field(j, law, out, None if law == 0 else lambda values: values)
        for j, (law, out) in enumerate(zip(LEVELS, told, strict=True))
    )
    return Fields(each, lambda values, columns: values * STEPS[columns])


def bits(net, q, there, draws=4):
    """−ELBO in bits a row, every value with its interval's mass."""
    x = torch.from_numpy(np.where(there, q * STEPS, 0.0)).float()
    seen, total = torch.from_numpy(there), 0.0
    with torch.no_grad():
        code = net.bottleneck(net.encoded(net.features(x, None if there.all() else seen)))
        for _ in range(draws):
            z = code.aux["mu"] + torch.randn_like(code.aux["mu"]) * (code.aux["log_var"] / 2).exp()
            p = net.decode(z)
            nats = p.log_probs(x, seen).double()
            for j in (0, 5):
                mean = p.params[:, 0 if j == 0 else 1].double()
                law, half = torch.distributions.Normal(mean, 0.4), STEPS[j] / 2
                mass = law.cdf(x[:, j] + half) - law.cdf(x[:, j] - half)
                nats[:, j] = (mass * (1 - 2**-16) + 2**-16 / np.ptp(q[:, j])).log() * seen[:, j]
            total += float((code.rate - nats.sum(1)).mean()) / draws
    return total / np.log(2)


def there_are(q, share, seed=0):
    return np.random.default_rng(seed).random(q.shape) >= share


@pytest.mark.parametrize(("share", "told"), [(0.0, False), (0.15, True)])
def test_columns_come_back_for_what_the_elbo_says_or_less(share, told):
    net, q = given(5000, tell_missing=told)
    there, channel = there_are(q, share), Channel(net, 250)
    law = Tilted.fit(channel, net, fields(), q, there)
    assert law.many.tolist() == [0, 5]
    expected = bits(net, q, there)
    for tilted in (True, False):
        if not tilted:
            plain(law)
        said, data = law.written(), channel.encode(law, law.coded(q))
        again = Tilted.read(net, fields(), there, said)
        back = again.raw(channel.decode(again, data, len(q)))
        assert np.array_equal(back[there], q[there])
        assert not back[~there].any()
        found = 8 * (len(said) + len(data)) / len(q)
        assert found < 1.01 * expected
        assert tilted or found == pytest.approx(expected, rel=0.01)


def plain(law):
    """The network's own law."""
    law.weights = [np.zeros_like(weights) for weights in law.weights]
    law.grains, law.shapes = np.zeros_like(law.grains), np.zeros_like(law.shapes)
    law._renew()


def test_weights_say_what_the_network_has_never_seen():
    """Values of another share than the network believes in cost what they would by a table, not what it thinks."""
    net, q = given(4000)
    q[:, 2] = np.where(np.random.default_rng(1).random(4000) < 0.95, 3, q[:, 2])
    q[:, 0] = 40 * np.abs(q[:, 0] // 50)  # no gaussian at all
    there, channel = np.ones(q.shape, bool), Channel(net, 250)
    law = Tilted.fit(channel, net, fields(), q, there)
    tilted = len(law.written()) + len(channel.encode(law, law.coded(q)))
    plain(law)
    assert tilted < 0.9 * len(channel.encode(law, law.coded(q)))


def test_few_rows_none_at_all_and_far_ones_come_back():
    net, q = given(40)
    channel = Channel(net, 250)
    far = q.copy()
    far[3, 0], far[4, 0] = 2**31, -(2**31)
    hidden = np.ones(q.shape, bool)
    hidden[:, 1] = False
    for rows, there in ((q[:0], hidden[:0]), (q[:1], hidden[:1]), (far, np.ones(q.shape, bool)), (q, hidden),
                        (q, np.zeros(q.shape, bool))):  # fmt: skip
        law = Tilted.fit(channel, net, fields(), rows, there)
        again = Tilted.read(net, fields(), there, law.written())
        back = again.raw(channel.decode(again, channel.encode(law, law.coded(rows)), len(rows)))
        assert np.array_equal(back[there], rows[there])


def test_the_bytes_are_the_same_however_they_are_made():
    net, q = given(300)
    there = there_are(q, 0.1)
    law = Tilted.fit(Channel(net, 250), net, fields(), q, there)
    said, data = law.written(), Channel(net, 250).encode(law, law.coded(q))
    threads = torch.get_num_threads()
    try:
        for n in (1, 3):
            torch.set_num_threads(n)
            with torch.backends.mkldnn.flags(enabled=n == 1):
                other = net.double() if n == 3 else net
                again = Tilted.read(other, fields(), there, said)
                assert Channel(other, 250).encode(again, again.coded(q)) == data
                back = again.raw(Channel(other, 250).decode(again, data, len(q)))
                assert np.array_equal(back[there], q[there])
    finally:
        torch.set_num_threads(threads)


def test_what_nobody_wrote_is_refused():
    net, q = given(200)
    there, channel, chance = np.ones(q.shape, bool), Channel(net, 250), np.random.default_rng(0)
    law = Tilted.fit(channel, net, fields(), q, there)
    said, data = law.written(), channel.encode(law, law.coded(q))
    refused = 0
    for _ in range(100):
        broken, other = bytearray(said), bytearray(data)
        for some in (broken, other):
            some[chance.integers(len(some))] ^= 1 << chance.integers(8)
        try:
            again = Tilted.read(net, fields(), there, bytes(broken))
            channel.decode(again, bytes(other), len(q))
        except Exception as error:
            assert isinstance(error, (ValueError, IndexError, OverflowError)), error  # noqa: PT017
            refused += 1
    assert refused > 90
