import math

import pytest
import torch
from torch import nn

from isthmus.core.critics.game import persuaded, positive, slope, told_apart
from isthmus.core.networks.dense import MLP, Head
from isthmus.training.flat import FlatGroup

#: Pairs of one-dimensional normals, (mean, deviation).
PAIRS = [((0.0, 1.0), (0.0, 1.0)), ((0.0, 1.0), (1.5, 0.7)), ((0.0, 1.0), (0.0, 3.0)), ((-2.0, 0.5), (2.0, 0.5))]


def normal(mean, deviation):
    return torch.distributions.Normal(torch.tensor(mean), torch.tensor(deviation))


def jensen_shannon(p, q):
    """JSD(p, q) in nats, by quadrature on a fine grid."""
    x = torch.linspace(-15, 15, 20_001, dtype=torch.float64)
    log_p, log_q = p.log_prob(x), q.log_prob(x)
    log_m = torch.logaddexp(log_p, log_q) - math.log(2)
    each = log_p.exp() * (log_p - log_m) + log_q.exp() * (log_q - log_m)
    return float(torch.trapezoid(each, x)) / 2


@pytest.mark.parametrize(("p", "q"), PAIRS)
def test_the_true_ratio_loses_log_four_less_twice_the_divergence(p, q):
    p, q = normal(*p), normal(*q)
    torch.manual_seed(0)
    of_p, of_q = p.sample((200_000,)), q.sample((200_000,))
    loss = told_apart(*(p.log_prob(x) - q.log_prob(x) for x in (of_p, of_q)))
    assert float(loss) == pytest.approx(math.log(4) - 2 * jensen_shannon(p, q), abs=0.005)


@pytest.mark.parametrize(("p", "q"), PAIRS)
def test_a_trained_critic_comes_to_that_optimum(p, q):
    p, q = normal(*p), normal(*q)
    torch.manual_seed(0)
    body = MLP((1,), (1,), widths=[32, 32])
    critic = nn.Sequential(body, Head(body.out_shape, (1,)), nn.Flatten(0))
    group = FlatGroup(list(critic.parameters()))
    for i in range(600):
        group.gradient.zero_()
        told_apart(critic(p.sample((512, 1))), critic(q.sample((512, 1)))).backward()
        group.step(0.01 * (1 - i / 600))
    with torch.no_grad():
        loss = told_apart(critic(p.sample((100_000, 1))), critic(q.sample((100_000, 1))))
    assert float(loss) == pytest.approx(math.log(4) - 2 * jensen_shannon(p, q), abs=0.02)


def test_a_coin_toss_is_log_four_and_log_two():
    nothing = torch.zeros(5)
    assert float(told_apart(nothing, nothing)) == pytest.approx(math.log(4))
    torch.testing.assert_close(persuaded(nothing), torch.full((5,), math.log(2)))


def test_the_slope_of_a_plane_is_half_its_squared_normal_and_can_be_lowered():
    plane = nn.Linear(3, 1)
    found = slope(plane, torch.randn(7, 3))
    torch.testing.assert_close(found, plane.weight.square().sum() / 2)
    found.backward()
    torch.testing.assert_close(plane.weight.grad, plane.weight)


@pytest.mark.parametrize("pace", [0, -1.0, math.nan])
def test_a_pace_is_above_zero(pace):
    with pytest.raises(ValueError, match="pace is above 0, got"):
        positive("pace", pace)
