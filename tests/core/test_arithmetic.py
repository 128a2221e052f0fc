import numpy as np
from scipy import special

from isthmus.core import arithmetic


def test_the_functions_are_those_of_the_library_to_many_digits():
    x = np.linspace(-30, 30, 10_001)
    np.testing.assert_allclose(arithmetic.exp(x), np.exp(x), rtol=1e-14)
    np.testing.assert_allclose(arithmetic.sigmoid(x), special.expit(x), rtol=1e-13)
    np.testing.assert_allclose(arithmetic.sinh(x), np.sinh(x), rtol=1e-12, atol=1e-15)
    x = np.linspace(-8, 8, 10_001)
    np.testing.assert_allclose(arithmetic.normal_cdf(x), special.ndtr(x), rtol=0, atol=3e-15)


def test_the_tabled_ones_are_near_enough():
    x = np.random.default_rng(0).uniform(-9, 9, 10_000)
    np.testing.assert_allclose(arithmetic.normal_cdf_fast(x), special.ndtr(x), rtol=0, atol=1e-8)
    np.testing.assert_allclose(arithmetic.logistic_cdf_fast(3 * x), special.expit(3 * x), rtol=0, atol=2e-8)


def test_quantiles_share_the_mass_evenly():
    edges = arithmetic.normal_quantiles(4096)
    assert (np.diff(edges) > 0).all()
    np.testing.assert_allclose(special.ndtr(edges), np.arange(1, 4096) / 4096, rtol=0, atol=1e-5)


def test_nothing_depends_on_how_many_are_asked_at_once():
    """Vector instructions round a lone number as they round many: bits are compared, not digits."""
    x = np.random.default_rng(1).uniform(-20, 20, 1001)
    for function in (arithmetic.exp, arithmetic.sigmoid, arithmetic.normal_cdf, arithmetic.normal_cdf_fast):
        whole = function(x)
        assert whole.tobytes() == np.concatenate([function(x[i : i + 1]) for i in range(len(x))]).tobytes()
        assert whole.tobytes() == function(x[::-1])[::-1].tobytes()


def test_activations_are_the_networks():
    import torch

    from isthmus.core.networks.dense import ACTIVATIONS

    x = torch.arange(-16 * 4096, 16 * 4096 + 1, dtype=torch.float64) / 4096
    for name in ("gelu", "silu", "sigmoid", "tanh"):
        ours = torch.from_numpy(arithmetic.activation_table(name)) / 4096
        assert (ours - ACTIVATIONS[name][0](x)).abs().max() < 0.51 / 4096
