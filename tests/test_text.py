"""Text from end to end: fitted on documents, used by every task."""

import warnings

import numpy as np
import pyarrow as pa
import pytest
import torch

from isthmus import Autoencoder, Model, open_model
from isthmus.app.cli import main
from isthmus.errors import SpecError
from isthmus.spec import Plan
from isthmus.tasks.checkup.compare import compare
from isthmus.tasks.checkup.health import health
from isthmus.tasks.detection.detect import detect

ANIMALS = (
    "cat", "kitten", "dog", "puppy", "horse", "foal", "feeds", "chases", "sleeps", "barks", "purrs", "stable", "garden",
    "paw", "tail",
)  # fmt: skip
MONEY = (
    "bank", "loan", "credit", "rate", "market", "stock", "price", "bond", "trader", "sells", "buys", "falls", "rises",
    "interest", "profit",
)  # fmt: skip


def documents(n=300, seed=0, words=6):
    """Half about animals, half about money, each with a few words of both."""
    g = np.random.default_rng(seed)
    both = ["the", "a", "of", "and", "in", "with", "every", "new", "old", "day"]
    return [" ".join([*g.choice([ANIMALS, MONEY][i % 2], words), *g.choice(both, 3)]) for i in range(n)]


@pytest.fixture(scope="module")
def model():
    return Model.fit(documents(), latent_dim=2, plan=Plan(epochs=40, seed=1))


def cosine(z):
    z = z / np.linalg.norm(z, axis=1, keepdims=True)
    return z @ z.T


def test_the_same_in_other_words_is_nearer_than_a_stranger(model):
    """Words that never stand together but among the same others: what counting words cannot know."""
    z = cosine(model.encode(["kitten purrs in the stable", "puppy barks with every foal", "bond trader sells loan"]))
    assert z[0, 1] > z[0, 2] + 0.3
    counted = model.modality.to_tensors(model_rows(["kitten purrs", "puppy barks", "bond trader"]))["x"].dense()
    words = counted[:, : len(model.modality.words)]
    assert float(words[0] @ words[1]) == float(words[0] @ words[2]) == 0


def model_rows(documents):
    from isthmus import open_rows

    return open_rows(documents)


def test_what_comes_back_are_words_of_the_topic(model):
    back = model.reconstruct(["kitten puppy stable garden", "bank loan profit bond"])
    assert all(set(text.split()[:3]) <= set(topic) for text, topic in zip(back, (ANIMALS, MONEY), strict=True))
    assert model.decode(model.encode(["bank loan profit bond"])) == back[1:]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # two heaps of codes are no normal, and it says so
        assert len(model.sample(3)) == 3


def test_which_codes_are_better_is_told(model):
    (said,) = [line for line in model.record.remarks if "torn in two" in line]
    assert "by the trained codes and to" in said
    assert model.pca is not None
    assert not model.pca.centred


def test_strange_documents_and_their_words(model):
    found = detect(
        model, [*documents(40, seed=5), "quark gluon hadron plasma neutrino", "cat loan paw bond kitten rate"]
    )
    assert found.worst(2)[0] == 40
    assert found.reasons(40)[0].name == "a rare word"
    mixed = {reason.name for reason in found.reasons(41)}
    assert mixed <= {repr(word) for word in [*ANIMALS, *MONEY]}
    assert mixed
    np.testing.assert_allclose(found.scores, model.score(model_rows(found.rows.data)), rtol=1e-5)
    assert found.contributions.shape == (42, *model.net.shape)
    assert found.contributions.nnz < 42 * 40
    assert found.to_table().num_rows == 42


def test_compare_is_with_lsa_in_nats(model):
    said = compare(model, documents(60, seed=7))
    assert said.linear == "LSA"
    assert 0 <= said.autoencoder < said.mean
    assert any("LSA-2" in line and "%" in line for line in said.summary())
    assert any("deviance" in line for line in said.summary())


def test_health_names_words(model):
    found = health(model, documents(120, seed=9))
    assert found.vitals.explained > 0.2
    assert any("deviance" in line for line in found.summary())
    shown = found.traversal.svg
    assert any(word in shown for word in ANIMALS)
    assert any(word in shown for word in MONEY)
    assert "a rare word" not in shown


def test_saved_and_opened_gives_the_same(model, tmp_path):
    again = open_model(model.save(tmp_path / "m.isthmus"))
    rows = documents(30, seed=3)
    assert np.array_equal(again.encode(rows), model.encode(rows))
    assert np.array_equal(again.score(rows), model.score(rows))
    assert again.reconstruct(rows) == model.reconstruct(rows)
    assert compare(again, rows).to_json() == compare(model, rows).to_json()


def test_the_same_seed_gives_the_same_codes():
    one, two = (Model.fit(documents(80), latent_dim=4, plan=Plan(epochs=2, seed=3)) for _ in range(2))
    assert np.array_equal(one.encode(documents(10)), two.encode(documents(10)))


def test_lsa_as_it_is():
    """The recipe's codes are LSA's, whatever the decoder learns; directions keep their order, each evened a little."""
    model = Model.fit(documents(), "lsa", latent_dim=4, plan=Plan(epochs=40))
    x = model.tensors(model_rows(documents()))["x"]
    scores = (x @ model.pca.components.T).numpy()
    codes = model.encode(documents())
    for j in range(4):
        assert abs(np.corrcoef(codes[:, j], scores[:, j])[0, 1]) > 0.9999
    assert model.record.error < model.record.mean_error


def test_linear_with_squared_error_begins_as_lsa():
    parts = {"encoder": "linear", "decoder": "linear", "likelihood": "gaussian", "corruption": "identity"}
    model = Model.fit(documents(), latent_dim=5, parts=parts, plan=Plan(epochs=0))
    kept = model.tensors(model_rows(documents()))["x"].double()
    with torch.no_grad():
        back = model.net.decode(model.net.encode(kept.float())).mean.double()
    torch.testing.assert_close(back, model.pca.reconstruct(kept.float()).double(), atol=1e-4, rtol=0)
    # the rows that it was fitted on span the same plane as numpy's own decomposition, as far as noise allows
    _, _, right = np.linalg.svd(kept.numpy(), full_matrices=False)
    plane = torch.from_numpy(right[:5].T @ right[:5])
    best = ((kept - kept @ plane) ** 2).sum()
    assert float(((kept - back) ** 2).sum()) < 1.03 * float(best)


ODD = [
    "",
    "   ",
    "🙂🙂 🎉",
    "我爱北京天安门",
    "مرحبا بالعالم",
    "x" * 10_000,
    "kitten " * 5_000,
    "a\x00b\ud800c",
    "\n\n",
]


def test_odd_documents_are_taken(model):
    assert np.isfinite(model.encode(ODD)).all()
    assert np.isfinite(model.score(ODD)).all()
    assert np.isfinite(detect(model, ODD).p_values).all()
    assert any("no word" in said for said in model.remarks(model_rows(ODD)))
    fitted = Model.fit([*documents(60), *ODD], latent_dim=3, plan=Plan(epochs=1))
    assert np.isfinite(fitted.encode(ODD)).all()


def test_a_handful_of_documents():
    fitted = Model.fit(["one cat", "two dogs", "three cats and a dog"], latent_dim=1, plan=Plan(epochs=1))
    assert fitted.encode(["cat"]).shape == (1, 1)


def test_other_detectors_say_why_not():
    with pytest.raises(SpecError, match="take 'likelihood'"):
        Model.fit(documents(60), parts={"detector": "neighbours"}, plan=Plan(epochs=1))


@pytest.mark.parametrize("recipe", ["variational", "topk", "linear", "spherical", "contractive"])
def test_other_recipes(recipe):
    fitted = Model.fit(documents(100), recipe, latent_dim=4, plan=Plan(epochs=2))
    assert np.isfinite(fitted.score(documents(10))).all()
    assert len(fitted.reconstruct(documents(3))) == 3


def test_the_estimator_takes_strings(tmp_path):
    ae = Autoencoder(latent_dim=3, epochs=2, random_state=0).fit(documents(80))
    assert ae.transform(["cat", "bank"]).shape == (2, 3)
    assert isinstance(ae.reconstruct(["cat and dog"])[0], str)
    again = Autoencoder.open(ae.save(tmp_path / "m.isthmus"))
    assert np.array_equal(again.transform(["cat"]), ae.transform(["cat"]))


def run(*said):
    assert main([str(word) for word in said]) == 0, said


def test_the_command_line(tmp_path, capsys):
    text, table = tmp_path / "docs.txt", tmp_path / "docs.jsonl"
    text.write_text("\n".join(documents(120)), "utf8")
    table.write_text("\n".join(f'{{"title": "{d}", "other": "x y"}}' for d in documents(120)), "utf8")
    file = tmp_path / "m.isthmus"
    run("fit", table, "--text", "title", "-o", file, "--latent-dim", 4, "--epochs", 2)
    assert "words" in capsys.readouterr().out
    for task in ("encode", "reconstruct", "detect", "compare", "health"):
        for rows in (text, table):
            run(task, file, rows)
    run("info", file)
    run("reconstruct", file, text, "-o", tmp_path / "back.txt")
    assert len((tmp_path / "back.txt").read_text().splitlines()) == 120
    run("encode", file, text, "-o", tmp_path / "codes.npy")
    run("decode", file, tmp_path / "codes.npy", "-o", tmp_path / "back.csv")
    run("detect", file, table, "-o", tmp_path / "scored.csv")
    assert "why" in (tmp_path / "scored.csv").read_text().splitlines()[0]
    run("report", file, text, "-o", tmp_path / "report.html")
    assert main(["fit", str(table), "--text", "headline", "-o", str(file)]) == 2
    assert "no column 'headline'" in capsys.readouterr().err


def test_a_table_column_by_kind():
    table = pa.table({"n": [1.0] * 60, "said": documents(60)})
    fitted = Model.fit(table, modality="text", latent_dim=2, plan=Plan(epochs=1))
    assert np.array_equal(fitted.encode(table), fitted.encode(documents(60)))


def test_an_empty_document_is_told_and_strange():
    g = np.random.default_rng(0)
    topics = [["sea", "boat", "wind", "harbour", "wave", "sail"], ["bank", "rate", "market", "bond", "money", "loan"]]
    documents = [" ".join(g.choice(topics[i % 2], 8)) for i in range(300)]
    model = Model.fit(documents, plan=Plan(epochs=5), latent_dim=4)
    fresh = [*(" ".join(g.choice(topics[i % 2], 8)) for i in range(100)), "", "  \n", "?!"]
    scores = model.score(fresh)
    assert (scores[100:] > scores[:100].max()).all()
    assert np.isfinite(scores).all()
    found = detect(model, fresh, budget=3)
    assert set(np.flatnonzero(found.anomalies)) == {100, 101, 102}
    assert "3 of 103 documents looked at hold no word." in model.remarks(model.open(fresh))
