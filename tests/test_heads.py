"""Heads as scikit-learn's own, and the Autoencoder among scikit-learn's tools."""

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from isthmus import Autoencoder, HeadClassifier, HeadRegressor
from isthmus.errors import DataError, SpecError

X, Y = load_digits(return_X_y=True)


def quick(**options):
    options = {"latent_dim": 8, "epochs": 3, "detector": "likelihood", "random_state": 0, "device": "cpu", **options}
    return Autoencoder(**options)


@pytest.fixture(scope="module")
def ae():
    return quick().fit(X)


@parametrize_with_checks(
    [
        # of two columns the code is one number, and frozen behind that nobody tells three blobs apart
        HeadClassifier(quick(latent_dim="auto"), random_state=0, device="cpu"),
        HeadRegressor(quick(latent_dim="auto"), random_state=0, device="cpu"),
    ],
    expected_failed_checks=lambda estimator: {
        "check_methods_sample_order_invariance": "products of float32 round differently at other places of a batch",
        "check_methods_subset_invariance": "products of float32 round differently in smaller batches",
    },
    xfail_strict=False,
)
def test_check_estimator(estimator, check, monkeypatch):
    if not check.func.__name__.endswith("_train"):  # the others do not ask how much was learned
        monkeypatch.setattr("isthmus.tasks.features.heads._FROZEN_STEPS", 30)
        monkeypatch.setattr("isthmus.tasks.features.heads._STEPS", 30)
    check(estimator)


class TestHeads:
    def test_the_autoencoder_stays_as_it_is(self, ae):
        before = {name: value.clone() for name, value in ae.model_.net.state_dict().items()}
        head = ae.head(10).fit(X[:600], Y[:600])
        assert head.score(X[600:], Y[600:]) > 0.85
        assert all(value.equal(before[name]) for name, value in ae.model_.net.state_dict().items())
        assert ae.model_.head is None

    def test_classes_come_back_as_they_were_brought(self, ae):
        for y in (Y.astype(str), Y.astype(float), Y > 4, np.array([f"digit {k}" for k in Y], dtype=object)):
            head = ae.head(10, fine_tune=False).fit(X[:300], y[:300])
            assert head.classes_.tolist() == np.unique(y).tolist()
            assert set(head.predict(X[300:340])) <= set(y)
            p = head.predict_proba(X[300:340])
            np.testing.assert_allclose(p.sum(1), 1)
            assert (head.classes_[p.argmax(1)] == head.predict(X[300:340])).all()

    def test_rows_without_labels(self, ae):
        y = np.where(np.arange(len(X)) < 60, Y.astype(object), None)
        with_all = ae.head(10, fine_tune=False).fit(X, y)
        alone = ae.head(10, fine_tune=False).fit(X[:60], Y[:60])
        same = ae.head(10, fine_tune=False).fit(X[:60], Y[:60], unlabelled=X[60:])
        assert with_all.score(X[60:], Y[60:]) > alone.score(X[60:], Y[60:]) + 0.02
        assert same.record_["unlabelled"] == len(X) - 60

    def test_regression(self, ae):
        y = X[:, 20] + X[:, 43]
        assert ae.head().fit(X[:900], y[:900]).score(X[900:], y[900:]) > 0.85

    def test_one_file(self, ae, tmp_path):
        head = ae.head(10, fine_tune=False).fit(X[:300], Y[:300])
        path = head.save(tmp_path / "c.isthmus")
        again = HeadClassifier.open(path, device="cpu")
        np.testing.assert_array_equal(again.predict_proba(X), head.predict_proba(X))
        assert again.classes_.tolist() == head.classes_.tolist()
        assert Autoencoder.open(path).transform(X).shape == (len(X), 8)
        with pytest.raises(SpecError, match="is one for numbers"):
            HeadRegressor.open(path)
        with pytest.raises(SpecError, match="has no head"):
            HeadClassifier.open(ae.save(tmp_path / "a.isthmus"))

    def test_what_it_may_start_from(self, ae, tmp_path):
        path = ae.save(tmp_path / "a.isthmus")
        said = [
            HeadClassifier(start, fine_tune=False, random_state=0, device="cpu").fit(X[:200], Y[:200]).predict(X)
            for start in (ae, ae.model_, path, str(path))
        ]
        assert all((one == said[0]).all() for one in said)
        # not fitted: learned from the rows of fit, and from those without labels
        head = HeadClassifier(quick(), fine_tune=False, device="cpu").fit(X[:200], Y[:200], unlabelled=X[200:])
        assert head.model_.record.n_train + head.model_.record.n_held_out == len(X)
        with pytest.raises(SpecError, match="autoencoder is an Autoencoder"):
            HeadClassifier(3).fit(X, Y)

    @pytest.mark.slow
    def test_searches_and_clones(self, ae):
        assert clone(ae.head(10)).get_params()["n_classes"] == 10
        search = GridSearchCV(ae.head(10, random_state=0), {"fine_tune": [False, True]}, cv=2).fit(X[:300], Y[:300])
        assert search.best_score_ > 0.8
        frame = pd.DataFrame(X).rename(columns=str)
        head = quick().fit(frame).head(10, fine_tune=False).fit(frame, Y)
        assert head.feature_names_in_.tolist() == frame.columns.tolist()

    def test_bad_input(self, ae):
        with pytest.raises(NotFittedError):
            HeadClassifier().predict(X)
        with pytest.raises(DataError, match="10 classes among the labels, and n_classes=3"):
            ae.head(3).fit(X, Y)
        with pytest.raises(DataError, match="more than one class"):
            ae.head(2).fit(X, np.zeros(len(X), int))
        with pytest.raises(ValueError, match="inconsistent"):
            ae.head(10).fit(X, Y[:5])
        with pytest.raises(ValueError, match="continuous"):
            ae.head(10).fit(X, X[:, 20] + 0.5)
        with pytest.raises(DataError, match="infinity"):
            ae.head().fit(X, np.full(len(X), np.inf))
        with pytest.raises(DataError, match="is expecting 64 features"):
            ae.head(10, fine_tune=False).fit(X, Y).predict(X[:, :5])

    def test_numbers_that_are_missing(self, ae):
        y = X[:, 20].astype(float)
        y[:50] = np.nan
        head = ae.head(fine_tune=False).fit(X, y)
        assert head.record_["labels"] == len(X) - 50
        assert np.isfinite(head.predict(X)).all()


class TestAmongOthers:
    """The Autoencoder in scikit-learn's pipelines."""

    def test_in_a_column_transformer(self):
        g = np.random.default_rng(0)
        frame = pd.DataFrame(X[:400]).rename(columns=lambda j: f"p{j}").assign(kind=g.choice(list("ab"), 400))
        pixels = [name for name in frame.columns if name != "kind"]
        each = ColumnTransformer([("codes", quick(), pixels), ("kind", OneHotEncoder(), ["kind"])])
        out = each.set_output(transform="default").fit_transform(frame)
        assert out.shape == (400, 10)
        names = each.get_feature_names_out().tolist()
        assert names[0] == "codes__autoencoder0"
        assert names[-2:] == ["kind__kind_a", "kind__kind_b"]
        whole = make_pipeline(each, LogisticRegression(max_iter=500)).fit(frame, Y[:400])
        assert whole.score(frame, Y[:400]) > 0.8

    def test_frames_through_a_pipeline(self):
        frame = pd.DataFrame(X[:300]).rename(columns=str)
        line = make_pipeline(StandardScaler(), quick()).set_output(transform="pandas").fit(frame)
        out = line.transform(frame)
        assert out.columns.tolist() == [f"autoencoder{j}" for j in range(8)] == line.get_feature_names_out().tolist()
        assert out.index.equals(frame.index)

    def test_searched_by_what_follows(self):
        line = Pipeline([("codes", quick()), ("last", LogisticRegression(max_iter=500))])
        search = GridSearchCV(line, {"codes__latent_dim": [1, 12]}, cv=2).fit(X[:400], Y[:400])
        assert search.best_params_ == {"codes__latent_dim": 12}
        assert clone(search.best_estimator_).get_params()["codes__latent_dim"] == 12

    def test_each_fold_learns_its_own_codes(self):
        scores = cross_val_score(make_pipeline(quick(), LogisticRegression(max_iter=500)), X[:600], Y[:600], cv=2)
        assert scores.min() > 0.7
