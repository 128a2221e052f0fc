"""Tied weights are one tensor, seen from both ends."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from isthmus import Autoencoder, open_model
from isthmus.core.autoencoder import Net
from isthmus.core.handmade import HandmadeStep
from isthmus.core.pca import fit_pca
from isthmus.data.batches import InMemory
from isthmus.errors import SpecError
from isthmus.spec import Part, Plan, Spec
from isthmus.training.loop import evaluate, train

PLAN = Plan(epochs=60, batch_size=32, learning_rate=1e-2, patience=None)


def net_of(kind="mlp", shape=(6,), linear_path=False, tied=True, own=None, **changes):
    body = {"widths": [5, 4], "linear_path": linear_path} if kind == "mlp" else {}
    mirrored = {**body, "widths": [4, 5]} if kind == "mlp" else {}
    spec = Spec(encoder=Part(kind, body), decoder=Part(kind, {**mirrored, "tied": tied}), latent_dim=3)
    torch.manual_seed(0)
    return Net(spec.replace(**changes), shape, own)


def rows(n=200, d=6, seed=0):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(n, d, generator=g) @ torch.diag(torch.linspace(2, 0.3, d))


def assert_tied(net):
    """Every weight of the decoder's is one of the encoder's, from the other end."""
    head, last = net.bottleneck.head.layer.weight, net.likelihood.head.layer.weight
    if net.spec.encoder.kind == "linear":
        assert torch.equal(last, head.T)
        return
    (first, second), (back_second, back_first) = net.encoder.layers, net.decoder.layers
    assert torch.equal(back_second.weight, head[:, :4].T)
    assert torch.equal(back_first.weight, second.weight.T)
    ends = [first.weight] if net.encoder.linear is None else [first.weight, head[:, 4:]]
    assert torch.equal(last, torch.cat(ends).T)


@pytest.mark.parametrize(("kind", "linear_path"), [("linear", False), ("mlp", False), ("mlp", True)])
def test_weights_are_equal_after_training_and_in_a_copy(kind, linear_path):
    net, x = net_of(kind, linear_path=linear_path), rows()
    before = net.bottleneck.head.layer.weight.clone()
    train(net, InMemory({"x": x}, 32), PLAN.replace(epochs=2))
    assert not torch.equal(before, net.bottleneck.head.layer.weight)
    assert_tied(net)
    other = copy.deepcopy(net).double()
    assert_tied(other)
    with torch.no_grad():
        other.bottleneck.head.layer.weight.add_(1)
    assert_tied(other)
    assert_tied(net), "a copy is tied to itself"


def test_half_the_weights():
    def weights(net):
        return sum(p.numel() for p in net.parameters() if p.ndim == 2)

    assert 2 * weights(net_of()) == weights(net_of(tied=False))
    assert 2 * weights(net_of("linear")) == weights(net_of("linear", tied=False))
    assert 2 * weights(net_of(linear_path=True)) == weights(net_of(linear_path=True, tied=False))


@pytest.mark.parametrize("linear_path", [False, True])
def test_gradients_are_those_of_both_ends(linear_path):
    """A tied weight's gradient is the sum of those that its two copies have in a network without ties."""
    tied = net_of(linear_path=linear_path).double()
    free = net_of(linear_path=linear_path, tied=False).double()
    layers = [(tied.likelihood.head.layer, free.likelihood.head.layer)]
    layers += zip(tied.decoder.layers, free.decoder.layers, strict=True)
    with torch.no_grad():
        for name, value in free.state_dict().items():
            value.copy_(tied.state_dict().get(name, value))
        for looking, layer in layers:
            layer.weight.copy_(looking.weight)
    for net in (tied, free):
        net.losses(x=rows(20).double()).groups["main"].backward()
    (first, second), head = free.encoder.layers, free.bottleneck.head.layer.weight.grad
    back_head, back_second = (layer.weight.grad.T for layer in free.decoder.layers)
    ends = free.likelihood.head.layer.weight.grad.T
    deep = head[:, :4] + back_head
    want = [
        first.weight.grad + ends[:5],
        second.weight.grad + back_second,
        torch.cat([deep, head[:, 4:] + ends[5:]], 1) if linear_path else deep,
    ]
    found = [*tied.encoder.layers, tied.bottleneck.head.layer]
    for layer, gradient in zip(found, want, strict=True):
        torch.testing.assert_close(layer.weight.grad, gradient)


def test_a_tied_linear_autoencoder_reaches_pca_from_a_random_start():
    net, x = net_of("linear"), rows()
    pca = fit_pca(lambda: iter([x]), 3).first(3)
    best = (x - pca.reconstruct(x)).square().sum(1).mean()
    assert evaluate(net, {"x": x})[1] > 1.5 * best
    train(net, InMemory({"x": x}, 32), PLAN)
    assert evaluate(net, {"x": x})[1] == pytest.approx(float(best), rel=0.01)


@pytest.mark.parametrize("activation", ["gelu", "sigmoid"])
def test_it_starts_at_pca(activation):
    body = {"widths": [5, 4], "linear_path": True, "activation": activation}
    spec = Spec(encoder=Part("mlp", body), decoder=Part("mlp", {**body, "widths": "auto", "tied": True}), latent_dim=3)
    net, x = Net(spec, (6,)), rows()
    assert net.starts_linear
    pca = fit_pca(lambda: iter([x]), 3).first(3)
    net.start_at_pca(pca)
    torch.testing.assert_close(net.decode(net.encode(x)).mean, pca.reconstruct(x), atol=1e-4, rtol=1e-4)
    assert_tied(net)


def test_what_has_a_scale_of_its_own_starts_at_random():
    assert not net_of(linear_path=True, likelihood=Part("gaussian", {"link": "sigmoid"})).starts_linear
    assert not net_of(linear_path=True, bottleneck=Part("fsq")).starts_linear


def test_inputs_that_tell_what_is_missing_have_no_counterpart():
    net, x = net_of(linear_path=True, tell_missing=True), rows()
    assert net.encoder.layers[0].weight.shape == (5, 12)
    assert net.likelihood.head.layer.weight.shape == (6, 8)
    torch.testing.assert_close(net.likelihood.head.layer.weight[:, :5], net.encoder.layers[0].weight[:, :6].T)
    assert net.trace(x, observed=x > -1).p.mean.shape == x.shape


def test_the_step_by_hand_does_not_take_it():
    assert not HandmadeStep.fits(net_of())
    assert HandmadeStep.fits(net_of(tied=False))


def test_the_estimator_and_the_file(tmp_path):
    x = rows().numpy()
    options = {"latent_dim": 2, "epochs": 2, "random_state": 0, "decoder": {"tied": True}}
    ae = Autoencoder(encoder={"kind": "mlp", "widths": [16, 8]}, **options).fit(x)
    assert ae.model_.net.decoder.widths == [8, 16]
    again = open_model(ae.save(tmp_path / "m.isthmus"))
    assert not [name for name in again.net.state_dict() if name.startswith("decoder") and name.endswith("weight")]
    assert np.array_equal(again.encode(x), ae.transform(x))
    assert np.array_equal(again.reconstruct(x), ae.reconstruct(x))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"decoder": Part("mlp", {"widths": [4, 3], "tied": True})}, r"\[5, 4\], so the decoder's are \[4, 5\]"),
        ({"decoder": Part("linear", {"tied": True})}, "an encoder like the decoder, Linear; got MLP"),
        ({"bottleneck": Part("gaussian")}, "behind one dense layer"),
        ({"encoder": Part("mlp", {"widths": [5, 4], "linear_path": True})}, "on both sides or on none"),
        ({"encoder": Part("mlp", {"widths": [5, 4], "tied": True})}, "It is the decoder that is tied"),
    ],
)  # fmt: skip
def test_mistakes(changes, words):
    with pytest.raises(SpecError, match=words):
        net_of(**changes)


def test_a_module_of_ones_own_has_nothing_to_tie():
    with pytest.raises(SpecError, match="an encoder like the decoder"):
        net_of(encoder=Part("own"), own={"encoder": nn.Linear(6, 4)})
