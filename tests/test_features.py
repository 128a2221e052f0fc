"""Features that a linear judge can use, and the judge itself."""

import numpy as np
import pytest
import torch
from sklearn.svm import LinearSVC

from benchmarks.svm import SVM, choose


def digits(shared, n=None):
    with np.load(shared / "mnist" / "mnist_train.npz") as file:
        return torch.tensor(file["images"][:n].reshape(-1, 784) / 255, dtype=torch.float32), file["labels"][:n]


def blobs(n=300, d=4, k=3):
    g = torch.Generator().manual_seed(0)
    labels = torch.randint(k, (n,), generator=g)
    return torch.randn(n, d, generator=g, dtype=torch.float64) + torch.eye(k, d).double()[labels], labels


def test_the_judge_is_a_linear_support_vector_machine():
    x, labels = blobs()
    ours = SVM.fit(x, labels, 0.1)
    # liblinear penalises the intercept too, the less the larger the constant that it is the weight of
    theirs = LinearSVC(C=1 / (len(x) * 0.1), tol=1e-10, max_iter=100_000, intercept_scaling=1e3, dual=False)
    theirs.fit(x.numpy(), labels.numpy())
    np.testing.assert_allclose(ours.weight.numpy(), theirs.coef_, atol=2e-3)
    np.testing.assert_allclose(ours.bias.numpy(), theirs.intercept_, atol=2e-3)
    assert ours.error(x, labels) == pytest.approx(1 - theirs.score(x.numpy(), labels.numpy()))


def test_its_strength_is_chosen_on_rows_that_it_has_not_seen():
    x, labels = blobs()
    strength, errors = choose(x, labels, 100)
    assert errors[strength] == min(errors.values())
    assert SVM.fit(x[:200], labels[:200], strength).error(x[200:], labels[200:]) == pytest.approx(
        errors[strength], abs=0.02
    )


@pytest.mark.slow
def test_noise_and_contraction_make_better_features_than_neither(shared):
    """One overcomplete sigmoid layer each, small: 10,000 digits, 500 units (the figures take all, and thousands)."""
    from benchmarks.suite.features import KINDS, codes_of

    x, labels = digits(shared, 20_000)
    labels, errors = torch.from_numpy(labels).long(), {}
    for kind in KINDS:
        codes, fresh = codes_of(kind, x[:10_000], x[10_000:], width=500, epochs=20)
        centre, scale = codes.mean(0), codes.std()
        svm = SVM.fit((codes - centre) / scale, labels[:10_000], 3e-3)
        errors[kind] = svm.error((fresh - centre) / scale, labels[10_000:])
    assert errors["denoising"] < 0.95 * errors["plain"], errors
    assert errors["contractive"] < 0.95 * errors["plain"], errors
