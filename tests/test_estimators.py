"""scikit-learn's conventions, all of them."""

import pickle

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks
from torch import nn

from isthmus import Autoencoder, open_model
from isthmus.recipes import RECIPES


def array(n=240, d=8, seed=0):
    g = np.random.default_rng(seed)
    return g.normal(size=(n, 3)) @ np.random.default_rng(1).normal(size=(3, d)) + 0.3 * g.normal(size=(n, d))


def quick(recipe="plain", **options):
    return Autoencoder(recipe, **{"latent_dim": 2, "epochs": 3, "random_state": 0, "device": "cpu", **options})


#: Asked for at a relative 1e-7, which is less than one digit of float32; who passes is a matter of luck.
ROUNDING = {
    "check_methods_sample_order_invariance": "products of float32 round differently at other places of a batch",
    "check_methods_subset_invariance": "products of float32 round differently in smaller batches",
}


@parametrize_with_checks(
    [
        Autoencoder(random_state=0, device="cpu"),
        quick(latent_dim="auto"),
        quick(latent_dim="auto", recipe="variational"),
    ],
    expected_failed_checks=lambda estimator: ROUNDING,
    xfail_strict=False,
)
def test_check_estimator(estimator, check):
    check(estimator)


def test_predict_without_held_out_rows():
    """Training rows are mostly normal, whether or not some were held out."""
    assert (quick(validation=0.0, latent_dim=1).fit(array()).predict(array()) == 1).mean() > 0.8


def test_the_constructor_only_stores():
    ae = Autoencoder("nonsense", latent_dim=-3, epochs="many")
    assert ae.get_params()["latent_dim"] == -3
    assert vars(ae).keys() == ae.get_params().keys()
    assert ae.set_params(latent_dim=4).latent_dim == 4


def test_clones_are_unfitted_twins():
    ae = quick(encoder={"kind": "mlp", "widths": [8]}, penalties=["l2"]).fit(array())
    twin = clone(ae)
    assert twin.get_params() == ae.get_params()
    assert not hasattr(twin, "model_")
    assert np.array_equal(twin.fit(array()).transform(array()), ae.transform(array()))


def test_clones_with_a_module():
    ae = quick(encoder=nn.Linear(8, 4))
    assert clone(ae).fit(array()).transform(array()).shape == (240, 2)


def test_shapes_and_types():
    ae, x = quick().fit(array()), array(30, seed=1)
    z = ae.transform(x)
    assert (z.shape, z.dtype) == ((30, 2), np.float32)
    back = ae.inverse_transform(z)
    assert (back.shape, back.dtype) == ((30, 8), x.dtype)
    np.testing.assert_allclose(ae.reconstruct(x), back, rtol=1e-4, atol=1e-4)
    assert ae.score_samples(x).shape == (30,)
    assert ae.score(x) == pytest.approx(-ae.model_.nats(x).mean())
    nats = quick(detector="likelihood").fit(array())
    assert nats.score(x) == pytest.approx(nats.score_samples(x).mean())
    assert np.array_equal(quick().fit_transform(array()), quick().fit(array()).transform(array()))


def test_signs_are_scikit_learns():
    ae, normal, odd = quick().fit(array(600)), array(100, seed=1), array(100, seed=1) + 30
    assert ae.score_samples(normal).min() > ae.score_samples(odd).max()
    assert (ae.predict(odd) == -1).all()
    assert (ae.predict(normal) == 1).mean() > 0.9
    np.testing.assert_array_equal(ae.predict(normal) == -1, ae.decision_function(normal) < 0)
    np.testing.assert_allclose(ae.decision_function(normal), ae.score_samples(normal) - ae.offset_)
    np.testing.assert_array_equal(quick().fit_predict(array(600)), ae.predict(array(600)))


def test_predict_and_detect_agree():
    ae, x = quick().fit(array(600)), np.vstack([array(100, seed=1), array(5, seed=2) + 30])
    assert len(ae.model_.calibration) >= 99
    np.testing.assert_array_equal(ae.detect(x).anomalies, ae.predict(x) == -1)


def test_few_held_out_rows_still_have_an_offset():
    ae = quick().fit(array(60))
    assert np.isfinite(ae.offset_)
    assert (ae.predict(array(20, seed=1) + 100) == -1).all()


def test_pipelines():
    digits = load_digits()
    x, y = digits.data[:400], digits.target[:400]
    pipeline = make_pipeline(StandardScaler(), quick(latent_dim=16), LogisticRegression(max_iter=500))
    pca = make_pipeline(StandardScaler(), PCA(16), LogisticRegression(max_iter=500))
    ours, theirs = (cross_val_score(p, x, y, cv=3).mean() for p in (pipeline, pca))
    assert ours > theirs - 0.05


def test_grid_search():
    search = GridSearchCV(quick(), {"latent_dim": [1, 3], "recipe": ["plain", "linear"]}, cv=2).fit(array())
    assert search.best_params_["latent_dim"] == 3, "rows of rank three are likeliest under three codes"
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


def test_names_of_the_codes():
    ae = quick().fit(array())
    assert ae.get_feature_names_out().tolist() == ["autoencoder0", "autoencoder1"]
    frame = ae.set_output(transform="pandas").transform(array())
    assert isinstance(frame, pd.DataFrame)
    assert frame.columns.tolist() == ["autoencoder0", "autoencoder1"]
    assert isinstance(ae.set_output(transform="polars").transform(array()), pl.DataFrame)


def test_pandas_keep_their_index():
    rows = pd.DataFrame(array(), columns=list("abcdefgh"), index=np.arange(240) + 1000)
    ae = quick().set_output(transform="pandas").fit(rows)
    assert ae.transform(rows).index.tolist() == rows.index.tolist()
    assert ae.feature_names_in_.tolist() == list("abcdefgh")


def test_pickles():
    ae = quick(recipe="variational").fit(array())
    again = pickle.loads(pickle.dumps(ae))
    assert np.array_equal(again.score_samples(array()), ae.score_samples(array()))
    assert again.get_params() == ae.get_params()
    assert pickle.loads(pickle.dumps(Autoencoder())).get_params() == Autoencoder().get_params()


def test_the_model_file_gives_an_estimator_back(tmp_path):
    ae = quick().fit(array())
    path = ae.save(tmp_path / "m.isthmus")
    again = Autoencoder.from_model(open_model(path, device="cpu"))
    assert np.array_equal(again.transform(array()), ae.transform(array()))
    assert np.array_equal(again.predict(array()), ae.predict(array()))
    assert (again.offset_, again.n_features_in_, again.n_iter_) == (ae.offset_, 8, ae.n_iter_)


def test_html_and_text():
    ae = quick(encoder={"kind": "mlp", "widths": [8]})
    assert "Autoencoder" in ae._repr_html_()
    assert "latent_dim=2" in repr(ae)
    assert "Autoencoder" in ae.fit(array())._repr_html_()


@pytest.mark.parametrize("use", ["transform", "score_samples", "predict", "reconstruct", "detect", "decision_function"])
def test_before_the_fit(use):
    with pytest.raises(NotFittedError):
        getattr(quick(), use)(array())


@pytest.mark.parametrize("use", ["inverse_transform", "save"])
def test_before_the_fit_too(use, tmp_path):
    with pytest.raises(NotFittedError):
        getattr(quick(), use)(tmp_path / "m.isthmus" if use == "save" else np.zeros((3, 2)))


@pytest.mark.parametrize("use", ["transform", "score_samples", "predict"])
def test_another_width(use):
    with pytest.raises(ValueError, match="X has 5 features, but Autoencoder is expecting 8 features as input"):
        getattr(quick().fit(array()), use)(array(d=5))


def test_anything_that_holds_rows(tmp_path):
    x = array().astype(np.float32)
    np.save(tmp_path / "rows.npy", x)
    scores = quick().fit(x).score_samples(x)
    for rows in (torch.from_numpy(x), str(tmp_path / "rows.npy"), tmp_path / "rows.npy", x.tolist()):
        np.testing.assert_allclose(quick().fit(rows).score_samples(rows), scores, rtol=1e-4, atol=1e-4)


def test_rows_of_images():
    images = load_digits().images[:200].astype(np.uint8)
    ae = quick().fit(images)
    assert ae.n_features_in_ == 64
    assert ae.reconstruct(images).shape == images.shape


@pytest.mark.parametrize("random_state", [0, 7, np.random.RandomState(3)])
def test_random_states(random_state):
    one, two = (quick(random_state=clone(quick(random_state=random_state)).random_state) for _ in range(2))
    assert np.array_equal(one.fit(array()).transform(array()), two.fit(array()).transform(array()))


def test_another_random_state_is_another_fit():
    one, two = quick(random_state=0).fit(array()), quick(random_state=1).fit(array())
    assert not np.array_equal(one.transform(array()), two.transform(array()))


@pytest.mark.parametrize("validation", [None, 0, 0.0])
def test_without_validation(validation):
    ae = quick(validation=validation).fit(array())
    assert ae.record_.n_held_out == 0
    assert 0 < np.mean(ae.predict(array()) == -1) < 0.03  # a hundredth of the rows that it knows
    assert ae.record_.n_train == 240


def test_validation_rows():
    ae = quick(validation=array(50, seed=4)).fit(array())
    assert (ae.record_.n_train, ae.record_.n_held_out) == (240, 50)


@pytest.mark.parametrize("warm_start", [None, False])
def test_warm_start_off(warm_start):
    ae = quick(warm_start=warm_start, epochs=0).fit(array())
    assert ae.record_.error > 1.5 * ae.record_.pca_error


def test_callbacks_can_stop():
    ae = quick(epochs=50, callbacks=[lambda epoch: epoch.number == 2]).fit(array())
    assert ae.n_iter_ == 2


def test_verbose_says_something_when_it_takes_long(capsys, monkeypatch):
    monkeypatch.setattr("isthmus.training.progress._PATIENCE", 0.0)
    quick(verbose=1).fit(array())
    err = capsys.readouterr().err
    assert "held-out error" in err
    assert "1/3" in err
    quick().fit(array())
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    "recipe", [name for name, recipe in RECIPES.items() if recipe.modality not in ("text", "pixels")]
)
def test_every_recipe_by_name(recipe):
    labels = load_digits().target[:150] if recipe == "conditional" else None
    ae = quick(recipe=recipe, epochs=2).fit(load_digits().images[:150].astype(np.uint8), condition=labels)
    assert ae.transform(load_digits().images[:5].astype(np.uint8)).shape == (5, 2 * (16 if recipe == "vq" else 1))
    assert len(ae.get_feature_names_out()) == 2 * (16 if recipe == "vq" else 1)


def test_open_is_the_saved_estimator_again(tmp_path):
    ae = quick().fit(array())
    ae.save(tmp_path / "a.isthmus")
    again = Autoencoder.open(tmp_path / "a.isthmus")
    np.testing.assert_array_equal(again.transform(array()), ae.transform(array()))
    np.testing.assert_array_equal(again.predict(array()), ae.predict(array()))


class TestNewRows:
    @pytest.fixture(scope="class")
    @classmethod
    def fitted(cls):
        g = np.random.default_rng(0)
        X = g.normal(size=(300, 2)) @ g.normal(size=(2, 5))
        return Autoencoder("linear", latent_dim=2, epochs=20, random_state=0).fit(X), X

    def test_like(self, fitted):
        ae, X = fitted
        high = X[X[:, 0] > np.quantile(X[:, 0], 0.8)]
        assert ae.sample(50, like=high)[:, 0].mean() == pytest.approx(high[:, 0].mean(), rel=0.3)
        assert np.array_equal(ae.sample(50, like=high), ae.sample(50, like=high))

    def test_blend_and_shift(self, fitted):
        ae, X = fitted
        found = ae.blend(X[:2], X[2:4], steps=3)
        np.testing.assert_allclose(found[1], (X[0] + X[2]) / 2, atol=0.05)
        np.testing.assert_allclose(ae.shift(X[:9], X[50:90]).mean(0), X[50:90].mean(0), atol=0.1)
        with pytest.raises(ValueError, match="features"):
            ae.blend(X[:2], X[2:4, :3])

    def test_fidelity(self, fitted):
        ae, X = fitted
        assert ae.fidelity(X).figures["frechet"] < 1
        far = ae.inverse_transform(ae.transform(X) + 9)
        assert ae.fidelity(X, far).figures["precision"] < 0.1
        # codes do not see what is beside the plane; the distance to what comes back does
        found = ae.fidelity(X, X + np.random.default_rng(0).normal(size=X.shape))
        assert found.figures["back"] > 10 * found.floor["back"]
