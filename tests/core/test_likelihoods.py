import math

import pytest
import torch
from torch.distributions import Bernoulli, Categorical, Normal

from isthmus.core import likelihoods as module
from isthmus.core.likelihoods import LIKELIHOODS

N = 30


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def gaussian(shape=(4,), **options):
    return LIKELIHOODS["gaussian"]((5,), shape, **options)


class TestGaussian:
    @pytest.mark.parametrize("sigma", [0.1, 1.0, 3])
    def test_a_fixed_sigma_is_torchs_normal(self, sigma):
        likelihood, x = gaussian(sigma=sigma), torch.randn(N, 4)
        p = likelihood(torch.randn(N, 5))
        torch.testing.assert_close(p.log_probs(x), Normal(p.mean, float(sigma)).log_prob(x))

    @pytest.mark.parametrize("per", ["entry", "all"])
    def test_a_learned_sigma_is_torchs_normal(self, per):
        likelihood, x = gaussian(sigma="learned", per=per), torch.randn(N, 4)
        with torch.no_grad():
            likelihood.noise.log_var.uniform_(-2, 2)
        p = likelihood(torch.randn(N, 5))
        sigma = (likelihood.noise.log_var / 2).exp()
        assert sigma.shape == ((4,) if per == "entry" else (1,))
        torch.testing.assert_close(p.log_probs(x), Normal(p.mean, sigma).log_prob(x))

    def test_a_learned_sigma_learns(self):
        likelihood = gaussian(sigma="learned")
        truth = torch.tensor([0.1, 0.5, 1.0, 2.0])
        h, x = torch.zeros(4000, 5), torch.randn(4000, 4) * truth
        optimiser = torch.optim.Adam(likelihood.parameters(), lr=0.05)
        for _ in range(150):
            optimiser.zero_grad()
            (-likelihood(h).log_prob(x).mean()).backward()
            optimiser.step()
        torch.testing.assert_close((likelihood.noise.log_var / 2).exp().detach(), truth, rtol=0.06, atol=0)

    def test_the_analytic_variance_is_the_batch_mse(self):
        likelihood, x = gaussian(), torch.randn(N, 4)
        p = likelihood(torch.randn(N, 5))
        sigma = (x - p.mean).square().mean().sqrt()
        torch.testing.assert_close(p.log_probs(x), Normal(p.mean, sigma).log_prob(x))

    def test_no_other_sigma_is_likelier(self):
        likelihood, x = gaussian(), torch.randn(N, 4)
        p = likelihood(torch.randn(N, 5))
        best = p.log_prob(x).mean()
        for sigma in torch.linspace(0.05, 4, 200):
            assert Normal(p.mean, sigma).log_prob(x).sum(1).mean() <= best + 1e-5

    def test_with_missing_cells_the_mse_is_of_the_others(self):
        likelihood, x = gaussian(), torch.randn(N, 4)
        observed = torch.rand(N, 4) < 0.5
        p = likelihood(torch.randn(N, 5))
        sigma = (x - p.mean).square()[observed].mean().sqrt()
        torch.testing.assert_close(p.log_probs(x, observed)[observed], Normal(p.mean, sigma).log_prob(x)[observed])

    def test_the_gradient_of_the_analytic_loss_is_that_of_d_over_2_log_mse(self):
        """σ² is a constant for the tape, and at the optimum that makes no difference."""
        likelihood, h, x = gaussian(), torch.randn(N, 5), torch.randn(N, 4)
        weight = likelihood.head.layer.weight
        (ours,) = torch.autograd.grad(-likelihood(h).log_prob(x).mean(), weight)
        logs = 4 / 2 * (x - likelihood(h).mean).square().mean().log()
        torch.testing.assert_close(ours, torch.autograd.grad(logs, weight)[0])

    def test_calibrating_settles_each_entry(self):
        likelihood, h = gaussian(), torch.randn(20_000, 5)
        truth = torch.tensor([0.1, 0.5, 1.0, 2.0])
        x = likelihood(h).mean.detach() + truth * torch.randn(20_000, 4)
        likelihood.calibrate(x, None, likelihood(h).mean)
        assert likelihood.noise.settled
        torch.testing.assert_close(likelihood(h).variance.sqrt(), truth, rtol=0.03, atol=0)
        torch.testing.assert_close(likelihood(h[:1]).log_prob(x[:1]), likelihood(h).log_prob(x)[:1])

    def test_calibrating_for_all_entries_is_one_number(self):
        likelihood, h, x = gaussian(per="all"), torch.randn(N, 5), torch.randn(N, 4)
        p = likelihood(h)
        likelihood.calibrate(x, None, p.mean)
        torch.testing.assert_close(likelihood(h).variance, (x - p.mean).square().mean().reshape(1))

    def test_an_entry_that_never_errs_is_not_certain_for_ever(self):
        likelihood, h = gaussian(), torch.randn(N, 5)
        x = likelihood(h).mean.detach() + torch.tensor([0.0, 1.0, 1.0, 1.0]) * torch.randn(N, 4)
        likelihood.calibrate(x, None, likelihood(h).mean)
        variance = likelihood(h).variance
        assert variance[0] >= 0.9e-3 * (x - likelihood(h).mean).square().mean()
        assert likelihood(h).log_prob(x + 1).isfinite().all()

    def test_an_entry_never_observed_gets_the_variance_of_all(self):
        likelihood, h, x = gaussian(), torch.randn(N, 5), torch.randn(N, 4)
        observed = torch.ones(N, 4, dtype=torch.bool)
        observed[:, 2] = False
        p = likelihood(h)
        likelihood.calibrate(x, observed, p.mean)
        torch.testing.assert_close(likelihood(h).variance[2], (x - p.mean).square()[observed].mean())

    def test_a_settled_sigma_travels_with_the_state(self):
        likelihood, h, x = gaussian(), torch.randn(N, 5), torch.randn(N, 4)
        likelihood.calibrate(x, None, likelihood(h).mean)
        again = gaussian()
        again.load_state_dict(likelihood.state_dict())
        assert torch.equal(again(h).log_prob(x), likelihood(h).log_prob(x))
        fresh = gaussian()
        fresh.load_state_dict(gaussian().state_dict())
        assert not fresh.noise.settled

    def test_fixed_and_learned_sigmas_are_left_alone(self):
        for sigma in (0.3, "learned"):
            likelihood, h, x = gaussian(sigma=sigma), torch.randn(N, 5), torch.randn(N, 4)
            before = likelihood(h).log_prob(x)
            likelihood.calibrate(x, None, likelihood(h).mean)
            assert torch.equal(likelihood(h).log_prob(x), before)

    def test_the_sigmoid_link(self):
        likelihood = gaussian(link="sigmoid")
        p = likelihood(100 * torch.randn(N, 5))
        assert ((p.mean >= 0) & (p.mean <= 1)).all()
        assert likelihood.problem(torch.rand(3, 4)) is None
        assert "reaches only (0, 1)" in likelihood.problem(torch.tensor([[0.0, 1.5]]))
        assert "reaches only" in likelihood.problem(torch.tensor([[float("nan"), 0.5]]))
        assert gaussian().problem(1e9 * torch.randn(3, 4)) is None

    def test_draws_have_mean_and_variance(self):
        p = gaussian(sigma=2.0)(torch.zeros(50_000, 5))
        drawn = p.sample()
        torch.testing.assert_close(drawn.mean(0), p.mean[0], rtol=0, atol=0.05)
        torch.testing.assert_close(drawn.std(0), torch.full((4,), 2.0), rtol=0.02, atol=0)

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ({"sigma": 0}, "above 0"),
            ({"sigma": -1.0}, "above 0"),
            ({"sigma": float("nan")}, "above 0"),
            ({"sigma": "analytical"}, "Did you mean 'analytic'"),
            ({"per": "entries"}, "Did you mean 'entry'"),
            ({"link": "sigmoidal"}, "Did you mean 'sigmoid'"),
        ],
    )
    def test_options_that_are_none(self, options, words):
        with pytest.raises(ValueError, match=words):
            gaussian(**options)

    def test_repr(self):
        assert "sigma='analytic', link='identity'" in repr(gaussian())


class TestBernoulli:
    def test_it_is_torchs(self):
        likelihood, x = LIKELIHOODS["bernoulli"]((5,), (4,)), (torch.rand(N, 4) < 0.5).float()
        p = likelihood(torch.randn(N, 5))
        torch.testing.assert_close(p.log_probs(x), Bernoulli(p.mean).log_prob(x))

    def test_grey_values_are_expectations(self):
        p = LIKELIHOODS["bernoulli"]((5,), (4,))(torch.randn(N, 5))
        ones, zeros = p.log_probs(torch.ones(N, 4)), p.log_probs(torch.zeros(N, 4))
        torch.testing.assert_close(p.log_probs(torch.full((N, 4), 0.3)), 0.3 * ones + 0.7 * zeros)

    def test_certainty_stays_finite(self):
        p = module.Bernoullis(torch.tensor([[1e4, -1e4]]))
        assert p.log_probs(torch.tensor([[0.0, 1.0]])).isfinite().all()

    def test_the_range_is_checked(self):
        likelihood = LIKELIHOODS["bernoulli"]((5,), (4,))
        assert likelihood.problem(torch.tensor([[0.0, 1.0]])) is None
        for x in ([-0.1, 0.5], [0.5, 1.1], [0.5, float("nan")]):
            assert "needs values in [0, 1]" in likelihood.problem(torch.tensor([x]))


class TestCategorical:
    @pytest.mark.parametrize("shape", [(4,), (2, 3, 2)])
    def test_it_is_torchs(self, shape):
        likelihood, x = LIKELIHOODS["categorical"]((5,), shape, levels=3), torch.randint(3, (N, *shape))
        p = likelihood(torch.randn(N, 5))
        torch.testing.assert_close(p.log_probs(x.float()), Categorical(logits=p.logits).log_prob(x))
        assert torch.equal(p.mean.long(), p.logits.argmax(-1))

    @pytest.mark.parametrize("shape", [(4,), (2, 3, 2)])
    def test_the_features_of_expectation_and_rows_are_in_one_order(self, shape):
        """Expectation of the one-hot: sure logits give back the row's own features."""
        likelihood, x = LIKELIHOODS["categorical"]((5,), shape, levels=3), torch.randint(3, (N, *shape)).float()
        sure = module.Levels(100 * torch.nn.functional.one_hot(x.long(), 3).float())
        torch.testing.assert_close(sure.expected, likelihood.represent(x))
        assert torch.equal(sure.mean, x)

    def test_draws_have_their_shares(self):
        logits = torch.tensor([[[0.0, 1.0, 2.0]]]).expand(30_000, 1, 3)
        drawn = module.Levels(logits).sample()
        shares = torch.bincount(drawn.flatten().long()) / 30_000
        torch.testing.assert_close(shares, logits[0, 0].softmax(0), rtol=0, atol=0.015)

    def test_the_range_is_checked(self):
        likelihood = LIKELIHOODS["categorical"]((5,), (2,), levels=3)
        assert likelihood.problem(torch.tensor([[0.0, 2.0]])) is None
        for x in ([0.0, 3.0], [-1.0, 0.0], [0.5, 1.0], [float("nan"), 1.0]):
            assert "whole numbers from 0 to 2" in likelihood.problem(torch.tensor([x]))

    def test_one_level_is_no_choice(self):
        with pytest.raises(ValueError, match="at least 2"):
            LIKELIHOODS["categorical"]((5,), (2,), levels=1)


#: Every kind of column, sorted and not, and each kind alone.
LEVELS = [[0, 0, 1, 3, 4], [3, 0, 1, 4, 0], [4, 1, 0], [0, 0], [1, 1], [3, 2], [2, 0, 1, 1, 0, 5]]


def mixed(levels, **options):
    return LIKELIHOODS["mixed"]((5,), (len(levels),), levels=levels, **options)


def columns_of(levels):
    return torch.stack([torch.randn(N) if k == 0 else torch.randint(max(k, 2), (N,)).float() for k in levels], dim=1)


@pytest.mark.parametrize("levels", LEVELS, ids=str)
class TestMixed:
    def test_every_column_has_its_own_law(self, levels):
        likelihood, x = mixed(levels, sigma=0.5), columns_of(levels)
        p = likelihood(torch.randn(N, 5))
        nats, numeric, boolean, at = p.log_probs(x), 0, levels.count(0), levels.count(0) + levels.count(1)
        for j, k in enumerate(levels):
            if k == 0:
                want, numeric = Normal(p.params[:, numeric], 0.5).log_prob(x[:, j]), numeric + 1
            elif k == 1:
                want, boolean = Bernoulli(logits=p.params[:, boolean]).log_prob(x[:, j]), boolean + 1
            else:
                want, at = Categorical(logits=p.params[:, at : at + k]).log_prob(x[:, j]), at + k
            torch.testing.assert_close(nats[:, j], want)

    def test_columns_come_back_in_order(self, levels):
        """A network that knows the row exactly gives the row back, column by column."""
        likelihood, x = mixed(levels, sigma=0.5), columns_of(levels)
        features = likelihood.represent(x)
        numbers = levels.count(0)
        sure = torch.cat([features[:, :numbers], 200 * (features[:, numbers:] - 0.5)], dim=1)
        p = module.Columns(sure, torch.full((1,), 1e-12), likelihood)
        torch.testing.assert_close(p.mean, x, rtol=0, atol=1e-5)
        torch.testing.assert_close(p.sample(), x, rtol=0, atol=1e-4)
        torch.testing.assert_close(p.expected, features, rtol=0, atol=1e-5)

    def test_the_one_hot_of_what_is_hidden_is_all_zero(self, levels):
        likelihood, x = mixed(levels), columns_of(levels)
        for j, k in enumerate(levels):
            visible = torch.ones(N, len(levels), dtype=torch.bool)
            visible[:, j] = False
            shown = likelihood.represent(x.masked_fill(~visible, 0.0), visible)
            reach = likelihood.reach(visible)
            assert (~reach).sum(1).unique().tolist() == [max(k, 1)]
            assert (shown[~reach] == 0).all()

    def test_the_analytic_variance_is_that_of_the_numbers(self, levels):
        likelihood, x, h = mixed(levels), columns_of(levels), torch.randn(N, 5)
        nats = likelihood(h).log_probs(x)
        assert nats.isfinite().all()
        numbers = torch.tensor([k == 0 for k in levels])
        if numbers.any():
            p = likelihood(h)
            sigma = (x - p.mean)[:, numbers].square().mean().sqrt()
            torch.testing.assert_close(nats[:, numbers], Normal(p.mean[:, numbers], sigma).log_prob(x[:, numbers]))
        likelihood.calibrate(x, None, likelihood(h).mean)
        again = mixed(levels)
        again.load_state_dict(likelihood.state_dict())
        assert torch.equal(again(h).log_probs(x), likelihood(h).log_probs(x))


def test_mixed_levels_have_an_entry_per_column():
    with pytest.raises(ValueError, match="an entry per column"):
        LIKELIHOODS["mixed"]((5,), (3,), levels=[0, 1])


def test_the_nats_of_a_mixed_row_are_one_unit():
    """A fair coin costs log 2, a fair die log 6, whatever stands beside them."""
    likelihood = mixed([6, 1, 0], sigma=1.0)
    with torch.no_grad():
        for p in likelihood.head.parameters():
            p.zero_()
    nats = -likelihood(torch.randn(1, 5)).log_probs(torch.tensor([[2.0, 1.0, 0.0]]))
    torch.testing.assert_close(nats, torch.tensor([[math.log(6), math.log(2), 0.5 * math.log(2 * math.pi)]]))


@pytest.mark.parametrize("per", ["entry", "channel", "all"])
def test_no_column_is_believed_to_be_exact(per):
    """What comes back to the last digit gets the σ of 3 % of the rows' deviation, so that a digit is no anomaly."""
    likelihood = LIKELIHOODS["gaussian"]((4,), (3,), per=per)
    x = 7 * torch.randn(500, 3)
    likelihood.calibrate(x, None, x + 1e-6)
    torch.testing.assert_close(likelihood.noise().sqrt().mean(), torch.tensor(0.03 * 7), rtol=0.1, atol=0)


def test_a_channel_has_one_sigma_of_all_that_is_there():
    likelihood = LIKELIHOODS["gaussian"]((4,), (2, 50), per="channel")
    errors = torch.randn(400, 2, 50) * torch.tensor([1.0, 3.0])[:, None]
    observed = torch.rand(400, 2, 50) < 0.7
    likelihood.calibrate(torch.where(observed, errors, 0.0), observed, torch.zeros(400, 2, 50))
    assert likelihood.noise().shape == (2, 1)
    torch.testing.assert_close(likelihood.noise().sqrt()[:, 0], torch.tensor([1.0, 3.0]), rtol=0.03, atol=0)


@pytest.mark.parametrize("levels", [[0, 3, 1, 5], [4, 2], [0, 1]])
def test_mixed_rows_are_shown_one_hot(levels):
    g = torch.Generator().manual_seed(0)
    x = torch.stack(
        [torch.randint(k, (50,), generator=g).float() if k > 1 else torch.rand(50, generator=g) for k in levels], 1
    )
    there = torch.rand(50, len(levels), generator=g) < 0.7
    for visible in (None, there):
        parts = [x[:, j, None] for wanted in (0, 1) for j, k in enumerate(levels) if k == wanted]
        for j, k in enumerate(levels):
            if k > 1:
                one_hot = torch.nn.functional.one_hot(x[:, j].long(), k).float()
                parts.append(one_hot if visible is None else one_hot * visible[:, j, None])
        assert torch.equal(mixed(levels).represent(x, visible), torch.cat(parts, 1))
