"""The sparse recipes as a person meets them."""

import numpy as np
import pytest

from isthmus import Autoencoder, Model
from isthmus.model import open_model
from isthmus.spec import Plan

pytestmark = pytest.mark.usefixtures("brief_committee")

RECIPES = ["batch_topk", "jumprelu", "sparse", "topk"]


def superposed(n=4000, features=24, dim=12, firing=2, seed=0):
    generator = np.random.default_rng(seed)
    directions = generator.normal(size=(features, dim))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    strengths = (generator.random((n, features)) < firing / features) * generator.random((n, features))
    return (strengths @ directions).astype(np.float32), directions


@pytest.mark.parametrize("recipe", RECIPES)
def test_codes_are_wide_sparse_and_explain_the_rows(recipe, tmp_path):
    rows, _ = superposed(2000)
    ae = Autoencoder(recipe, random_state=0, epochs=15).fit(rows)
    codes = ae.transform(rows)
    assert codes.shape == (2000, 48)
    assert (codes >= 0).all()
    assert 0.5 < (codes > 0).sum(1).mean() < 16
    assert np.square(rows - ae.inverse_transform(codes)).sum() < 0.5 * np.square(rows - rows.mean(0)).sum()
    again = open_model(ae.model_.save(tmp_path / "model"))
    np.testing.assert_array_equal(again.encode(rows[:200]), ae.model_.encode(rows[:200]))
    assert np.isfinite(ae.score_samples(rows)).all()


def test_sparse_takes_kl_by_an_option():
    rows, _ = superposed(1000)
    ae = Autoencoder("sparse", penalties="kl", epochs=3, random_state=0).fit(rows)
    assert [part.kind for part in ae.model_.spec.penalties] == ["kl"]
    assert np.isfinite(ae.transform(rows)).all()


@pytest.mark.parametrize("recipe", RECIPES)
def test_tables_with_categories_and_missing_cells_work(recipe):
    import pandas as pd

    generator = np.random.default_rng(0)
    table = pd.DataFrame(generator.normal(size=(300, 4)), columns=list("abcd"))
    table["kind"] = generator.choice(["x", "y", "z"], 300)
    table.loc[generator.random(300) < 0.1, "a"] = np.nan
    ae = Autoencoder(recipe, epochs=2, random_state=0).fit(table)
    assert np.isfinite(ae.transform(table)).all()
    assert np.isfinite(ae.score_samples(table)).all()


def test_pca_beside_a_wide_code_has_as_many_numbers_as_a_row_uses():
    rows, _ = superposed()
    model = Model.fit(rows, "topk", parts={"bottleneck": {"k": 3}}, plan=Plan(epochs=2), modality="array")
    used = round(float((model.encode(rows) > 0).sum(1).mean()))
    assert len(model.pca.components) == pytest.approx(used, abs=1)
    assert model.record.pca_error > 0


@pytest.mark.slow
def test_topk_explains_more_than_l1_at_equal_l0():
    """Shrinkage costs L1 variance; what it finds is the same."""
    rows, _ = superposed(60_000, features=128, dim=32, firing=4)
    spread = np.square(rows - rows.mean(0)).sum(dtype=np.float64)

    def fit(recipe, **parts):
        model = Model.fit(
            rows, recipe, latent_dim=128, parts=parts, plan=Plan(epochs=10), modality="array",
            modality_options={"scaling": "none"},
        )  # fmt: skip
        left = np.square(rows - model.reconstruct(rows)).sum(dtype=np.float64)
        return float((model.encode(rows) > 0).sum(1).mean()), 1 - left / spread

    l0, ours = fit("topk", bottleneck={"k": 4})
    theirs = [fit("sparse", penalties=[{"kind": "l1", "weight": weight}]) for weight in (3.0, 5.0, 8.0)]
    at_equal = np.interp(l0, *zip(*sorted(theirs), strict=True))
    assert min(theirs)[0] < l0 < max(theirs)[0], "the prices are on both sides of it"
    assert ours > at_equal + 0.01
