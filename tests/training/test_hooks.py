"""Keeping the best, stopping, and going back when a number breaks."""

import math
import time

import pytest
import torch

from isthmus.core.autoencoder import Net
from isthmus.core.parts import Penalty
from isthmus.core.penalties import PENALTIES
from isthmus.data.batches import InMemory
from isthmus.errors import TrainingError
from isthmus.spec import Part, Plan, Spec
from isthmus.training.hooks import Callback, Guard, Hook, KeepBest, Watch
from isthmus.training.loop import train
from isthmus.training.run import Epoch

D = 6


def rows(n=200, seed=0):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(n, D, generator=g) @ torch.randn(D, D, generator=g)


def fit(hooks, held_out=True, net=None, **changes):
    if net is None:
        torch.manual_seed(0)
        body = Part("mlp", {"widths": [8]})
        net = Net(Spec(encoder=body, decoder=body, latent_dim=2), (D,))
    plan = Plan(epochs=6, batch_size=32, learning_rate=1e-2).replace(**changes)
    held = {"x": rows(50, 1)} if held_out else None
    return train(net, InMemory({"x": rows()}, plan.batch_size), plan, held_out=held, hooks=hooks)


class Script(Hook):
    """Writes the held-out losses that a test wants to see, and remembers the weights of every epoch."""

    def __init__(self, *losses):
        self.losses, self.weights = losses, {}

    def epoch(self, run, epoch):
        epoch.held_out = self.losses[min(epoch.number, len(self.losses) - 1)]
        self.weights[epoch.number] = run.weights()


def same(a, b):
    return all(torch.equal(value, b[name]) for name, value in a.items())


class TestKeepBest:
    @pytest.mark.parametrize("best", range(7))
    def test_the_weights_of_the_best_epoch_stay(self, best):
        script = Script(*[abs(i - best) for i in range(7)])
        run = fit([script, KeepBest(None)])
        assert run.best["epoch"] == best
        assert same(run.net.state_dict(), script.weights[best])
        assert run.stopped is None

    def test_a_draw_goes_to_the_earlier(self):
        assert fit([Script(3, 2, 2, 2, 2, 2, 2), KeepBest(None)]).best["epoch"] == 1

    @pytest.mark.parametrize(("patience", "last"), [(0.5, 4), (0.34, 4), (1 / 6, 2), (1.0, 6)])
    def test_patience_is_a_fraction_of_the_epochs(self, patience, last):
        run = fit([Script(3, 2, 5, 5, 5, 5, 5), KeepBest(patience)])
        assert run.history[-1].number == last
        assert run.best["epoch"] == 1
        if last < 6:
            assert "no better on held-out rows since epoch 1" in run.stopped

    def test_without_held_out_rows_the_last_weights_stay(self):
        run = fit([KeepBest(0.1)], held_out=False)
        assert run.best is None
        assert len(run.history) == 7

    def test_not_a_number_is_never_the_best(self):
        run = fit([Script(math.nan, math.nan, 2, 1, math.nan, 3, 3), KeepBest(None)])
        assert run.best["epoch"] == 3

    def test_beside_a_critic_the_last_weights_stay(self):
        """However much better rows came back before the codes obeyed it."""
        body = Part("mlp", {"widths": [8]})
        net = Net(Spec(encoder=body, decoder=body, latent_dim=2, critic=Part("code")), (D,))
        script = Script(*range(7))
        run = fit([script, KeepBest(0.1)], net=net)
        assert (run.best, run.stopped, run.history[-1].number) == (None, None, 6)
        assert same(run.net.state_dict(), script.weights[6])


class Poison(Penalty):
    """Zero, until a call at which it is not a number."""

    at: range = range(0)
    calls = 0

    def __init__(self, *, value: float = math.nan):
        super().__init__()
        self.value = value

    def forward(self, trace):
        if not torch.is_grad_enabled():  # held-out rows
            return trace.x.new_zeros(len(trace.x))
        Poison.calls += 1
        broken = self.value if Poison.calls - 1 in Poison.at else 0.0
        return trace.code.z.flatten(1).sum(1) * 0 + broken * trace.code.z.flatten(1).sum(1).exp()


@pytest.fixture
def poisoned(monkeypatch):
    def build(at, value=math.nan, **changes):
        monkeypatch.setitem(PENALTIES, "poison", Poison)
        monkeypatch.setattr(Poison, "at", at)
        monkeypatch.setattr(Poison, "calls", 0)
        torch.manual_seed(0)
        body = Part("mlp", {"widths": [8]})
        penalty = Part("poison", {"value": value})
        return Net(Spec(encoder=body, decoder=body, latent_dim=2, penalties=(penalty,)).replace(**changes), (D,))

    return build


class TestGuard:
    @pytest.mark.parametrize("step", [0, 1, 6, 7, 20, 41])
    @pytest.mark.parametrize("value", [math.nan, math.inf])
    def test_it_goes_back_slows_down_and_finishes(self, poisoned, step, value):
        run = fit([Guard(every=5), KeepBest(None)], net=poisoned(range(step, step + 1), value))
        assert [e.number for e in run.history] == list(range(7))
        assert run.rollbacks == 1
        assert run.slow_down == 0.5
        assert run.history[-1].learning_rate == pytest.approx(0.5 * 1e-4)
        (remark,) = run.remarks
        assert "became infinite or NaN" in remark
        assert all(v.isfinite().all() for v in run.net.state_dict().values())
        assert all(math.isfinite(v) for e in run.history for v in e.terms.values())

    @pytest.mark.parametrize("step", [0, 7])
    def test_it_names_the_term_that_broke_first(self, poisoned, step):
        run = fit([Guard(every=5)], net=poisoned(range(step, step + 1)))
        assert "the term 'poison' became infinite or NaN" in run.remarks[0]

    def test_every_row_is_still_seen_in_every_epoch(self, poisoned):
        """Steps that were undone are done again, none is left out."""
        done = []

        class Note(Hook):
            def step(self, run):
                done.append(run.step)

        run = fit([Note(), Guard(every=5)], net=poisoned(range(17, 18)))
        assert set(done) == set(range(1, 6 * run.steps + 1))

    @pytest.mark.parametrize("every", [1, 5])
    def test_what_always_breaks_is_named(self, poisoned, every):
        with pytest.raises(TrainingError, match="broke 6 times: the term 'poison' is not a finite number in epoch 0"):
            fit([Guard(every=every)], net=poisoned(range(10**6)))

    def test_with_two_groups(self, poisoned):
        run = fit([Guard(every=5)], net=poisoned(range(12, 13), critic=Part("code")))
        assert run.rollbacks == 1
        assert all(v.isfinite().all() for v in run.net.state_dict().values())

    def test_without_trouble_it_changes_nothing(self):
        assert same(fit([]).net.state_dict(), fit([Guard(every=3)]).net.state_dict())
        assert fit([Guard()]).remarks == []

    def test_a_weight_that_breaks_while_the_loss_is_whole(self):
        class Break(Hook):
            def step(self, run):
                if run.step == 16 and not run.rollbacks:
                    run.groups["main"].values[0] = math.nan
                    run.sums = {}

        run = fit([Break(), Guard(every=4)])
        assert run.rollbacks == 1
        assert "a weight became infinite or NaN" in run.remarks[0]


def test_callbacks_see_every_epoch_and_can_stop():
    seen = []

    def callback(epoch):
        seen.append(epoch)
        return epoch.number == 3

    run = fit([Callback(callback)])
    assert [e.number for e in seen] == [0, 1, 2, 3]
    assert all(isinstance(e, Epoch) for e in seen)
    assert run.stopped == "a callback asked for it"


@pytest.mark.parametrize("answer", [None, False, 1, "yes"])
def test_only_true_stops(answer):
    assert fit([Callback(lambda epoch: answer)]).stopped is None


def interrupt_at(number):
    def callback(epoch):
        if epoch.number == number:
            raise KeyboardInterrupt

    return Callback(callback)


@pytest.mark.parametrize("number", [1, 3])
def test_an_interrupt_leaves_the_best_so_far(number):
    script = Script(5, 3, 4, 5, 5, 5, 5)
    run = fit([script, KeepBest(None), interrupt_at(number)])
    assert run.stopped == "interrupted"
    assert run.epoch == number
    assert same(run.net.state_dict(), script.weights[1])
    assert not run.net.training


def test_an_interrupt_before_the_first_step():
    try:
        stopped = fit([KeepBest(None), interrupt_at(0)]).stopped
    except KeyboardInterrupt:
        pytest.fail("the interrupt got out")
    assert stopped == "interrupted"


def test_an_interrupt_between_steps():
    class Interrupt(Hook):
        def step(self, run):
            if run.step == 10:
                raise KeyboardInterrupt

    run = fit([KeepBest(None), Interrupt()])
    assert run.stopped == "interrupted"
    assert all(v.isfinite().all() for v in run.net.state_dict().values())


@pytest.mark.parametrize("seconds", [0.2, 0.5])
def test_time_is_kept(seconds):
    began = time.monotonic()
    run = fit([Watch(seconds)], epochs=10**6, max_time=seconds)
    took = time.monotonic() - began
    assert seconds <= took < seconds + 1
    assert "the time of" in run.stopped
    assert run.progress() == 1
    assert run.history[-1].learning_rate == pytest.approx(1e-4, rel=0.2), "the schedule was fitted to the time"


def test_time_that_is_up_at_once():
    run = fit([Watch(0.0)], max_time=1e-9)
    assert run.epoch == 1
    assert "not every row was seen" in run.remarks[0]
