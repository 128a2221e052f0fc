"""Which variant is better at what, on real digits at a small scale; the figures of `benchmarks` say by how much."""

import numpy as np
import pytest
import torch

from isthmus import Model
from isthmus.core.priors import PRIORS
from isthmus.spec import Plan

NET = {"encoder": {"kind": "mlp", "widths": [100]}, "decoder": {"kind": "mlp", "widths": [100]}}


@pytest.fixture(scope="module")
def digits(shared):
    """Binarised once, grey levels as probabilities: rows to fit, and test rows."""
    g = np.random.default_rng(0)
    found = []
    for part, n in (("train", 2000), ("test", 500)):
        with np.load(shared / "mnist" / f"mnist_{part}.npz") as file:
            grey = file["images"][:n].reshape(n, -1) / 255
        found.append((g.random(grey.shape) < grey).astype(np.float32))
    return found


def nats(digits, recipe, epochs=20, **parts):
    plan = Plan(epochs=epochs, batch_size=50, learning_rate=2e-3, validation=0.0)
    model = Model.fit(digits[0], recipe, latent_dim=10, warm_start=None, plan=plan, device="cpu",
                      parts={**NET, "likelihood": "bernoulli", **parts})  # fmt: skip
    return -model.log_likelihood(digits[1], 200).mean()


@pytest.mark.slow
def test_many_codes_a_row_are_likelier_than_one(digits):
    assert nats(digits, "iwae", objective={"samples": 20}) < nats(digits, "variational")


@pytest.mark.slow
def test_a_prior_fitted_afterwards_is_likelier_than_n_0_i(digits):
    assert nats(digits, "variational", prior="mixture") < nats(digits, "variational")


@pytest.mark.slow
def test_draws_of_a_mixture_are_nearer_to_digits_than_those_of_n_0_i(digits):
    """By the mean distance of a draw to the nearest real digit, in the codes' own picture space."""
    plan = Plan(epochs=20, batch_size=50, validation=0.0)
    model = Model.fit(digits[0], latent_dim=10, plan=plan, device="cpu", parts={**NET, "likelihood": "bernoulli"})
    codes, real = torch.from_numpy(model.encode(digits[0])), torch.from_numpy(digits[0])
    apart = {}
    for name in ("standard_normal", "mixture"):
        prior = PRIORS[name]((10,), (784,))
        prior.fit(codes)
        drawn = model.decode(prior.sample(500, torch.Generator().manual_seed(0)).numpy())
        apart[name] = float(torch.cdist(torch.from_numpy(drawn), real).min(1).values.mean())
    assert apart["mixture"] < apart["standard_normal"]
