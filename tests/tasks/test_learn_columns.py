"""A codec for tables and arrays: what is chosen, and what is said of rows that were held out."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pytest

from isthmus.app.cli import main
from isthmus.data.source import open_rows
from isthmus.errors import SpecError
from isthmus.spec import Plan
from isthmus.tasks.checkup.compare import compared_at_fit
from isthmus.tasks.checkup.findings import recorded
from isthmus.tasks.compression.learn_columns import OfColumns
from isthmus.tasks.jobs import fit_for, open_job

G = np.random.default_rng(0)
WHY = "I came here because of the {0} people who told me that this was a place to be, and then there were {0} more"


def answers(n=300, k=12):
    """Yes or no to questions, which a mood tells a little of, and ages."""
    mood = G.integers(0, 2, n)
    said = G.random((n, k)) < np.where(mood, 0.9, 0.2)[:, None]
    return pa.table({"age": G.integers(18, 90, n), **{f"q{j}": said[:, j] for j in range(k)}})


def test_a_table_from_the_file_to_the_file(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    table = answers()
    pa.csv.write_csv(table, "a.csv")
    assert main(["fit", "a.csv", "--for", "compress", "--epochs", "2", "-o", "m.isthmus"]) == 0
    told = capsys.readouterr()
    said = told.out + told.err
    assert "75 held-out rows, exactly:" in said
    assert "Parquet" in said
    assert main(["compress", "m.isthmus", "a.csv", "-o", "a.isz"]) == 0
    assert main(["decompress", "m.isthmus", "a.isz", "-o", "back.csv"]) == 0
    assert open_rows("back.csv").data.equals(open_rows("a.csv").data)
    capsys.readouterr()
    assert main(["info", "m.isthmus", "--json"]) == 0
    job = json.loads(capsys.readouterr().out)["record"]["job"]
    assert job["bytes"] < job["beside"]["xz"]


@pytest.mark.parametrize(("rows", "sigma"), [
    (answers(40), 0.5),
    (G.normal(size=(40, 4)) * [1, 9, 99, 1], 0.5),
    (G.integers(0, 17, (40, 16)).astype("u1"), None),  # all on one scale, which no deviation says anything of
    (answers(40).append_column("why", pa.array([WHY.format(i) for i in range(40)])), None),
])  # fmt: skip
def test_no_column_is_believed_to_be_surer_than_half_its_deviation(rows, sigma):
    asked = OfColumns().suit(open_rows(rows), None, Plan())
    assert asked.recipe == "variational"
    assert asked.parts.get("likelihood", {}).get("sigma") == sigma


def test_numbers_with_fractions_are_measured_with_a_promise():
    rows = G.normal(size=(120, 1)) * np.ones((1, 6)) + 0.1 * G.normal(size=(120, 6))
    model = fit_for("compress", rows, plan=Plan(epochs=1))
    assert model.record.job["max_error"] == "1%"
    assert "within 1% of their spread" in open_job("compress").words(model.record.job)[0]
    # one epoch is worse than PCA at bringing rows back, which is not what it was fitted for
    assert model.record.error > model.record.pca_error
    assert not any(finding.what == "PCA is better" for finding in recorded(model))
    assert compared_at_fit(model).summary()[-1].endswith("not what this model was fitted for (compress)")
    assert model.spec.detector.kind == "likelihood"


def test_what_no_codec_takes_is_refused():
    with pytest.raises(SpecError, match="takes rows as 'pixels' or 'table' or 'array'"):
        fit_for("compress", ["some words", "and more"], modality="text")
    with pytest.raises(SpecError, match="leave --target out"):
        fit_for("compress", answers(40), target=answers(40))
