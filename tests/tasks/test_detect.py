import json

import numpy as np
import pandas as pd
import pytest
import torch

from isthmus.data.source import open_rows
from isthmus.errors import DataError, FileError, SpecError
from isthmus.model import Model
from isthmus.spec import Plan
from isthmus.tasks.detection.detect import detect
from isthmus.tasks.detection.reasons import TOP, Reason

pytestmark = pytest.mark.usefixtures("brief_committee")

PLAN = Plan(epochs=3, batch_size=32, seed=0)


def array(n=600, seed=0):
    g = np.random.default_rng(seed)
    return g.normal(size=(n, 3)) @ np.random.default_rng(1).normal(size=(3, 8)) + 0.3 * g.normal(size=(n, 8))


def frame(n=600, seed=0):
    x = array(n, seed)
    letters = np.array(list("abc"))[np.digitize(x[:, 0], [-1, 1])]
    return pd.DataFrame(x[:, :5], columns=list("vwxyz")).assign(letter=letters, flag=x[:, 1] > 0)


def pictures(n=400, seed=0):
    g = np.random.default_rng(seed)
    y, x = np.mgrid[:16, :16]
    tops = 4 + 8 * g.random((n, 1, 1))
    return (200 * np.exp(-((y - tops) ** 2) / 8) * np.ones_like(x) + 10 * g.random((n, 16, 16))).astype(np.uint8)


@pytest.fixture(scope="module")
def of_array():
    return Model.fit(array(), latent_dim=3, plan=PLAN, device="cpu")


@pytest.fixture(scope="module")
def of_frame():
    return Model.fit(frame(), latent_dim=3, plan=PLAN, device="cpu")


@pytest.fixture(scope="module")
def of_pictures():
    return Model.fit(pictures(), latent_dim=4, plan=PLAN, device="cpu")


def test_the_parts_of_a_detection_agree(of_array):
    x = array(200, seed=7)
    x[:5] += 20
    found = detect(of_array, x, false_alarm_rate=0.05)
    np.testing.assert_allclose(found.scores, of_array.score(x), rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(found.p_values, of_array.p_values(found.scores))
    np.testing.assert_array_equal(found.anomalies, found.p_values <= 0.05)
    np.testing.assert_array_equal(found.anomalies, found.scores >= found.threshold)
    assert found.anomalies[:5].all()
    assert set(found.worst()) == {0, 1, 2, 3, 4}
    assert found.n_calibration == len(of_array.calibration)


@pytest.mark.parametrize("kind", ["of_array", "of_frame", "of_pictures"])
def test_contributions_are_the_score(kind, request):
    model = request.getfixturevalue(kind)
    rows = {"of_array": array, "of_frame": frame, "of_pictures": pictures}[kind](50, seed=7)
    found = detect(model, rows)
    total = found.contributions.reshape(50, -1).sum(1) + found.rest
    np.testing.assert_allclose(total, found.scores, rtol=1e-4, atol=1e-3)


def test_held_out_rows_pay_the_usual(of_array):
    """Over the rows that calibrated it, contributions average to nothing."""
    found = detect(of_array, array())  # those that were fitted, as if they had not been, and those held out
    np.testing.assert_allclose(found.gained.mean(0), 0, atol=1e-3)
    assert found.rest.mean() == pytest.approx(found.usual_rest, abs=1e-3)


@pytest.mark.parametrize("column", range(8))
def test_a_planted_column_comes_first(of_array, column):
    x = array(40, seed=7)
    x[:, column] += 12
    found = detect(of_array, x, false_alarm_rate=0.05)
    firsts = [reasons[0].name for i in range(40) if (reasons := found.reasons(i))]
    # a large wrong cell drags the code along, so a neighbour may win now and then
    assert firsts.count(f"x{column}") >= 0.6 * len(firsts)


def test_reasons_are_told_in_words(of_frame):
    rows = frame(20, seed=7)
    rows.loc[0, "z"] = 40.0
    rows.loc[1, "letter"] = "never seen"
    found = detect(of_frame, rows, false_alarm_rate=0.05)
    # z and y go together, so a wild z drags the guess of y along
    assert [reason.name for reason in found.reasons(0)[:2] if "z 40, expected " in str(reason)] == ["z"]
    assert found.reasons(1)[0].name == "letter"
    assert "letter 'never seen', expected '" in str(found.reasons(1)[0])
    for i in range(20):
        shares = [reason.share for reason in found.reasons(i)]
        assert len(shares) <= TOP
        assert shares == sorted(shares, reverse=True)
        assert sum(shares) <= 1 + 1e-6
        assert all(share > 0.05 for share in shares)


def test_missing_cells_are_no_reason(of_array):
    x = array(20, seed=7)
    x[:, 3] = np.nan
    found = detect(of_array, x)
    assert not any(reason.name == "x3" for i in range(20) for reason in found.reasons(i))


@pytest.mark.parametrize(("top", "left"), [(2, 2), (10, 5), (13, 13)])
def test_the_planted_region_is_named(of_pictures, top, left):
    images = pictures(10, seed=7)
    images[:, top : top + 2, left : left + 2] = 255
    found = detect(of_pictures, images, false_alarm_rate=0.05)
    near = 0
    for i in range(10):
        (reason,) = found.reasons(i)
        first, last = (part.split(" ")[1].split("–") for part in reason.name.split(", "))
        near += abs(int(first[0]) - top) <= 1 and abs(int(last[0]) - left) <= 1
        assert 0 < reason.share <= 1
    assert near >= 8


def test_the_table_that_comes_out(of_frame):
    rows = frame(30, seed=7)
    rows.loc[0, "z"] = 40.0
    found = detect(of_frame, rows, false_alarm_rate=0.05)
    table = found.to_frame()
    assert table.columns.tolist() == [
        *rows.columns, "score", "p_value", "anomaly", "top_1", "top_2", "top_3", "why",
    ]  # fmt: skip
    pd.testing.assert_frame_equal(table[rows.columns], rows, check_dtype=False)
    np.testing.assert_array_equal(table["score"], found.scores)
    np.testing.assert_array_equal(table["anomaly"], found.anomalies)
    assert table["why"].notna().tolist() == found.anomalies.tolist()
    assert "z" in table.loc[0, ["top_1", "top_2"]].tolist()
    assert "z 40, expected" in table["why"][0]


def test_columns_that_are_called_like_ours(of_frame):
    """The input's own column must not be lost under the result's."""
    rows = frame(30, seed=7).assign(score=1.0)
    table = detect(of_frame, rows).to_table()
    assert table.num_columns == len(frame().columns) + 1 + 7


@pytest.mark.parametrize("ending", ["csv", "tsv", "parquet", "arrow", "feather", "jsonl"])
def test_saving(of_frame, tmp_path, ending):
    found = detect(of_frame, frame(30, seed=7))
    (path,) = found.save(tmp_path / f"scored.{ending}")
    if ending != "jsonl":
        back = open_rows(str(path)).data
        np.testing.assert_allclose(back["score"].to_numpy(), found.scores, rtol=1e-6)
    assert path.stat().st_size > 0
    with pytest.raises(FileError, match="not all numbers"):
        found.save(tmp_path / "scored.npy")


def test_arrays_and_pictures_are_numbered(of_array, of_pictures):
    assert detect(of_array, array(5)).to_frame()["row"].tolist() == [0, 1, 2, 3, 4]
    table = detect(of_pictures, pictures(5)).to_frame()
    assert table.columns.tolist() == ["row", "score", "p_value", "anomaly", "why"]


def test_what_too_few_rows_can_promise():
    model = Model.fit(array(60), latent_dim=2, plan=PLAN, device="cpu")
    n = len(model.calibration)
    assert n < 99
    x = array(20, seed=7)
    x[0] += 1000
    found = detect(model, x, false_alarm_rate=0.001)
    assert not found.anomalies.any()
    assert found.threshold == np.inf
    assert f"{n} calibration rows can promise a rate of {1 / (n + 1):.2%} at the least" in "\n".join(found.summary())
    assert found.to_json()["threshold"] is None
    assert detect(model, x, false_alarm_rate=2 / (n + 1)).anomalies[0]


def test_false_discoveries_over_the_batch(of_array):
    x = array(300, seed=7)
    x[:60] += 20
    found = detect(of_array, x, fdr=0.1)
    assert found.anomalies[:60].all()
    assert found.anomalies[60:].sum() <= 20
    np.testing.assert_array_equal(found.anomalies, found.scores >= found.threshold)
    assert "at a false discovery rate of 10.00%" in found.summary()[0]


def test_a_budget(of_array):
    x = array(300, seed=7)
    found = detect(of_array, x, budget=7)
    assert found.anomalies.sum() == 7
    assert set(np.flatnonzero(found.anomalies)) == set(found.worst(7))
    assert "for a budget of 7, which amounts to a false-alarm rate of" in found.summary()[0]
    assert found.threshold == found.scores[found.worst(7)[-1]]


def test_a_few_labels_choose_the_threshold(of_frame):
    rows = frame(200, seed=7)
    rows.loc[:19, "z"] += 25.0
    said = pd.Series([None] * 200, dtype=object)
    said[:5], said[20:50] = "anomaly", "normal"
    found = detect(of_frame, rows.assign(truth=said), labels="truth")
    assert found.anomalies[:20].all()  # and so the rows that nobody labelled
    assert found.anomalies[20:].sum() < 10
    assert found.judged.n_anomalous == 5
    assert found.judged.auroc.value > 0.95
    assert "by the best F1 on 35 labelled rows" in found.summary()[0]
    assert "truth" in found.to_table().column_names
    json.dumps(found.to_json(), allow_nan=False)
    # as a column or beside the rows, the label is no feature
    beside = detect(of_frame, rows, labels=said)
    np.testing.assert_array_equal(beside.scores, found.scores)
    assert beside.threshold == found.threshold


def test_rules_that_contradict(of_array):
    for rules in ({"fdr": 0.1, "budget": 3}, {"budget": 3, "labels": [0] * 5}, {"fdr": 0.1, "labels": [0, 1, 0, 1, 0]}):
        with pytest.raises(SpecError, match="each choose the threshold"):
            detect(of_array, array(5), **rules)
    for fdr in (0, 1, 2.0):
        with pytest.raises(SpecError, match="fdr is between 0 and 1"):
            detect(of_array, array(5), fdr=fdr)


def test_rows_that_are_all_strange_are_said_to_be_another_population(of_array):
    assert "another population" in "\n".join(detect(of_array, array(50, seed=7) + 9).summary())
    assert "another population" not in "\n".join(detect(of_array, array(50, seed=7)).summary())


def test_a_row_that_comes_twice_scores_the_same(of_array):
    x = array(90, seed=7)
    found = detect(of_array, np.concatenate([x, x[::-1], x[:1]]))
    np.testing.assert_allclose(found.scores[:90], found.scores[90:180][::-1], rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(found.p_values[:90], found.p_values[90:180][::-1])


def test_another_schema_is_told_by_its_column(of_frame):
    with pytest.raises(DataError, match="The column 'z' is missing"):
        detect(of_frame, frame(5).drop(columns="z"), fdr=0.1)


def test_what_is_expected_comes_with_its_usual_deviation(of_frame):
    """68 % of usual rows are nearer to what they are held against than the deviation that is told."""
    rows = frame(400, seed=7)
    rows.loc[0, "z"] = 40.0
    found = detect(of_frame, rows)
    reason = next(reason for reason in found.reasons(0) if reason.name == "z")
    expected, deviation = map(float, reason.expected.split(" ± "))
    mean = of_frame.contributions(rows)[2]
    back = of_frame.modality.from_tensors(torch.from_numpy(mean)).to_pandas()
    assert expected == pytest.approx(back["z"][0], rel=1e-3)
    assert deviation > 0
    away = np.abs(of_frame.tensors(open_rows(rows))["x"].numpy() - mean)[1:]
    nearer = (away < of_frame.spread).mean(0)
    numbers = [of_frame.modality.names.index(name) for name in "vwxyz"]
    assert nearer[numbers].mean() == pytest.approx(0.683, abs=0.08)
    assert all("±" not in reason.expected for reason in found.reasons(0) if reason.name in ("letter", "flag"))


def test_without_held_out_rows():
    plan, parts = PLAN.replace(validation=0.0), {"detector": "likelihood"}
    model = Model.fit(array(60), latent_dim=2, plan=plan, parts=parts, device="cpu")
    with pytest.raises(DataError, match=r"fitted without held-out rows.*Fit again with validation=0\.1"):
        detect(model, array(5))


@pytest.mark.parametrize("rate", [0, 1, -0.1, 1.5, float("nan")])
def test_rates_that_are_none(of_array, rate):
    with pytest.raises(SpecError, match="false_alarm_rate is between 0 and 1"):
        detect(of_array, array(5), false_alarm_rate=rate)


def test_the_summary_and_its_json(of_array):
    x = array(100, seed=7)
    x[:3] += 30
    found = detect(of_array, x, false_alarm_rate=0.02)
    lines = found.summary()
    assert f"{found.anomalies.sum()} of 100 rows flagged" in lines[0]
    assert any(line.startswith("row ") for line in lines[1:])
    said = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert said["rows"] == 100
    assert set(said["anomalies"]) >= {0, 1, 2}
    assert [w["score"] for w in said["worst"]] == sorted((w["score"] for w in said["worst"]), reverse=True)


def test_the_most_usual_row_has_nothing_to_explain():
    reasons = Reason("a", "1", "2", 0.5)
    assert str(reasons) == "a 1, expected 2: 50 % of the score"
    assert str(Reason("rows 1–2, columns 3–4", "", "", 0.25)) == "rows 1–2, columns 3–4: 25 % of the score"
