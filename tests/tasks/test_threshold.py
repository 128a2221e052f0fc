import numpy as np
import pytest

from isthmus.errors import SpecError
from isthmus.tasks.detection.threshold import all_strange, at_hand, by_budget, by_fdr, by_rate, discoveries


class Held:
    """As much of a model as a threshold needs: sorted held-out scores."""

    def __init__(self, calibration):
        self.calibration = np.sort(calibration)

    def p_values(self, scores):
        at_least = len(self.calibration) - np.searchsorted(self.calibration, scores, side="left")
        return (1 + at_least) / (len(self.calibration) + 1)

    def threshold(self, rate):
        allowed = int(np.floor(rate * (len(self.calibration) + 1) + 1e-9)) - 1
        return np.inf if allowed < 0 else float(np.nextafter(self.calibration[-1 - allowed], np.inf))


def test_the_example_of_benjamini_and_hochberg():
    """Their paper of 1995: fifteen p-values of a study of heart attacks; at 0.05 the four smallest are rejected."""
    p = [0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459, 0.3240, 0.4262, 0.5719, 0.6528,
         0.7590, 1.0000]  # fmt: skip
    p = np.random.default_rng(0).permutation(p)
    assert discoveries(p, 0.05) == 0.0095
    assert (p <= discoveries(p, 0.05)).sum() == 4


def test_it_is_what_scipy_says():
    from scipy.stats import false_discovery_control

    g = np.random.default_rng(0)
    for _ in range(50):
        p = g.random(40) ** g.integers(1, 6)
        np.testing.assert_array_equal(p <= discoveries(p, 0.1), false_discovery_control(p) <= 0.1)


def test_false_discoveries_keep_the_promise():
    """Exchangeable usual rows, shared calibration, three mixtures: the mean share of false ones is at most π₀ · fdr."""
    g = np.random.default_rng(0)
    for strange, shift in ((0, 0), (10, 2.0), (30, 3.0)):
        shares, caught = [], 0
        for _ in range(600):
            model = Held(g.normal(size=199))
            scores = np.concatenate([g.normal(size=100 - strange), g.normal(size=strange) + shift])
            line = by_fdr(model, model.p_values(scores), 0.1)
            false = line.anomalies[: 100 - strange].sum()
            shares.append(false / max(line.anomalies.sum(), 1))
            caught += line.anomalies[100 - strange :].sum()
        assert np.mean(shares) <= 0.1 + 3 * np.std(shares) / np.sqrt(600)
        assert not strange or caught > 0


@pytest.mark.parametrize("n", [20, 199])
def test_raised_p_values_hold_for_more_than_half_of_all_calibrations(n):
    """Of the usual rows that there will ever be, a share of b(p) at most lies beyond the score of every p."""
    g, p = np.random.default_rng(0), np.arange(1, n + 1) / (n + 1)
    beyond = np.sort(g.random((4000, n)), axis=1)  # a uniform score that is strange where it is low: the share itself
    held = (beyond <= at_hand(p, n) + 1e-12).all(1).mean()
    assert held == pytest.approx(0.5, abs=0.03)
    assert (at_hand(p, n) > p).all()


def test_the_threshold_of_the_discoveries():
    g = np.random.default_rng(0)
    model = Held(g.normal(size=199))
    scores = np.concatenate([g.normal(size=80), g.normal(size=20) + 5])
    line = by_fdr(model, model.p_values(scores), 0.1)
    assert 20 <= line.anomalies.sum() < 30
    np.testing.assert_array_equal(line.anomalies, scores >= line.threshold)


@pytest.mark.parametrize(("held", "rows", "said"), [
    (8, 100, "can never reach a false discovery rate of 10.00%: fit on more rows: it takes 14"),
    (99, 100, "fewer than 15 strange rows among 100 cannot be told from chance: 1,386 of them would do"),
])  # fmt: skip
def test_too_few_rows_to_discover_anything(held, rows, said):
    g = np.random.default_rng(0)
    model, scores = Held(g.normal(size=held)), g.normal(size=rows)
    scores[:2] += 100
    line = by_fdr(model, model.p_values(scores), 0.1)
    assert not line.anomalies.any()
    assert line.threshold == np.inf
    assert said in line.more[0]
    scores[:15] += 100  # and with fifteen of a hundred, the sentence says, it is possible
    if held == 99:
        assert by_fdr(model, model.p_values(scores), 0.1).anomalies[:15].all()


def test_a_budget_is_kept_to_the_row():
    scores = np.array([1.0, 9, 5, 5, 5, 2])
    model = Held(np.arange(10) / 2)
    for budget in (1, 2, 3, 6):
        line = by_budget(model, scores, budget)
        assert line.anomalies.sum() == budget
    line = by_budget(model, scores, 3)
    assert line.anomalies.tolist() == [False, True, True, True, False, False]
    assert "1 row(s) beyond the budget score the same" in line.more[0]
    assert "a false-alarm rate of 9.09%" in line.how  # above all ten held-out rows
    assert "a false-alarm rate of 81.82%" in by_budget(model, scores, 6).how
    assert "6 rows, so all of them" in by_budget(model, scores, 10).more[0]
    assert not by_budget(model, scores, 1).more


@pytest.mark.parametrize("budget", [0, -1, 2.5, True])
def test_budgets_that_are_none(budget):
    with pytest.raises(SpecError, match="budget is a number of rows"):
        by_budget(Held(np.arange(10)), np.arange(5.0), budget)


@pytest.mark.parametrize("n", [3, 16, 19, 20, 98])
def test_what_can_be_promised_can_be_asked_for(n):
    g = np.random.default_rng(0)
    model, scores = Held(g.normal(size=n)), np.array([0.0, 100.0])
    line = by_rate(model, model.p_values(scores), 0.01)
    assert not line.anomalies.any()
    asked = float(line.more[0].split("--false-alarm-rate ")[1].split(")")[0])
    assert asked <= 1 / (n + 1) + 1e-4
    assert by_rate(model, model.p_values(scores), asked).anomalies.tolist() == [False, True]


def test_rows_that_are_all_strange_are_another_population():
    assert "another population" in all_strange(50, 50, 0.01)
    assert all_strange(20, 100, 0.01) is None
    assert all_strange(3, 3, 0.01) is None  # of three rows all may be
