import torch

from isthmus.core.margins import Margins

G = torch.Generator().manual_seed(0)


def normal(n):
    return torch.randn(n, 1, generator=G)


def test_columns_get_the_distribution_of_the_real_ones():
    real = normal(5000).double().exp()
    margins = Margins.of(normal(4000), real)
    found = margins(normal(5000))
    at = torch.tensor([0.1, 0.5, 0.9, 0.99], dtype=torch.float64)
    torch.testing.assert_close(found.quantile(at), real.quantile(at), rtol=0.12, atol=0)
    assert found.min() >= real.min()
    assert found.max() <= real.max()


def test_order_within_a_column_stays():
    margins = Margins.of(normal(4000), normal(5000).double() ** 3)
    found = margins(torch.linspace(-2, 2, 50)[:, None])[:, 0]
    assert (found.diff() >= 0).all()


def test_a_column_of_zeros_and_a_few_large_numbers_is_one_again():
    real = torch.where(torch.rand(5000, 1, generator=G) < 0.9, 0.0, 1000.0).double()
    found = Margins.of(normal(4000), real)(normal(5000))
    assert set(found.unique().tolist()) == {0.0, 1000.0}
    assert abs(float((found == 0).double().mean()) - 0.9) < 0.02


def test_cells_are_written_in_the_unit_that_they_had():
    days = 86_400.0 * torch.randint(0, 4000, (3000, 1), generator=G).double()
    cents = (normal(3000).double().exp() * 1000).round() / 100
    thirds = normal(3000).double() / 3
    margins = Margins.of(normal(4000).repeat(1, 3), torch.cat([days, cents, thirds], 1))
    assert margins.unit.tolist() == [86_400.0, 0.01, 0.0]
    found = margins(normal(500).repeat(1, 3))
    assert (found[:, 0] % 86_400 == 0).all()
    assert ((found[:, 1] * 100).round() / 100 == found[:, 1]).all()


def test_float32_lies_between_and_is_mended():
    cents = (normal(3000).double().exp() * 1000).round() / 100
    margins = Margins.of(normal(4000), (cents / 7).float().double() * 7)
    found = margins(normal(500))
    assert ((found * 100).round() / 100 == found).all()


def test_missing_cells_are_not_looked_at():
    real = torch.cat([torch.full((500, 1), 5.0), torch.full((500, 1), 1e9)]).double()
    found = Margins.of(normal(4000), real, real < 10)(normal(50))
    assert (found == 5).all()
    nothing = Margins.of(normal(4000), real, real < 0)(normal(50))
    assert nothing.isfinite().all()
