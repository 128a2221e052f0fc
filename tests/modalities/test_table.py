import datetime
import sys

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from sklearn.metrics import roc_auc_score

from isthmus.data.source import open_rows
from isthmus.errors import DataError, SpecError
from isthmus.modalities.table import Table

N = 200
G = np.random.default_rng(0)


@pytest.fixture
def frame():
    return pd.DataFrame(
        {
            "PassengerId": np.arange(N) + 5,
            "whole": G.integers(0, 90, N),
            "real": G.normal(size=N),
            "flag": G.random(N) < 0.5,
            "bit": G.integers(0, 2, N),
            "letter": G.choice(list("abc"), N),
            "constant": 3,
            "place": "here",
            "when": pd.date_range("2020", periods=N, freq="h", tz="UTC"),
            "day": [datetime.date(2020, 1, 1) + datetime.timedelta(i) for i in range(N)],
            "note": [f"remark {i}" for i in range(N)],
            "text_number": [str(i / 2) for i in range(N)],
            "zip": G.choice(["01234", "99999", "00001"], N),
            "small": G.integers(0, 200, N).astype("uint8"),
            "nothing": [None] * N,
        }
    )


def kinds(table):
    return {column.name: column.kind for column in table.columns}


def test_columns_are_what_they_look_like(frame):
    table = Table.fit(open_rows(frame))
    assert kinds(table) == {
        "PassengerId": "aside",
        "whole": "numeric",
        "real": "numeric",
        "flag": "boolean",
        "bit": "boolean",
        "letter": "categorical",
        "constant": "aside",
        "place": "aside",
        "when": "date",
        "day": "date",
        "note": "aside",
        "text_number": "numeric",
        "zip": "categorical",
        "small": "numeric",
        "nothing": "aside",
    }
    assert table.looks_at == [name for name, kind in kinds(table).items() if kind != "aside"]
    # 200 hours are two rounds of the day, and 200 days of the week
    cycles = {column.name: column.cycles for column in table.used if column.kind == "date"}
    assert cycles == {"when": ("day",), "day": ("week",)}
    said = " ".join(table.describe())
    for name in ("PassengerId", "constant", "place", "note", "nothing", "text_number"):
        assert repr(name) in said
    assert table.parts()["likelihood"] == {"kind": "mixed", "levels": [0, 0, 1, 1, 4, 0, 0, 0, 0, 0, 0, 0, 4, 0]}


def test_round_trip_with_names_and_types(frame):
    rows = open_rows(frame)
    table = Table.fit(rows)
    back = table.from_tensors(table.to_tensors(rows)["x"])
    lost = ["PassengerId", "note", "nothing"]
    assert back.column_names == [name for name in frame if name not in lost]
    for name in ("whole", "flag", "bit", "letter", "constant", "place", "day", "zip", "small"):
        assert back[name].to_pylist() == rows.data[name].to_pylist(), name
        assert back[name].type == rows.data[name].type, name
    assert np.allclose(back["real"], rows.data["real"], atol=1e-5)
    assert np.allclose(back["text_number"], frame["text_number"].astype(float), atol=1e-4)
    assert back["when"].type == rows.data["when"].type
    off = np.abs((back["when"].to_pandas() - frame["when"]).dt.total_seconds())
    assert off.max() < 0.1


@pytest.mark.parametrize(
    "type_", [pa.time32("s"), pa.time64("us"), pa.duration("ms"), pa.timestamp("ns"), pa.date64()], ids=str
)
def test_times_of_every_sort_come_back(type_):
    ticks = np.arange(1, 40) * (86_400_000 if type_ == pa.date64() else 10)
    column = pa.array(ticks.astype((type_.bit_width == 32 and "int32") or "int64")).cast(type_)
    rows = open_rows(pa.table({"t": column}))
    table = Table.fit(rows)
    assert table.from_tensors(table.to_tensors(rows)["x"])["t"].combine_chunks() == column


def test_missing_cells_are_masked(frame):
    frame = frame[["whole", "real", "bit", "letter", "when"]].astype({"whole": "Int64", "bit": "Int64"})
    frame.loc[3] = [None] * 5
    table = Table.fit(open_rows(frame))
    batch = table.to_tensors(open_rows(frame))
    assert kinds(table)["bit"] == "boolean"
    assert not batch["observed"][3].any()
    assert batch["observed"][4:].all()
    assert (batch["x"][3] == 0).all()


def test_columns_are_found_by_name(frame):
    table = Table.fit(open_rows(frame))
    other = frame[frame.columns[::-1]].assign(new=1)
    assert torch.equal(table.to_tensors(open_rows(other))["x"], table.to_tensors(open_rows(frame))["x"])
    assert table.remarks(open_rows(other)) == ["Not known from training, so not used: 'new'."]
    with pytest.raises(DataError, match=r"'whole' is missing in the table. Is 'Whole' the renamed 'whole'\?"):
        table.to_tensors(open_rows(frame.rename(columns={"whole": "Whole"})))


def test_unseen_categories_are_level_0(frame):
    table = Table.fit(open_rows(frame))
    rows = open_rows(frame.assign(letter="zzz", constant=4, place=None))
    batch = table.to_tensors(rows)
    j = table.names.index("letter")
    assert (batch["x"][:, j] == 0).all()
    assert "observed" not in batch
    remarks = " ".join(table.remarks(rows))
    assert "'zzz'" in remarks
    assert f"{N} of {N} rows differ" in remarks
    assert "place" not in remarks


def test_only_the_most_frequent_categories_are_kept():
    column = np.repeat([f"c{i:03d}" for i in range(100)], np.arange(100) + 1)
    table = Table.fit(open_rows(pa.table({"c": column})), max_levels=10, kinds={"c": "categorical"})
    assert table.columns[0].levels == tuple(f"c{i:03d}" for i in range(99, 89, -1))
    assert any("100 categories; the 10 most" in said for said in table.describe())


def test_the_type_of_a_column_may_change_a_little(frame):
    table = Table.fit(open_rows(frame))
    x = table.to_tensors(open_rows(frame))["x"]
    written = frame.astype({"whole": str, "flag": object, "bit": float})
    written["when"] = written["when"].dt.strftime("%Y-%m-%d %H:%M:%S")
    written.loc[0, "whole"] = "many"
    batch = table.to_tensors(open_rows(written))
    j = table.names.index("whole")
    assert not batch["observed"][0, j]
    assert batch["observed"].sum() == batch["x"].numel() - 1
    assert torch.allclose(batch["x"][1:], x[1:])
    assert "'many'" in " ".join(table.remarks(open_rows(written)))
    with pytest.raises(DataError, match=rf"'real' .* should hold numbers; {N} of {N} cells do not, the first is 'x'"):
        table.to_tensors(open_rows(frame.assign(real="x")))
    with pytest.raises(DataError, match=r"'when' .* should hold timestamp"):
        table.to_tensors(open_rows(frame.assign(when=1.5)))


def test_a_person_may_know_better(frame):
    said = {
        "PassengerId": "numeric",
        "whole": "categorical",
        "letter": "ignore",
        "note": "categorical",
        "constant": "numeric",
    }
    table = Table.fit(open_rows(frame), kinds=said)
    found = kinds(table)
    assert [found[name] for name in said] == ["numeric", "categorical", "aside", "categorical", "numeric"]
    back = table.from_tensors(table.to_tensors(open_rows(frame))["x"])
    assert back["whole"].type == pa.int64()
    with pytest.raises(SpecError, match="Did you mean 'whole'"):
        Table.fit(open_rows(frame), kinds={"hwole": "numeric"})
    with pytest.raises(SpecError, match="Did you mean 'numeric'"):
        Table.fit(open_rows(frame), kinds={"whole": "numerical"})
    with pytest.raises(DataError, match=r"'note' .* should hold numbers"):
        Table.fit(open_rows(frame), kinds={"note": "numeric"})


def test_missing_cells_among_numbers_written_as_text():
    column = ["NA", "1", "2.5", "-", "?"] * 9
    table = Table.fit(open_rows(pa.table({"a": column})))
    assert kinds(table) == {"a": "numeric"}
    assert table.to_tensors(open_rows(pa.table({"a": column})))["observed"][:5, 0].tolist() == [
        False,
        True,
        True,
        False,
        False,
    ]


def test_no_usable_column():
    with pytest.raises(DataError, match=r"No column .* 'a' always holds 1"):
        Table.fit(open_rows(pa.table({"a": [1, 1, 1]})))


def test_arrays_serve_as_tables():
    x = G.normal(size=(30, 3))
    table = Table.fit(open_rows(x))
    assert table.names == ["x0", "x1", "x2"]
    assert table.parts()["likelihood"] == {"kind": "gaussian"}
    with pytest.raises(DataError, match="X has 2 features, but Autoencoder is expecting 3 features as input"):
        table.to_tensors(open_rows(x[:, :2]))


def test_extreme_numbers_stay_finite(frame):
    table = Table.fit(open_rows(frame))
    batch = table.to_tensors(open_rows(frame.assign(real=1e300, bit=7)))
    assert batch["x"].square().isfinite().all()
    assert batch["x"][:, table.names.index("bit")].max() == 1


def lines_run(call) -> int:
    """The lines of Python that a call runs, wherever they stand."""
    count, before = 0, sys.gettrace()

    def trace(frame, event, _):
        nonlocal count
        count += event == "line"
        return trace

    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(before)
    return count


def test_no_line_runs_for_every_row():
    """A million rows take less than seconds because they are read and written by blocks."""
    rows = open_rows(pa.table({f"c{j}": G.random(20_000) for j in range(30)} | {"k": G.choice(list("abc"), 20_000)}))
    table = Table.fit(rows)
    assert lines_run(lambda: table.to_tensors(rows)) < len(rows) / 2


def test_network_traffic(shared):
    train = open_rows(shared / "nsl_kdd" / "nsl_kdd_train_20percent.parquet")
    test = open_rows(shared / "nsl_kdd" / "nsl_kdd_test.parquet")
    labels = ["attack", "difficulty", "is_attack"]
    normal = train.take(train.data["is_attack"].to_numpy() == 0)
    table = Table.fit(normal.replace(data=normal.data.drop_columns(labels)))
    heavy = {table.names[j] for j, kind in zip(table.scaled, table.scaling.kinds, strict=True) if kind == "asinh"}
    assert {"duration", "src_bytes", "dst_bytes", "count", "srv_count"} <= heavy

    levels = table.parts()["likelihood"]["levels"]

    def encoded(rows):
        x = table.to_tensors(rows)["x"]
        columns = [torch.eye(k)[x[:, j].long()] if k > 1 else x[:, [j]] for j, k in enumerate(levels)]
        return torch.cat(columns, 1)

    a, b = encoded(normal), encoded(test)
    v = torch.linalg.svd(a - a.mean(0), full_matrices=False).Vh[:8]
    error = ((b - a.mean(0)) - (b - a.mean(0)) @ v.T @ v).abs().sum(1)
    assert roc_auc_score(test.data["is_attack"].to_numpy(), error) > 0.964


def test_census_rows_come_back_exactly(shared):
    rows = open_rows(shared / "adult_income" / "adult_income.parquet")
    table = Table.fit(rows)
    back = table.from_tensors(table.to_tensors(rows)["x"])
    assert back.to_pydict() == rows.data.to_pydict()
