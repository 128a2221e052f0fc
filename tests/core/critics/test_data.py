import math

import pytest
import torch

from isthmus.core.autoencoder import Net
from isthmus.core.networks.conv import ConvEncoder
from isthmus.core.networks.dense import MLP
from isthmus.spec import Part, Spec

IMAGE = (2, 9, 7)


class Times(torch.nn.Module):
    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def forward(self, x):
        return self.factor * x


def net_of(shape=(5,), spec=None, **options):
    torch.manual_seed(0)
    body = Part("conv" if len(shape) == 3 else "mlp", {"widths": [8]})
    spec = spec or Spec(encoder=body, decoder=body, bottleneck=Part("gaussian"), latent_dim=2)
    critic = Part("data", {"widths": [16], **options})
    return Net(spec.replace(critic=critic), shape).train()


@pytest.mark.parametrize(("shape", "kind"), [((5,), MLP), ((3, 4), MLP), (IMAGE, ConvEncoder)])
def test_the_rows_decide_what_the_critic_is(shape, kind):
    net = net_of(shape)
    assert isinstance(net.critic.body, kind)
    assert net.critic(torch.randn(4, *shape)).shape == (4,)


@pytest.mark.parametrize("shape", [(5,), IMAGE])
class TestTheLosses:
    def test_they_are_those_of_the_paper(self, shape):
        net = net_of(shape, weight=0.5, similarity=2.0, smooth=0.0).double()
        x = torch.randn(16, *shape, dtype=torch.float64)
        trace, critic = net.trace(x), net.critic
        torch.manual_seed(3)
        paid = critic.persuade(trace)
        torch.manual_seed(3)
        judged = critic.judge(trace)
        torch.manual_seed(3)
        drawn = net.decode(net.prior.sample(16).double()).mean
        real, back, made = (critic(rows).sigmoid() for rows in (x, trace.p.mean, drawn))
        spread = critic.layer(x).var(0, correction=0).mean()
        alike = (critic.layer(x) - critic.layer(trace.p.mean)).square().sum(1) / (2 * spread)
        torch.testing.assert_close(paid, 2 * alike - 0.5 * (back.log() + made.log()) / 2)
        expected = -(real.log() + ((1 - back).log() + (1 - made).log()) / 2).mean()
        torch.testing.assert_close(judged, expected)

    def test_who_cannot_tell_pays_twice_log_two(self, shape):
        net = net_of(shape, similarity=0.0, weight=1.0)
        with torch.no_grad():
            for p in net.critic.parameters():
                p.zero_()
        trace = net.trace(torch.randn(8, *shape))
        torch.testing.assert_close(net.critic.judge(trace), torch.tensor(math.log(4)))
        torch.testing.assert_close(net.critic.persuade(trace), torch.full((8,), math.log(2)))

    def test_the_verdict_reaches_the_decoder_alone_and_the_likeness_both(self, shape):
        for similarity, reaches in ((0.0, False), (1.0, True)):
            net = net_of(shape, similarity=similarity)
            net.critic.persuade(net.trace(torch.randn(8, *shape))).sum().backward()
            assert all(p.grad.any() for p in net.decoder.parameters())
            assert any(p.grad is not None and p.grad.any() for p in net.encoder.parameters()) == reaches

    def test_the_judge_moves_the_critic_alone(self, shape):
        net = net_of(shape)
        net.critic.judge(net.trace(torch.randn(8, *shape))).backward()
        assert all(p.grad is None for p in net.groups()["main"])
        assert all(p.grad is not None for p in net.groups()["critic"])

    def test_the_critic_cannot_choose_the_scale_of_what_is_alike(self, shape):
        """Nor that of the pull on the autoencoder: a layer ten times as large is told the same."""
        net = net_of(shape, weight=0.0)
        net.critic.body = torch.nn.Sequential(net.critic.body)
        trace = net.trace(torch.randn(8, *shape))
        before = net.critic.persuade(trace)
        net.critic.body.append(Times(10))
        torch.testing.assert_close(net.critic.persuade(trace), before)


def test_a_steep_critic_pays():
    steep, free = net_of(smooth=10.0), net_of(smooth=0.0)
    trace = free.trace(torch.randn(8, 5))
    torch.manual_seed(3)
    without = free.critic.judge(trace)
    torch.manual_seed(3)
    assert steep.critic.judge(trace) > without


def test_what_is_missing_tells_nothing():
    """Levels and numbers that are not there are alike in real and made rows, whatever the decoder says of them."""
    body = Part("mlp", {"widths": [8]})
    levels = Part("mixed", {"levels": [0, 3]})
    spec = Spec(encoder=body, decoder=body, likelihood=levels, latent_dim=1, tell_missing=True)
    net = net_of((2,), spec).eval()
    x, observed = torch.tensor([[1.0, 2.0], [0.5, 0.0]]), torch.zeros(2, 2, dtype=torch.bool)
    trace = net.trace(x, observed=observed)
    real, back = net.critic._pair(trace)
    assert real.shape == back.shape == (2, 4)
    assert torch.equal(real, back)
    assert torch.equal(net.critic._made(trace, real), real.repeat(2, 1))


def test_smooth_is_not_negative():
    with pytest.raises(Exception, match="smooth is at least 0, got -1"):
        net_of(smooth=-1)
