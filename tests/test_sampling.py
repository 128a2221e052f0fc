"""Rows out of nothing but the model: drawn, weighed, and what is said when they will look wrong."""

import copy
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch.distributions import MultivariateNormal

from isthmus import Autoencoder, Model, open_model
from isthmus.app.cli import main
from isthmus.errors import SpecError
from isthmus.spec import Plan

PLAN = Plan(epochs=20, batch_size=32, seed=0)
G = np.random.default_rng(0)
SOURCES = {
    "array": lambda: G.normal(size=(300, 6)) @ G.normal(size=(6, 6)) + 3,
    "table": lambda: pd.DataFrame(
        {"a": G.normal(size=300), "n": G.integers(0, 9, 300), "c": G.choice(list("xyz"), 300)}
    ),
    "image": lambda: np.clip(G.normal(120, 30, size=(300, 1, 6)).repeat(8, 1), 0, 255).astype(np.uint8),
}  # fmt: skip


@pytest.fixture(scope="module", params=SOURCES)
def known(request):
    rows = SOURCES[request.param]()
    return Model.fit(rows, "variational", latent_dim=2, plan=PLAN, device="cpu"), rows


def drawn(model, *args, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return model.sample(*args, **options)


def same(a, b):
    return a.equals(b) if hasattr(a, "equals") else np.array_equal(a, b)


class TestSample:
    def test_rows_look_as_they_were_brought(self, known):
        model, rows = known
        for noise in (False, True):
            found = drawn(model, 9, noise=noise)
            assert len(found) == 9
            if hasattr(found, "schema"):
                assert found.column_names == list(rows.columns)
                assert set(found["c"].to_pylist()) <= set("xyz")
            else:
                assert found.shape[1:] == rows.shape[1:]
                assert found.dtype == rows.dtype

    def test_a_seed_is_a_draw(self, known):
        model, _ = known
        before = torch.get_rng_state()
        assert same(drawn(model, 9, seed=1, noise=True), drawn(model, 9, seed=1, noise=True))
        assert not same(drawn(model, 9, seed=1), drawn(model, 9, seed=2))
        assert torch.equal(torch.get_rng_state(), before)

    def test_it_is_in_the_file(self, known, tmp_path):
        model, _ = known
        again = open_model(model.save(tmp_path / "m.isthmus"), device="cpu")
        assert same(drawn(again, 5, noise=True), drawn(model, 5, noise=True))
        assert again.record.sampler_accuracy == model.record.sampler_accuracy

    def test_none_is_not_a_number_of_rows(self, known):
        with pytest.raises(SpecError, match="n is the number of rows to draw"):
            known[0].sample(0)

    @pytest.mark.parametrize("prior", ["gaussian", "flow", "two_stage", "vamp"])
    def test_draws_have_the_moments_of_the_rows(self, prior):
        """A linear-gaussian model and rows of that law: mean and covariance come back."""
        g = np.random.default_rng(1)
        rows = g.normal(size=(2000, 2)) @ np.array([[2.0, 1, 0, -1], [0, 1, 2, 1]]) + 0.1 * g.normal(size=(2000, 4)) + 5
        model = Model.fit(rows, "variational", latent_dim=2, plan=Plan(epochs=30, batch_size=100), device="cpu",
                          parts={"encoder": "linear", "decoder": "linear", "prior": prior})  # fmt: skip
        found = model.sample(20_000, noise=True)
        np.testing.assert_allclose(found.mean(0), rows.mean(0), atol=0.25)
        np.testing.assert_allclose(np.cov(found.T), np.cov(rows.T), atol=0.5)


class TestSamplingRemark:
    def rows(self):
        return np.concatenate([G.normal(size=(300, 5)) * 0.3 + m for m in (-4, 0, 4)])

    def test_codes_that_are_not_normal_are_told(self):
        """A plain code has no reason to look like N(0, I); heaps have no gaussian."""
        model = Model.fit(self.rows(), latent_dim=2, plan=PLAN, device="cpu", parts={"prior": "standard_normal"})
        assert model.record.sampler_accuracy > 0.8
        with pytest.warns(UserWarning, match=r"'standard_normal' are told from the codes .* prior='mixture' or"):
            model.sample(3)

    def test_a_fitted_mixture_is_not(self):
        model = Model.fit(self.rows(), latent_dim=2, plan=PLAN, device="cpu", parts={"prior": "mixture"})
        assert model.record.sampler_accuracy < 0.65
        assert model.sampling_remark() is None
        model.sample(3)

    def test_nor_is_n_0_i_where_the_codes_fill_it(self):
        """Rows that are a linear map of N(0, I), plus noise: the posteriors together are N(0, I)."""
        rows = G.normal(size=(1500, 2)) @ G.normal(size=(2, 6)) + 0.3 * G.normal(size=(1500, 6))
        model = Model.fit(rows, "variational", latent_dim=2, plan=Plan(epochs=60, batch_size=50), device="cpu",
                          parts={"encoder": "linear", "decoder": "linear"})  # fmt: skip
        assert model.record.sampler_accuracy < 0.65
        model.sample(3)

    def test_few_codes_say_nothing(self):
        model = Model.fit(self.rows()[:60], latent_dim=2, plan=PLAN, device="cpu")
        assert model.record.sampler_accuracy is None
        model.sample(3)


class TestLogLikelihood:
    def test_it_is_the_closed_form_of_a_linear_gaussian(self):
        """log N(x; Wm + b, W C Wᵀ + σ²I), in the units that the network sees."""
        rows = G.normal(size=(500, 2)) @ G.normal(size=(2, 4)) + 0.5 * G.normal(size=(500, 4))
        parts = {"encoder": "linear", "decoder": "linear", "likelihood": {"kind": "gaussian", "per": "all"}}
        model = Model.fit(rows, "variational", latent_dim=2, plan=PLAN, device="cpu", parts=parts,
                          modality_options={"scaling": "none"})  # fmt: skip
        layer, variance = model.net.likelihood.head.layer, model.net.likelihood.noise.variance
        covariance = layer.weight @ layer.weight.T + variance * torch.eye(4)
        exact = (
            MultivariateNormal(layer.bias.detach(), covariance.detach()).log_prob(torch.tensor(rows).float()).numpy()
        )
        found = model.log_likelihood(rows, 4000)
        assert found.dtype == np.float64
        assert np.abs(found - exact).mean() < 0.05
        assert model.log_likelihood(rows, 1).mean() < found.mean() + 0.05
        assert found.mean() < exact.mean() + 0.02

    def test_it_repeats_under_a_seed(self, known):
        model, rows = known
        first = model.log_likelihood(rows, 8)
        assert first.shape == (300,)
        assert np.isfinite(first).all()
        assert np.array_equal(model.log_likelihood(rows, 8), first)
        assert not np.array_equal(model.log_likelihood(rows, 8, seed=1), first)

    def test_a_fitted_prior_is_no_worse_than_n_0_i(self):
        """Codes drawn from the posteriors are what it was fitted to."""
        rows = np.concatenate([G.normal(size=(400, 4)) * 0.3 + m for m in (-3, 3)])
        model = Model.fit(rows, "variational", latent_dim=2, plan=PLAN, device="cpu", parts={"prior": "mixture"})
        plain = copy.copy(model)
        plain.net = copy.deepcopy(model.net)
        plain.net.prior = type(Model.fit(rows, "variational", latent_dim=2, plan=PLAN).net.prior)((2,), (4,))
        assert model.log_likelihood(rows).mean() > plain.log_likelihood(rows).mean()

    def test_a_model_without_a_posterior_has_none(self):
        rows = SOURCES["array"]()
        model = Model.fit(rows, latent_dim=2, plan=PLAN, device="cpu")
        with pytest.raises(SpecError, match="log_likelihood needs a noisy code"):
            model.log_likelihood(rows)
        with pytest.raises(SpecError, match="samples is at least 1"):
            model.log_likelihood(rows, 0)


class TestVamp:
    def test_scores_and_draws_need_no_encoder_to_be_asked_again(self, tmp_path):
        rows = SOURCES["array"]()
        model = Model.fit(rows, "vamp", latent_dim=2, plan=PLAN, device="cpu",
                          parts={"prior": {"pseudo_inputs": 20}})  # fmt: skip
        again = open_model(model.save(tmp_path / "m.isthmus"), device="cpu")
        with torch.no_grad():
            again.net.prior.inputs.zero_()
        assert np.array_equal(again.score(rows), model.score(rows))
        assert np.array_equal(drawn(again, 4), drawn(model, 4))

    def test_the_kept_mixture_is_that_of_the_best_epoch(self):
        """The weights go back to the best epoch after training, and the mixture with them."""
        rows = SOURCES["array"]()
        model = Model.fit(rows, "vamp", latent_dim=2, plan=PLAN, device="cpu",
                          parts={"prior": {"pseudo_inputs": 20}})  # fmt: skip
        kept = model.net.prior.mu.clone()
        model.net.prior.kept.fill_(False)
        model.net.renew_prior()
        model.net.prior.fit(torch.zeros(1, 2))
        assert torch.equal(model.net.prior.mu, kept)


def test_the_estimator_samples_and_takes_every_part():
    rows = SOURCES["array"]()
    ae = Autoencoder("variational", latent_dim=2, objective={"beta": 2.0}, prior="mixture", epochs=3, random_state=0)
    ae.fit(rows)
    assert ae.model_.spec.objective.options == {"beta": 2.0}
    assert ae.model_.spec.prior.kind == "mixture"
    assert ae.sample(4).shape == (4, 6)
    assert np.array_equal(ae.sample(4), ae.sample(4))
    assert Autoencoder(latent_dim=2, critic="code", epochs=2, prior="standard_normal").fit(rows).model_.spec.critic


def test_the_command_writes_a_sheet_a_folder_and_rows(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Model.fit(SOURCES["image"](), latent_dim=2, plan=PLAN, device="cpu").save(tmp_path / "m.isthmus")
    assert main(["sample", "m.isthmus", "-n", "9", "-o", "sheet.png"]) == 0
    with Image.open("sheet.png") as sheet:
        assert sheet.size == (18, 24)
    assert main(["sample", "m.isthmus", "-n", "5", "--seed", "3", "--noise", "-o", "drawn"]) == 0
    assert len(list((tmp_path / "drawn").iterdir())) == 5
    assert main(["sample", "m.isthmus", "-n", "7", "-o", "drawn.npy"]) == 0
    assert np.load("drawn.npy").shape == (7, 8, 6)
    assert main(["sample", "m.isthmus", "-n", "0"]) == 2
    assert "at least 1" in capsys.readouterr().err
