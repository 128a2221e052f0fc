import numpy as np
import pytest
import torch

from isthmus.core.fidelity import fidelity, frechet, kernel_distance

G = torch.Generator().manual_seed(0)


def normal(n, d=4):
    return torch.randn(n, d, generator=G)


def test_frechet_is_its_closed_form():
    """Between N(0, I) and N(m, s²I): |m|² + d (s − 1)²."""
    a, b = normal(200_000), 2 * normal(200_000) + 1
    assert frechet(a, b) == pytest.approx(4 + 4, rel=0.02)
    assert frechet(a, a) == pytest.approx(0, abs=1e-9)


def test_frechet_of_turned_ones_is_scipys():
    from scipy.linalg import sqrtm

    a, b = normal(500) @ normal(4, 4), normal(400) @ normal(4, 4) + 1
    c, d = (np.cov(x.double().numpy().T) for x in (a, b))
    apart = (a.double().mean(0) - b.double().mean(0)).square().sum()
    assert frechet(a, b) == pytest.approx(float(apart) + np.trace(c + d - 2 * sqrtm(c @ d).real), rel=1e-6)


def test_the_kernel_distance_has_no_bias():
    found = [kernel_distance(normal(100), normal(100)) for _ in range(200)]
    assert abs(np.mean(found)) < 3 * np.std(found) / 200**0.5
    assert kernel_distance(normal(500), normal(500) + 1) > 1


def test_alike_rows_have_everything():
    found = fidelity(normal(2000), normal(2000))
    assert found.precision > 0.8
    assert found.recall > 0.8
    assert found.density == pytest.approx(1, abs=0.1)
    assert found.coverage > 0.9


def test_half_of_the_real_ones_is_precise_and_lacks_recall():
    real = torch.cat([normal(1000), normal(1000) + 20])
    found = fidelity(real, normal(1000))
    assert found.precision > 0.8
    assert 0.3 < found.recall < 0.55
    assert 0.4 < found.coverage < 0.55


def test_noise_lacks_precision():
    found = fidelity(normal(1000), 10 * normal(1000))
    assert found.precision < 0.1
    assert found.density < 0.1


def test_the_same_rows_are_within_reach_of_themselves():
    real = normal(300)
    found = fidelity(real, real)
    assert (found.precision, found.recall, found.coverage) == (1, 1, 1)
