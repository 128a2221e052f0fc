"""The contract of detectors, walked over the menu."""

import pytest
import torch

from isthmus import devices
from isthmus.core.autoencoder import Net
from isthmus.core.detectors import DETECTORS
from isthmus.core.parts import make
from isthmus.errors import SpecError
from isthmus.fitting import teach
from isthmus.spec import Part, Plan, Spec

N, LEVELS = 400, [0, 0, 0, 0, 1, 3]
FEW = {"steps": 60, "width": 16}
#: Of rows that are vectors; pictures have a test of their own.
VECTORS = [name for name in DETECTORS if name != "patches"]
OPTIONS = {
    "masked": FEW,
    "denoising": FEW,
    "committee": {"detectors": ["neighbours", {"kind": "masked", **FEW}, {"kind": "denoising", **FEW}]},
}


def rows(n=N, seed=0):
    """Four numbers on a plane, a coin and a category that goes with it."""
    g = torch.Generator().manual_seed(seed)
    plane = torch.randn(n, 2, generator=g) @ torch.tensor([[1.0, 0.5, -1.0, 0.3], [0.2, -1.0, 0.4, 1.0]])
    coin = (torch.rand(n, 1, generator=g) < 0.5).float()
    return torch.cat([plane + 0.1 * torch.randn(n, 4, generator=g), coin, 1 + coin], 1)


def taught(name, tensors, levels=LEVELS, **options):
    likelihood = Part("mixed", {"levels": levels}) if any(levels) else Part("gaussian")
    spec = Spec(Part("linear"), Part("linear"), likelihood=likelihood, latent_dim=2, prior=Part("gaussian"))
    spec = spec.replace(detector=Part(name, {**OPTIONS.get(name, {}), **options}), tell_missing="observed" in tensors)
    with devices.seeded(0):
        net = Net(spec, (len(levels),)).eval()
    with torch.no_grad():
        known = tensors.get("observed")
        net.likelihood.calibrate(tensors["x"], known, net.decode(net.encode(tensors["x"], known)).mean)
    with torch.enable_grad():
        return net, teach(net, tensors, Plan())


@pytest.fixture(scope="module", params=VECTORS)
def pair(request):
    return taught(request.param, {"x": rows()})


@torch.no_grad()
def test_entries_and_the_rest_are_the_score(pair):
    net, detector = pair
    found = detector(net, rows(50, seed=1))
    assert found.entries.shape == (50, 6)
    assert found.rest.shape == (50,)
    torch.testing.assert_close(
        found.entries.sum(1).double() + found.rest.double(), found.score.double(), rtol=1e-4, atol=1e-4
    )


@torch.no_grad()
def test_a_score_needs_no_explanation(pair):
    net, detector = pair
    x = rows(50, seed=1)
    assert torch.equal(detector(net, x, explain=False).score, detector(net, x).score)


@torch.no_grad()
def test_a_row_alone_is_as_strange_as_among_others(pair):
    net, detector = pair
    x = rows(50, seed=1)
    torch.testing.assert_close(detector(net, x[7:8]).score, detector(net, x).score[7:8], rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_it_is_the_same_every_time_and_draws_nothing(pair):
    net, detector = pair
    x, before = rows(50, seed=1), torch.get_rng_state()
    assert torch.equal(detector(net, x).score, detector(net, x).score)
    assert torch.equal(torch.get_rng_state(), before)


@torch.no_grad()
def test_the_state_is_all_there_is(pair):
    net, detector = pair
    again = make(DETECTORS, "detector", net.spec.detector, net.shape, net.likelihood.features_shape).eval()
    again.load_state_dict(detector.state_dict())
    x = rows(50, seed=1)
    assert torch.equal(detector(net, x).score, again(net, x).score)


@pytest.mark.parametrize("name", [name for name in VECTORS if name != "likelihood"])
class TestThoseThatLearn:
    @torch.no_grad()
    def test_a_broken_column_is_named(self, name):
        net, detector = (
            taught(name, {"x": rows()}, steps=600) if name in ("masked", "denoising") else taught(name, {"x": rows()})
        )
        x = rows(100, seed=1)
        where = torch.arange(100) % 4
        x[torch.arange(100), where] += 4.0
        found = detector(net, x)
        assert (found.score > detector(net, rows(500, seed=2)).score.quantile(0.95)).float().mean() > 0.95
        assert (found.entries.argmax(1) == where).float().mean() > 0.7

    @torch.no_grad()
    def test_training_rows_score_as_fresh_ones_do(self, name):
        """As if they had not been learned: the same distribution, by a Kolmogorov–Smirnov test."""
        from scipy.stats import ks_2samp

        tensors = {"x": rows()}
        net, detector = taught(name, tensors)
        own = detector.fresh(net, tensors, torch.arange(N)).score
        assert ks_2samp(own, detector(net, rows(seed=5)).score).pvalue > 0.01

    @torch.no_grad()
    def test_what_is_missing_brings_nothing(self, name):
        x, g = rows(), torch.Generator().manual_seed(3)
        observed = torch.rand(x.shape, generator=g) > 0.2
        net, detector = taught(name, {"x": x * observed, "observed": observed})
        found = detector(net, x[:50] * observed[:50], observed[:50])
        assert found.score.isfinite().all()
        assert (found.entries[~observed[:50]] == 0).all()

    @torch.no_grad()
    def test_the_same_seed_gives_the_same_scores(self, name):
        x = rows(50, seed=1)
        (net, first), (_, again) = (taught(name, {"x": rows()}) for _ in range(2))
        assert torch.equal(first(net, x).score, again(net, x).score)

    @torch.no_grad()
    def test_rows_that_are_all_the_same(self, name):
        net, detector = taught(name, {"x": torch.ones(30, 3)}, levels=[0, 0, 0])
        same, other = torch.ones(2, 3), torch.ones(2, 3) + 1.0
        assert detector(net, same).score.isfinite().all()
        assert (detector(net, other).score > detector(net, same).score).all()


def test_the_members_of_a_committee():
    with pytest.raises(SpecError, match="Did you mean 'masked'"):
        taught("committee", {"x": rows()}, detectors=["maskd"])
    with pytest.raises(SpecError, match="different ones"):
        taught("committee", {"x": rows()}, detectors=["masked", "masked"])


def test_a_committee_says_how_many_networks_each_that_learns_has():
    _, committee = taught("committee", {"x": rows()}, detectors=["neighbours", "masked", "denoising"], members=3)
    assert [len(committee.members[name].nets.weights[0]) for name in ("masked", "denoising")] == [3, 3]


@torch.no_grad()
def test_a_category_is_expected_as_a_level():
    net, detector = taught("neighbours", {"x": rows()})
    expected = detector(net, rows(50, seed=1)).expected
    assert expected.shape == (50, 6)
    assert set(expected[:, 5].tolist()) <= {0.0, 1.0, 2.0}


def test_a_detector_that_does_not_suit_the_rows_is_refused_before_the_training():
    from isthmus.model import Model

    trained = []
    with pytest.raises(SpecError, match="pictures have"):
        Model.fit(rows().numpy(), parts={"detector": "patches"}, callbacks=[trained.append], device="cpu")
    assert not trained


@torch.no_grad()
def test_masked_asks_many_rows_in_fewer_products_and_hears_the_same(monkeypatch):
    from isthmus.core.detectors import masked

    torch.manual_seed(0)
    detector, x = masked.Masked((9,), (9,), width=16), torch.randn(100, 9)
    there = torch.rand(100, 9) > torch.linspace(0, 0.4, 9)
    asked = [(x, None), (x * there, there), (x, torch.ones_like(there))]
    short = [detector.looked(*one) for one in asked]
    monkeypatch.setattr(masked, "_MANY", 1000)
    for found, one in zip(short, asked, strict=True):
        torch.testing.assert_close(found, detector.looked(*one))
