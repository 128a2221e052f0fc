"""Labels from the command line: head, predict, probe, columns."""

import json

import numpy as np
import pandas as pd
import pytest

from isthmus.app.cli import main


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("head")
    g = np.random.default_rng(0)
    z = g.normal(size=(300, 2))
    frame = pd.DataFrame({"a": z[:, 0], "b": z[:, 1], "twice": 2 * z[:, 0], "c": z.sum(1) + 0.1 * g.normal(size=300)})
    frame["y"] = np.where(z[:, 0] > 0, "high", "low")
    frame.to_csv(folder / "rows.csv", index=False)
    frame.assign(y=frame.y.where(frame.index < 20)).to_csv(folder / "few.csv", index=False)
    code = main(["fit", str(folder / "rows.csv"), "-o", str(folder / "m.isthmus"), "--column", "y=ignore",
                 "--epochs", "3", "--latent-dim", "2", "-q"])  # fmt: skip
    assert code == 0
    return folder


@pytest.fixture
def run(folder, capsys, monkeypatch):
    monkeypatch.chdir(folder)

    def run(line):
        capsys.readouterr()
        code = main(line.split())
        return code, *capsys.readouterr()

    return run


def test_from_few_labels_to_a_table_of_classes(run, folder):
    code, out, err = run("head m.isthmus few.csv --label y -o c.isthmus")
    assert code == 0, err
    assert "20 labels" in out
    assert "280 of 300 rows have no label" in out
    code, out, err = run("predict c.isthmus rows.csv --label y -o said.csv")
    assert code == 0, err
    assert "told right" in out
    said = pd.read_csv(folder / "said.csv")
    assert said.columns.tolist() == ["y", "p_high", "p_low"]
    assert (said.y == pd.read_csv(folder / "rows.csv").y).mean() > 0.9
    code, out, _ = run("info c.isthmus")
    assert "taught by 20 labels" in out
    code, out, _ = run("detect c.isthmus rows.csv --json")
    assert code == 0, "what the model did, the file does"


def test_json(run):
    code, out, _ = run("head m.isthmus rows.csv --label y -o c.isthmus --frozen --json")
    assert code == 0
    assert json.loads(out)["classes"] == ["high", "low"]
    code, out, _ = run("predict c.isthmus rows.csv --json --label y")
    assert json.loads(out)["score"] > 0.9


def test_probe(run, folder):
    code, out, err = run("probe m.isthmus rows.csv --label y --no-boosted --draws 2 -o p.json")
    assert code == 0, err
    assert "code-2, linear" in out
    found = json.loads((folder / "p.json").read_text())
    assert found["measure"] == "accuracy"
    assert run("probe m.isthmus rows.csv --label y --no-boosted --draws 1 -o p.svg")[0] == 0
    assert "<svg" in (folder / "p.svg").read_text()


def test_columns(run, folder):
    code, out, err = run("columns m.isthmus rows.csv -o columns.csv")
    assert code == 0, err
    assert "say the same: a, twice" in out
    assert "can go" in out
    assert pd.read_csv(folder / "columns.csv").column.nunique() == 4


def test_mistakes(run):
    for line, said in (
        ("head m.isthmus rows.csv --label z -o c.isthmus", "No column is called 'z'"),
        ("head m.isthmus rows.csv --label y -o nowhere/c.isthmus", "nowhere"),
        ("predict m.isthmus rows.csv", "This model has no head"),
        ("probe m.isthmus rows.csv", "--label"),
        ("head m.isthmus rows.csv --label y -o c.isthmus --validation 2", "validation is a share"),
    ):
        code, _, err = run(line)
        assert code == 2
        assert said in err
