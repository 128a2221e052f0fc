"""Rows one at a time are the rows of the batch."""

import numpy as np
import pandas as pd
import pytest

from isthmus import Autoencoder
from isthmus.calibration import Calibration
from isthmus.errors import DataError, SpecError
from isthmus.model import Model, open_model
from isthmus.spec import Plan
from isthmus.tasks.detection.detect import detect
from isthmus.tasks.detection.stream import Follower

pytestmark = pytest.mark.usefixtures("brief_committee")

PLAN = Plan(epochs=3, batch_size=64, seed=0)
MIXING = np.random.default_rng(1).normal(size=(3, 6))


def array(n, seed=0, shift=0.0):
    g = np.random.default_rng(seed)
    return (g.normal(size=(n, 3)) + shift) @ MIXING + 0.3 * g.normal(size=(n, 6))


def frame(n, seed=0):
    x = array(n, seed)
    kind = np.array(list("abc"))[np.digitize(x[:, 0], [-1, 1])]
    return pd.DataFrame(x, columns=list("uvwxyz")).assign(kind=kind, flag=x[:, 1] > 0)


@pytest.fixture(scope="module")
def of_array():
    return Model.fit(array(2000), latent_dim=3, plan=PLAN, device="cpu")


@pytest.fixture(scope="module")
def of_frame():
    return Model.fit(frame(2000), latent_dim=3, plan=PLAN, device="cpu")


def agree(scored, found):
    np.testing.assert_allclose([one.score for one in scored], found.scores, rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose([one.p_value for one in scored], found.p_values, atol=2 / found.n_calibration)
    assert [one.anomaly for one in scored] == found.anomalies.tolist()
    assert [one.row for one in scored] == list(range(len(scored)))


def test_one_row_at_a_time_is_the_batch(of_array, of_frame):
    x = array(120, seed=7)
    x[::17] += 5
    x[5, 2] = np.nan
    follower = Follower(of_array, false_alarm_rate=0.05)
    agree([follower.push(row) for row in x], detect(of_array, x, false_alarm_rate=0.05))

    rows = frame(120, seed=7).astype(object)
    rows.loc[3, "z"], rows.loc[4, "kind"], rows.loc[5, "kind"] = 40.0, "never seen", None
    rows.loc[4, "u"] += 2.5
    found = detect(of_frame, rows, false_alarm_rate=0.05)
    follower = Follower(of_frame, false_alarm_rate=0.05)
    scored = [follower.push(row) for row in rows.to_dict("records")]
    agree(scored, found)
    for i in np.flatnonzero(found.anomalies):
        first = str(found.reasons(i)[0]).split(":")[0]
        assert scored[i].why.startswith(first), (i, first)
    assert "z 40, expected" in scored[3].why
    assert "kind 'never seen', expected '" in scored[4].why


def test_rows_that_have_arrived_together_are_scored_alike(of_array):
    x = array(700, seed=7)
    together = Follower(of_array).push_many(x)
    alone = Follower(of_array)
    np.testing.assert_allclose([one.score for one in together], [alone.push(r).score for r in x], rtol=1e-5, atol=1e-4)
    assert Follower(of_array).push_many([]) == []


def test_a_repeated_row_scores_the_same(of_array):
    follower, row = Follower(of_array), array(1, seed=7)[0]
    assert len({follower.push(row).score for _ in range(10)}) == 1


def test_rows_by_name_in_any_order_and_by_place(of_frame):
    row = frame(1, seed=7).iloc[0]
    by_name = Follower(of_frame).push({**row.to_dict(), "more": 1}).score
    assert Follower(of_frame).push(row.tolist()).score == by_name
    turned = row[::-1]
    assert Follower(of_frame, list(turned.index)).push(turned.tolist()).score == by_name
    assert Follower(of_frame).push([str(v) for v in row]).score == by_name


def test_a_row_that_cannot_be_read_does_not_count(of_array):
    follower = Follower(of_array)
    follower.push(array(1)[0])
    for row in ([1, 2], ["x"] * 6):
        with pytest.raises(DataError):
            follower.push(row)
    assert follower.push(array(1)[0]).row == 1
    assert follower.n_rows == 2


def test_drift_is_remarked_where_there_is_some(of_array):
    follower = Follower(of_array)
    usual = follower.push_many(array(2000, seed=7))
    assert not any(one.drift for one in usual)
    assert not follower.drifts
    assert follower.summary()[-1] == "no drift was seen"
    shifted = [follower.push(row) for row in array(600, seed=8, shift=0.7)]
    first = next(i for i, one in enumerate(shifted) if one.drift)
    assert first < 600
    assert "drift by row 2," in shifted[first].drift
    assert "1,000,000" in shifted[first].drift
    assert shifted[first].to_json()["drift"] == shifted[first].drift
    assert follower.summary()[-1] == shifted[first].drift


def test_codes_are_watched_where_scores_see_nothing(of_array):
    """Rows from one corner of the usual: each is usual, and together they are not."""
    x = array(6000, seed=7)
    corner = x[of_array.encode(x)[:, 0] > np.quantile(of_array.encode(x)[:, 0], 0.7)]
    corner = corner[of_array.score(corner) < np.quantile(of_array.score(x), 0.95)]
    follower = Follower(of_array)
    follower.push_many(corner[:600])
    assert follower.drifts


def test_the_false_drift_rate_is_kept(of_array):
    """1/20,000 a row: in 500 usual rows a false remark comes at most once in forty streams, on average."""
    false = 0
    for seed in range(60):
        follower = Follower(of_array, false_drift_rate=1 / 20_000)
        follower.push_many(array(500, seed=100 + seed))
        false += bool(follower.drifts)
    assert false <= 60 / 40 + 3 * np.sqrt(60 / 40)


def test_without_recalibration_a_slow_drift_stays_strange_and_with_it_becomes_the_usual(of_array):
    x = array(4000, seed=7) + np.linspace(0, 1.5, 4000)[:, None]
    fixed, rolling = (
        Follower(of_array, false_alarm_rate=0.05),
        Follower(of_array, false_alarm_rate=0.05, recalibrate=400),
    )
    late = slice(2000, 4000)
    by_fixed, by_rolling = (np.mean([one.anomaly for one in f.push_many(x)][late]) for f in (fixed, rolling))
    assert by_fixed > 0.2
    assert by_rolling < by_fixed / 2


def test_recalibration_does_not_creep(of_array):
    """Over twenty turns of the window, usual rows are flagged at the rate that was promised."""
    follower = Follower(of_array, false_alarm_rate=0.05, recalibrate=200)
    flagged = [one.anomaly for one in follower.push_many(array(4000, seed=7))]
    assert np.mean(flagged) == pytest.approx(0.05, abs=0.015)
    assert np.mean(flagged[2000:]) == pytest.approx(0.05, abs=0.02)


def test_an_opened_model_follows_alike(of_frame, tmp_path):
    again = open_model(of_frame.save(tmp_path / "m.isthmus"), device="cpu")
    np.testing.assert_array_equal(again.spread, of_frame.spread)
    np.testing.assert_array_equal(again.known_codes, of_frame.known_codes)
    rows = frame(40, seed=7).to_dict("records")
    assert Follower(again).push_many(rows) == Follower(of_frame).push_many(rows)


def test_a_file_from_before_there_was_a_spread(of_frame):
    older = Calibration(of_frame.calibration, of_frame.held_nats, of_frame.calibrated.usual)
    old = Model(of_frame.net, of_frame.modality, of_frame.plan, of_frame.record, older)
    row = {**frame(1).iloc[0].to_dict(), "z": 50.0}
    assert "z 50, expected" in Follower(old).push(row).why
    assert "±" not in Follower(old).push(row).why
    assert "±" in Follower(of_frame).push(row).why


def test_the_estimator_follows():
    x = array(600)
    ae = Autoencoder(latent_dim=2, epochs=2, random_state=0).fit(x)
    assert ae.follow(false_alarm_rate=0.05).push(x[0]).score == pytest.approx(-ae.score_samples(x[:1])[0], rel=1e-5)


def test_what_cannot_be_followed(of_array):
    with pytest.raises(
        SpecError, match=r"recalibrate is a number of rows that can promise a rate of 1\.00%: at least 100"
    ):
        Follower(of_array, recalibrate=50)
    with pytest.raises(SpecError, match="false_alarm_rate is between"):
        Follower(of_array, false_alarm_rate=0)
    with pytest.raises(SpecError, match="false_drift_rate is between"):
        Follower(of_array, false_drift_rate=2)
    alone = Model.fit(array(100), parts={"detector": "likelihood"}, plan=PLAN.replace(validation=0.0), device="cpu")
    with pytest.raises(DataError, match="without held-out rows"):
        Follower(alone)
    pictures = np.random.default_rng(0).integers(0, 255, (60, 8, 8)).astype(np.uint8)
    with pytest.raises(DataError, match="for tables and arrays"):
        Follower(Model.fit(pictures, latent_dim=2, plan=PLAN, device="cpu"))
    rows = frame(200)
    with pytest.raises(DataError, match="steered by a condition"):
        Follower(Model.fit(rows, "conditional", condition="kind", plan=PLAN, device="cpu"))
