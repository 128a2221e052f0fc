import math

import pytest
import torch
from torch import nn

from isthmus.core.autoencoder import Net
from isthmus.core.parts import Schedule
from isthmus.data.batches import InMemory
from isthmus.spec import Part, Plan, Spec
from isthmus.training.hooks import Hook
from isthmus.training.loop import evaluate, multiplications, train

D = 6


def rows(n=200, seed=0):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(n, D, generator=g) @ torch.randn(D, D, generator=g)


def net_of(seed=0, own=None, **changes):
    torch.manual_seed(seed)
    body = Part("mlp", {"widths": [8]})
    return Net(Spec(encoder=body, decoder=body, latent_dim=2).replace(**changes), (D,), own)


def plan_of(**changes):
    return Plan(epochs=4, batch_size=32, learning_rate=1e-2).replace(**changes)


def fit(net=None, x=None, plan=None, hooks=(), held_out=None, seed=0):
    net, x, plan = net or net_of(), rows() if x is None else x, plan or plan_of()
    torch.manual_seed(seed)
    return train(net, InMemory({"x": x}, plan.batch_size, seed), plan, held_out=held_out, hooks=hooks)


VARIANTS = {
    "by hand": {},
    "corrupted": {"corruption": Part("masking"), "tell_missing": True},
    "variational": {"bottleneck": Part("gaussian"), "objective": Part("elbo")},
    "adversarial": {"critic": Part("code")},
}


@pytest.mark.parametrize("changes", VARIANTS.values(), ids=VARIANTS)
class TestEveryWay:
    def test_the_loss_falls(self, changes):
        run = fit(net_of(**changes), plan=plan_of(epochs=15))
        first, last = run.history[1].terms, run.history[-1].terms
        assert last["reconstruction"] < first["reconstruction"]
        assert all(math.isfinite(v) for epoch in run.history for v in epoch.terms.values())

    def test_the_same_seed_gives_the_same_bits(self, changes):
        a, b = fit(net_of(**changes)), fit(net_of(**changes))
        other = fit(net_of(**changes), seed=1)
        assert all(torch.equal(x, y) for x, y in zip(a.weights().values(), b.weights().values(), strict=True))
        assert any(not torch.equal(x, y) for x, y in zip(a.weights().values(), other.weights().values(), strict=True))

    def test_every_group_moves(self, changes):
        net = net_of(**changes)
        before = {name: [p.detach().clone() for p in group] for name, group in net.groups().items()}
        fit(net, plan=plan_of(epochs=1))
        for name, group in net.groups().items():
            assert any(not torch.equal(p, b) for p, b in zip(group, before[name], strict=True))

    def test_a_run_can_be_put_back(self, changes):
        """state → go on → restore → go on: the same weights, whatever the noise."""

        class Rewind(Hook):
            def epoch(self, run, epoch):
                if epoch.number == 2 and not hasattr(self, "kept"):
                    self.kept = run.state()
                elif epoch.number == 4 and not hasattr(self, "first"):
                    self.first = run.weights()
                    run.restore(self.kept)

        hook = Rewind()
        run = fit(net_of(**changes), hooks=[hook])
        assert [epoch.number for epoch in run.history] == [0, 1, 2, 3, 4]
        assert all(torch.equal(w, hook.first[name]) for name, w in run.weights().items())


def test_the_two_ways_of_a_step_lead_to_one_place(monkeypatch):
    by_hand = fit()
    monkeypatch.setattr("isthmus.training.loop.HandmadeStep.fits", lambda net: False)
    on_tape = fit()
    for name, value in by_hand.weights().items():
        torch.testing.assert_close(value, on_tape.weights()[name], rtol=1e-3, atol=1e-4)


def test_the_record_of_every_epoch():
    run = fit(held_out={"x": rows(50, 1)})
    assert [e.number for e in run.history] == [0, 1, 2, 3, 4]
    assert {e.of for e in run.history} == {4}
    assert run.history[0].terms == {}
    for epoch in run.history[1:]:
        assert epoch.terms.keys() == {"reconstruction"}
        assert epoch.rows_per_second > 0
        assert epoch.error > 0
        assert math.isfinite(epoch.held_out)
    seconds = [e.seconds for e in run.history]
    assert seconds == sorted(seconds)
    assert run.history[-1].left == 0
    assert not run.net.training, "a fitted network is for use"


def test_the_terms_are_means_over_the_batches():
    """At learning rate ~0 the recorded term is the loss of all rows, to the size of the batches."""
    net = net_of(likelihood=Part("gaussian", {"sigma": 0.7}))
    run = fit(net, plan=plan_of(epochs=1, learning_rate=1e-12, batch_size=50))
    net.eval()
    assert run.history[1].terms["reconstruction"] == pytest.approx(net.losses(x=rows()).groups["main"].item(), rel=1e-5)


def learning_rates(**changes):
    found = []

    class Note(Hook):
        def step(self, run):
            found.append((run.progress(), run.learning_rate()))

    run = fit(plan=plan_of(**changes), hooks=[Note()])
    return run, found


@pytest.mark.parametrize("warmup", [0.0, 0.1, 0.5])
def test_the_learning_rate_warms_up_and_falls_to_a_hundredth(warmup):
    run, found = learning_rates(warmup=warmup, epochs=20)
    assert len(found) == 20 * run.steps
    for done, rate in found:
        if done < warmup:
            assert rate == pytest.approx(1e-2 * max(done / warmup, 0.01))
        else:
            falling = 0.5 * (1 + math.cos(math.pi * (done - warmup) / (1 - warmup)))
            assert rate == pytest.approx(1e-2 * (0.01 + 0.99 * falling))
    assert max(rate for _, rate in found) == pytest.approx(1e-2, rel=0.05)
    assert found[-1] == (1.0, pytest.approx(1e-4))


def test_schedules_are_told_how_far_training_is():
    seen = []

    class Note(Hook):
        def step(self, run):
            seen.append(run.net.progress)

    run = fit(hooks=[Note()])
    assert seen == pytest.approx([i / len(seen) for i in range(len(seen))])
    assert run.progress() == 1


def test_held_out_losses_are_those_at_the_end_of_every_schedule():
    """Else the epochs in which a code is still cheap would be kept as the best."""
    warm = Part("elbo", {"beta": {"start": 0.0, "end": 2.0, "over": 0.5}})
    net = net_of(bottleneck=Part("gaussian"), objective=warm)
    twin = net_of(bottleneck=Part("gaussian"), objective=Part("elbo", {"beta": 2.0}))
    net.progress = 0.1
    assert evaluate(net, {"x": rows()}) == evaluate(twin, {"x": rows()})


def test_no_epochs_leave_the_start():
    net = net_of()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    run = fit(net, plan=plan_of(epochs=0), held_out={"x": rows(50, 1)})
    assert len(run.history) == 1
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())


@pytest.mark.parametrize("n", [2, 31, 33, 200])
def test_any_number_of_rows(n):
    assert len(fit(x=rows(n)).history) == 5


class TestEvaluate:
    @pytest.mark.parametrize("changes", VARIANTS.values(), ids=VARIANTS)
    def test_it_repeats_and_touches_nothing(self, changes):
        net, held = net_of(**changes).train(), {"x": rows(50)}
        before = {k: v.clone() for k, v in net.state_dict().items()}
        torch.manual_seed(5)
        state = torch.get_rng_state()
        first = evaluate(net, held)
        torch.manual_seed(6)
        assert evaluate(net, held) == first
        torch.manual_seed(5)
        evaluate(net, held)
        assert torch.equal(torch.get_rng_state(), state)
        assert net.training
        assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())

    def test_held_out_rows_do_not_reach_the_running_means(self):
        own = {"encoder": nn.Sequential(nn.Linear(D, 8), nn.BatchNorm1d(8))}
        net = net_of(own=own, encoder=Part("own"), corruption=Part("gaussian"))
        before = {k: v.clone() for k, v in net.state_dict().items()}
        evaluate(net, {"x": rows(50) + 100})
        assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())

    def test_chunks_do_not_matter(self, monkeypatch):
        net, held = net_of(likelihood=Part("gaussian", {"sigma": 0.7})), {"x": rows(50)}
        whole = evaluate(net, held)
        monkeypatch.setattr("isthmus.training.loop._CHUNK", 1)
        assert evaluate(net, held) == pytest.approx(whole, rel=1e-5)

    def test_the_error_is_of_the_deterministic_reconstruction(self):
        net, x = net_of(**VARIANTS["variational"]), rows(50)
        error = (net.decode(net.encode(x)).mean - x).square().sum(1).mean().item()
        assert evaluate(net, {"x": x})[1] == pytest.approx(error, rel=1e-5)

    def test_the_loss_is_the_trained_one(self):
        """With corruption the held-out loss is that of corrupted rows, so it is above that of clean ones."""
        noisy, clean = net_of(corruption=Part("gaussian", {"sigma": 3.0})), net_of()
        x = {"x": rows(500)}
        for net in (noisy, clean):
            fit(net, plan=plan_of(epochs=20, batch_size=16))
        clean.load_state_dict(noisy.state_dict())
        assert evaluate(noisy, x)[0] > evaluate(clean, x)[0]
        assert evaluate(noisy, x)[1] == evaluate(clean, x)[1]

    def test_epochs_are_compared_at_the_end_of_schedules(self):
        """A price that grows would make the first epochs, in which it was nothing, look best."""
        net, x = net_of(**VARIANTS["variational"]), {"x": rows(50)}
        grown = evaluate(net, x)[0]
        net.objective.beta = Schedule.of({"start": 0.0, "end": net.objective.beta.end})
        net.progress = 0.25
        assert evaluate(net, x)[0] == pytest.approx(grown)
        assert net.progress == 0.25


class TestPrecision:
    """Products of bfloat16 numbers while bodies are trained, and of float32 numbers ever after."""

    def u(self, seed=0):
        torch.manual_seed(seed)
        body = Part("unet", {"widths": [16, 16]})
        spec = Spec(encoder=body, decoder=body, bottleneck=Part("open"), latent_dim=1, corruption=Part("white"))
        return Net(spec.replace(likelihood=Part("gaussian", {"per": "all"})), (1, 16, 16))

    def waves(self, n=64):
        at, turn = torch.arange(16.0), torch.rand(n, 2, generator=torch.Generator().manual_seed(0)) * 6
        return (torch.sin(at / 2 + turn[:, :1])[:, :, None] * torch.sin(at / 3 + turn[:, 1:])[:, None])[:, None]

    def test_a_coarse_training_gets_as_far(self):
        x, ends = self.waves(), {}
        for precision in ("float32", "bfloat16"):
            run = fit(self.u(), x, plan_of(epochs=20, batch_size=8, precision=precision))
            ends[precision] = evaluate(run.net, {"x": x})[0]
            start = run.history[1].terms["reconstruction"]
            assert all(p.dtype == torch.float32 for p in run.net.parameters())
        assert ends["bfloat16"] < start
        assert abs(ends["bfloat16"] - ends["float32"]) < 0.1 * abs(start - ends["float32"])

    def test_products_are_coarse_in_training_alone(self):
        net, x = self.u(), self.waves(8)
        fine = net.eval().decode(net.encode(x)).mean
        net.precision = "bfloat16"
        assert torch.equal(net.decode(net.encode(x)).mean, fine)
        assert not torch.equal(net.train().decode(net.encoded(x)).mean, net.decoder(net.encoder(x)))

    def test_what_was_derived_by_hand_steps_aside(self):
        fine, coarse = fit(), fit(plan=plan_of(precision="bfloat16"))
        worst = max((fine.weights()[name] - coarse.weights()[name]).abs().max() for name in fine.weights())
        assert 1e-5 < worst < 0.1


def test_weights_that_slide_multiply_at_every_place():
    flat = net_of()
    assert multiplications(flat) == sum(p.numel() for p in flat.parameters())
    body = Part("unet", {"widths": [4], "blocks": 1})
    spec = Spec(encoder=body, decoder=body, bottleneck=Part("open"), latent_dim=1)
    for side in (16, 32):  # four layers of 4 × 4 kernels of 3 × 3, on a grid of half the side
        assert multiplications(Net(spec, (1, side, side))) == 4 * (4 * 4 * 9) * (side / 2) ** 2
