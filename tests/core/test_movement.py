import pytest
import torch
from torch import nn

from isthmus.core.movement import Movement
from isthmus.core.networks.conv import ConvEncoder
from isthmus.core.networks.dense import MLP

G = torch.Generator().manual_seed(0)


def still(module, *batches):
    watch = Movement()
    with watch.of(module), torch.no_grad():
        for x in batches:
            module(x)
    return watch.still()


@pytest.mark.parametrize("activation", ["relu", "gelu", "silu", "tanh", "sigmoid"])
def test_dead_units_of_a_chain_are_counted(activation):
    torch.manual_seed(0)
    net = MLP((4,), (2,), widths=[16, 8], activation=activation)
    for layer in net.layers:
        nn.init.uniform_(layer.weight, 0.0, 0.5)  # so that no unit is dead by the luck of the draw
    x = torch.randn(100, 4, generator=G)
    assert still(net, x) == (0, 24)
    with torch.no_grad():
        net.layers[0].bias[:5] = -1e4
        net.layers[1].weight[6] = 0
    assert still(net, x) == (6, 24)


def test_a_unit_that_moves_in_one_batch_is_alive():
    module = nn.Sequential(nn.Linear(1, 2), nn.ReLU(inplace=True))
    with torch.no_grad():
        module[0].weight.fill_(1)
        module[0].bias.copy_(torch.tensor([0.0, -5.0]))
    low, high = torch.linspace(0, 1, 10)[:, None], torch.linspace(0, 10, 10)[:, None]
    assert still(module, low) == (1, 2)
    assert still(module, low, high) == (0, 2)


def test_a_channel_is_a_unit_of_a_convolution():
    torch.manual_seed(0)
    net = ConvEncoder((1, 8, 8), (2,), widths=[4, 6], activation="relu")
    with torch.no_grad():
        net.stages[0].bias.fill_(1)
        net.stages[2].bias.fill_(1)
        net.stages[2].weight[1:3] = 0
        net.stages[2].bias[1:3] = -1
    assert still(net, torch.rand(20, 1, 8, 8, generator=G)) == (2, 10)


def test_what_is_outside_is_not_seen():
    module = nn.Linear(3, 3)
    watch = Movement()
    with watch.of(module), torch.no_grad():
        torch.relu(module(torch.rand(4, 3)))
    assert watch.still() == (0, 0)


def test_a_network_that_breaks_leaves_nothing_behind():
    class Breaks(nn.Module):
        def forward(self, x):
            raise ValueError("broken")

    watch, module = Movement(), Breaks()
    with pytest.raises(ValueError, match="broken"), watch.of(module):
        module(torch.rand(2, 3))
    torch.relu(torch.rand(2, 3))
    assert watch.still() == (0, 0)
    assert not module._forward_hooks
