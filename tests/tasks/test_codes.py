import inspect
from functools import partial

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from PIL import Image

from isthmus.data.source import open_rows
from isthmus.errors import DataError
from isthmus.model import Model
from isthmus.spec import Plan
from isthmus.tasks import TASKS, Result
from isthmus.tasks.codes import decode, encode, reconstruct, sample
from isthmus.tasks.compression.compress import compress
from isthmus.tasks.features.heads import fit_head

pytestmark = pytest.mark.usefixtures("brief_committee")

PLAN = Plan(epochs=2, batch_size=32)
G = np.random.default_rng(0)


@pytest.fixture(scope="module")
def rows():
    return pd.DataFrame(G.normal(size=(100, 4)), columns=list("abcd")).assign(e=G.choice(list("xy"), 100))


@pytest.fixture(scope="module")
def model(rows):
    return Model.fit(rows, latent_dim=2, plan=PLAN, device="cpu")


class TestSample:
    def test_rows_are_drawn_as_the_fitted_ones_looked(self, model, rows):
        found = sample(model, n=7, seed=3)
        assert found.rows.column_names == list("abcde")
        assert found.rows.num_rows == 7
        assert set(found.rows["e"].to_pylist()) <= set("xy")
        assert found.summary()[0] == "7 rows were drawn"
        assert sample(model, n=7, seed=3).rows.equals(found.rows)
        assert not sample(model, n=7, seed=4).rows.equals(found.rows)

    def test_what_is_wrong_with_the_prior_is_said(self, model, monkeypatch):
        monkeypatch.setattr(model.record, "sampler_accuracy", 0.93)
        found = sample(model, n=2)
        assert found.remark in found.summary()[-1]
        assert "93%" in found.to_json()["remark"]


@pytest.mark.parametrize("ending", ["npy", "npz", "csv", "parquet"])
def test_codes_go_to_a_file_and_back_to_rows(model, rows, tmp_path, ending):
    codes = encode(model, rows)
    assert np.array_equal(codes.codes, model.encode(rows))
    (path,) = codes.save(tmp_path / f"codes.{ending}")
    there, back = decode(model, str(path)).rows, model.decode(codes.codes)
    assert there.schema == back.schema
    for name in "abcd":
        np.testing.assert_allclose(there[name].to_numpy(), back[name].to_numpy(), rtol=1e-5, atol=1e-5)
    assert there["e"].to_pylist() == back["e"].to_pylist()


def test_codes_say_which_row_they_are_of(model, rows, tmp_path):
    frame = rows.assign(customer=[f"c{i}" for i in range(100)])
    (path,) = encode(model, frame).save(tmp_path / "codes.csv")
    table = pd.read_csv(path)
    assert table.columns.tolist() == ["customer", "code_0", "code_1"]
    assert table.customer.tolist() == frame.customer.tolist()
    back = decode(model, str(path)).rows
    np.testing.assert_allclose(back["a"].to_numpy(), model.decode(model.encode(rows))["a"].to_numpy(), atol=1e-4)


def test_codes_of_files_are_called_as_they_are(tmp_path):
    for i in range(12):
        Image.fromarray(G.integers(0, 256, (6, 5), dtype=np.uint8)).save(tmp_path / f"p{i}.png")
    model = Model.fit(tmp_path, latent_dim=2, plan=PLAN, device="cpu")
    found = encode(model, tmp_path)
    assert found.to_frame().row.tolist() == list(open_rows(tmp_path).names)
    (path,) = found.save(tmp_path / "codes.parquet")
    assert decode(model, str(path)).rows.shape == (12, 6, 5)


def test_codes_of_texts_keep_the_other_columns(tmp_path):
    texts = pd.DataFrame({"text": 4 * ["a cat sleeps", "the dog barks", "one cat barks"], "topic": 4 * list("xyz")})
    model = Model.fit(
        texts, modality="text", modality_options={"text": ["text"]}, latent_dim=2, plan=PLAN, device="cpu"
    )
    assert encode(model, texts).to_frame().columns.tolist() == ["topic", "code_0", "code_1"]


def test_codes_of_another_width(model):
    with pytest.raises(DataError, match=r"Codes of this model have shape \(n, 2\); got \(3, 5\)"):
        decode(model, np.zeros((3, 5)))
    with pytest.raises(DataError, match="Codes of this model"):
        decode(model, np.zeros(2))


def test_no_codes_are_no_rows(model):
    assert decode(model, np.zeros((0, 2))).rows.num_rows == 0


def test_frames(model, rows):
    assert encode(model, rows).to_frame().columns.tolist() == ["code_0", "code_1"]
    assert reconstruct(model, rows).to_frame().columns.tolist() == list("abcde")
    assert encode(model, rows).summary() == ["100 codes of 2 numbers"]
    assert reconstruct(model, rows).summary() == ["100 rows came back"]
    assert encode(model, rows).to_json() == {"rows": 100, "code_shape": [2]}


def test_pictures_come_back_under_their_names(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for i in range(30):
        Image.fromarray(G.integers(0, 256, (6, 5), dtype=np.uint8)).save(folder / f"p{i}.png")
    model = Model.fit(folder, latent_dim=2, plan=PLAN, device="cpu")
    returned = reconstruct(model, folder)
    files = returned.save(tmp_path / "out")
    assert sorted(f.name for f in files) == sorted(p.name for p in folder.iterdir())
    names = open_rows(folder).names
    assert [f.name for f in files] == list(names)
    assert np.array_equal(np.asarray(Image.open(files[3])), returned.rows[3])
    assert returned.to_frame().shape == (30, 30)


#: Tasks that ask for nothing but the model.
ROWLESS = ("sample",)
#: Tasks that hold two inputs beside each other.
PAIRED = ("verify", "blend", "shift")
#: Tasks that need an option: the label that is to be told.
OPTIONS = {"probe": {"label": "side", "draws": 1}}
#: Takes models of pictures alone (test_denoise), and a data set in place of rows.
PICTURES = "denoise"
ENDINGS = {"compress": ".isz"}


def given_to(name, model, rows):
    """What a task gets beside the model."""
    if name in ROWLESS:
        return ()
    if name in PAIRED:
        return rows, rows
    if name in OPTIONS:
        return (rows.assign(side=np.where(rows.a > 0, "high", "low")),)
    return ({"decode": model.encode, "decompress": partial(compress, model)}.get(name, lambda rows: rows)(rows),)


def able(name, model, rows):
    """The model, with a head where the task needs one."""
    if name != "predict":
        return model
    return fit_head(model, rows, np.where(rows.a > 0, "high", "low"), fine_tune=False)


@pytest.mark.parametrize("name", TASKS)
class TestMenu:
    """What every task keeps: found by name, options as keywords, and a result of the four ways."""

    def test_signature(self, name):
        task = TASKS[name].load()
        first, *others = inspect.signature(task).parameters.values()
        assert first.name == "model"
        given = [p for p in others if p.kind is not p.KEYWORD_ONLY]
        assert name == PICTURES or all(p.default is inspect.Parameter.empty for p in given)
        wanted = [p.name for p in others if p.kind is p.KEYWORD_ONLY and p.default is inspect.Parameter.empty]
        assert set(wanted) <= set(OPTIONS.get(name, ()))
        assert len(given) == (0 if name in ROWLESS else 2 if name in PAIRED else 1)
        assert task.__doc__
        assert TASKS[name].about.endswith(".")

    def test_result(self, name, model, rows, tmp_path):
        if name == PICTURES:
            return
        found = TASKS[name].load()(able(name, model, rows), *given_to(name, model, rows), **OPTIONS.get(name, {}))
        assert isinstance(found, Result)
        assert all(isinstance(line, str) and line for line in found.summary())
        assert isinstance(found.to_json(), dict)
        assert isinstance(found.to_frame(), pd.DataFrame)
        path = tmp_path / f"result{ENDINGS.get(name, '.csv')}"
        assert found.save(path) == [path]

    def test_it_changes_nothing(self, name, model, rows):
        if name == PICTURES:
            return
        before, kept = {k: v.clone() for k, v in model.net.state_dict().items()}, rows.copy()
        TASKS[name].load()(able(name, model, rows), *given_to(name, model, rows), **OPTIONS.get(name, {}))
        assert all((v == before[k]).all() for k, v in model.net.state_dict().items())
        pd.testing.assert_frame_equal(rows, kept)


def test_a_path_may_be_a_string(model, rows, tmp_path):
    assert encode(model, rows).save(tmp_path / "codes.npy") == [tmp_path / "codes.npy"]
    assert isinstance(reconstruct(model, rows).rows, pa.Table)


def test_a_glimpse_is_the_beginning_of_the_rows():
    from isthmus.tasks.codes import Codes, Returned

    table = pa.table({"a": [1.23456, 2.0, 3.0, 4.0, 5.0, 6.0], "kind": ["x", "long", "y", "z", "x", "y"]})
    lines = Returned(table).glimpse()
    assert lines[:2] == ["    a  kind", "1.235     x"]
    assert len(lines) == 7
    assert lines[-1] == "…"
    wide = Codes(np.zeros((2, 20), np.float32)).glimpse()
    assert len(wide) == 3
    assert all(line.endswith("…") for line in wide)
    assert Returned(np.zeros((2, 4, 4), np.uint8)).glimpse() == []
