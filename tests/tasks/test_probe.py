"""For which models, and since how many labels, codes are worth it."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neighbors import KNeighborsClassifier

from isthmus.data.source import open_rows
from isthmus.errors import DataError, SpecError
from isthmus.model import Model
from isthmus.spec import Plan
from isthmus.tasks.features.judges import SUPERVISED, WITH_ALL_ROWS, Features
from isthmus.tasks.features.probe import Cell, Probed, probe

DIGITS = load_digits()
QUICK = {"plan": Plan(epochs=3), "parts": {"detector": "likelihood"}, "device": "cpu"}


@pytest.fixture(scope="module")
def model():
    return Model.fit(DIGITS.data, latent_dim=12, **QUICK)


@pytest.fixture(scope="module")
def found(model):
    return probe(model, DIGITS.data, label=DIGITS.target, draws=3, boosted=False, most=1000)


@pytest.fixture(scope="module")
def digits():
    x, y = torch.from_numpy(DIGITS.data).float(), torch.from_numpy(DIGITS.target)
    return Features("raw", x[:1000], x[1000:]), torch.arange(1000), y[:1000], DIGITS.target[1000:]


class TestJudges:
    """Each is what it says it is."""

    def test_linear(self, digits):
        of, shown, y, truth = digits
        ours = (SUPERVISED["linear"](of, shown, y, 10) == truth).mean()
        theirs = LogisticRegression(max_iter=2000, C=0.1).fit(of.train / 16, y).score(of.test / 16, truth)
        assert ours == pytest.approx(theirs, abs=0.02)

    def test_neighbours(self, digits):
        of, shown, y, truth = digits
        ours = (SUPERVISED["neighbours"](of, shown, y, 10) == truth).mean()
        assert ours == pytest.approx(KNeighborsClassifier(1).fit(of.train, y).score(of.test, truth), abs=0.02)

    def test_boosted(self, digits):
        of, shown, y, truth = digits
        assert (SUPERVISED["boosted"](of, shown[:300], y[:300], 10) == truth).mean() > 0.75

    def test_numbers(self):
        g = torch.Generator().manual_seed(0)
        x = torch.randn(400, 5, generator=g)
        y = x @ torch.tensor([1.0, -2, 0, 0, 3]) + 7
        of, shown = Features("raw", x[:300], x[300:]), torch.arange(300)
        theirs = Ridge(1e-3).fit(x[:300], y[:300]).predict(x[300:])
        np.testing.assert_allclose(SUPERVISED["linear"](of, shown, y[:300], 0), theirs, atol=0.05)
        for name in ("neighbours", "boosted"):
            said = SUPERVISED[name](of, shown, y[:300], 0)
            assert np.corrcoef(said, y[300:])[0, 1] > 0.8

    @pytest.mark.parametrize("name", WITH_ALL_ROWS)
    def test_rows_without_labels_help(self, digits, name):
        of, _, y, truth = digits
        few = torch.cat([torch.nonzero(y == k)[:4, 0] for k in range(10)])
        alone = max((SUPERVISED[s](of, few, y[few], 10) == truth).mean() for s in ("linear", "neighbours"))
        assert (WITH_ALL_ROWS[name](of, few, y[few], 10) == truth).mean() > alone - 0.02

    @pytest.mark.parametrize("name", SUPERVISED)
    @pytest.mark.parametrize("n", [1, 2, 3, 5])
    def test_very_few_labels(self, digits, name, n):
        of, shown, y, _ = digits
        said = SUPERVISED[name](of, shown[:n], y[:n], 10)
        assert set(said) <= set(y[:n].tolist())


def test_the_table(found):
    assert found.sizes == [10, 100, 1000]
    assert found.measure == "accuracy"
    assert list(found.widths) == ["raw", "PCA-12", "code-12"]
    assert found.widths["raw"] == 64
    cells = {(c.features, c.model, c.n): c for c in found.cells}
    assert cells["raw", "linear", 1000].score > 0.9
    assert cells["code-12", "linear", 1000].score > cells["code-12", "linear", 10].score + 0.2
    assert ("raw", "spread", 1000) not in cells, "there is no row without a label"
    assert len(cells["raw", "linear", 10].values) == 3
    assert len(cells["raw", "linear", 1000].values) == 1
    assert {c.n for c in found.cells if c.model == "spread"} == {10, 100}
    lines = found.summary()
    assert "10    " in lines[1]
    assert any("PCA-12, neighbours" in line for line in lines)
    assert any("codes" in line and "worth it" in line for line in lines)


@pytest.mark.slow
def test_the_same_seed_gives_the_same_scores(model, found):
    again = probe(model, DIGITS.data, label=DIGITS.target, draws=3, boosted=False, most=1000)
    assert again.to_json() == found.to_json()
    other = probe(model, DIGITS.data, label=DIGITS.target, draws=1, boosted=False, most=100, seed=1)
    assert other.sizes == [10, 100]
    assert "100 rows were fitted" in other.remarks[0]


def test_files(found, tmp_path):
    frame = found.to_frame()
    assert frame.columns.tolist() == ["features", "numbers", "model", "labels", "accuracy", "half_interval", "draws"]
    (path,) = found.save(tmp_path / "p.csv")
    assert len(pd.read_csv(path)) == len(found.cells)
    assert "<svg" in found.save(tmp_path / "p.svg")[0].read_text()
    json.dumps(found.to_json())


def test_long_work_says_how_far_it_is(model):
    said = []
    probe(
        model, DIGITS.data[:200], label=DIGITS.target[:200], draws=1, boosted=False, watch=lambda *at: said.append(at)
    )
    assert said[-1][0] == said[-1][1] == len(said)


def test_numbers(model):
    y = DIGITS.data[:, 20] + DIGITS.data[:, 43] + 0.5
    y[:5] = np.nan
    found = probe(model, DIGITS.data, label=y, kind="numbers", draws=2, most=300)
    assert found.measure == "R²"
    assert found.best("raw", 300).score > 0.99, "it is a sum of two columns"
    assert not any(c.model in WITH_ALL_ROWS for c in found.cells)
    assert "5 of 1,797 rows have no label" in found.remarks[0]
    assert any("not worth it" in line and "raw" in line for line in found.verdict())


def test_texts():
    animals = ["the cat sleeps in the garden", "a dog barks in the garden", "the kitten and the dog sleep"]
    money = ["the bank sells a bond", "a trader buys stock and a bond", "the bank buys stock"]
    texts, y = 20 * (animals + money), 20 * [*3 * ["animals"], *3 * ["money"]]
    found = probe(Model.fit(texts, latent_dim=2, **QUICK), texts, label=y, draws=1)
    assert list(found.widths) == ["raw", "LSA-2", "code-2"]
    assert found.best("code-2", 90).score == 1


def test_a_table_with_its_label_and_codes_that_know_it():
    g = np.random.default_rng(0)
    frame = pd.DataFrame(g.normal(size=(200, 3)), columns=list("abc")).assign(y=g.choice(["u", "v"], 200))
    honest = probe(
        Model.fit(frame, modality_options={"kinds": {"y": "ignore"}}, latent_dim=2, **QUICK), frame, label="y"
    )
    assert honest.best("code-2", 150).score < 0.7, "chance"
    assert not honest.remarks
    leaking = probe(Model.fit(frame, latent_dim=2, **QUICK), frame, label="y")
    assert any("its codes know the answer" in remark for remark in leaking.remarks)


def test_more_classes_than_labels():
    g = np.random.default_rng(0)
    y = np.arange(400) % 26
    x = g.normal(size=(400, 6)) + np.eye(26, 6)[y] * 4
    found = probe(Model.fit(x, latent_dim=3, **QUICK), x, label=y, draws=2, boosted=False)
    assert "10 labels for 26 classes: at least 16 classes are never shown" in found.remarks[0]
    assert found.best("raw", 10).score <= 10 / 26 + 0.1


class TestVerdict:
    """What is said follows the figures."""

    def probed(self, code, other, m=1000, draws=3):
        g = np.random.default_rng(0)
        u = g.random((draws, m))
        cells = []
        for n, ours, theirs in zip((10, 100), code, other, strict=True):
            cells += [Cell("code-4", "linear", n, (u < ours).astype(np.float32)),
                      Cell("raw", "linear", n, (u < theirs).astype(np.float32)),
                      Cell("PCA-4", "linear", n, (u < theirs - 0.05).astype(np.float32))]  # fmt: skip
        return Probed(cells, "y", "accuracy", [10, 100], m, {"raw": 64, "PCA-4": 4, "code-4": 4})

    def test_better(self):
        assert self.probed((0.8, 0.9), (0.6, 0.7)).verdict()[2] == "codes are worth it at every size"
        assert self.probed((0.8, 0.7), (0.6, 0.8)).verdict()[2] == "codes are worth it with 10 labels, and not with 100"

    def test_worse(self):
        assert (
            "not worth it for y: use raw (worse with 10 and 100 labels)"
            in self.probed((0.5, 0.6), (0.6, 0.7)).verdict()[2]
        )

    def test_no_different(self):
        assert "with 4 numbers a row in place of 64" in self.probed((0.6, 0.7), (0.6, 0.7)).verdict()[2]

    def test_the_interval_is_of_rows_and_draws(self):
        cell = Cell("raw", "linear", 10, np.random.default_rng(0).binomial(1, 0.5, (4, 400)).astype(np.float32))
        # independent draws: the mean of 4 × 400 coins, whose rows and draws are both counted
        assert 0.02 < cell.half < 0.06
        assert Cell("raw", "linear", 10, np.ones((3, 100), np.float32)).half == 0


class TestBadInput:
    def test_one_class(self, model):
        with pytest.raises(DataError, match="more than one class"):
            probe(model, DIGITS.data, label=np.zeros(1797, int))

    def test_too_few_rows(self, model):
        with pytest.raises(DataError, match="too few"):
            probe(model, DIGITS.data[:4], label=[0, 1, 0, 1])

    def test_options(self, model):
        with pytest.raises(SpecError, match="draws is at least 1"):
            probe(model, DIGITS.data, label=DIGITS.target, draws=0)

    def test_recordings(self):
        g = np.random.default_rng(0)
        recording = open_rows(g.normal(size=(600,)).cumsum(), kind="series")
        model = Model.fit(recording, modality="series", modality_options={"window": 20}, latent_dim=2, **QUICK)
        with pytest.raises(DataError, match="a label belongs to a row"):
            probe(model, recording, label=[0])
