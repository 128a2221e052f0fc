"""A fit that was killed and taken up again is the fit that was never killed, bit for bit."""

import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

from isthmus.errors import FileError, UserError
from isthmus.model import Model, open_model
from isthmus.spec import Plan
from isthmus.training.hooks import Hook

PLAN = Plan(epochs=6, batch_size=16, patience=None, seed=3)


def rows(seed=0):
    g = np.random.default_rng(seed)
    return (g.normal(size=(150, 3)) @ g.normal(size=(3, 8)) + 0.3 * g.normal(size=(150, 8))).astype(np.float32)


def fit(x=None, recipe="plain", plan=PLAN, latent_dim=2, **options):
    return Model.fit(rows() if x is None else x, recipe, plan=plan, latent_dim=latent_dim, device="cpu", **options)


class Killed(Exception):
    pass


def die_at(number):
    def callback(epoch):
        if epoch.number == number:
            raise Killed

    return callback


class DieAtStep(Hook):
    """Dies in the middle of an epoch, with the checkpoint of the step before."""

    def __init__(self, step):
        self.at = step

    def step(self, run):
        if run.step == self.at:
            raise Killed


def everything(model):
    """The weights, the calibration, and every number of the record that is no time."""
    record = [{k: v for k, v in e.items() if k not in ("seconds", "rows_per_second")} for e in model.record.history]
    said = (record, model.record.best_epoch, model.record.stopped, model.record.error, model.record.remarks)
    return model.net.state_dict(), model.calibration, said


def assert_same(a, b):
    (weights, calibration, said), (others, other_calibration, other_said) = everything(a), everything(b)
    assert weights.keys() == others.keys()
    assert all(torch.equal(w, others[name]) for name, w in weights.items())
    assert np.array_equal(calibration, other_calibration)
    assert said == other_said


@pytest.fixture
def checkpoint(tmp_path):
    return tmp_path / "run.checkpoint"


@pytest.mark.parametrize("recipe", ["plain", "denoising", "masking", "variational", "adversarial"])
@pytest.mark.parametrize("number", [1, 3, 6])
def test_resumed_after_an_epoch(checkpoint, recipe, number):
    whole = fit(recipe=recipe)
    with pytest.raises(Killed):
        fit(recipe=recipe, checkpoint=checkpoint, callbacks=[die_at(number)])
    assert_same(fit(recipe=recipe, checkpoint=checkpoint, resume=True), whole)


@pytest.mark.parametrize("recipe", ["plain", "variational"])
@pytest.mark.parametrize("step", [1, 9, 17])
def test_resumed_in_the_middle_of_an_epoch(checkpoint, monkeypatch, recipe, step):
    from isthmus.training import hooks

    whole = fit(recipe=recipe)
    monkeypatch.setattr(
        hooks.Checkpoint.__init__, "__defaults__", (-1.0,)
    )  # seconds between: a checkpoint after every step
    with pytest.raises(Killed):
        fit(recipe=recipe, checkpoint=checkpoint, hooks=[DieAtStep(step)])
    assert_same(fit(recipe=recipe, checkpoint=checkpoint, resume=True), whole)


def test_a_checkpoint_changes_nothing(checkpoint):
    assert_same(fit(checkpoint=checkpoint), fit())


def test_resumed_again_and_again(checkpoint):
    whole = fit()
    for number in (1, 2, 4, 5):
        with pytest.raises(Killed):
            fit(checkpoint=checkpoint, resume=True, callbacks=[die_at(number)])
    assert_same(fit(checkpoint=checkpoint, resume=True), whole)


def test_a_finished_run_is_finished(checkpoint):
    whole, seen = fit(checkpoint=checkpoint), []
    again = fit(checkpoint=checkpoint, resume=True, callbacks=[lambda epoch: seen.append(epoch.number)])
    assert_same(again, whole)
    assert seen == []


def test_without_a_checkpoint_it_begins(checkpoint):
    assert_same(fit(checkpoint=checkpoint, resume=True), fit())


def test_without_resume_it_begins_anew(checkpoint):
    with pytest.raises(Killed):
        fit(checkpoint=checkpoint, callbacks=[die_at(3)])
    seen = []
    fit(checkpoint=checkpoint, callbacks=[lambda epoch: seen.append(epoch.number)])
    assert seen == [0, 1, 2, 3, 4, 5, 6]


OTHERS = {
    "rows": {"x": rows(1)},
    "a cell": {"x": np.where(np.arange(8) == 3, rows() + np.eye(150, 8, dtype=np.float32), rows())},
    "epochs": {"plan": PLAN.replace(epochs=7)},
    "seed": {"plan": PLAN.replace(seed=4)},
    "rate": {"plan": PLAN.replace(learning_rate=0.1)},
    "code": {"latent_dim": 3},
    "recipe": {"recipe": "denoising"},
    "part": {"parts": {"encoder": {"widths": [32, 16]}}},
    "start": {"warm_start": None},
}


@pytest.mark.parametrize("options", OTHERS.values(), ids=OTHERS)
def test_another_run_is_not_taken_up(checkpoint, options):
    with pytest.raises(Killed):
        fit(checkpoint=checkpoint, callbacks=[die_at(3)])
    with pytest.raises(FileError, match=r"belongs to another run .*Delete it, or give the options"):
        fit(checkpoint=checkpoint, resume=True, **options)


def test_rows_of_another_order_are_other_rows(checkpoint):
    plan = PLAN.replace(validation=0.0)
    # whole numbers: sums of any order are exact
    x = np.random.default_rng(0).integers(0, 9, (150, 8)).astype(np.float32)
    with pytest.raises(Killed):
        fit(x, plan=plan, checkpoint=checkpoint, callbacks=[die_at(3)])
    with pytest.raises(FileError, match="belongs to another run"):
        fit(x[::-1].copy(), plan=plan, checkpoint=checkpoint, resume=True)


@pytest.mark.parametrize("content", [b"", b"not a model", b"\x00" * 1000])
def test_a_damaged_checkpoint(checkpoint, content):
    checkpoint.write_bytes(content)
    with pytest.raises(FileError):
        fit(checkpoint=checkpoint, resume=True)


def test_a_model_is_no_checkpoint(checkpoint):
    fit().save(checkpoint)
    with pytest.raises(FileError):
        fit(checkpoint=checkpoint, resume=True)


def test_a_checkpoint_is_no_model(checkpoint):
    fit(checkpoint=checkpoint)
    with pytest.raises(UserError, match=r"not a model|checkpoint"):
        open_model(checkpoint)


def test_an_interrupted_fit_goes_on(checkpoint):
    def interrupt(epoch):
        if epoch.number == 3:
            raise KeyboardInterrupt

    first = fit(checkpoint=checkpoint, callbacks=[interrupt])
    assert first.record.stopped == "interrupted"
    assert_same(fit(checkpoint=checkpoint, resume=True), fit())


def test_trouble_after_resuming_goes_back_to_the_checkpoint_only(checkpoint):
    """The guard's last good state is the one that was taken up, not the beginning."""
    with pytest.raises(Killed):
        fit(checkpoint=checkpoint, callbacks=[die_at(4)])
    places = []

    class Break(Hook):
        def start(self, run):
            self.broken = False

        def step(self, run):
            places.append(run.epoch)
            if not self.broken:
                self.broken = True
                run.sums = {"reconstruction": torch.tensor(float("nan"))}

    fit(checkpoint=checkpoint, resume=True, hooks=[Break()])
    assert min(places) == 3


SCRIPT = """
import sys
from isthmus.model import Model
from isthmus.spec import Plan
import numpy as np
g = np.random.default_rng(0)
x = (g.normal(size=(2000, 5)) @ g.normal(size=(5, 20)) + 0.3 * g.normal(size=(2000, 20))).astype(np.float32)
print("go", flush=True)
out, checkpoint = sys.argv[1:]
from isthmus.training import hooks
hooks.Checkpoint.__init__.__defaults__ = (0.02,)
model = Model.fit(x, "variational", latent_dim=3, plan=Plan(epochs=30, batch_size=16, seed=1), device="cpu",
                  checkpoint=checkpoint, resume=True)
model.save(out)
"""


@pytest.mark.slow
def test_killed_at_random_moments(tmp_path):
    """SIGKILL, ten times, whenever: while training, while scoring, while writing the checkpoint."""
    script = tmp_path / "fit.py"
    script.write_text(SCRIPT)
    env = {**os.environ, "PYTHONPATH": os.getcwd(), "OMP_NUM_THREADS": "1"}

    def start(out, checkpoint):
        command = [sys.executable, str(script), str(tmp_path / out), str(tmp_path / checkpoint)]
        process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE)
        with process.stdout:
            assert process.stdout.readline() == b"go\n"
        return process

    began = time.monotonic()
    assert start("whole.isthmus", "whole.checkpoint").wait() == 0
    took, chance, killed = time.monotonic() - began, random.Random(0), 0
    for _ in range(10):
        process = start("resumed.isthmus", "resumed.checkpoint")
        time.sleep(chance.uniform(0.02, 0.2) * took)
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            killed += 1
        process.wait()
    assert start("resumed.isthmus", "resumed.checkpoint").wait() == 0
    assert killed >= 5
    assert_same(open_model(tmp_path / "resumed.isthmus"), open_model(tmp_path / "whole.isthmus"))
