import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA as Theirs

from isthmus.core import pca as module
from isthmus.core.pca import fit_pca


def rows(n=300, d=12, seed=0):
    g = np.random.default_rng(seed)
    return (g.normal(size=(n, d)) * np.geomspace(3, 0.1, d)) @ np.linalg.qr(g.normal(size=(d, d)))[0] + g.normal(size=d)


def fit(x, k, chunk=70):
    return fit_pca(lambda: torch.from_numpy(x).float().split(chunk), k)


def same_up_to_sign(ours, theirs, atol):
    cosines = np.abs((ours.numpy() * theirs).sum(1))
    np.testing.assert_allclose(cosines, 1, atol=atol)


@pytest.mark.parametrize("k", [1, 5, 12])
def test_it_is_sklearns(k):
    x = rows()
    ours, theirs = fit(x, k), Theirs(k, svd_solver="full").fit(x)
    np.testing.assert_allclose(ours.mean, theirs.mean_, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(ours.variances, theirs.explained_variance_, rtol=1e-4)
    same_up_to_sign(ours.components, theirs.components_, 1e-5)
    assert ours.total == pytest.approx(x.var(0, ddof=1).sum(), rel=1e-5)
    back = ours.reconstruct(torch.from_numpy(x).float())
    np.testing.assert_allclose(back, theirs.inverse_transform(theirs.transform(x)), atol=1e-4)


def test_chunks_do_not_matter():
    x = rows()
    one, many = fit(x, 4, 1000), fit(x, 4, 13)
    torch.testing.assert_close(one.components, many.components, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(one.variances, many.variances)


def test_the_random_branch_is_nearly_exact(monkeypatch):
    """Wide rows with a spectrum that falls, as data have."""
    g = np.random.default_rng(0)
    x = (g.normal(size=(200, 40)) * np.geomspace(10, 0.1, 40)) @ g.normal(size=(40, 300)) + 0.01 * g.normal(
        size=(200, 300)
    )
    exact = fit(x, 8)
    monkeypatch.setattr(module, "_EXACT", 100)
    random = fit(x, 8)
    torch.testing.assert_close(random.variances, exact.variances, rtol=1e-3, atol=0)
    same_up_to_sign(random.components, exact.components.numpy(), 1e-3)
    assert random.total == pytest.approx(exact.total, rel=1e-4)
    assert torch.equal(random.components, fit(x, 8).components), "it repeats"


def test_wider_than_the_exact_branch():
    g = np.random.default_rng(0)
    x = g.normal(size=(60, 5)) @ g.normal(size=(5, 2100))
    ours, theirs = fit(x, 5), Theirs(5, svd_solver="full").fit(x)
    np.testing.assert_allclose(ours.variances, theirs.explained_variance_, rtol=1e-3)
    error = (torch.from_numpy(x).float() - ours.reconstruct(torch.from_numpy(x).float())).square().mean()
    assert error < 1e-6 * x.var()


def test_components_are_orthonormal_with_a_fixed_sign():
    components = fit(rows(), 6).components
    torch.testing.assert_close(components @ components.T, torch.eye(6), atol=1e-5, rtol=0)
    assert (components.gather(1, components.abs().argmax(1, keepdim=True)) > 0).all()


def test_no_more_components_than_rows_or_columns_allow():
    assert len(fit(rows(n=4), 10).components) == 3
    assert len(fit(rows(d=3), 10).components) == 3
    assert len(fit(rows(n=2), 10).components) == 1


def test_fewer_components_are_the_first():
    whole = fit(rows(), 6)
    assert torch.equal(whole.first(2).components, fit(rows(), 2).components)


def test_dim_for_a_share():
    x = torch.diag(torch.tensor([3.0, 2.0, 1.0]))
    ours = fit_pca(lambda: [torch.cat([x, -x])], 3)  # variances 9 : 4 : 1
    assert [ours.dim_for(s) for s in (0.5, 0.64, 0.65, 0.92, 0.95, 1.0)][:5] == [1, 1, 2, 2, 3]


def test_constant_rows():
    ours = fit(np.full((20, 4), 3.0), 2)
    assert ours.total == 0
    assert ours.components.isfinite().all()
    assert torch.equal(ours.reconstruct(torch.full((2, 4), 3.0)), torch.full((2, 4), 3.0))


def test_a_large_mean_does_not_drown_the_variance():
    x = rows()
    far, near = fit(x + 1000, 4), fit(x, 4)
    torch.testing.assert_close(far.variances, near.variances, rtol=1e-2, atol=0)
