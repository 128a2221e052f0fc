import math

import pytest
import torch
from torch.nn import functional as F

from isthmus.core.autoencoder import Net
from isthmus.core.critics.code import OnCode
from isthmus.core.two_sample import told_apart
from isthmus.data.batches import InMemory
from isthmus.errors import SpecError
from isthmus.model import Model
from isthmus.spec import Part, Plan, Spec
from isthmus.training.flat import FlatGroup
from isthmus.training.loop import train


def net_of(weight=1.0, **options):
    torch.manual_seed(0)
    body = Part("mlp", {"widths": [8]})
    critic = Part("code", {"widths": [16], "weight": weight, **options})
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


def test_the_weight_grows_with_what_a_reconstruction_is_worth():
    assert [float(OnCode((2,), (d,)).weight.end) for d in (5, 16, 784)] == [1, 2, 98]
    with pytest.raises(SpecError, match="Did you mean 'auto'"):
        OnCode((2,), (5,), weight="auot")


def test_its_pace_is_that_of_its_steps():
    """One step of Adam is as long as the learning rate: the critic's is ``pace`` times the autoencoder's."""
    steps = {}
    for pace in (1.0, 4.0):
        net = net_of(pace=pace)
        before = {name: [p.detach().clone() for p in group] for name, group in net.groups().items()}
        plan = Plan(epochs=1, batch_size=64, learning_rate=1e-3, warmup=0.0)
        train(net, InMemory({"x": torch.randn(64, 5)}, 64), plan)
        for name, group in net.groups().items():
            steps[pace, name] = max(
                float((p.detach() - b).abs().max()) for p, b in zip(group, before[name], strict=True)
            )
    assert steps[1.0, "main"] == pytest.approx(steps[4.0, "main"], rel=1e-3)
    assert 4 * steps[1.0, "critic"] == pytest.approx(steps[4.0, "critic"], rel=1e-3)


@pytest.mark.slow
def test_codes_come_to_the_prior():
    accuracy = {}
    normal = torch.randn(1797, 2, generator=torch.Generator().manual_seed(1))
    for recipe in ("plain", "adversarial"):
        codes = Model.fit("example:digits", recipe, latent_dim=2, plan=Plan(epochs=60)).encode("example:digits")
        accuracy[recipe] = told_apart(torch.from_numpy(codes), normal)
    assert accuracy["adversarial"] < 0.63 < 0.7 < accuracy["plain"]
