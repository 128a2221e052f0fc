import pytest
import torch

from isthmus.core.corruptions import CORRUPTIONS, Gaussian, Identity, Masking
from isthmus.errors import SpecError

N, D = 2000, 50


@pytest.fixture
def x():
    torch.manual_seed(0)
    return torch.randn(N, D)


def test_identity(x):
    shown = Identity()(x, None)
    assert shown.x is x
    assert shown.hidden is None


@pytest.mark.parametrize("sigma", [0.1, 2.0])
def test_noise_has_its_variance_and_hides_nothing(x, sigma):
    shown = Gaussian(sigma=sigma)(7 * x, None)
    noise = (shown.x - 7 * x) / 7  # noise is counted in deviations of the rows
    assert shown.hidden is None
    assert noise.mean() == pytest.approx(0, abs=5 * sigma / (N * D) ** 0.5)
    assert noise.var() == pytest.approx(sigma**2, rel=10 * (2 / (N * D)) ** 0.5)
    assert torch.corrcoef(torch.stack([noise.flatten(), x.flatten()]))[0, 1].abs() < 0.02


@pytest.mark.parametrize("rate", [0.05, 0.3, 0.9])
def test_masking_hides_its_rate_and_says_where(x, rate):
    shown = Masking(rate=rate)(x, None)
    spread = (rate * (1 - rate) / (N * D)) ** 0.5
    assert shown.hidden.float().mean() == pytest.approx(rate, abs=5 * spread)
    assert (shown.x[shown.hidden] == 0).all()
    assert torch.equal(shown.x[~shown.hidden], x[~shown.hidden])
    per_column = shown.hidden.float().mean(0)
    assert (per_column - rate).abs().max() < 6 * (rate * (1 - rate) / N) ** 0.5


@pytest.mark.parametrize("rate", [0, 1, -0.1, 1.5])
def test_rates_that_are_none(rate):
    with pytest.raises(ValueError, match="rate is in"):
        Masking(rate=rate)


@pytest.mark.parametrize("sigma", [0, -1, float("nan")])
def test_sigmas_that_are_none(sigma):
    with pytest.raises(ValueError, match="sigma is above 0"):
        Gaussian(sigma=sigma)


class TestSaltAndPepper:
    def test_the_rate_is_kept_and_both_ends_come_alike(self):
        torch.manual_seed(0)
        x = torch.rand(400, 50) * 0.5 + 0.25
        shown = CORRUPTIONS["salt_and_pepper"](rate=0.2)(x, None).x
        changed = shown != x
        assert changed.float().mean() == pytest.approx(0.2, abs=0.01)
        assert (shown[changed] == x.max()).float().mean() == pytest.approx(0.5, abs=0.03)
        assert set(shown[changed].tolist()) == {x.min().item(), x.max().item()}


class TestSwap:
    def test_a_cell_is_replaced_by_one_of_its_own_column(self):
        torch.manual_seed(0)
        x = torch.arange(5.0) + 10 * torch.arange(200.0)[:, None]  # the last digit is the column
        shown = CORRUPTIONS["swap"](rate=0.3)(x, None).x
        assert torch.equal(shown % 10, x % 10)
        assert (shown != x).float().mean() == pytest.approx(0.3, abs=0.03)

    def test_what_is_missing_is_neither_given_nor_taken(self):
        torch.manual_seed(0)
        observed = torch.rand(300, 4) < 0.6
        x = torch.randn(300, 4).masked_fill(~observed, 0.0)
        shown = CORRUPTIONS["swap"](rate=0.5)(x, observed).x
        assert (shown[~observed] == 0).all()
        assert (shown[observed] != 0).all()


class TestPatches:
    def test_hides_whole_patches_and_as_many_in_every_row(self):
        torch.manual_seed(0)
        x = torch.randn(50, 2, 9, 12)
        hidden = CORRUPTIONS["patches"](rate=0.5, patch=3)(x, None).hidden
        blocks = hidden.unflatten(3, (4, 3)).unflatten(2, (3, 3)).permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)
        assert (blocks.all(-1) == blocks.any(-1)).all()
        assert (blocks.any(-1).sum(1) == 6).all()

    @pytest.mark.parametrize("shape", [(7, 5), (20,), (1, 31, 17)])
    def test_any_shape(self, shape):
        hidden = CORRUPTIONS["patches"](rate=0.5)(torch.randn(6, *shape), None).hidden
        assert 0 < hidden.float().mean() < 1


class TestSpans:
    @pytest.mark.parametrize(("rate", "length", "spans"), [(0.3, 5, 6), (0.9, 30, 3), (0.01, 4, 1)])
    def test_every_row_loses_so_many_spans_of_that_length(self, rate, length, spans):
        torch.manual_seed(0)
        hidden = CORRUPTIONS["spans"](rate=rate, length=length)(torch.randn(300, 2, 100), None).hidden
        assert torch.equal(hidden[:, 0], hidden[:, 1])
        assert (hidden[:, 0].sum(1) == spans * length).all()
        ends = hidden[:, 0].int().diff(dim=1, prepend=torch.zeros(300, 1)).clamp(min=0).sum(1)
        assert (ends <= spans).all()  # they may touch
        for row in hidden[:20, 0].tolist():
            runs = [len(run) for run in "".join("#" if hid else " " for hid in row).split()]
            assert all(run % length == 0 for run in runs)

    def test_every_step_can_be_hidden(self):
        torch.manual_seed(0)
        hidden = CORRUPTIONS["spans"](rate=0.3)(torch.randn(4000, 1, 32), None).hidden
        often = hidden[:, 0].float().mean(0)
        assert often.min() > 0.05
        assert often.mean() == pytest.approx(0.3125)

    def test_only_series_have_spans(self):
        with pytest.raises(SpecError, match="Say 'patches' for images"):
            CORRUPTIONS["spans"]()(torch.randn(3, 1, 8, 8), None)
        with pytest.raises(ValueError, match="length is a whole number"):
            CORRUPTIONS["spans"](length=0)
