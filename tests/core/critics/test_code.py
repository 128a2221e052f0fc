import math

import torch
from torch.nn import functional as F

from isthmus.core.autoencoder import Net
from isthmus.spec import Part, Spec
from isthmus.training.flat import FlatGroup


def net_of(weight=1.0):
    torch.manual_seed(0)
    body = Part("mlp", {"widths": [8]})
    critic = Part("code", {"widths": [16], "weight": weight})
    return Net(Spec(encoder=body, decoder=body, latent_dim=2, critic=critic), (5,)).train()


def test_the_losses_are_those_of_the_paper():
    net = net_of(weight=0.5)
    trace = net.trace(torch.randn(64, 5))
    judged = net.critic.net(trace.code.z).sigmoid()
    torch.testing.assert_close(net.critic.persuade(trace), -0.5 * judged.log())
    torch.manual_seed(3)
    found = net.critic.judge(trace)
    torch.manual_seed(3)
    drawn = net.critic.net(net.prior.sample(64)).sigmoid()
    torch.testing.assert_close(found, -(drawn.log().mean() + (1 - judged).log().mean()))


def test_who_cannot_tell_pays_twice_log_two():
    net = net_of()
    with torch.no_grad():
        for p in net.critic.parameters():
            p.zero_()
    trace = net.trace(torch.randn(64, 5))
    torch.testing.assert_close(net.critic.judge(trace), torch.tensor(2 * math.log(2)))
    torch.testing.assert_close(net.critic.persuade(trace), torch.full((64,), math.log(2)))


def test_no_gradient_of_the_judge_reaches_the_encoder():
    net = net_of()
    net.critic.judge(net.trace(torch.randn(64, 5))).backward()
    assert all(p.grad is None for p in net.groups()["main"])
    assert all(p.grad is not None for p in net.groups()["critic"])


def test_a_critic_learns_to_tell():
    """Codes held far from the prior: the critic's own loss falls towards zero, and persuasion gets dear."""
    net = net_of()
    group = FlatGroup(net.groups()["critic"])
    x = torch.randn(64, 5)
    with torch.no_grad():
        net.bottleneck.head.layer.bias += 5
    for _ in range(60):
        losses = net.losses(x=x)
        losses.backward("critic", group.parameters)
        group.step(0.01)
    trace = net.trace(x)
    assert net.critic.judge(trace) < 0.3
    assert net.critic.persuade(trace).mean() > F.softplus(torch.tensor(1.0))
