"""A label that few rows have, said of the others."""

import json

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_digits

from isthmus.errors import DataError, FileError, SpecError
from isthmus.model import Model, open_model
from isthmus.spec import Plan
from isthmus.tasks.features.heads import fit_head, predict

DIGITS = load_digits()
QUICK = {"plan": Plan(epochs=3), "parts": {"detector": "likelihood"}, "device": "cpu"}


@pytest.fixture(scope="module")
def model():
    return Model.fit(DIGITS.data, latent_dim=16, **QUICK)


def few(n, seed=0, y=DIGITS.target):
    """Labels of n rows, None for the others; every class as often."""
    g, said = np.random.default_rng(seed), np.full(len(y), None, dtype=object)
    for k in np.unique(y):
        some = g.choice(np.flatnonzero(y == k), n // 10, replace=False)
        said[some] = y[some]
    return said


@pytest.fixture(scope="module")
def taught(model):
    return fit_head(model, DIGITS.data, few(100), max_time=10)


def right(model, rows=DIGITS.data, y=DIGITS.target):
    return float((predict(model, rows).values == y).mean())


def test_rows_without_labels_help(model, taught):
    alone = fit_head(model, DIGITS.data, few(100), teach=None, fine_tune=False)
    assert taught.head.record["teacher"] in ("spread", "gaussians")
    assert right(taught) > right(alone) + 0.04
    assert right(taught) > 0.9


def test_the_model_stays_as_it_was(model, taught):
    assert model.head is None
    assert taught.net is model.net
    np.testing.assert_array_equal(taught.encode(DIGITS.data), model.encode(DIGITS.data))
    assert any(
        not a.equal(b) for a, b in zip(taught.head.encoder.parameters(), model.net.encoder.parameters(), strict=True)
    ) == (taught.head.record["epochs"][1] > 0)  # fmt: skip


def test_one_file_holds_both(taught, tmp_path):
    path = taught.save(tmp_path / "c.isthmus")
    again = open_model(path, device="cpu")
    np.testing.assert_array_equal(again.label(DIGITS.data), taught.label(DIGITS.data))
    assert again.head.to_json() == json.loads(json.dumps(taught.head.to_json()))
    # what the model did, the file does
    np.testing.assert_array_equal(again.score(DIGITS.data), taught.score(DIGITS.data))
    assert again.fingerprint == taught.fingerprint


def test_a_damaged_head_is_refused(taught, tmp_path):
    from isthmus import modelfile

    file = modelfile.read(taught.save(tmp_path / "c.isthmus"))
    for change in ({"outputs": 11}, {"classes": None}, {"numbers": 3, "classes": [1]}):
        modelfile.write(tmp_path / "bad.isthmus", file.header | {"head": file.header["head"] | change}, file.tensors)
        with pytest.raises(FileError, match="damaged"):
            open_model(tmp_path / "bad.isthmus")
    tensors = {name: t for name, t in file.tensors.items() if name != "head/map.bias"}
    modelfile.write(tmp_path / "bad.isthmus", file.header, tensors)
    with pytest.raises(FileError, match="do not fit its parts"):
        open_model(tmp_path / "bad.isthmus")


def test_the_same_seed_gives_the_same_head(model):
    one, two = (fit_head(model, DIGITS.data[:300], DIGITS.target[:300], seed=5) for _ in range(2))
    np.testing.assert_array_equal(one.label(DIGITS.data), two.label(DIGITS.data))


def test_learning_along_is_kept_only_where_it_helps(model):
    said = []
    fit_head(model, DIGITS.data, few(200), teach=None, told=said.append)
    assert any("held out" in line for line in said)
    frozen = fit_head(model, DIGITS.data, DIGITS.target, fine_tune=False)
    tuned = fit_head(model, DIGITS.data, DIGITS.target)
    assert tuned.head.record["error"] <= frozen.head.record["error"]
    assert frozen.head.record["epochs"][1] == 0


def test_numbers(model):
    y = DIGITS.data[:, 20] + 0.5 * DIGITS.data[:, 43]
    y[::7] = np.nan
    said = []
    taught = fit_head(model, DIGITS.data, y, told=said.append)
    assert any("have no label" in line for line in said)
    found = predict(taught, DIGITS.data)
    there = np.isfinite(y)
    assert np.corrcoef(found.values[there], y[there])[0, 1] > 0.97
    assert found.probabilities is None
    assert "numbers for the labels" in found.summary()[0]


class TestAnyRows:
    def test_tables(self):
        g = np.random.default_rng(0)
        frame = pd.DataFrame(g.normal(size=(300, 4)), columns=list("abcd")).assign(c=g.choice(list("xy"), 300))
        frame["label"] = np.where((frame.a > 0) == (frame.c == "x"), "same", "other")
        frame.loc[3, "a"] = None
        model = Model.fit(frame.drop(columns="label"), latent_dim=3, **QUICK)
        taught = fit_head(model, frame, "label")
        found = predict(taught, frame, label="label")
        assert found.name == "label"
        assert found.score > 0.85, "no line tells it: the encoder has to learn along"
        assert found.to_frame().columns.tolist() == ["label", "p_other", "p_same"]
        assert "told right" in found.summary()[-1]

    def test_pictures(self):
        images = DIGITS.images.astype(np.uint8)[:400]
        model = Model.fit(images, "convolutional", latent_dim=8, **QUICK)
        assert right(fit_head(model, images, DIGITS.target[:400]), images, DIGITS.target[:400]) > 0.8

    def test_series(self):
        g = np.random.default_rng(0)
        y = np.arange(200) % 2
        rows = [np.sin(np.linspace(0, 6 + 6 * k, 40) + g.uniform(0, 6))[:, None] for k in y]
        model = Model.fit(rows, modality="series", latent_dim=4, **QUICK)
        assert (predict(fit_head(model, rows, y), rows).values == y).mean() > 0.9

    def test_texts(self):
        animals = ["the cat sleeps in the garden", "a dog barks in the garden", "the kitten and the dog sleep"]
        money = ["the bank sells a bond", "a trader buys stock and a bond", "the bank buys stock"]
        texts, y = 10 * (animals + money), 10 * [*3 * ["animals"], *3 * ["money"]]
        model = Model.fit(texts, latent_dim=2, **QUICK)
        known = [label if i < 12 else None for i, label in enumerate(y)]
        taught = fit_head(model, texts, known)
        assert predict(taught, ["a kitten sleeps", "a bond of the bank"]).values.tolist() == ["animals", "money"]

    def test_codes_of_symbols(self):
        model = Model.fit(DIGITS.data[:200], "binary", latent_dim=8, **QUICK)
        assert fit_head(model, DIGITS.data[:200], DIGITS.target[:200]).label(DIGITS.data[:5]).shape == (5, 10)

    def test_unlabelled_rows_from_elsewhere(self, model):
        taught = fit_head(model, DIGITS.data[:100], DIGITS.target[:100], unlabelled=DIGITS.data[100:], fine_tune=False)
        assert taught.head.record["unlabelled"] == 1697


class TestBadInput:
    def test_no_head(self, model):
        with pytest.raises(SpecError, match="isthmus head"):
            predict(model, DIGITS.data)

    def test_classes_that_were_never_taught(self, model):
        known = np.where(DIGITS.target < 8, DIGITS.target, None)
        taught = fit_head(model, DIGITS.data, known, teach=None, fine_tune=False)
        found = predict(taught, DIGITS.data)
        assert set(found.values) <= set(range(8))
        frame = pd.DataFrame(DIGITS.data).rename(columns=str)
        columns = Model.fit(frame, latent_dim=8, **QUICK)
        taught = fit_head(columns, frame, known, teach=None, fine_tune=False)
        found = predict(taught, frame.assign(y=DIGITS.target), label="y")
        assert "labelled 8, 9, which the head was never taught" in found.remarks[0]
        assert found.score < 0.82
        with pytest.raises(DataError, match="None of the labels"):
            predict(taught, frame.assign(y="never"), label="y")

    def test_ten_labels_of_many_classes(self, model):
        y = np.full(1797, None, dtype=object)
        y[:10] = DIGITS.target[:10]  # one each
        said = []
        taught = fit_head(model, DIGITS.data, y, told=said.append)
        assert any("only one row each is labelled" in line for line in said)
        assert taught.head.record["error"] is None
        assert right(taught) > 0.5

    def test_words_that_are_not_known(self, model):
        with pytest.raises(SpecError, match="Did you mean 'spread'"):
            fit_head(model, DIGITS.data, DIGITS.target, teach="spred")
        with pytest.raises(SpecError, match="Did you mean 'classes'"):
            fit_head(model, DIGITS.data, DIGITS.target, kind="class")
        with pytest.raises(SpecError, match="validation is a share"):
            fit_head(model, DIGITS.data, DIGITS.target, validation=1.5)

    def test_rows_of_another_kind(self, model):
        with pytest.raises(DataError):
            fit_head(model, ["a text", "another"], ["a", "b"])
