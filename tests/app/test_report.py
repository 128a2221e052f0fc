"""The report: self-contained, every picture with its caption, and nothing in it can run."""

import re

import numpy as np
import pyarrow as pa
import pytest

from isthmus.app.report import render, write_report
from isthmus.data.rows import Rows
from isthmus.data.source import open_rows
from isthmus.errors import DataError
from isthmus.model import Model
from isthmus.spec import Plan

pytestmark = pytest.mark.usefixtures("brief_committee")

HOSTILE = "<script>alert('x')</script>"


@pytest.fixture(scope="module")
def table() -> Rows:
    rng = np.random.default_rng(0)
    z = rng.normal(size=(300, 1))
    columns = {HOSTILE: z[:, 0], "b": 2 * z[:, 0] + rng.normal(size=300), "c": rng.normal(size=300)}
    kinds = np.where(z[:, 0] > 0, "<b>yes", "no")
    return open_rows(pa.table({**columns, "kind": kinds}))


@pytest.fixture(scope="module")
def model(table) -> Model:
    return Model.fit(table, latent_dim=2, plan=Plan(epochs=2))


def test_a_table(model, table, tmp_path):
    path = write_report(model, table, tmp_path / "r.html", name=HOSTILE)
    page = path.read_text()
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert not re.search(r"(?:src|href)=\"(?!data:)", page)  # nothing from elsewhere
    assert "prefers-color-scheme" in page
    for heading in (
        "Health",
        "Beside PCA",
        "Training",
        "What comes back",
        "Scores",
        "Map of the codes",
        "The strangest",
    ):
        assert heading in page
    assert page.count("<figcaption>") == page.count("<figure>") >= 6
    assert "kind" in page


def test_images(tmp_path):
    rows = open_rows("example:digits").take(range(200))
    model = Model.fit(rows, latent_dim=4, plan=Plan(epochs=2))
    page = render(model, rows)
    assert page.count("data:image/png;base64,") >= 60
    assert "PCA-4" in page
    assert "where" in page


def test_rows_are_sampled(model, table):
    assert "The pictures show 50 of them" in render(model, table, most=50)


def test_without_held_out_rows(table):
    page = render(Model.fit(table, latent_dim=1, plan=Plan(epochs=1, validation=0.0)), table)
    assert "no rows were held out" in page


def test_missing_cells(table):
    holes = table.data.set_column(1, "b", pa.array([None if i % 5 == 0 else float(i % 7) for i in range(300)]))
    rows = open_rows(holes)
    page = render(Model.fit(rows, latent_dim=2, plan=Plan(epochs=1)), rows)
    assert "nan" not in page.lower().replace("finance", "")


def test_against_labels(model, table):
    rng = np.random.default_rng(1)
    data = table.data.to_pandas()
    truth = np.where(rng.random(300) < 0.2, "odd", "normal").astype(object)
    data.loc[truth == "odd", "b"] += rng.normal(4, 2, (truth == "odd").sum())
    truth[::3] = None
    page = render(model, data.assign(truth=truth), labels="truth", most=100)
    assert "Against the labels" in page
    assert f"{sum(t is not None for t in truth)} rows are labelled" in page  # all of them, though 100 are drawn
    for word in ("AUROC", "average precision", "recall", "false alarms", "promised 1 %", "95 % interval", "best F1"):
        assert word in page
    assert "flagged by the best F1 on the labels" in page
    assert "by the threshold of the labels" in page
    assert page.count("<figcaption>") == page.count("<figure>")
    assert "Against the labels" not in render(model, table)


def test_a_label_that_is_a_column_of_the_model(model, table):
    with pytest.raises(DataError, match="one of its own"):
        render(model, table, labels="b")
