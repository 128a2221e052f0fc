"""Rows out of nothing but the model: drawn, weighed, and what is said when they will look wrong."""

import copy
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch.distributions import MultivariateNormal

from isthmus import Autoencoder, Model, modelfile, open_model
from isthmus.app.cli import main
from isthmus.errors import DataError, FileError, SpecError
from isthmus.spec import Plan

pytestmark = pytest.mark.usefixtures("brief_committee")

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
        for noise in (None, False, True):
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

    def test_a_prior_that_codes_do_not_have_is_not_drawn_from(self):
        """A plain code has no reason to look like N(0, I); heaps have no gaussian."""
        for prior in ("standard_normal", "gaussian", "mixture"):
            model = Model.fit(self.rows(), latent_dim=2, plan=PLAN, device="cpu", parts={"prior": prior})
            assert model.sampling.part.kind == "mixture"
            assert model.record.sampler_accuracy < 0.65
            found = model.sample(600)
            # nothing between the heaps
            middle = np.abs(found.mean(1))
            assert ((middle > 1.5) & (middle < 2.5)).mean() < 0.02
            assert min((found.mean(1) < -3).mean(), (found.mean(1) > 3).mean()) > 0.2

    def test_what_is_told_apart_all_the_same_is_said(self, monkeypatch):
        model = Model.fit(self.rows(), latent_dim=2, plan=PLAN, device="cpu")
        monkeypatch.setattr(model.record, "sampler_accuracy", 0.93)
        with pytest.warns(UserWarning, match=r"\(mixture\) are told from the codes of rows 93%"):
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
        plain = copy.deepcopy(model)
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


class TestTables:
    """Columns keep their types, ranges, levels and missing cells, and no training row comes again."""

    @pytest.fixture(scope="class")
    @classmethod
    def frame(cls):
        g = np.random.default_rng(3)
        a = g.normal(size=700)
        return pd.DataFrame({
            "a": a,
            "n": (3 * a + g.normal(size=700)).round().astype(int),
            "c": np.where(a + 0.3 * g.normal(size=700) > 0, "high", "low"),
            "money": np.where(g.random(700) < 0.6, 0, np.exp(g.normal(8, 1, 700)).round(2)),
            "day": pd.Timestamp("2024-01-01") + pd.to_timedelta(g.integers(0, 300, 700), "D"),
            "yes": g.random(700) < 0.1,
        }).assign(money=lambda f: f.money.where(f.a < 0.8), c=lambda f: f.c.where(g.random(700) < 0.9))  # fmt: skip

    @pytest.fixture(scope="class")
    @classmethod
    def fitted(cls, frame):
        return Model.fit(frame, plan=Plan(epochs=30), device="cpu", latent_dim=3)

    @pytest.fixture(scope="class")
    @classmethod
    def rows(cls, fitted):
        return fitted.sample(2000).to_pandas()

    def test_types_and_ranges(self, frame, rows):
        assert rows.columns.tolist() == frame.columns.tolist()
        for name in ("a", "n", "yes"):
            assert rows[name].dtype == frame[name].dtype
        for name in ("n", "money", "day"):
            assert rows[name].min() >= frame[name].min()
            assert rows[name].max() <= frame[name].max()
        assert rows.a.between(frame.a.min() - 1e-5, frame.a.max() + 1e-5).all()  # it went through float32
        assert (rows.day == rows.day.dt.normalize()).all()
        assert (rows.money.dropna() == rows.money.dropna().round(2)).all()
        assert set(rows.c.dropna()) == {"high", "low"}

    def test_shares(self, frame, rows):
        assert (rows.money == 0).mean() == pytest.approx((frame.money == 0).mean(), abs=0.06)
        assert rows.yes.mean() == pytest.approx(frame.yes.mean(), abs=0.05)
        np.testing.assert_allclose(rows.n.quantile([0.1, 0.5, 0.9]), frame.n.quantile([0.1, 0.5, 0.9]), atol=1)

    def test_what_depends_on_what(self, frame, rows):
        assert np.corrcoef(rows.a, rows.n)[0, 1] == pytest.approx(np.corrcoef(frame.a, frame.n)[0, 1], abs=0.12)
        assert rows[rows.c == "high"].a.mean() - rows[rows.c == "low"].a.mean() > 0.9

    def test_cells_are_missing_where_and_as_often(self, frame, rows):
        for name in frame:
            assert rows[name].isna().mean() == pytest.approx(frame[name].isna().mean(), abs=0.05)
        assert rows[rows.money.isna()].a.mean() > 0.8 > 0.2 > rows[rows.c.isna()].a.mean()

    def test_it_is_in_the_file(self, fitted, rows, tmp_path):
        again = open_model(fitted.save(tmp_path / "m.isthmus"), device="cpu")
        pd.testing.assert_frame_equal(again.sample(2000).to_pandas(), rows)
        assert again.sampling.nats == fitted.sampling.nats

    def test_rare_categories_are_no_missing_cells(self):
        """Of 200 categories 64 have a level of their own; a bucket of the others cannot be written."""
        g = np.random.default_rng(0)
        rows = pd.DataFrame({"a": g.normal(size=800), "who": [f"c{k}" for k in g.zipf(1.3, 800) % 200]})
        model = Model.fit(rows, plan=Plan(epochs=3), device="cpu", latent_dim=2)
        assert model.modality.used[1].kind == "hashed"
        assert model.sample(300).to_pandas().who.isna().sum() == 0

    def test_a_density_of_another_size_than_its_tensors_is_a_damaged_file(self, fitted, tmp_path):
        path = fitted.save(tmp_path / "m.isthmus")
        file = modelfile.read(path)
        assert file.header["sampling"]["part"]["kind"] == "mixture"
        file.header["sampling"]["part"]["components"] = 10**12
        modelfile.write(path, file.header, file.tensors)
        with pytest.raises(FileError, match="is not of the size that its tensors have"):
            open_model(path)

    def test_training_rows_are_refused(self):
        """Of 60 combinations 50 have been rows: what is drawn is one of the others."""
        combos = pd.DataFrame([(a, b, c) for a in "abcde" for b in "wxyz" for c in "pqr"], columns=list("abc"))
        known = combos.sample(50, random_state=0)
        model = Model.fit(pd.concat([known] * 6), plan=Plan(epochs=20), device="cpu", latent_dim=2)
        drawn = model.draw(20)
        assert drawn.refused > 0
        assert not len(drawn.rows.to_pandas().merge(known))
        assert len(model.sample(200, copies=True).to_pandas().merge(known)) > 100

    def test_where_there_are_no_others_it_says_so(self):
        rows = pd.DataFrame({"a": list("xy") * 100, "b": list("ppqq") * 50})
        model = Model.fit(rows, plan=Plan(epochs=2), device="cpu", latent_dim=1)
        with pytest.raises(DataError, match=r"are training rows cell by cell, .* copies=True"):
            model.sample(5)

    def test_rows_like_some(self, fitted, frame):
        high = frame[frame.a > 1]
        drawn = fitted.draw(300, sampling=fitted.sampling_of(high)).rows.to_pandas()
        assert drawn.a.min() > 0.99
        assert (drawn.c.dropna() == "high").mean() > 0.95
        few = fitted.draw(50, sampling=fitted.sampling_of(high[:9])).rows.to_pandas()
        assert few.a.between(high[:9].a.min() - 1e-5, high[:9].a.max() + 1e-5).all()
        with pytest.raises(DataError, match="rows like it need at least 2"):
            fitted.sampling_of(high[:1])


def test_a_label_of_rows_at_hand(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    g = np.random.default_rng(0)
    kind = np.array(["a", "b"])[np.arange(300) % 2]
    frame = pd.DataFrame({"x": g.normal(size=300) + 6 * (kind == "b"), "y": g.normal(size=300), "kind": kind})
    frame.to_csv("rows.csv", index=False)
    Model.fit(frame, plan=PLAN, device="cpu", latent_dim=2).save("m.isthmus")
    like = ["sample", "m.isthmus", "--like", "rows.csv", "-n", "50", "-o", "drawn.csv"]
    assert main([*like, "--where", "kind=b"]) == 0
    assert pd.read_csv("drawn.csv").x.min() > 2
    capsys.readouterr()
    for said, answer in ((["--where", "kind=c"], "Known: a, b"), (["--where", "colour=c"], "No column is called"),
                         (["--where", "x=b"], "holds numbers")):  # fmt: skip
        assert main([*like, *said]) == 2
        assert answer in capsys.readouterr().err
    assert main(["sample", "m.isthmus", "--where", "kind=b"]) == 2
    assert main(["sample", "m.isthmus", "--condition", "kind=b"]) == 2
    assert "No condition steers this model" in capsys.readouterr().err


@pytest.mark.parametrize("bottleneck", ["binary", "fsq", "spherical", "topk", "vq"])
def test_what_is_drawn_can_be_a_code(bottleneck):
    """The decoder is shown nothing that no row could have."""
    rows = SOURCES["array"]()
    model = Model.fit(rows, latent_dim=4, plan=Plan(epochs=2), device="cpu", parts={"bottleneck": bottleneck})
    shown = []
    model.net.decoder.register_forward_pre_hook(lambda _, given: shown.append(given[0]))
    assert drawn(model, 50).shape == (50, 6)
    # of two codewords that are nearly one the other may be found
    torch.testing.assert_close(model.net.bottleneck.settled(shown[0]), shown[0], rtol=0, atol=1e-3)
    codes = torch.from_numpy(model.encode(rows))
    torch.testing.assert_close(model.net.bottleneck.settled(codes), codes, rtol=0, atol=1e-3)


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
        assert sheet.size == (6 * 18, 6 * 24)  # eight pixels are magnified
    assert main(["sample", "m.isthmus", "-n", "5", "--seed", "3", "--noise", "-o", "drawn"]) == 0
    assert len(list((tmp_path / "drawn").iterdir())) == 5
    assert main(["sample", "m.isthmus", "-n", "7", "-o", "drawn.npy"]) == 0
    assert np.load("drawn.npy").shape == (7, 8, 6)
    assert main(["sample", "m.isthmus", "-n", "0"]) == 2
    assert "at least 1" in capsys.readouterr().err
