import numpy as np
import pytest
from sklearn.decomposition import PCA

from isthmus.data.source import open_rows
from isthmus.errors import DataError
from isthmus.model import Model
from isthmus.spec import Plan
from isthmus.tasks.checkup.compare import Comparison, compare, compared_at_fit

PLAN = Plan(epochs=3, batch_size=32, seed=0)


def array(n=400, seed=0):
    g = np.random.default_rng(seed)
    return g.normal(size=(n, 3)) @ np.random.default_rng(1).normal(size=(3, 8)) + 0.3 * g.normal(size=(n, 8))


def fit(**changes):
    return Model.fit(array(), latent_dim=3, plan=PLAN.replace(**changes), device="cpu")


def test_pca_is_sklearns_on_the_same_scaled_rows():
    model, fresh = fit(validation=0.0), array(100, seed=5)
    kept, new = (model.modality.to_tensors(open_rows(x))["x"].double().numpy() for x in (array(), fresh))
    pca = PCA(3, svd_solver="full").fit(kept)
    back = pca.inverse_transform(pca.transform(new))
    found = compare(model, fresh)
    assert found.pca == pytest.approx(((new - back) ** 2).sum(1).mean(), rel=1e-4)
    assert found.mean == pytest.approx(((new - kept.mean(0)) ** 2).sum(1).mean(), rel=1e-4)


def test_ours_is_the_error_of_what_comes_back():
    model, fresh = fit(), array(100, seed=5)
    x = model.modality.to_tensors(open_rows(fresh))["x"]
    back = model.net.decode(model.net.encode(x)).mean
    assert compare(model, fresh).autoencoder == pytest.approx((x - back).square().sum(1).mean().item(), rel=1e-5)


def test_missing_cells_cost_nobody():
    model = fit()
    fresh = array(100, seed=5)
    fresh[:, 2] = np.nan
    found = compare(model, fresh)
    assert all(np.isfinite(v) for v in (found.autoencoder, found.pca, found.mean))
    assert found.mean < compare(model, array(100, seed=5)).mean


def test_a_linear_model_is_no_better_and_no_worse():
    found = compare(fit(epochs=0), array(100, seed=5))
    assert found.ratio == pytest.approx(1, abs=1e-3)
    assert "close to linear" in found.summary()[-1]


def test_the_comparison_at_fit_is_that_on_the_held_out_rows():
    model = fit()
    order = np.random.default_rng(PLAN.seed).permutation(400)
    again = compare(model, array()[np.sort(order[: model.record.n_held_out])])
    at_fit = compared_at_fit(model)
    assert (at_fit.autoencoder, at_fit.pca, at_fit.mean) == pytest.approx((again.autoencoder, again.pca, again.mean))
    assert compared_at_fit(fit(validation=0.0)) is None


def test_without_pca_there_is_a_way_out():
    model = Model.fit(array(), latent_dim=3, plan=PLAN.replace(validation=0.0), warm_start=None, device="cpu")
    with pytest.raises(DataError, match="fitted without PCA beside it"):
        compare(model, array())


@pytest.mark.parametrize(
    ("ours", "words"),
    [(1.1, "PCA is better"), (1.0, "hardly better"), (0.98, "hardly better"), (0.8, "error is 20% below PCA's")],
)
def test_who_wins_is_said(ours, words):
    assert words in Comparison(ours, 1.0, 10.0, 3).summary()[-1]


def test_the_table():
    found = Comparison(0.5, 1.0, 10.0, 3)
    frame = found.to_frame()
    assert frame["model"].tolist() == ["autoencoder", "PCA-3", "mean row"]
    assert frame["explained"].tolist() == pytest.approx([0.95, 0.9, 0.0])
    assert found.to_json()["ratio"] == 0.5


def test_who_was_asked_for_hidden_entries_alone_is_not_judged_by_those_it_sees():
    from isthmus.model import Model
    from isthmus.spec import Plan
    from isthmus.tasks.checkup.compare import compared_at_fit
    from isthmus.tasks.checkup.health import remarks

    g = np.random.default_rng(0)
    rows = g.normal(size=(300, 2)) @ g.normal(size=(2, 6)) + 0.01 * g.normal(size=(300, 6))
    model = Model.fit(rows, "masked", latent_dim=2, plan=Plan(epochs=3))
    compared = compared_at_fit(model)
    assert compared.ratio > 1.0001, "PCA is exact on such rows"
    assert "was asked for hidden entries alone" in compared.summary()[-1]
    assert not any("PCA is better" in line for line in [*remarks(model), *compared.summary()])
