"""One row by lookups is the same row through Arrow, to the last bit."""

import csv
import datetime
import io
import json

import numpy as np
import pandas as pd
import pytest
import torch

from isthmus.data.files import parse_csv
from isthmus.data.lines import Lines
from isthmus.data.rows import Rows
from isthmus.data.source import open_rows
from isthmus.errors import DataError
from isthmus.modalities.array import Array
from isthmus.modalities.cells import Cells
from isthmus.modalities.image import Image
from isthmus.modalities.table import Table

N = 200


def frame(seed=0):
    g = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "heavy": (10 ** g.uniform(0, 9, N)).round(),
            "plain": g.normal(size=N) * 7.3,
            "whole": g.integers(-50, 50, N),
            "flag": g.integers(0, 2, N),
            "yes": g.choice(["yes", "no"], N),
            "kind": g.choice(["tcp", "udp", "a b"], N),
            "level": g.choice([3, 7, 11], N),
            "when": pd.Timestamp("2024-01-31") + pd.to_timedelta(g.integers(0, 10**7, N), unit="s"),
            "always": 5,
        }
    )


def same(a, b):
    assert a.keys() == b.keys()
    for name in a:
        assert torch.equal(a[name], b[name]), name


def as_csv(table: pd.DataFrame) -> bytes:
    text = io.StringIO()
    table.to_csv(text, index=False)
    return text.getvalue().encode()


@pytest.fixture(scope="module")
def table() -> Table:
    text = as_csv(frame())
    return Table.fit(Rows("table", parse_csv(text, "t", delimiter=None)[0]), kinds={"level": "categorical"})


def fresh() -> pd.DataFrame:
    """Rows with what can happen: missing cells, unseen levels, numbers beyond the range."""
    new = frame(1).astype(object)
    new.loc[0, "plain"], new.loc[1, "kind"], new.loc[2, "kind"] = None, None, "icmp"
    new.loc[3, "heavy"], new.loc[4, "flag"], new.loc[5, "level"] = 1e300, None, 99
    new.loc[6, "when"], new.loc[7, "plain"], new.loc[8, "plain"] = None, float("inf"), -1e-7
    new.loc[9, "whole"], new.loc[10, "yes"] = 2**53 + 1, None
    return new


def test_lines_of_csv(table):
    text = as_csv(fresh())
    whole = table.to_tensors(Rows("table", parse_csv(text, "t", delimiter=None)[0]))
    lines = Lines()
    cells = [row for line in text.splitlines() if (row := lines.read(line)) is not None]
    reader = Cells(table, lines.names)
    same(reader(cells), whole)
    for i in range(20):
        alone = reader([cells[i]])
        assert torch.equal(alone["x"][0], whole["x"][i])
        there = alone.get("observed", torch.ones_like(alone["x"], dtype=torch.bool))
        assert torch.equal(there[0], whole["observed"][i])


def test_objects_of_python_and_json(table):
    """Numbers as numbers, dates as dates or in ISO, whatever the order of the columns; others are passed over."""
    new = frame(2)
    whole = table.to_tensors(open_rows(new))
    rows = new[new.columns[::-1]].to_dict("records")
    for row in rows:
        row["when"] = row["when"].to_pydatetime()
    same(Cells(table)([{**row, "more": "x"} for row in rows]), whole)
    said = [
        json.loads(json.dumps(row, default=lambda v: v.isoformat() if hasattr(v, "isoformat") else v.item()))
        for row in rows
    ]
    same(Cells(table)(said), whole)


def test_arrays():
    g = np.random.default_rng(0)
    for x in (g.normal(size=(50, 6)), g.normal(size=(50, 6)).astype(np.float32), g.integers(0, 255, (50, 6))):
        face = Array.fit(Rows("array", x))
        same(Cells(face)(x), face.to_tensors(Rows("array", x)))
    holes = x.astype(float)
    holes[3, 2] = np.nan
    same(Cells(face)(holes.tolist()), face.to_tensors(Rows("array", holes)))


@pytest.mark.parametrize(
    ("name", "cell"),
    [
        ("plain", "x"),
        ("plain", "1_000"),
        ("plain", "٣"),
        ("flag", "maybe"),
        ("when", "yesterday"),
        ("plain", [1]),
        ("kind", {}),
    ],
)
def test_a_cell_that_is_none_of_its_column(table, name, cell):
    row = {**frame().iloc[0].to_dict(), name: cell}
    with pytest.raises(DataError, match=f"'{name}' cannot be"):
        Cells(table)([row])


def test_rows_of_another_length_and_columns_of_another_name(table):
    with pytest.raises(DataError, match="3 cells, and 9 were expected"):
        Cells(table)([[1, 2, 3]])
    with pytest.raises(DataError, match="none of the model's columns"):
        Cells(table)([{"z": 1}])
    with pytest.raises(DataError, match="Is 'plian' the renamed 'plain'"):
        Cells(table, [c if c != "plain" else "plian" for c in frame().columns])
    with pytest.raises(DataError, match="more than once"):
        Cells(table, [*frame().columns, "plain"])
    with pytest.raises(DataError, match="for tables and arrays"):
        Cells(Image.fit(Rows("image", np.zeros((4, 8, 8), np.uint8))))


def test_an_empty_date_or_text_is_missing(table):
    row = frame().iloc[0].to_dict()
    found = Cells(table)([{**row, "when": "", "kind": "", "plain": ""}])
    place = table.places[table.looks_at.index("when")]
    assert not found["observed"][0, place].any()
    assert int((~found["observed"]).sum()) == 2 + (place.stop - place.start)
    assert (
        not Cells(table)([{**row, "when": datetime.date(2024, 2, 1)}])
        .get("observed", torch.ones(1))
        .logical_not()
        .any()
    )


def test_quotes_and_delimiters():
    text = 'a;b\n"1";"x;""y"""\n'
    lines = Lines()
    assert lines.read(text.splitlines()[0].encode()) is None
    assert lines.read(text.splitlines()[1].encode()) == next(csv.reader(['"1";"x;""y"""'], delimiter=";"))
