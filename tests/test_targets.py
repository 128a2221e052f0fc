"""Noisy rows with their clean ones: what is learned is the way from one to the other."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from isthmus import Autoencoder, Model, open_model
from isthmus.app.cli import main
from isthmus.errors import DataError, SpecError
from isthmus.spec import Plan
from isthmus.tasks.checkup.compare import compare, compared_at_fit
from isthmus.training.loop import evaluate

PLAN = Plan(epochs=5, batch_size=32, seed=0)


def pairs(n=600, d=10, k=2, sigma=1.0, seed=0):
    """Clean rows on a plane of ``k`` dimensions, and what noise made of them."""
    g = np.random.default_rng(seed)
    clean = g.normal(size=(n, k)) @ np.random.default_rng(1).normal(size=(k, d)) * 2 + 5
    return (clean + sigma * g.normal(size=(n, d))).astype(np.float32), clean.astype(np.float32)


def fit(noisy, clean, recipe="denoising", **options):
    return Model.fit(noisy, recipe, target=clean, latent_dim=2, plan=PLAN, device="cpu", **options)


def test_the_pairs_are_the_corruption_unless_another_is_asked_for():
    noisy, clean = pairs()
    assert fit(noisy, clean).spec.corruption.kind == "identity"
    assert fit(noisy, clean, parts={"corruption": "masking"}).spec.corruption.kind == "masking"


def test_what_comes_back_is_nearer_to_the_clean_row():
    """On a plane of 2 in 10 dimensions a projection leaves a fifth of the noise."""
    model, (noisy, clean) = fit(*pairs()), pairs(seed=5)
    left = np.square(model.reconstruct(noisy) - clean).sum(1).mean()
    assert left < 0.3 * np.square(noisy - clean).sum(1).mean()


def test_the_record_is_held_against_the_clean_rows():
    noisy, clean = pairs()
    model = fit(noisy, clean)
    assert model.record.target == "the array"
    compared = compared_at_fit(model)
    # the held-out rows again, by hand: they are those of the plan's seed
    held = np.sort(np.random.default_rng(0).permutation(600)[: model.record.n_held_out])
    found = compare(model, noisy[held], target=clean[held])
    for name in ("autoencoder", "pca", "mean"):
        assert getattr(found, name) == pytest.approx(getattr(compared, name), rel=1e-4)
    x, wanted = (model.modality.to_tensors(model_rows(rows[held]))["x"] for rows in (noisy, clean))
    assert compared.pca == pytest.approx(float((model.pca.reconstruct(x) - wanted).square().sum(1).mean()), rel=1e-4)
    assert evaluate(model.net, {"x": x, "target": wanted})[1] == pytest.approx(compared.autoencoder, rel=1e-4)
    assert "their own noise counts as error" in compare(model, noisy).summary()[-1]
    assert compare(model, noisy).autoencoder > 2 * found.autoencoder


def model_rows(data):
    from isthmus.data.source import open_rows

    return open_rows(data)


def test_scores_of_rows_that_come_alone_keep_the_promised_rate():
    """Held-out rows are scored as new ones will be, without their targets."""
    model, (fresh, _) = fit(*pairs(n=3000)), pairs(n=3000, seed=5)
    flagged = (model.p_values(model.score(fresh)) <= 0.05).mean()
    assert 0.03 < flagged < 0.075
    scores = model.score(fresh[:50])
    assert np.isfinite(scores).all()
    assert (model.score(fresh[:50] + np.float32([30] + 9 * [0])) > scores).all()


def test_the_schema_is_that_of_the_clean_rows():
    noisy, clean = pairs(sigma=0.0)
    noisy = noisy * 3  # another scale, which is no business of the rows that come back
    model = fit(noisy, clean)
    assert model.modality.scaling.to_json() == Model.fit(clean, plan=PLAN).modality.scaling.to_json()
    assert np.abs(model.reconstruct(noisy) - clean).mean() < 0.2 * np.abs(noisy - clean).mean()


def test_missing_cells_are_filled_in_from_complete_rows():
    """A cell that only the target has is learned from, and one that only the row has is not asked for."""
    noisy, clean = pairs(sigma=0.05)
    holes = np.random.default_rng(2).random(noisy.shape) < 0.3
    model = fit(np.where(holes, np.nan, noisy), clean)
    assert model.spec.tell_missing
    fresh, truth = pairs(sigma=0.05, seed=6)
    holes = np.random.default_rng(3).random(fresh.shape) < 0.3
    back = model.reconstruct(np.where(holes, np.nan, fresh))
    assert np.abs(back - truth)[holes].mean() < 0.5 * np.abs(truth - truth.mean(0))[holes].mean()
    assert np.isfinite(fit(noisy, np.where(holes, np.nan, clean)).reconstruct(noisy)).all()


def test_what_only_the_target_knows_is_what_counts():
    """The loss and its gradient do not see what the target does not know."""
    noisy, clean = (torch.tensor(rows[:20]) for rows in pairs())
    net = fit(*pairs()).net
    known = torch.rand(clean.shape) < 0.5
    other = torch.where(known, clean, clean + 100)
    one, two = (net.trace(noisy, target=t, target_observed=known) for t in (clean, other))
    torch.testing.assert_close(one.p.log_prob(one.x, one.observed), two.p.log_prob(two.x, two.observed))
    assert net.trace(noisy, observed=known, target=clean).observed is None


def test_the_estimator_and_the_file(tmp_path):
    noisy, clean = pairs()
    ae = Autoencoder("denoising", latent_dim=2, epochs=3, random_state=0).fit(noisy, target=clean)
    codes = Autoencoder("denoising", latent_dim=2, epochs=3, random_state=0).fit_transform(noisy, target=clean)
    assert np.array_equal(ae.transform(noisy), codes)
    again = open_model(ae.save(tmp_path / "m.isthmus"))
    assert again.record.target == ae.record_.target
    assert np.array_equal(again.reconstruct(noisy), ae.reconstruct(noisy))


@pytest.mark.parametrize(
    ("clean", "error", "words"),
    [
        (np.zeros((5, 10)), DataError, r"600 rows \(the array\) and 5 targets"),
        (np.zeros((600, 3)), DataError, "one shape"),
    ],
)
def test_mistakes(clean, error, words):
    with pytest.raises(error, match=words):
        fit(pairs()[0], clean)


def test_held_out_rows_of_ones_own_have_no_targets():
    noisy, clean = pairs()
    with pytest.raises(SpecError, match="held out by their share"):
        fit(noisy, clean, validation_rows=noisy[:50])


def test_pairs_narrow_a_wide_code():
    noisy, clean = pairs()
    assert Model.fit(noisy, target=clean, latent_dim=20, plan=PLAN, device="cpu").latent_dim == 20


def test_folders_of_pictures_on_the_command_line(tmp_path, capsys):
    g = np.random.default_rng(0)
    for name in ("noisy", "clean"):
        (tmp_path / name).mkdir()
    for i in range(40):
        shade = np.full((8, 8), g.integers(60, 200), np.uint8)
        Image.fromarray(shade).save(tmp_path / "clean" / f"{i:02}.png")
        noise = np.clip(shade + g.normal(scale=30, size=(8, 8)), 0, 255).astype(np.uint8)
        Image.fromarray(noise).save(tmp_path / "noisy" / f"{i:02}.png")
    noisy, clean, file = (str(tmp_path / name) for name in ("noisy", "clean", "m.isthmus"))
    options = ["--latent-dim", "2", "--epochs", "3", "--json"]
    assert main(["fit", noisy, "--target", clean, "-o", file, "--recipe", "denoising", *options]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["rows"]["target"] == clean
    assert told["spec"]["corruption"]["kind"] == "identity"
    assert main(["compare", file, noisy, "--target", clean, "--json"]) == 0
    against_clean = json.loads(capsys.readouterr().out)["autoencoder"]
    assert main(["compare", file, noisy, "--json"]) == 0
    assert against_clean < json.loads(capsys.readouterr().out)["autoencoder"]
