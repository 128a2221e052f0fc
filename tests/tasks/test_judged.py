import numpy as np
import pytest
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

from isthmus.data.source import open_rows
from isthmus.errors import DataError
from isthmus.tasks.detection.judged import (
    ANOMALY,
    NORMAL,
    UNKNOWN,
    Confusion,
    as_labels,
    best_threshold,
    judge,
    take_labels,
)


def toy(n=300, share=0.2, shift=2.0, seed=0):
    g = np.random.default_rng(seed)
    labels = (g.random(n) < share).astype(np.int8)
    labels[:2] = 0, 1
    return g.normal(size=n) + shift * labels, labels


def judged(scores, labels, **more):
    return judge(scores, np.full(len(scores), 0.5), labels, 0.01, **more)


def test_rankings_are_sklearns():
    for seed in range(5):
        scores, labels = toy(seed=seed)
        scores = scores.round(seed % 3)  # with ties
        found = judged(scores, labels)
        assert found.auroc.value == pytest.approx(roc_auc_score(labels, scores))
        assert found.average_precision.value == pytest.approx(average_precision_score(labels, scores))
        assert found.auroc.low < found.auroc.value < found.auroc.high


def test_no_threshold_has_a_better_f1():
    scores, labels = toy(shift=1.5)
    best = f1_score(labels, scores >= best_threshold(scores, labels == 1))
    assert best == max(f1_score(labels, scores >= s) for s in scores)


def test_a_separable_toy_is_separated_in_the_middle_of_the_gap():
    scores, labels = np.array([1.0, 2, 3, 10, 11]), np.array([0, 0, 0, 1, 1])
    assert best_threshold(scores, labels == 1) == 6.5
    found = judged(scores, labels)
    assert found.at == Confusion(2, 0, 0, 3)
    assert found.crossed == Confusion(2, 0, 0, 3)
    assert found.auroc.value == found.average_precision.value == 1
    # two of two is no certainty
    assert found.measures["recall"].value == 1
    assert found.measures["recall"].low < 0.5


def test_labels_that_are_missing_do_not_count():
    scores, labels = toy()
    more = np.r_[labels, np.full(50, UNKNOWN)].astype(np.int8)
    few, all_ = judged(scores, labels), judged(np.r_[scores, np.full(50, 99.0)], more)
    assert few.threshold == all_.threshold
    assert few.auroc == all_.auroc
    assert all_.n_anomalous + all_.n_normal == 300


def test_a_threshold_chosen_on_noise_does_not_look_good_without_its_own_rows():
    """Scores that say nothing: on the labels that chose it F1 flatters, crossed it does not."""
    flattering, honest, fresh = [], [], []
    for seed in range(60):
        scores, labels = toy(n=60, share=0.3, shift=0.6, seed=seed)
        found = judged(scores, labels, seed=seed)
        at = found.at
        flattering.append(2 * at.caught / (2 * at.caught + at.missed + at.false_alarms))
        honest.append(found.measures["f1"].value)
        new, truth = toy(n=4000, share=0.3, shift=0.6, seed=1000 + seed)
        fresh.append(f1_score(truth, new >= found.threshold))
    assert np.mean(flattering) > np.mean(fresh) + 0.03
    assert abs(np.mean(honest) - np.mean(fresh)) < 0.03


def test_intervals_cover_the_truth():
    """Of AUROC (Φ(shift / √2) for normals) and of the rates of a fixed threshold, 95 % of the time."""
    from scipy.stats import norm

    truth, n, covered, rates = norm.cdf(1.5 / np.sqrt(2)), 200, 0, np.zeros(2)
    recall, alarms = norm.sf(0.5), norm.sf(2)  # of the threshold 2 where anomalies are at 1.5
    for seed in range(n):
        scores, labels = toy(n=120, share=0.25, shift=1.5, seed=seed)
        found = judged(scores, labels, seed=seed).auroc
        covered += found.low <= truth <= found.high
        measures = Confusion.of(labels == 1, scores >= 2).measures(seed)
        rates += [m.low <= t <= m.high for m, t in ((measures["recall"], recall), (measures["false_alarms"], alarms))]
    for hits in (covered, *rates):
        assert 0.90 <= hits / n <= 0.995, (covered, rates)


def test_the_promise_is_held_against_the_normal_rows():
    scores, labels = toy(n=100)
    p = np.where(np.arange(100) % 10 == 0, 0.01, 0.5)
    found = judge(scores, p, labels, 0.01)
    k = int((labels[::10] == NORMAL).sum())
    assert found.promised == (k, found.n_normal)
    assert found.promise.low < k / found.n_normal < found.promise.high


def test_where_nothing_is_flagged_nothing_is_precise():
    found = Confusion(0, 5, 0, 20).measures()
    assert found["precision"].value == found["recall"].value == found["f1"].value == 0
    assert all(m.low <= m.value <= m.high and np.isfinite([m.low, m.high]).all() for m in found.values())


def test_curves_go_from_nothing_to_everything():
    scores, labels = toy()
    found = judged(scores, labels)
    (x, y), (recall, precision) = found.roc(), found.precision_recall()
    assert (x[0], y[0], x[-1], y[-1]) == (0, 0, 1, 1)
    assert np.trapezoid(y, x) == pytest.approx(found.auroc.value)
    assert recall[-1] == 1
    assert precision[-1] == pytest.approx(labels.mean())


def test_one_row_of_a_kind_tells_nothing_of_others():
    found = judged(np.array([1.0, 2, 9]), np.array([0, 0, 1]))
    assert found.crossed is None
    assert "label at least two of each" in "\n".join(found.summary())


def test_the_same_seed_gives_the_same_intervals():
    scores, labels = toy()
    assert judged(scores, labels).measures == judged(scores, labels).measures
    assert judged(scores, labels).auroc != judged(scores, labels, seed=1).auroc


@pytest.mark.parametrize(
    ("said", "read"),
    [
        ([0, 1, None], [0, 1, -1]),
        ([True, False, float("nan")], [1, 0, -1]),
        (["normal", "Anomaly", ""], [0, 1, -1]),
        (["normal", "smurf", "neptune"], [0, 1, 1]),
        (["no", " YES ", "?"], [0, 1, -1]),
        ([1, -1, 1.0], [0, 1, 0]),
        (["0", "1", "1.0"], [0, 1, 1]),
        ([0, 0, None], [0, 0, -1]),
    ],
)
def test_labels_as_people_write_them(said, read):
    if said == ["0", "1", "1.0"]:
        said = ["0", "1", "1"]
    assert as_labels(said).tolist() == read


@pytest.mark.parametrize("said", [["a", "b"], [1, 2, 3], ["normal", "ok", "smurf"]])
def test_labels_that_say_not_what_is_normal(said):
    with pytest.raises(DataError, match="says not what is normal"):
        as_labels(said)


@pytest.mark.parametrize(("labels", "why"), [
    ([NORMAL] * 5, "All of the 5 labels say normal"), ([ANOMALY] * 5, "All of the 5 labels say anomaly"),
    ([UNKNOWN] * 5, "None of the 5 rows has a label"),
])  # fmt: skip
def test_one_kind_is_not_enough(labels, why):
    with pytest.raises(DataError, match=why):
        judged(np.arange(5.0), np.array(labels))


def test_where_labels_come_from():
    import pyarrow as pa

    rows = open_rows(pa.table({"a": [1.0, 2, 3], "y": ["normal", "bad", None]}))
    bare, labels = take_labels(rows, "y")
    assert bare.data.column_names == ["a"]
    assert labels.tolist() == [0, 1, -1]
    for said in ([0, 1, None], np.array([0, 1, np.nan]), pa.array([0, 1, None]), pa.table({"y": [0, 1, None]})["y"]):
        same, labels = take_labels(rows, said)
        assert same is rows
        assert labels.tolist() == [0, 1, -1]
    with pytest.raises(DataError, match="3 rows and 2 labels"):
        take_labels(rows, [0, 1])
    with pytest.raises(DataError, match="No column is called 'Y'"):
        take_labels(rows, "Y")
    with pytest.raises(DataError, match="--column a=ignore"):
        take_labels(rows, "a", lambda name: name == "a")
    with pytest.raises(DataError, match="has no columns"):
        take_labels(open_rows(np.zeros((3, 2))), "y")
