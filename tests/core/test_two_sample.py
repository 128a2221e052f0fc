import numpy as np
import pytest
import torch

from isthmus.core.two_sample import two_sample_accuracy


def draws(n=4000, d=2, seed=0):
    return np.random.default_rng(seed).normal(size=(n, d))


@pytest.mark.parametrize("d", [1, 2, 20])
def test_samples_of_one_distribution_cannot_be_told(d):
    assert two_sample_accuracy(draws(d=d), draws(d=d, seed=1)) == pytest.approx(0.5, abs=0.03)


def test_the_best_possible_accuracy_is_found():
    """Of N(0, I) and N(m, I) it is Φ(‖m‖/2): 0.6915 for ‖m‖ = 1."""
    assert two_sample_accuracy(draws(10_000), draws(10_000, seed=1) + np.array([1, 0])) == pytest.approx(
        0.6915, abs=0.02
    )


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("apart", lambda z: z + 8),
        ("wider", lambda z: 3 * z),
        ("a ring", lambda z: 1.4 * z / np.linalg.norm(z, axis=1, keepdims=True)),
        ("on a grid", lambda z: np.round(3 * z) / 3),
        ("on a line", lambda z: z[:, :1] * [1, 1]),
    ],
)
def test_what_differs_is_told(name, other):
    found = two_sample_accuracy(other(draws()), draws(seed=1))
    assert found > (0.99 if name == "apart" else 0.7)


def test_a_scale_is_not_a_difference():
    """Neighbours are counted alike in columns of any unit."""
    unit = np.array([1e-3, 1e5])
    a, b = draws(), draws(seed=1) * [1, 2]
    assert two_sample_accuracy(a * unit, b * unit) == pytest.approx(two_sample_accuracy(a, b), abs=0.01)


def test_it_repeats_and_takes_tensors_of_any_shape():
    a, b = draws(500, 6), draws(300, 6, seed=1)
    found = two_sample_accuracy(a, b)
    assert two_sample_accuracy(a, b) == found
    assert two_sample_accuracy(torch.from_numpy(a).reshape(500, 2, 3), torch.from_numpy(b).requires_grad_()) == found


def test_too_few_or_other_rows_are_refused():
    with pytest.raises(ValueError, match="at least 20 rows"):
        two_sample_accuracy(draws(19), draws())
    with pytest.raises(ValueError, match="of one width"):
        two_sample_accuracy(draws(d=2), draws(d=3))
