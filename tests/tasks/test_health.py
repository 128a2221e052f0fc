"""What is wrong is said, with the remedy; what is fine is not."""

import numpy as np
import pytest

from isthmus.model import Model
from isthmus.spec import Plan
from isthmus.tasks.health import remarks

PLAN = Plan(epochs=3, batch_size=32, seed=0)


def linear(n=800, noise=0.1):
    g = np.random.default_rng(0)
    return g.normal(size=(n, 3)) @ g.normal(size=(3, 8)) + noise * g.normal(size=(n, 8))


def said(rows, recipe="plain", latent_dim=3, plan=PLAN, **options):
    return " | ".join(remarks(Model.fit(rows, recipe, latent_dim=latent_dim, plan=plan, device="cpu", **options)))


def test_no_rows_held_out():
    assert "no rows were held out" in said(linear(), plan=PLAN.replace(validation=0.0))


def test_few_rows_held_out():
    assert "20 held-out rows can promise a false-alarm rate of 4.8% at the least" in said(linear(80))
    assert "promise" not in said(linear())


def test_columns_that_have_nothing_to_do_with_each_other():
    noise = np.random.default_rng(0).normal(size=(800, 100))
    assert "hardly better than answering with the mean row" in said(noise, latent_dim=1, plan=PLAN.replace(epochs=0))
    assert "mean row" not in said(linear())


def test_pca_is_better_than_a_bad_fit():
    text = said(linear(), warm_start=None, plan=PLAN.replace(epochs=1, learning_rate=1e-5))
    assert "same-size PCA is better on held-out rows" in text


def test_overfit():
    g = np.random.default_rng(0)
    rows = g.normal(size=(40, 60))
    text = said(rows, latent_dim=20, plan=PLAN.replace(epochs=0, validation=0.5))
    assert "overfit: the error on held-out rows is" in text


def test_posterior_collapse():
    noise = np.random.default_rng(0).normal(size=(600, 10))
    objective = {"kind": "elbo", "beta": 50.0}
    plan = PLAN.replace(epochs=30, learning_rate=0.02, patience=None)
    text = said(noise, "variational", 6, plan, parts={"objective": objective}, warm_start=None)
    assert "of 6 codes are in use" in text
    assert "free_bits" in text
    assert "in use" not in said(linear(), "variational")


@pytest.mark.parametrize("recipe", ["plain", "variational"])
def test_remarks_are_sentences(recipe):
    model = Model.fit(linear(60), recipe, latent_dim=2, plan=PLAN, device="cpu")
    assert all(isinstance(r, str) and r for r in remarks(model))
