import pytest
import torch
from torch import nn

from isthmus.training import flat
from isthmus.training.flat import FlatGroup


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 2))


def backward(module, x):
    module.zero_grad(set_to_none=False)
    module(x).square().sum().backward()


def test_parameters_are_views_and_keep_their_values():
    module = net()
    before = [p.detach().clone() for p in module.parameters()]
    group = FlatGroup(list(module.parameters()))
    for p, b in zip(module.parameters(), before, strict=True):
        assert torch.equal(p, b)
        assert p.data_ptr() >= group.values.data_ptr()
    assert group.values.numel() == sum(p.numel() for p in module.parameters())
    group.values.zero_()
    assert not any(p.any() for p in module.parameters())


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_it_is_torchs_adamw(weight_decay):
    ours, theirs = net(), net()
    group = FlatGroup(list(ours.parameters()), weight_decay)
    optimiser = torch.optim.AdamW(theirs.parameters(), lr=0.01, weight_decay=weight_decay)
    for i in range(20):
        x = torch.randn(8, 4, generator=torch.Generator().manual_seed(i))
        for module in (ours, theirs):
            backward(module, x)
        group.step(0.01)
        optimiser.step()
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def test_state_and_back_bit_for_bit():
    module = net()
    group = FlatGroup(list(module.parameters()), 0.01)

    def go(steps):
        for i in range(steps):
            backward(module, torch.randn(8, 4, generator=torch.Generator().manual_seed(i)))
            group.step(0.01, clip=1.5)
        return group.values.clone()

    go(5)
    state = group.state()
    first = go(7)
    assert not torch.equal(state["values"], group.values), "the state is a copy"
    group.restore(state)
    assert torch.equal(go(7), first)
    other = FlatGroup(list(net().parameters()), 0.01)
    other.restore(state)
    assert all(torch.equal(v, state[k]) for k, v in other.state().items())


def test_clipping_bounds_a_burst_and_leaves_the_usual_alone():
    module = nn.Linear(3, 1, bias=False)
    group = FlatGroup(list(module.parameters()))
    g = torch.Generator().manual_seed(0)

    def step(scale):
        group.gradient.copy_(scale * nn.functional.normalize(torch.randn(3, generator=g), dim=0))
        group.step(1e-3, clip=2.0)
        return float(group.gradient.norm())

    assert [step(1.0) for _ in range(5)] == pytest.approx([1.0] * 5, rel=1e-5)
    assert step(100.0) == pytest.approx(2.0, rel=1e-5)
    assert float(group.norm) < 1.05, "a burst does not make the next one usual"
    assert step(1.5) == pytest.approx(1.5, rel=1e-5)


def test_a_first_gradient_of_zero_does_not_clip_for_ever():
    """A net that starts where nothing pulls must still be able to move later."""
    module = nn.Linear(3, 1, bias=False)
    group = FlatGroup(list(module.parameters()))
    group.gradient.zero_()
    group.step(1e-3, clip=2.0)
    for _ in range(20):
        group.gradient.copy_(torch.ones(3))
        group.step(1e-3, clip=2.0)
    assert float(group.gradient.norm()) > 0


@pytest.mark.parametrize("clip", [None, 1.5])
def test_one_operation_takes_the_steps_that_the_function_around_it_takes(monkeypatch, clip):
    ours, theirs = net(), net()
    groups = [FlatGroup(list(module.parameters()), 0.1) for module in (ours, theirs)]
    for i in range(20):
        x = torch.randn(8, 4, generator=torch.Generator().manual_seed(i)) * (30 if i == 11 else 1)
        for group, module, operation in zip(groups, (ours, theirs), (flat._FUSED, None), strict=True):
            backward(module, x)
            with monkeypatch.context() as patch:
                patch.setattr(flat, "_FUSED", operation)
                group.step(0.01 / (i + 1), clip)
    assert all(torch.equal(value, groups[1].state()[name]) for name, value in groups[0].state().items())
