"""The density of codes: the one under which held-out codes are likeliest, and the simpler where none surely is."""

import torch

from isthmus.core.parts import Part
from isthmus.core.priors import StandardNormal
from isthmus.core.priors.choice import choose_prior
from isthmus.core.priors.mixture import Mixture, gaussians


def draws(n=1500, seed=0):
    return torch.randn(n, 3, generator=torch.Generator().manual_seed(seed))


def heaps(n=1500, seed=0):
    z = draws(n, seed)
    return 0.3 * z + 4 * torch.eye(3)[torch.arange(n) % 3]


def test_n_0_i_is_kept_where_it_is_true():
    assert choose_prior(draws(), draws(seed=1)).part == Part("standard_normal")


def test_a_gaussian_where_codes_are_moved_and_turned():
    turn = torch.tensor([[2.0, 0.5, 0], [0, 1, 1], [0, 0, 0.2]])
    assert choose_prior(draws() @ turn + 3, draws(seed=1) @ turn + 3).part == Part("gaussian")


def test_a_mixture_for_heaps_and_its_nats_are_told():
    found = choose_prior(heaps(), heaps(seed=1))
    assert found.part.kind == "mixture"
    assert found.nats["mixture of 5"] > found.nats["gaussian"] + 1 > found.nats["standard_normal"]
    truth = torch.distributions.MixtureSameFamily(
        torch.distributions.Categorical(torch.ones(3)),
        torch.distributions.Independent(torch.distributions.Normal(4 * torch.eye(3), 0.3), 1),
    )
    new = heaps(seed=2)
    assert float((truth.log_prob(new) - found.prior.log_prob(new)).mean()) < 0.1


def test_the_models_own_is_a_candidate():
    own = StandardNormal((3,), (3,)).log_prob(draws(seed=1))
    kept = choose_prior(draws(), draws(seed=1), (Part("vamp"), own))
    assert (kept.part, kept.prior) == (Part("vamp"), None)
    own = StandardNormal((3,), (3,)).log_prob(heaps(seed=1))
    assert choose_prior(heaps(), heaps(seed=1), (Part("vamp"), own)).part.kind == "mixture"


def test_it_is_the_same_every_time_and_leaves_the_persons_generator():
    before = torch.get_rng_state()
    a, b = (choose_prior(heaps(), heaps(seed=1)) for _ in range(2))
    assert torch.equal(a.prior.centers, b.prior.centers)
    assert torch.equal(torch.get_rng_state(), before)


def test_codes_of_feature_maps():
    z = heaps().reshape(-1, 3, 1, 1)
    assert choose_prior(z, z).prior.sample(4, torch.Generator().manual_seed(0)).shape == (4, 3, 1, 1)


def test_expectation_and_maximisation_finds_what_scikit_learn_finds():
    from sklearn.mixture import GaussianMixture

    z = heaps()
    prior = Mixture((3,), (3,), components=3)
    prior.settle(z, 3)
    theirs = GaussianMixture(3, reg_covar=1e-6, random_state=0).fit(z.numpy())
    assert abs(float(prior.log_prob(z).mean()) - theirs.score(z.numpy())) < 0.05


def test_codes_that_never_move_and_more_gaussians_than_different_codes():
    for z in (torch.ones(60, 2), torch.eye(2)[torch.arange(60) % 2]):
        for part in gaussians(z, 5):
            assert part.isfinite().all()
