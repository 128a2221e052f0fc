import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from isthmus.errors import SpecError
from isthmus.modalities.scaling import LIMIT, Scaling

G = np.random.default_rng(0)
CELLS = st.floats(-1e12, 1e12, allow_subnormal=False) | st.integers(-1000, 1000).map(float)


@settings(max_examples=60, deadline=None)
@given(
    arrays(np.float64, array_shapes(min_dims=2, max_dims=2, max_side=12), elements=CELLS),
    st.sampled_from(["auto", "standard", "robust", "global"]),
)
def test_inverse_gives_the_numbers_back(x, how):
    scaling = Scaling.fit(x, how)
    y = scaling.forward(x)
    assert y.dtype == np.float32
    within = np.abs(y) < LIMIT
    # float32 keeps seven digits of the scaled number, so what can be asked is relative to the spread
    scale = np.abs(x - scaling.center) + scaling.spread
    assert (np.abs(scaling.inverse(y) - x) <= 1e-5 * scale + 1e-9 * np.abs(x))[within].all()


@settings(max_examples=60, deadline=None)
@given(arrays(np.float64, (6, 3), elements=st.floats(allow_nan=True, allow_infinity=True, width=64)))
def test_nothing_overflows(x):
    scaling = Scaling.fit(x)
    y = scaling.forward(x)
    assert np.array_equal(np.isnan(y), ~np.isfinite(x))
    assert np.isfinite(y[np.isfinite(x)] ** 2).all()
    assert np.isfinite(scaling.inverse(np.nan_to_num(y))).all()


def test_gaussian_columns_are_standardised():
    x = G.normal(5, 3, (5000, 4))
    scaling = Scaling.fit(x)
    assert scaling.kinds == ["standard"] * 4
    assert np.allclose(scaling.forward(x).mean(0), 0, atol=1e-5)
    assert np.allclose(scaling.forward(x).std(0), 1, atol=1e-5)


@pytest.mark.parametrize(
    ("column", "kind"),
    [
        (G.normal(size=5000), "standard"),
        (G.uniform(size=5000), "standard"),
        (G.exponential(size=5000), "standard"),
        (G.lognormal(sigma=2, size=5000), "asinh"),
        (G.standard_cauchy(5000), "asinh"),
        (np.where(G.random(5000) < 0.9, 0, G.lognormal(6, 3, 5000).round()), "asinh"),
        ((G.random(5000) < 0.01).astype(float), "standard"),
        (np.full(5000, 0.1), "standard"),
    ],
    ids=[
        "gaussian",
        "uniform",
        "exponential",
        "lognormal",
        "cauchy",
        "zero-inflated",
        "rare yes",
        "constant",
    ],
)
def test_heavy_tails_go_through_asinh(column, kind):
    assert Scaling.fit(column[:, None]).kinds == [kind]


def test_the_unit_does_not_matter():
    x = G.lognormal(sigma=2, size=(3000, 1))
    assert np.allclose(Scaling.fit(x).forward(x), Scaling.fit(1000 * x).forward(1000 * x), atol=1e-4)


def test_missing_cells_do_not_count():
    x = G.normal(size=(400, 2))
    holes = np.vstack([x, [[np.nan, np.inf]]])
    assert np.allclose(Scaling.fit(holes).center, Scaling.fit(x).center)
    assert np.isnan(Scaling.fit(holes).forward(holes)[-1]).all()


def test_constants_keep_their_unit():
    scaling = Scaling.fit(np.full((9, 1), 7.0))
    assert scaling.forward(np.array([[7.0], [8.0], [1e300]])).ravel().tolist() == [0.0, 1.0, LIMIT]


def test_global_maps_all_columns_to_0_and_1():
    x = G.uniform(-3, 9, (100, 5))
    y = Scaling.fit(x, "global").forward(x)
    assert y.min() == 0
    assert y.max() == 1


def test_state_is_json_to_the_last_bit():
    x = G.lognormal(sigma=2, size=(300, 3))
    scaling = Scaling.fit(x)
    again = Scaling(**json.loads(json.dumps(scaling.to_json())))
    assert np.array_equal(again.forward(x), scaling.forward(x))


def test_unknown_scaling():
    with pytest.raises(SpecError, match="Did you mean 'standard'"):
        Scaling.fit(np.zeros((2, 2)), "standart")
