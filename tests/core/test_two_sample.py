import pytest
import torch

from isthmus.core.two_sample import told_apart


def gaussian(n, d=8, seed=0):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


def accuracy(a, b):
    return told_apart(a, b, torch.Generator().manual_seed(0))


def test_equal_samples_cannot_be_told_apart():
    assert accuracy(gaussian(2000), gaussian(2000, seed=1)) < 0.55


@pytest.mark.parametrize("wrong", [lambda z: z + 1, lambda z: z * 2.5, lambda z: z * 0.3])
def test_a_shift_and_a_scale_are_seen(wrong):
    assert accuracy(gaussian(2000), wrong(gaussian(2000, seed=1))) > 0.8


def test_one_gaussian_shifted_is_told_as_often_as_can_be():
    """Between N(0, 1) and N(2, 1) the best classifier is right Φ(1) = 0.841 of the time."""
    assert accuracy(gaussian(2000, 1), gaussian(2000, 1, seed=1) + 2) == pytest.approx(0.841, abs=0.03)


def test_heaps_with_the_moments_of_a_gaussian_are_seen():
    """Mean 0 and covariance I, but on four corners."""
    g = torch.Generator().manual_seed(0)
    corners = torch.randint(2, (2000, 2), generator=g) * 2.0 - 1
    heaps = 0.95**0.5 * corners + 0.05**0.5 * torch.randn(2000, 2, generator=g)
    assert accuracy(heaps, gaussian(2000, 2, seed=1)) > 0.7


def test_a_code_that_never_moves_and_wide_codes_are_no_trouble():
    assert accuracy(torch.ones(100, 3), torch.ones(100, 3)) <= 0.6
    assert accuracy(gaussian(400, 3000), gaussian(400, 3000, seed=1)) < 0.62
    assert accuracy(gaussian(400, 3000), 2 * gaussian(400, 3000, seed=1)) > 0.9
    assert accuracy(gaussian(1), gaussian(1)) == 0.5


def test_feature_maps_count_entry_by_entry():
    a, b = gaussian(500, 12), gaussian(500, 12, seed=1) + 1
    assert accuracy(a.reshape(-1, 3, 2, 2), b.reshape(-1, 3, 2, 2)) == accuracy(a, b)
