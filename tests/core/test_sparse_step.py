"""The step on what fired is the tape's, number by number."""

import copy

import pytest
import torch
from torch import nn

from isthmus.core.autoencoder import Net
from isthmus.core.sparse_step import SparseStep
from isthmus.data.batches import InMemory
from isthmus.spec import Part, Plan, Spec
from isthmus.training.loop import STEPS, train

D, LATENTS = 7, 30
REVIVAL = (Part("revival", {"k": 3}),)


def net_of(kind="topk", k=3, shape=(D,), own=None, **changes):
    torch.manual_seed(0)
    spec = Spec(encoder=Part("linear"), decoder=Part("dictionary"), bottleneck=Part(kind, {"k": k}),
                latent_dim=LATENTS, penalties=REVIVAL)  # fmt: skip
    return Net(spec.replace(**changes), shape, own).double().train()


def batch_of(n=17, observed=False, target=False, shape=(D,)):
    g = torch.Generator().manual_seed(2)
    batch = {"x": torch.randn(n, *shape, generator=g, dtype=torch.float64) + 3}
    if observed:
        batch["observed"] = torch.rand(n, *shape, generator=g) < 0.7
    if target:
        batch["target"] = torch.randn(n, *shape, generator=g, dtype=torch.float64)
    return batch


def agree(net, **batch):
    """Loss, terms, every gradient and every buffer of both ways, two steps long."""
    assert SparseStep.fits(net)
    found = []
    for by_hand in (False, True):
        ours = copy.deepcopy(net)
        losses_of = SparseStep(ours).losses if by_hand else ours.losses
        torch.manual_seed(1)
        for p in ours.parameters():
            p.grad = torch.full_like(p, 3.0)  # left over from the step before
        for _ in range(2):
            losses = losses_of(**batch)
            losses.backward("main", list(ours.parameters()))
        found.append((losses, ours))
    (tape, theirs), (hand, ours) = found
    torch.testing.assert_close(hand.groups["main"], tape.groups["main"].detach(), rtol=1e-12, atol=1e-12)
    for name, nats in hand.terms.items():
        torch.testing.assert_close(nats, tape.terms[name], rtol=1e-12, atol=1e-12)
    for (name, a), (_, b) in zip(ours.named_parameters(), theirs.named_parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-9, atol=1e-12, msg=lambda m, name=name: f"{name}: {m}")
        assert b.grad.any()
    for (name, a), (_, b) in zip(ours.named_buffers(), theirs.named_buffers(), strict=True):
        torch.testing.assert_close(a, b, msg=lambda m, name=name: f"{name}: {m}")


def with_dead(net):
    """Half of the latents have not fired for long, and cannot by themselves."""
    with torch.no_grad():
        net.bottleneck.head.layer.bias[::2] -= 9
        net.bottleneck.head.layer.weight[::2].mul_(4)  # but some rows come above 0
    net.bottleneck.idle[::2], net.progress = 500, 0.5
    net.bottleneck.seen.fill_(1000)
    return net


@pytest.mark.parametrize("kind", ["topk", "batch_topk"])
class TestTheTape:
    @pytest.mark.parametrize("observed", [False, True])
    @pytest.mark.parametrize("sigma", ["analytic", 0.4])
    @pytest.mark.parametrize("target", [False, True])
    @pytest.mark.parametrize("dead", [False, True])
    def test_all_together(self, kind, observed, sigma, target, dead):
        net = net_of(kind, likelihood=Part("gaussian", {"sigma": sigma}))
        net = with_dead(net) if dead else net
        batch = batch_of(observed=observed, target=target)
        net.start_from(x=batch["x"])
        if dead:
            net = with_dead(net)
            trace = copy.deepcopy(net).trace(batch["x"])
            assert (net.penalties["revival"](trace) > 0).any()
        agree(net, **batch)

    @pytest.mark.parametrize("k", [1, 29, 30])
    def test_few_and_all(self, kind, k):
        agree(net_of(kind, k), **batch_of())

    def test_without_revival_and_with_a_rate_that_is_none(self, kind):
        agree(net_of(kind, penalties=(), objective=Part("elbo")), **batch_of())

    def test_one_row(self, kind):
        agree(net_of(kind), **batch_of(n=1))

    def test_rows_in_which_nothing_fires(self, kind):
        net = net_of(kind)
        batch = batch_of()
        net.start_from(x=batch["x"])
        batch["x"][5] = net.decoder.bias.detach()  # the center itself
        batch["x"][-1] = batch["x"][5]
        agree(net, **batch)

    @pytest.mark.parametrize("corruption", ["gaussian", "masking"])
    @pytest.mark.parametrize("observed", [False, True])
    def test_noise_and_told_cells(self, kind, corruption, observed):
        agree(net_of(kind, corruption=Part(corruption), tell_missing=True), **batch_of(observed=observed))

    def test_images_and_a_settled_noise(self, kind):
        net = net_of(kind, shape=(1, 2, 3))
        batch = batch_of(shape=(1, 2, 3))
        agree(net, **batch)
        net.likelihood.calibrate(batch["x"], None, net.trace(batch["x"]).p.mean)
        agree(net, **batch)

    def test_a_whole_training_is_the_same(self, kind, monkeypatch):
        """Warm-up, projections and the loop's own choice of the step included."""
        rows = batch_of(n=200)["x"]
        nets = []
        for steps in (STEPS, ()):
            monkeypatch.setattr("isthmus.training.loop.STEPS", steps)
            net = net_of(kind)
            net.start_from(x=rows)
            train(net, InMemory({"x": rows}, 20), Plan(epochs=3, learning_rate=0.01))
            nets.append(net)
        for a, b in zip(*(net.parameters() for net in nets), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-8)


def test_the_rows_stay_as_they_are():
    net, batch = net_of(), batch_of()
    kept = batch["x"].clone()
    SparseStep(net).losses(**batch).backward("main", list(net.parameters()))
    assert torch.equal(batch["x"], kept)


@pytest.mark.parametrize(
    "changes",
    [
        {"bottleneck": Part("relu")},
        {"bottleneck": Part("jumprelu")},
        {"encoder": Part("mlp")},
        {"decoder": Part("linear"), "penalties": ()},
        {"penalties": (Part("l1"),)},
        {"penalties": (*REVIVAL, Part("l2"))},
        {"critic": Part("code")},
        {"likelihood": Part("gaussian", {"sigma": "learned"})},
        {"likelihood": Part("gaussian", {"link": "sigmoid"})},
        {"likelihood": Part("bernoulli")},
    ],
    ids=repr,
)
def test_everything_else_takes_the_tape(changes):
    assert not SparseStep.fits(net_of(**changes))


def test_own_modules_and_frozen_parameters_take_the_tape():
    assert not SparseStep.fits(net_of(encoder=Part("own"), own={"encoder": nn.Linear(D, 4)}))
    net = net_of()
    net.decoder.bias.requires_grad_(False)
    assert not SparseStep.fits(net)
