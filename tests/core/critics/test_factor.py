import math

import pytest
import torch

from isthmus.core.autoencoder import Net
from isthmus.core.critics.factor import Factor, shuffled
from isthmus.core.critics.game import told_apart
from isthmus.spec import Part, Spec
from isthmus.training.flat import FlatGroup


def correlated(n, correlation):
    """Three normals, each pair of which has this correlation, and their total correlation −½ log det R."""
    matrix = torch.full((3, 3), correlation).fill_diagonal_(1)
    return torch.randn(n, 3) @ torch.linalg.cholesky(matrix).T, -0.5 * float(torch.logdet(matrix))


@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.8])
def test_a_trained_critic_knows_the_total_correlation(correlation):
    torch.manual_seed(0)
    critic = Factor((3,), (6,), widths=[64, 64])
    group = FlatGroup(list(critic.parameters()))
    for i in range(600):
        z, _ = correlated(512, correlation)
        group.gradient.zero_()
        told_apart(critic.net(z), critic.net(shuffled(z))).backward()
        group.step(0.01 * (1 - i / 600))
    z, total = correlated(50_000, correlation)
    with torch.no_grad():
        found = critic.net(z).mean()
        loss = told_apart(critic.net(z), critic.net(shuffled(z)))
    assert float(found) == pytest.approx(total, abs=0.05)
    assert (float(loss) == pytest.approx(math.log(4), abs=0.01)) == (correlation == 0)


def test_a_shuffle_keeps_the_marginals_and_unbinds_them():
    torch.manual_seed(0)
    z, _ = correlated(20_000, 0.8)
    other = shuffled(z)
    assert torch.equal(other.sort(0).values, z.sort(0).values)
    together = torch.corrcoef(other.T) - torch.eye(3)
    assert together.abs().max() < 4 / 20_000**0.5
    assert shuffled(torch.randn(5, 2, 3, 4)).shape == (5, 2, 3, 4)


def net_of(**options):
    torch.manual_seed(0)
    body = Part("mlp", {"widths": [8]})
    spec = Spec(encoder=body, decoder=body, bottleneck=Part("gaussian"), latent_dim=2, critic=Part("factor", options))
    return Net(spec, (5,)).train()


def test_what_the_autoencoder_pays_is_the_weighted_logit():
    net = net_of(weight={"start": 0, "end": 4})
    trace = net.trace(torch.randn(32, 5))
    probability = net.critic.net(trace.code.z).sigmoid()
    torch.testing.assert_close(net.critic.persuade(trace), 4 * (probability / (1 - probability)).log())
    trace.progress = 0.0
    assert (net.critic.persuade(trace) == 0).all()


def test_the_judge_moves_the_critic_alone():
    net = net_of()
    net.critic.judge(net.trace(torch.randn(32, 5))).backward()
    assert all(p.grad is None for p in net.groups()["main"])
    assert all(p.grad is not None for p in net.groups()["critic"])
