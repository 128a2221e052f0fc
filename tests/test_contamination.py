"""Anomalies among the training rows: they are set aside, told, and do not spoil what is learned."""

import numpy as np
import pytest

from isthmus import Autoencoder
from isthmus.errors import SpecError
from isthmus.model import Model, open_model
from isthmus.spec import Plan

PLAN = Plan(epochs=2)


def dirty(n=600, strange=30, seed=0):
    """Rows on a plane in six columns, and a clump of others far from it: (rows, where the clump stands)."""
    g = np.random.default_rng(seed)
    rows = g.normal(size=(n, 2)) @ g.normal(size=(2, 6)) + 0.1 * g.normal(size=(n, 6))
    where = np.sort(g.permutation(n)[:strange])
    rows[where] = 6 + 0.1 * g.normal(size=(strange, 6))
    return rows.astype(np.float32), where


@pytest.mark.parametrize("contamination", [0.05, "auto"])
def test_the_strange_rows_are_set_aside_and_named(contamination):
    rows, where = dirty()
    record = Model.fit(rows, contamination=contamination, plan=PLAN, device="cpu").record
    found = set(record.set_aside_rows)
    assert len(found & set(where.tolist())) >= 28
    assert record.set_aside == len(found) <= 60
    assert record.n_train + record.n_held_out + record.set_aside == len(rows)
    assert any(f"set {record.set_aside} of 600 rows" in remark for remark in record.remarks)


def test_a_clump_of_anomalies_does_not_hide_itself():
    """Neighbours of a clump are the clump: five of them are near, a tenth of all rows are not."""
    rows, where = dirty()
    strange = np.isin(np.arange(600), where)

    def caught(**options):
        scores = Model.fit(rows, plan=PLAN, device="cpu", **options).score(rows)
        return np.mean(strange[np.argsort(-scores)[:30]])

    assert caught(contamination="auto") == 1.0
    assert caught() < 0.9


def test_scaling_is_of_what_is_left():
    rows, where = dirty()
    rows[where] *= 1000
    clean = Model.fit(np.delete(rows, where, axis=0), plan=PLAN, device="cpu")
    healed = Model.fit(rows, contamination=0.05, plan=PLAN, device="cpu")
    assert healed.modality.to_json() == clean.modality.to_json()


def test_the_file_remembers(tmp_path):
    rows, _ = dirty()
    model = Model.fit(rows, contamination=0.05, plan=PLAN, device="cpu")
    model.save(tmp_path / "m.isthmus")
    again = open_model(tmp_path / "m.isthmus", device="cpu")
    assert again.record.set_aside_rows == model.record.set_aside_rows
    assert np.array_equal(again.score(rows), model.score(rows))


def test_clean_rows_lose_few():
    g = np.random.default_rng(1)
    record = Model.fit(g.normal(size=(1000, 5)), contamination="auto", plan=PLAN, device="cpu").record
    assert record.set_aside < 30


def test_a_share_is_flagged_as_scikit_learn_does():
    rows, _ = dirty()
    ae = Autoencoder(contamination=0.1, epochs=1, random_state=0).fit(rows)
    assert (ae.predict(rows) == -1).sum() == 60
    assert Autoencoder.from_model(ae.model_).offset_ == ae.offset_


def test_a_detector_that_was_said_stays():
    rows, _ = dirty()
    ae = Autoencoder(contamination=0.05, detector="likelihood", epochs=1, random_state=0).fit(rows)
    assert ae.model_.spec.detector.kind == "likelihood"


@pytest.mark.parametrize("share", [0, 0.5, -0.1, 2, True, "some"])
def test_a_share_that_is_none(share):
    with pytest.raises(SpecError, match="contamination is a share above 0 and below"):
        Model.fit(dirty()[0], contamination=share, plan=PLAN, device="cpu")
