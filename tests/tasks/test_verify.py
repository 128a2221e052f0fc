import numpy as np
import pyarrow as pa
import pytest

from isthmus.errors import DataError, SpecError
from isthmus.model import Model
from isthmus.spec import Plan
from isthmus.tasks.searching.verify import calibrated, equal_error_rate, labels_of, line_of, verify

G = np.random.default_rng(0)


def people(n, each=8, width=10, seed=0):
    """Codes that vary much within a person in half of the directions, and little in the others."""
    g = np.random.default_rng(seed)
    who = np.repeat(np.arange(n), each)
    own, spread = g.normal(size=(n, width)), np.where(np.arange(width) < width // 2, 2.0, 0.3)
    return own[who] + spread * g.normal(size=(n * each, width)), who.astype(str)


def scores(line, codes, who):
    x = line.place(codes)
    left, right = np.triu_indices(len(x), 1)
    return np.einsum("nd,nd->n", x[left], x[right]), who[left] == who[right]


def test_the_rate_holds_for_people_who_were_not_there():
    rates = []
    for seed in range(12):
        line = calibrated(*people(30, seed=seed), 0.05)
        found, same = scores(line, *people(40, seed=100 + seed))
        rates.append((found[~same] >= line.threshold).mean())
    assert 0.03 < np.mean(rates) < 0.06


def test_what_varies_within_a_person_counts_less():
    codes, who = people(40)
    line = calibrated(codes, who, 0.05)
    new, others = people(40, seed=1)
    found, same = scores(line, new, others)
    plain, _ = scores(calibrated(codes, None, 0.05), new, others)
    assert equal_error_rate(found[same], found[~same]) < 0.7 * equal_error_rate(plain[same], plain[~same])


def test_the_error_rates_that_are_told_are_those_of_others():
    told, found = [], []
    for seed in range(6):
        line = calibrated(*people(40, seed=seed), 0.05)
        told.append(line.equal_error_rate)
        new, same = scores(line, *people(40, seed=50 + seed))
        found.append(equal_error_rate(new[same], new[~same]))
    assert np.mean(told) == pytest.approx(np.mean(found), abs=0.03)


def test_the_least_line_that_keeps_the_rate():
    line = calibrated(*people(20), 0.02)
    n = len(line.impostors)
    assert (1 + (line.impostors >= line.threshold).sum()) / (n + 1) <= 0.02
    lower = line.impostors[line.impostors < line.threshold].max()
    assert (1 + (line.impostors >= lower).sum()) / (n + 1) > 0.02


def test_between_holds_the_share_that_was_found():
    line = calibrated(*people(20), 0.05)
    assert line.between[0] <= line.accepted <= line.between[1]


def test_too_few_pairs_promise_nothing():
    line = calibrated(*people(3, each=2), 0.001)
    assert line.threshold == np.inf
    assert any("nothing counts as the same" in remark for remark in line.remarks)
    assert any("is a guess" in remark for remark in line.remarks)


def test_without_labels_any_two_are_impostors():
    codes, who = people(20)
    line = calibrated(codes, None, 0.05)
    assert line.rejected is None
    assert "nothing says which rows are the same" in line.remarks[0]
    found, same = scores(line, codes, who)
    # pairs of the same are among those that were counted, so of impostors fewer pass
    assert (found[~same] >= line.threshold).mean() <= 0.05


def test_labels_that_tell_nothing():
    with pytest.raises(DataError, match="All rows have the label"):
        calibrated(np.zeros((4, 2)), np.array(list("aaaa")), 0.1)
    with pytest.raises(DataError, match="No label has two rows"):
        calibrated(np.zeros((4, 2)), np.array(list("abcd")), 0.1)


@pytest.fixture(scope="module")
def table():
    codes, who = people(12, width=6)
    return pa.table({**{f"x{i}": codes[:, i] for i in range(6)}, "who": who})


@pytest.fixture(scope="module")
def model(table):
    return Model.fit(table.drop_columns(["who"]), latent_dim=4, plan=Plan(epochs=2), device="cpu")


class TestTask:
    def test_a_row_is_the_same_as_itself(self, model, table):
        rows = table.drop_columns(["who"])
        found = verify(model, rows.slice(0, 3), rows.slice(0, 3), pairs=table, label="who", false_accept_rate=0.05)
        assert found.scores.tolist() == pytest.approx([1, 1, 1], abs=1e-5)
        assert found.same.all()
        assert "the same, score 1.000" in found.summary()[0]
        assert found.to_table().column_names == ["a", "b", "score", "same", "threshold"]

    def test_one_against_many(self, model, table):
        rows = table.drop_columns(["who"])
        assert len(verify(model, rows.slice(0, 1), rows).scores) == len(rows)
        with pytest.raises(DataError, match="one by one"):
            verify(model, rows.slice(0, 2), rows)

    def test_without_pairs_there_is_a_score_and_no_verdict(self, model, table):
        row = "x0=1,x1=0,x2=0,x3=1,x4=2,x5=0"
        found = verify(model, row, row)
        assert found.same is None
        assert "no line" in found.summary()[-1]
        assert found.to_json()["threshold"] is None
        with pytest.raises(SpecError, match="name these too"):
            verify(model, row, row, label="who")

    @pytest.mark.parametrize("rate", [0, 1, -0.1, 2])
    def test_rates_are_shares(self, model, table, rate):
        with pytest.raises(SpecError, match="between 0 and 1"):
            line_of(model, model.open(table), "who", rate)

    def test_labels(self, model, table):
        rows = model.open(table)
        assert labels_of(rows, "who").tolist() == table["who"].to_pylist()
        assert labels_of(rows, np.arange(len(table)))[3] == "3"
        with pytest.raises(DataError, match="Did you mean 'who'"):
            labels_of(rows, "whoo")
        with pytest.raises(DataError, match="a label for each"):
            labels_of(rows, [1, 2])
        with pytest.raises(DataError, match="have no 'who'"):
            labels_of(model.open(table.set_column(6, "who", pa.array([None, *table["who"].to_pylist()[1:]]))), "who")
