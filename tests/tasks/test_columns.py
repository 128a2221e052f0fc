"""Which columns the code can do without."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from sklearn.datasets import load_digits

from isthmus.errors import DataError, SpecError
from isthmus.model import Model
from isthmus.spec import Plan
from isthmus.tasks.features.columns import columns

QUICK = {"plan": Plan(epochs=20), "parts": {"detector": "likelihood"}, "device": "cpu"}


def table(n=500, seed=0):
    g = np.random.default_rng(seed)
    z = g.normal(size=(n, 3))
    return pd.DataFrame(
        {"a": z[:, 0], "a_in_cents": 100 * z[:, 0] + 0.1 * g.normal(size=n), "b": z[:, 1], "noise": g.normal(size=n),
         "c": z[:, 2], "sign": np.where(z[:, 2] > 0, "up", "down")}
    )  # fmt: skip


@pytest.fixture(scope="module", params=["plain", "masking"])
def found(request):
    return columns(Model.fit(table(), request.param, latent_dim=4, **QUICK), table())


def test_of_two_that_say_the_same_one_can_go(found):
    assert len({"a", "a_in_cents"} & set(found.can_go)) == 1
    assert ["a", "a_in_cents"] in found.groups
    of = {c.name: c for c in found.columns}
    assert min(of["a"].told, of["a_in_cents"].told) > 0.9
    assert of["b"].told < 0.2
    assert of["noise"].told < 0.2
    gone, kept = sorted(("a", "a_in_cents"), key=lambda name: name not in found.can_go)
    assert f"as by {kept}: it can go" in of[gone].why
    assert of[kept].why.endswith("but tells what goes: keep it")


def test_the_words_and_the_table(found):
    lines = found.summary()
    assert lines[0].startswith("1 of 6 columns can go together") or lines[0].startswith("2 of 6")
    assert "say the same: a, a_in_cents" in lines
    frame = found.to_frame()
    assert frame.column.tolist()[0] in ("a", "a_in_cents", "sign")
    assert set(frame.columns) == {"column", "told", "moves", "harm", "goes", "same_as", "why"}
    assert "told by the rest" in found.plot().svg


def test_what_the_code_does_not_look_at_can_go():
    g = np.random.default_rng(0)
    z = g.normal(size=(400, 1))
    # one number for each row: it is spent on what five columns share
    x = np.column_stack([z + 0.05 * g.normal(size=(400, 5)), g.normal(size=400)])
    found = columns(Model.fit(x, latent_dim=1, **QUICK), x)
    of = {c.name: c for c in found.columns}
    assert "x5" in found.can_go
    assert "hardly moves the code" in of["x5"].why
    assert of["x0"].moves > 20 * of["x5"].moves
    assert of["x0"].harm > of["x5"].harm


def test_a_sum_is_told_by_its_parts():
    g = np.random.default_rng(0)
    x = g.normal(size=(400, 3))
    x = np.column_stack([x, x.sum(1)])
    found = columns(Model.fit(x, "linear", latent_dim=3, **QUICK), x)
    assert all(c.told > 0.97 for c in found.columns), "any three give the fourth"
    assert len(found.can_go) == 1
    assert not found.groups, "but no two say the same"


def test_the_share_told_is_that_of_a_regression():
    """Beside a linear code of full rank less one, hiding a column and passing it again solves the same equations."""
    g = np.random.default_rng(0)
    z = g.normal(size=(800, 2))
    x = np.column_stack([z, z @ [1.0, 1.0] + 0.3 * g.normal(size=800)])
    found = columns(Model.fit(x, "linear", latent_dim=2, **QUICK), x)
    told = {c.name: c.told for c in found.columns}
    x = (x - x.mean(0)) / x.std(0)
    for j in range(3):
        rest = np.delete(x, j, 1)
        w = np.linalg.lstsq(rest, x[:, j], rcond=None)[0]
        assert told[f"x{j}"] == pytest.approx(1 - np.var(x[:, j] - rest @ w), abs=0.05)


def test_pictures_have_a_map(tmp_path):
    images = load_digits().images.astype(np.uint8)[:300]
    found = columns(Model.fit(images, latent_dim=8, **QUICK), images)
    assert found.shape == (8, 8)
    assert len(found.columns) == 64
    of = {c.name: c for c in found.columns}
    assert of["row 3, column 3"].moves > of["row 0, column 0"].moves
    (path,) = found.save(tmp_path / "map.svg")
    assert "<image" in path.read_text()
    assert "pixels" in found.summary()[0]


def test_channels_of_series():
    g = np.random.default_rng(0)
    s = g.normal(size=(80, 30, 2)).cumsum(1)
    rows = list(np.concatenate([s, 2 * s[:, :, :1]], 2))
    found = columns(Model.fit(rows, modality="series", latent_dim=10, **QUICK), rows, least=0.7)
    assert [c.name for c in found.columns][2] == "channel 1"
    assert len({"channel 0", "channel 2"} & set(found.can_go)) == 1


def test_missing_cells_and_columns_of_many_entries():
    frame = table(200)
    frame.loc[::9, "a"] = None
    frame["when"] = pd.date_range("2024-01-01", periods=200, freq="7h")
    found = columns(Model.fit(frame, latent_dim=3, **QUICK), frame)
    assert {c.name for c in found.columns} >= {"a", "b", "sign"}
    assert all(np.isfinite([c.told, c.moves, c.harm]).all() for c in found.columns)


def test_the_same_seed_and_progress():
    model, said = Model.fit(table(), latent_dim=3, **QUICK), []
    one = columns(model, table(), watch=lambda *at: said.append(at))
    assert one.to_json() == columns(model, table()).to_json()
    assert len(said) >= 6


def test_bad_input():
    model = Model.fit(table(), latent_dim=3, **QUICK)
    with pytest.raises(DataError, match="at least 3"):
        columns(model, table().head(2))
    with pytest.raises(SpecError, match="least is a share"):
        columns(model, table(), least=1.5)
    texts = Model.fit(["a cat", "a dog", "the cat", "one dog"] * 5, latent_dim=2, **QUICK)
    with pytest.raises(SpecError, match="Sparse rows"):
        columns(texts, ["a cat"])
    with pytest.raises(DataError, match="missing"):
        columns(model, pa.table({"a": [1.0, 2.0, 3.0]}))
