"""What is wrong is said, with the remedy; what is fine is not."""

import json

import numpy as np
import pytest
from sklearn.datasets import load_digits, load_iris

from isthmus.errors import DataError
from isthmus.model import Model
from isthmus.spec import Plan
from isthmus.tasks.checkup.health import health, remarks

PLAN = Plan(epochs=3, batch_size=32, seed=0)


def linear(n=800, noise=0.1):
    g = np.random.default_rng(0)
    return g.normal(size=(n, 3)) @ g.normal(size=(3, 8)) + noise * g.normal(size=(n, 8))


def fitted(rows, recipe="plain", latent_dim=3, plan=PLAN, **options):
    return Model.fit(rows, recipe, latent_dim=latent_dim, plan=plan, device="cpu", **options)


def said(rows, *args, **options):
    return " | ".join(remarks(fitted(rows, *args, **options)))


def found(rows, *args, on=None, **options):
    looked = health(fitted(rows, *args, **options), rows if on is None else on)
    return {finding.what: finding for finding in looked.findings}


# -- what the record knows ----------------------------------------------------------------------


def test_no_rows_held_out():
    assert "no rows were held out" in said(linear(), plan=PLAN.replace(validation=0.0))


def test_few_rows_to_calibrate_by():
    """Neighbours can tell how their own training rows would score fresh; the likelihood has the held-out ones alone."""
    assert "80 calibration rows can promise a false-alarm rate of 1.2% at the least" in said(linear(80))
    by_nats = said(linear(80), parts={"detector": "likelihood"})
    assert "20 calibration rows can promise a false-alarm rate of 4.8% at the least" in by_nats
    assert "promise" not in said(linear())


def test_columns_that_have_nothing_to_do_with_each_other():
    noise = np.random.default_rng(0).normal(size=(800, 100))
    assert "hardly better than answering with the mean row" in said(noise, latent_dim=1, plan=PLAN.replace(epochs=0))
    assert "mean row" not in said(linear())


def test_pca_is_better_than_a_bad_fit():
    text = said(linear(), warm_start=None, plan=PLAN.replace(epochs=1, learning_rate=1e-5))
    assert "same-size PCA is better on held-out rows" in text


def test_overfit():
    g = np.random.default_rng(0)
    rows = g.normal(size=(40, 60))
    text = said(rows, latent_dim=20, plan=PLAN.replace(epochs=0, validation=0.5))
    assert "overfit: the error on held-out rows is" in text


def collapsed(rows, **options):
    parts = {"objective": {"kind": "elbo", "beta": 50.0}, "likelihood": {"sigma": 1.0}}
    plan = PLAN.replace(epochs=30, learning_rate=0.02, patience=None)
    return fitted(rows, "variational", 6, plan, parts=parts, warm_start=None, **options)


def test_posterior_collapse():
    model = collapsed(linear())
    text = " | ".join(remarks(model))
    assert "posterior collapse: 0 of 6 codes are in use" in text
    assert "bottleneck.free_bits=0.25" in text
    assert "mean row" not in text, "that follows from it"
    first = health(model, linear()).findings[0]
    assert (first.what, first.figure) == ("posterior collapse", 0.0)
    assert first.remedy.change()["objective.beta"] == {"start": 0.0, "end": 1.0, "over": 0.5}
    assert "in use" not in said(linear(), "variational")


def test_a_code_too_small():
    g = np.random.default_rng(0)
    rows = g.normal(size=(800, 10)) @ np.linalg.qr(g.normal(size=(40, 10)))[0].T
    small = found(rows, latent_dim=2)["code too small"]
    assert small.figure == pytest.approx(0.2, abs=0.06)
    assert small.remedy.change() == {"latent_dim": 4}
    assert "code too small" not in found(g.normal(size=(800, 40)), latent_dim=2), "where more would bring nothing"


@pytest.mark.parametrize("recipe", ["plain", "variational"])
def test_remarks_are_sentences(recipe):
    said = remarks(fitted(linear(60), recipe, latent_dim=2))
    assert said
    assert all(isinstance(line, str) and line for line in said)


# -- what rows show -----------------------------------------------------------------------------


@pytest.mark.parametrize("recipe", ["plain", "variational", "denoising"])
@pytest.mark.parametrize(("load", "epochs"), [(load_iris, "auto"), (load_digits, 20)])
def test_no_false_alarms(load, epochs, recipe):
    rows = load().data
    looked = health(Model.fit(rows, recipe, plan=Plan(seed=0, epochs=epochs), device="cpu"), rows)
    assert looked.healthy
    assert looked.summary()[0].startswith("healthy")
    assert len(looked.findings) <= 1


def test_codes_too_many_for_rows_of_three_dimensions():
    rows = linear(noise=0.0)
    idle = found(rows, latent_dim=7)["idle codes"]
    assert idle.remedy.change() == {"latent_dim": 3}
    assert not set(found(rows, latent_dim=3)) & {"idle codes", "posterior collapse"}


def test_an_identity_learns_nothing():
    g = np.random.default_rng(0)
    rows = g.normal(size=(600, 6)) @ (np.eye(6) + 0.3 * g.normal(size=(6, 6)))
    identity = found(rows, "linear", latent_dim=6)["identity shortcut"]
    assert identity.remedy.change() == {"latent_dim": 3}
    assert "identity shortcut" not in found(linear(), latent_dim=3)


def test_a_noise_level_that_drowns_the_code():
    rows = linear()
    loud = found(rows, "variational", parts={"likelihood": {"sigma": 1.0}})["code too dear"]
    assert loud.figure > 4
    assert loud.remedy.change()["likelihood.sigma"] == "analytic"
    assert not {"code too dear"} & {*found(rows, "variational"), *found(rows, "beta")}


def test_dead_units():
    model = fitted(linear(), parts={"encoder": {"kind": "mlp", "widths": [16, 8], "activation": "relu"}})
    assert "dead units" not in {f.what for f in health(model, linear()).findings}
    model.net.encoder.layers[0].bias.data[:12] = -1e4
    dead = next(f for f in health(model, linear()).findings if f.what == "dead units")
    assert dead.figure >= 0.5
    assert "of 24 hidden units of the encoder never move" in dead.words
    assert dead.remedy.change() == {"encoder.activation": "gelu"}


def test_codes_that_are_not_where_the_prior_was_promised():
    """Three far islands, and a prior N(0, I) that nothing drew the codes to."""
    g = np.random.default_rng(0)
    rows = 20 * np.eye(3)[g.integers(3, size=900)] @ g.normal(size=(3, 8)) + 0.1 * g.normal(size=(900, 8))
    gap = found(rows, latent_dim=2, parts={"prior": "standard_normal"})["prior elsewhere"]
    assert gap.figure > 1
    assert gap.remedy.change() == {"prior.kind": "mixture"}
    assert "prior elsewhere" not in found(rows, latent_dim=2), "a prior that is fitted afterwards is where they are"


def test_a_few_rows_that_do_not_belong():
    rows = linear()
    rows[[5, 300, 700]] += 50 * np.random.default_rng(1).normal(size=(3, 8))
    strange = found(rows)["contamination"]
    assert strange.figure == pytest.approx(3 / 800)
    assert "contamination" not in found(linear())
    heavy = np.random.default_rng(0).standard_t(3, size=(800, 8))
    assert "contamination" not in found(heavy), "long tails are no strangers"


def test_rows_of_another_kind():
    g = np.random.default_rng(5)
    assert found(linear(), on=g.normal(size=(200, 8)))["other rows"].figure > 0.9
    assert "other rows" not in found(linear())


# -- the result ---------------------------------------------------------------------------------


def test_the_result(tmp_path):
    looked = health(fitted(linear(), "variational"), linear())
    told = json.loads(json.dumps(looked.to_json()))
    assert told["healthy"] is looked.healthy
    assert [line["code"] for line in told["codes"]] == looked.vitals.codes.ranked()
    assert sum(line["kl"] for line in told["codes"]) == pytest.approx(told["code_nats"], rel=1e-3)
    assert looked.to_frame().columns.tolist() == ["code", "importance", "variance", "active", "nonzero", "kl"]
    for ending, holds in (("svg", "<svg"), ("html", "<h1>Health"), ("csv", "importance")):
        (path,) = looked.save(tmp_path / f"h.{ending}")
        assert holds in path.read_text()
    assert looked.plot().svg in (tmp_path / "h.html").read_text()


def test_findings_come_with_their_remedy_and_what_matters_most_first():
    looked = health(collapsed(linear()), linear())
    severities = [finding.severity for finding in looked.findings]
    assert severities == sorted(severities, reverse=True)
    lines = looked.summary()
    assert lines[0].startswith("! posterior collapse")
    assert lines[1].startswith("    remedy: keep codes busy")


def test_sigma_in_the_unit_of_the_rows():
    images = (load_digits().images[:400] * 15).astype(np.uint8)
    looked = health(fitted(images, plan=PLAN), images)
    back = np.asarray(fitted(images, plan=PLAN).reconstruct(images), float)
    rms = float(np.sqrt(((back - images) ** 2).mean()))
    assert looked.vitals.rms * looked.unit == pytest.approx(rms, rel=0.02)  # bytes are rounded and cut off
    assert health(fitted(load_iris().data, latent_dim=1), load_iris().data).unit is None


def test_one_row_is_too_few():
    with pytest.raises(DataError, match="health needs at least 2"):
        health(fitted(linear()), linear()[:1])
