"""Flow and second stage: what both keep, and what each is."""

import copy
import sys

import pytest
import torch

from isthmus.core.priors import PRIORS
from isthmus.errors import SpecError

BOTH = ("flow", "two_stage")


def ring(n=2000, seed=0):
    """Codes on a ring, which no gaussian has."""
    g = torch.Generator().manual_seed(seed)
    angle, radius = 6.2832 * torch.rand(n, generator=g), 3 + 0.2 * torch.randn(n, generator=g)
    return torch.stack([radius * angle.cos() + 1, 2 * radius * angle.sin()], dim=1)


@pytest.fixture(scope="module", params=BOTH)
def fitted(request):
    torch.manual_seed(0)
    prior = PRIORS[request.param]((2,), (6,))
    prior.fit(ring())
    return prior


def test_it_begins_as_the_gaussian_of_the_codes():
    """Few codes tell no more than that; of the second stage with a tenth more spread, which its σ² begins with."""
    z = ring(40)
    gaussian = PRIORS["gaussian"]((2,), (6,))
    gaussian.fit(z)
    for name, spread, off in (("flow", 1.0, 1e-4), ("two_stage", 1.1, 0.15)):
        prior = PRIORS[name]((2,), (6,))
        prior.fit(z)
        wider = copy.deepcopy(gaussian)
        wider.factor.mul_(spread**0.5)
        torch.testing.assert_close(prior.log_prob(z), wider.log_prob(z), atol=off, rtol=0)


def test_one_number_per_code():
    z = torch.cat([torch.randn(300, 1) - 4, torch.randn(300, 1) + 4])
    for name in BOTH:
        prior = PRIORS[name]((1,), (6,))
        prior.fit(z)
        assert prior.log_prob(z).mean() > -2.5  # one gaussian: −½ log(2πe · 17) = −2.84; two: −2.11


def test_it_fits_a_ring_better_than_a_gaussian(fitted):
    gaussian, fresh = PRIORS["gaussian"]((2,), (6,)), ring(seed=1)
    gaussian.fit(ring())
    assert fitted.log_prob(fresh).mean() > gaussian.log_prob(fresh).mean() + 0.3


def test_the_density_integrates_to_one(fitted):
    """On a grid of the plane. Of the second stage up to the error of its fixed draws."""
    axis = torch.linspace(-12, 12, 241)
    grid = torch.cartesian_prod(axis, axis)
    with torch.no_grad():
        total = float(fitted.log_prob(grid).exp().sum()) * 0.1**2
    assert total == pytest.approx(1, abs=0.005 if isinstance(fitted, PRIORS["flow"]) else 0.05)


def test_draws_lie_where_codes_lie(fitted):
    drawn = fitted.sample(2000, torch.Generator().manual_seed(0))
    radius = torch.stack([drawn[:, 0] - 1, drawn[:, 1] / 2], dim=1).norm(dim=1)
    assert ((radius - 3).abs() < 1).float().mean() > 0.7  # of the gaussian's draws a third


def test_a_fit_repeats_and_leaves_the_generator_alone(fitted):
    again = type(fitted)((2,), (6,))
    again.load_state_dict(type(fitted)((2,), (6,)).state_dict())
    before = torch.get_rng_state()
    one, two = copy.deepcopy(again), copy.deepcopy(again)
    one.fit(ring(300))
    two.fit(ring(300))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(one.log_prob(ring(20)), two.log_prob(ring(20)))


def test_nothing_in_it_is_for_the_optimiser_of_the_network(fitted):
    assert not list(fitted.parameters())
    assert not any(buffer.requires_grad for buffer in fitted.buffers())


def test_its_state_goes_into_a_file_and_back(fitted):
    again = type(fitted)((2,), (6,))
    again.load_state_dict(fitted.state_dict())
    z = ring(50, seed=2)
    assert torch.equal(again.log_prob(z), fitted.log_prob(z))
    draws = [prior.sample(5, torch.Generator().manual_seed(1)) for prior in (again, fitted)]
    assert torch.equal(*draws)


def test_wide_codes_are_drawn_in_few_passes_and_back():
    prior = PRIORS["flow"]((40,), (6,))
    g = torch.Generator().manual_seed(0)
    for name, value in prior.network.named_buffers():
        if name.endswith(("weight", "bias")):
            value.add_(0.1 * torch.randn(value.shape, generator=g))
    w = torch.randn(10, 40, generator=g)
    transform = prior.network().transform
    torch.testing.assert_close(transform.inv(transform(w)), w, atol=1e-4, rtol=1e-3)
    # f has the log-determinant that the density says it has
    jacobian = torch.autograd.functional.jacobian(lambda one: transform(one[None])[0], w[0])
    torch.testing.assert_close(jacobian.det().abs().log(), transform.log_abs_det_jacobian(w, transform(w))[0],
                               atol=1e-3, rtol=1e-3)  # fmt: skip


def test_few_draws_of_the_second_stage_tell_what_many_do():
    torch.manual_seed(0)
    few, many = (PRIORS["two_stage"]((2,), (6,), samples=k) for k in (32, 2048))
    many.fit(ring(500))
    few.gaussian, few.network = many.gaussian, many.network
    z = ring(500, seed=3)
    assert few.log_prob(z).mean() == pytest.approx(float(many.log_prob(z).mean()), abs=0.05)


def test_without_zuko_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "zuko.flows", None)
    with pytest.raises(SpecError, match=r'pip install "isthmus\[flow\]"'):
        PRIORS["flow"]((2,), (6,))


@pytest.mark.parametrize(
    ("name", "wrong"),
    [("flow", {"transforms": 0}), ("flow", {"width": 0}), ("flow", {"bins": 1}), ("two_stage", {"samples": 6}),
     ("two_stage", {"width": 0})],
)  # fmt: skip
def test_options_that_make_no_sense(name, wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        PRIORS[name]((2,), (6,), **wrong)
