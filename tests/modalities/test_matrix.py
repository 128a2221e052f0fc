"""Sparse matrices: never dense but in a batch, whatever form they come in, and back as they were."""

import json
import subprocess
import sys

import numpy as np
import pytest
import scipy.sparse
import torch
from sklearn.metrics import roc_auc_score

from isthmus import Autoencoder, open_model
from isthmus.app.cli import main
from isthmus.data.source import open_rows
from isthmus.errors import DataError, FileError, SpecError
from isthmus.modalities import modality_from_json, modality_to_json
from isthmus.modalities.matrix import Matrix
from isthmus.model import Model
from isthmus.spec import Plan
from isthmus.tasks.detection.detect import detect


def counts(n=400, width=300, topics=4, seed=0, dtype=np.int32):
    """Rows of counts, each about one topic: a range of columns of its own."""
    g = np.random.default_rng(seed)
    topic = g.integers(topics, size=n)
    own = width // topics
    columns = topic[:, None] * own + (own * g.random((n, 15)) ** 2).astype(int)
    rows = np.repeat(np.arange(n), 15)
    matrix = scipy.sparse.csr_array((np.ones(n * 15, dtype), (rows, columns.ravel())), shape=(n, width))
    matrix.sum_duplicates()
    return matrix, topic


def signed(n=300, width=200, seed=0):
    g = np.random.default_rng(seed)
    return scipy.sparse.random_array(
        (n, width), density=0.05, rng=g, data_sampler=lambda size: g.normal(size=size)
    ).tocsr()


FORMS = ["csr", "csc", "coo", "lil", "dok", "bsr", "dia"]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("make", [scipy.sparse.csr_array, scipy.sparse.csr_matrix])
def test_every_form_is_the_same(form, make):
    matrix, _ = counts(60, 40)
    face = Matrix.fit(open_rows(matrix))
    tensors = face.to_tensors(open_rows(make(matrix).asformat(form)))
    torch.testing.assert_close(tensors["x"].dense(), face.to_tensors(open_rows(matrix))["x"].dense())


@pytest.mark.parametrize(
    "matrix",
    [counts()[0], counts(dtype=np.float64)[0], counts()[0] > 0, signed()],
    ids=["counts", "floats", "flags", "signed"],
)
def test_rows_come_back_as_they_were(matrix):
    rows = open_rows(matrix)
    face = Matrix.fit(rows)
    x = face.to_tensors(rows)["x"]
    back = face.from_tensors(x.dense(), rows)
    assert back.dtype == matrix.dtype
    np.testing.assert_allclose(back.toarray(), matrix.toarray(), rtol=1e-4, atol=1e-5)
    again = modality_from_json(json.loads(json.dumps(modality_to_json(face))))
    assert torch.equal(again.to_tensors(rows)["x"].dense(), x.dense())


def test_weights_are_those_of_the_equation():
    matrix = scipy.sparse.csr_array(np.array([[3, 0, 1], [0, 2, 1], [0, 0, 1], [0, 0, 0]]))
    face = Matrix.fit(open_rows(matrix))
    idf = np.log(5 / (1 + np.array([1, 1, 3]))) + 1
    expected = np.log1p(matrix.toarray()) * idf
    expected[:3] /= np.linalg.norm(expected[:3], axis=1, keepdims=True)
    np.testing.assert_allclose(face.to_tensors(open_rows(matrix))["x"].dense(), expected, rtol=1e-6)
    assert "1 of 4 rows hold nothing but zeros" in " ".join(face.describe())


def test_rows_of_no_topic_are_strange():
    """Half of one topic and half of another, each usual by itself; and a row of nothing."""
    matrix, _ = counts(600)
    model = Model.fit(matrix, plan=Plan(epochs=30), latent_dim=8)
    assert model.spec.detector.kind == "likelihood"
    usual, _ = counts(200, seed=1)
    half = scipy.sparse.hstack([usual[:100, :150], usual[100:, 150:]], format="csr")
    full = np.diff(half.indptr) > 15  # of both, since one has 15 at most
    scores = np.concatenate([model.score(usual), model.score(half[full])])
    assert roc_auc_score(np.arange(len(scores)) >= 200, scores) > 0.9
    nothing = model.score(scipy.sparse.csr_array((1, 300), dtype=np.int32))
    assert nothing > np.quantile(scores[:200], 0.99)


@pytest.mark.filterwarnings("ignore:draws of the prior")
def test_everything_that_a_model_does(tmp_path):
    matrix, _ = counts()
    model = Model.fit(matrix, plan=Plan(epochs=3), latent_dim=4)
    model.save(tmp_path / "m.isthmus")
    again = open_model(tmp_path / "m.isthmus", device="cpu")
    np.testing.assert_allclose(again.score(matrix), model.score(matrix), rtol=1e-5)
    assert again.encode(matrix).shape == (400, 4)
    for back in (again.reconstruct(matrix), again.decode(again.encode(matrix)), again.sample(5, noise=True)):
        assert isinstance(back, scipy.sparse.csr_array)
        assert back.dtype == matrix.dtype
        assert back.shape[1] == 300
    found = detect(again, matrix)
    assert isinstance(found.contributions, scipy.sparse.csr_array)
    np.testing.assert_allclose(found.contributions.sum(1) + found.rest, found.scores, rtol=1e-4)
    assert found.contributions.nnz <= matrix.nnz
    assert found.to_table().num_rows == 400
    # a dense array is taken for the same rows
    np.testing.assert_allclose(again.score(matrix.toarray()), model.score(matrix), rtol=1e-5)


def test_signed_numbers_are_told_by_what_is_there():
    matrix = signed()
    model = Model.fit(matrix, plan=Plan(epochs=3), latent_dim=4)
    assert model.spec.likelihood.kind == "gaussian"
    found = detect(model, matrix)
    assert found.contributions.nnz <= matrix.nnz
    np.testing.assert_allclose(found.contributions.sum(1) + found.rest, found.scores, rtol=1e-3)
    odd = matrix.copy()
    odd.data[odd.indptr[7]] = 40
    assert detect(model, odd).worst(1) == [7]
    assert detect(model, odd).reasons(7)[0].name == f"x{odd.indices[odd.indptr[7]]}"


def test_files(tmp_path, capsys):
    matrix, _ = counts()
    scipy.sparse.save_npz(tmp_path / "m.npz", matrix.tocsc())
    assert main(["fit", str(tmp_path / "m.npz"), "-o", str(tmp_path / "m.isthmus"), "--epochs", "2"]) == 0
    assert "A sparse matrix of 300 columns (int32), 4." in capsys.readouterr().out
    assert (
        main(["reconstruct", str(tmp_path / "m.isthmus"), str(tmp_path / "m.npz"), "-o", str(tmp_path / "b.npz")]) == 0
    )
    assert scipy.sparse.load_npz(tmp_path / "b.npz").shape == matrix.shape
    assert main(["detect", str(tmp_path / "m.isthmus"), str(tmp_path / "m.npz"), "-o", str(tmp_path / "s.csv")]) == 0
    assert (
        main(["reconstruct", str(tmp_path / "m.isthmus"), str(tmp_path / "m.npz"), "-o", str(tmp_path / "b.csv")]) == 2
    )
    assert "A sparse matrix is written as .npz" in capsys.readouterr().err


def test_a_hostile_file_is_refused(tmp_path):
    matrix, _ = counts(20, 30)
    np.savez(tmp_path / "bad.npz", format=b"csr", shape=(20, 30), data=matrix.data, indptr=matrix.indptr,
             indices=matrix.indices + 10**6)  # fmt: skip
    with pytest.raises(FileError, match=r"bad\.npz' cannot be read"):
        open_rows(tmp_path / "bad.npz")


def test_what_cannot_be(tmp_path):
    matrix, _ = counts()
    model = Model.fit(matrix, plan=Plan(epochs=1), latent_dim=2)
    with pytest.raises(DataError, match="X has 7 features, but Autoencoder is expecting 300"):
        model.score(matrix[:, :7])
    with pytest.raises(DataError, match=r"holds -\d+, and this model was fitted to a matrix without negative"):
        model.score(-3 * matrix)
    odd = matrix.astype(float)
    odd.data[3] = np.nan
    with pytest.raises(DataError, match=r"1 cell\(s\) that are NaN or infinity"):
        Model.fit(odd)
    with pytest.raises(DataError, match="holds no value that is not zero"):
        Model.fit(scipy.sparse.csr_array((50, 20)))
    with pytest.raises(DataError, match="sparse matrix, which only the modality 'sparse' can take"):
        Model.fit(matrix, modality="array")
    with pytest.raises(SpecError, match="sparse ones take 'likelihood'"):
        Model.fit(matrix, parts={"detector": "neighbours"})
    with pytest.raises(SpecError, match="sparse rows"):
        Model.fit(matrix, contamination=0.1)
    with pytest.raises(DataError, match="A sparse matrix is wanted"):
        model.score([["a", "b"], ["c", "d"]])


def test_the_estimator_takes_them_in_a_pipeline():
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.pipeline import make_pipeline

    texts = [
        f"{a} {b} {c}" for a in ("red", "blue", "dark") for b in ("car", "boat", "bike") for c in ("old", "new")
    ] * 9
    codes = make_pipeline(CountVectorizer(), Autoencoder(latent_dim=2, epochs=3, random_state=0)).fit_transform(texts)
    assert codes.shape == (len(texts), 2)


_WIDE = """
import resource, sys
import numpy as np, scipy.sparse
from isthmus.model import Model
from isthmus.spec import Plan
g = np.random.default_rng(0)
n, width, each = 20_000, 50_000, 50
columns = (width * g.random(n * each) ** 3).astype(np.int32)
X = scipy.sparse.csr_array((np.ones(n * each, np.float32), columns, np.arange(0, n * each + 1, each)), shape=(n, width))
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
import torch, pyarrow, sklearn
before = peak()
plan = Plan(epochs=1, batch_size=512, validation=0.02, max_time=20)
model = Model.fit(X, plan=plan, latent_dim=16, parts={"encoder": {"widths": [32]}})
fitted = peak()
assert model.score(X).shape == (n,)
entries, _, _ = model.contributions(X)
assert entries.nnz <= X.nnz
assert model.reconstruct(X).shape == (n, width)
print(before, fitted, peak())
"""


@pytest.mark.slow
def test_memory_stays_far_below_the_dense_matrix():
    """20,000 × 50,000 would be 4 GB of float32 (the mask and a copy beside it): all of it takes a third of that."""
    run = subprocess.run([sys.executable, "-c", _WIDE], capture_output=True, text=True, check=True)
    before, fitted, used = map(float, run.stdout.split())
    assert used < 4 * 20_000 * 50_000 / 2**30 / 3 + before, (before, fitted, used)
