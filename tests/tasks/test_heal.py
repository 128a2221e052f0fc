"""A fit that heals: what may be changed, what stays, and which fit is kept."""

import numpy as np
import pytest
import torch
from torch import nn

from isthmus.estimators import Autoencoder
from isthmus.model import Model, open_model
from isthmus.spec import Part, Plan
from isthmus.tasks.checkup import heal
from isthmus.tasks.checkup.findings import Finding, Remedy

PLAN = Plan(epochs=20, batch_size=32, learning_rate=0.01, seed=0)
BUSY = Finding("posterior collapse", 0.0, 1.0, "it collapsed", Remedy(
    "keep busy", parts={"bottleneck": {"free_bits": 0.25}, "objective": {"beta": 1.0}}, safe=True))  # fmt: skip
SMALLER = Finding("idle codes", 0.5, 0.2, "idle", Remedy("less", latent_dim=4, safe=True))
SLOWER = Finding("dead units", 0.5, 0.2, "dead", Remedy("slower", plan={"learning_rate": 0.001}, safe=True))
UNSAFE = Finding("overfit", 3.0, 0.5, "overfit", Remedy("fewer", latent_dim=1))


def linear(n=800):
    g = np.random.default_rng(0)
    return g.normal(size=(n, 5)) @ g.normal(size=(5, 12)) + 0.05 * g.normal(size=(n, 12))


def active(model):
    return int((model.code_variance > 0.01).sum())


def test_collapse_is_healed_and_the_record_tells_how(tmp_path):
    # the price is the recipe's own, so it may be lowered; the noise level was said
    told = []
    asked = {
        "latent_dim": 5,
        "plan": PLAN,
        "warm_start": None,
        "device": "cpu",
        "parts": {"likelihood": {"sigma": 3.0}},
    }
    sick = Model.fit(linear(), "beta", **asked)
    good = Model.fit(linear(), "variational", latent_dim=5, plan=PLAN, device="cpu")
    model = heal.fit(linear(), "beta", told=told.append, **asked)
    assert active(sick) < 0.2 * active(good)
    assert active(model) >= 0.8 * active(good)
    assert model.record.error < 0.9 * sick.record.error
    first = model.record.healing[0]
    assert "posterior collapse" in first["found"]
    assert first["change"]["bottleneck.free_bits"] == 0.25
    assert first["change"]["objective.beta"]["end"] == 1.0
    assert first["as_said"] == {"likelihood.sigma": 3.0}
    assert first["kept"]
    assert model.spec.likelihood.options["sigma"] == 3.0
    assert len(told) == len(model.record.healing) <= 2
    assert "left as you said: likelihood.sigma=3.0" in told[0]
    assert open_model(model.save(tmp_path / "m.isthmus")).record.healing == model.record.healing


def test_a_healthy_fit_is_the_fit():
    options = {"latent_dim": 5, "plan": PLAN, "device": "cpu"}
    model, plain = heal.fit(linear(), **options), Model.fit(linear(), **options)
    assert model.record.healing == []
    assert all(
        torch.equal(a, b) for a, b in zip(model.net.state_dict().values(), plain.net.state_dict().values(), strict=True)
    )


def test_a_refit_that_brings_nothing_is_not_kept(monkeypatch):
    monkeypatch.setattr(heal, "seen", lambda *_: [SLOWER])
    options = {"latent_dim": 5, "plan": Plan(epochs=1, seed=0), "device": "cpu", "warm_start": None}
    model, plain = heal.fit(linear(), **options), Model.fit(linear(), **options)
    assert [step["kept"] for step in model.record.healing] == [False, False]
    assert model.record.error == plain.record.error


@pytest.mark.parametrize(
    ("more_wrong", "ratio", "better"),
    [
        (-0.1, 1.0, True),
        (-0.1, 1.02, True),
        (-0.1, 1.03, False),
        (0.0, 0.9, True),
        (0.0, 1.0, False),
        (0.1, 0.5, False),
    ],
)
def test_which_fit_is_better(more_wrong, ratio, better):
    assert heal._better(more_wrong, ratio) is better


def test_what_was_said_stays():
    everything = [BUSY, SMALLER, SLOWER, UNSAFE]
    assert heal.allowed(everything, {}) == (
        {"bottleneck.free_bits": 0.25, "objective.beta": 1.0, "latent_dim": 4, "training.learning_rate": 0.001}, {},
    )  # fmt: skip
    asked = {
        "latent_dim": 8,
        "parts": {"objective": {"beta": 20.0}, "bottleneck": "gaussian", "encoder": nn.Linear(2, 2)},
        "plan": Plan(learning_rate=0.1),
    }
    change, as_said = heal.allowed(everything, asked)
    assert change == {"bottleneck.free_bits": 0.25}
    assert as_said == {"objective.beta": 20.0, "latent_dim": 8, "training.learning_rate": 0.1}
    own = Finding("dead units", 1.0, 1.0, "", Remedy("", parts={"encoder": {"activation": "gelu"}}, safe=True))
    assert heal.allowed([own], asked) == ({}, {"encoder": "Linear"})


def test_changes_are_laid_over_what_was_said():
    asked = {"parts": {"bottleneck": "gaussian", "objective": Part("elbo", {"beta": 2.0})}, "device": "cpu"}
    found = heal.laid_over(
        asked, {"bottleneck.free_bits": 0.5, "encoder.activation": "gelu", "training.epochs": 7, "latent_dim": 3}
    )
    assert found["parts"]["bottleneck"] == {"kind": "gaussian", "free_bits": 0.5}
    assert found["parts"]["encoder"] == {"activation": "gelu"}
    assert found["parts"]["objective"] == Part("elbo", {"beta": 2.0})
    assert found["plan"].epochs == 7
    assert (found["latent_dim"], found["device"]) == (3, "cpu")
    assert asked == {"parts": {"bottleneck": "gaussian", "objective": Part("elbo", {"beta": 2.0})}, "device": "cpu"}


def test_the_estimator_heals_and_looks():
    ae = Autoencoder("beta", latent_dim=5, likelihood={"sigma": 3.0}, epochs=20, batch_size=32, learning_rate=0.01,
                     warm_start=None, auto_heal=True, random_state=0).fit(linear())  # fmt: skip
    assert ae.record_.healing[0]["change"]["bottleneck.free_bits"] == 0.25
    assert "posterior collapse" not in [finding.what for finding in ae.health(linear()).findings]
