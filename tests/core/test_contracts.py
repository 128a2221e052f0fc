"""What every part on a menu keeps. A new part is tested here as soon as its menu lists it."""

import copy
import inspect

import pytest
import torch
from torch import nn

from isthmus.core.autoencoder import MENUS, Net
from isthmus.core.bottlenecks import BOTTLENECKS
from isthmus.core.corruptions import CORRUPTIONS
from isthmus.core.critics import CRITICS
from isthmus.core.likelihoods import LIKELIHOODS
from isthmus.core.networks import DECODERS, ENCODERS
from isthmus.core.networks.dense import MLP
from isthmus.core.objectives import OBJECTIVES
from isthmus.core.parts import make, options_of
from isthmus.core.penalties import PENALTIES
from isthmus.core.priors import PRIORS
from isthmus.errors import SpecError
from isthmus.spec import Part, Spec

#: Options that have no default, so that a test has to say them.
NEEDED = {
    "categorical": {"levels": 3},
    "joint": {"sides": [{"entries": 3, "of": {"kind": "mixed", "levels": [0, 1, 3]}},
                        {"entries": 1, "of": "bernoulli"}, {"entries": 2, "of": {"kind": "gaussian"}}]},
    "mixed": {"levels": [0, 1, 3, 0, 1, 4]},
}  # fmt: skip
#: Parts that take rows of this shape; vectors where nothing is said.
SHAPES = {
    "blind_spot": (2, 9, 7), "conv": (2, 9, 7), "jpeg": (2, 16, 8), "neighbours": (2, 16, 8), "patches": (2, 9, 7),
    "recurrent": (2, 12), "spans": (2, 12), "temporal": (2, 12), "transformer": (2, 9, 7), "unet": (2, 16, 8),
    **dict.fromkeys(("graded", "hyperprior", "transform"), (1, 16, 24)),
}  # fmt: skip
#: A picture's way down and up, whose code is everything that was found on the way.
U = {"encoder": Part("unet", {"widths": [8, 7]}), "bottleneck": Part("open"),
     "decoder": Part("unet", {"widths": [8, 7]})}  # fmt: skip
#: A codec, whose code is whole steps and, beside them, the quality of the row.
CODEC = {"encoder": Part("transform", {"width": 2}), "decoder": Part("transform", {"width": 2}),
         "bottleneck": Part("hyperprior", {"width": 8}), "likelihood": Part("graded"),
         "objective": Part("elbo")}  # fmt: skip
#: What a part cannot do without.
COMPANIONS = {
    "active_codes": {"bottleneck": Part("adaptive")},
    "conditional": {"bottleneck": Part("gaussian"), "objective": Part("elbo")},  # a rate to learn
    "iwae": {"bottleneck": Part("gaussian")},
    # so wide a kernel that some of a dozen rows are near every threshold
    "jumprelu": {"bottleneck": Part("jumprelu", {"bandwidth": 2.0})},
    "neighbours": U,  # shown pictures of half the size
    "unet": U,
    **dict.fromkeys(("graded", "hyperprior", "transform"), CODEC),
    "kl": {"bottleneck": Part("relu")},
    "revival": {"bottleneck": Part("relu"), "decoder": Part("dictionary")},
    "total_correlation": {"bottleneck": Part("gaussian")},
    "transformer": {"corruption": Part("patches")},  # its mask token stands only where something is hidden
    "vamp": {"bottleneck": Part("gaussian"), "objective": Part("elbo")},  # a mixture of posteriors, and a rate to learn
}
#: Losses that draw random numbers at use too: what is said of them holds in the mean, and is tested with them.
DRAWN = ("contractive", "decoder_gradient", "iwae", "mmd")
#: Losses of a batch as a sample, no mean over its rows: the same rows twice cost the same, two halves do not.
OF_THE_BATCH = ("decorrelation", "kl", "total_correlation")
#: Losses that hold the rows of a batch against each other: even the same rows twice are another question.
AMONG_ROWS = ("total_correlation",)
#: Detectors stand beside the network and have their own contract (tests/core/detectors).
ALL = [(place, name) for place, menu in MENUS.items() for name in menu if place != "detector"]
N = 12


def part(name, **options):
    return Part(name, {**NEEDED.get(name, {}), **options})


def rows(likelihood, shape, n=N, dtype=torch.float32):
    """Rows that this likelihood can model."""
    g = torch.Generator().manual_seed(1)
    if likelihood in ("mixed", "joint"):
        levels = NEEDED["mixed"]["levels"] if likelihood == "mixed" else [0, 1, 3]
        columns = [
            torch.randn(n, generator=g) if k == 0 else torch.randint(max(k, 2), (n,), generator=g) for k in levels
        ]
        columns += [torch.rand(n, generator=g)] * (shape[0] - len(levels))
        return torch.stack([c.to(dtype) for c in columns], dim=1)
    if likelihood == "categorical":
        return torch.randint(3, (n, *shape), generator=g).to(dtype)
    if likelihood == "pixels":
        return (torch.rand(n, *shape, generator=g, dtype=torch.float64) * 255).round().div(255).to(dtype)
    if likelihood in ("bernoulli", "multinomial"):
        return torch.rand(n, *shape, generator=g).to(dtype)
    return torch.randn(n, *shape, generator=g, dtype=torch.float64).to(dtype)


def net_of(place="bottleneck", name="plain", **changes):
    """A small network in which ``name`` stands in its ``place``, and rows for it."""
    shape = SHAPES.get(name, (6,))
    body = part("conv" if name == "conv" else "mlp", widths=[8, 7])
    spec = Spec(encoder=body, decoder=body, latent_dim=3)
    if place in ("encoder", "decoder"):
        here = part(name) if "widths" not in options_of(MENUS[place][name]) else part(name, widths=[8, 7])
        spec = spec.replace(**{place: here})
    elif place == "penalties":
        spec = spec.replace(penalties=(part(name),))
    else:
        spec = spec.replace(**{place: part(name)})
    spec = spec.replace(**COMPANIONS.get(name, {}) | changes)
    torch.manual_seed(0)
    return Net(spec, shape), rows(spec.likelihood.kind, shape)


@pytest.mark.parametrize(("place", "name"), ALL)
class TestEveryPart:
    """Whatever its place, in a whole network."""

    def test_every_parameter_gets_a_gradient(self, place, name):
        net, x = net_of(place, name)
        net.train()
        losses, groups = net.losses(x=x), net.groups()
        assert losses.groups.keys() == groups.keys()
        for group, parameters in groups.items():
            losses.backward(group, parameters)
            assert losses.groups[group].shape == ()
            for p in parameters:
                assert p.grad is not None
                assert p.grad.isfinite().all()
        still = [n for n, p in net.named_parameters() if not p.grad.any()]
        assert not still, f"no gradient reaches {still}"

    def test_the_groups_are_all_parameters_once(self, place, name):
        net, _ = net_of(place, name)
        told = [id(p) for group in net.groups().values() for p in group]
        assert sorted(told) == sorted(id(p) for p in net.parameters())

    def test_use_is_deterministic(self, place, name):
        net, x = net_of(place, name)
        net.eval()
        before = torch.get_rng_state()
        first, again = net.encode(x), net.encode(x)
        assert torch.equal(first, again)
        assert torch.equal(net.decode(first).mean, net.decode(again).mean)
        assert torch.equal(net.code_nats(net.trace(x).code), net.code_nats(net.trace(x).code))
        assert torch.equal(net.trace(x).code.z, first)
        assert torch.equal(torch.get_rng_state(), before)

    def test_a_row_at_use_knows_no_neighbours(self, place, name):
        net, x = net_of(place, name)
        net = net.eval().double()
        torch.testing.assert_close(net.encode(x.double())[3:4], net.encode(x[3:4].double()))
        many, alone = net.trace(x.double()).code, net.trace(x[3:4].double()).code
        torch.testing.assert_close(net.code_nats(many)[3:4], net.code_nats(alone))

    def test_float64_agrees(self, place, name):
        net, x = net_of(place, name)
        net.eval()
        low = net.encode(x)
        high = copy.deepcopy(net).double().encode(x.double())
        torch.testing.assert_close(low.double(), high, rtol=1e-4, atol=1e-5)

    def test_rows_of_another_order_give_the_same_codes(self, place, name):
        net, x = net_of(place, name)
        order = torch.randperm(len(x))
        torch.testing.assert_close(net.eval().encode(x[order]), net.encode(x)[order])

    def test_the_loss_of_a_row_does_not_grow_with_the_batch(self, place, name):
        """Nats per row: the same rows twice cost the same, where nothing is drawn."""
        if name in DRAWN or name in AMONG_ROWS:
            pytest.skip("drawn anew for every row, or held against the others")
        net, x = net_of(place, name)
        net = net.eval().double()
        once, twice = (net.terms(net.trace(rows_.double())) for rows_ in (x, torch.cat([x, x])))
        for term in once:
            torch.testing.assert_close(once[term].mean(), twice[term].mean())

    def test_state_and_back(self, place, name):
        net, x = net_of(place, name)
        again, _ = net_of(place, name)
        for p in again.parameters():
            p.data.zero_()
        again.load_state_dict(net.state_dict())
        assert torch.equal(net.eval().encode(x), again.eval().encode(x))

    def test_repr_shows_the_configuration(self, place, name):
        net, _ = net_of(place, name)
        built = net.penalties[name] if place == "penalties" else getattr(net, place)
        assert type(built).__name__ in repr(net)
        for option in options_of(MENUS[place][name]):
            if option in ("spatial", "per"):  # seen in the shapes, and in the noise
                continue
            shown = str(getattr(built, option, None)) in repr(built) or f"{option}=" in repr(built)
            assert shown or name in ("conv", "code", "mixed"), f"{option} is not in {built!r}"

    def test_a_wrong_option_names_the_right_ones(self, place, name):
        with pytest.raises(SpecError, match="is called 'no_such_option'"):
            net_of(place, name, **_with(place, part(name, no_such_option=1)))

    def test_options_are_keywords_with_json_defaults(self, place, name):
        for option in options_of(MENUS[place][name]).values():
            plain = (int, float, str, bool, tuple, type(None))
            assert option.default is inspect.Parameter.empty or isinstance(option.default, plain)

    def test_its_file_cites_or_explains(self, place, name):
        assert MENUS[place][name].__doc__


class Inference(nn.Module):
    """What a model is at use, as one graph: x → code, reconstruction."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x):
        z = self.net.encode(x)
        return z, self.net.decode(z).mean


# torch's own recurrent layers put their weights into a list of their own while they are traced
@pytest.mark.filterwarnings("ignore:The tensor attributes .*_flat_weights:UserWarning")
@pytest.mark.parametrize(
    ("place", "name"), [(p, n) for p, n in ALL if p in ("encoder", "bottleneck", "decoder", "likelihood")]
)
def test_inference_is_a_graph_without_python(place, name):
    """``torch.export`` takes it, for any number of rows, and it answers the same."""
    net, x = net_of(place, name)
    inference = Inference(net.eval())
    rows_ = torch.export.Dim("rows", min=2, max=4096)
    graph = torch.export.export(inference, (x,), dynamic_shapes={"x": {0: rows_}}).module()
    for given in (x, x[:5]):
        for found, expected in zip(graph(given), inference(given), strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def _with(place, chosen):
    return {place: (chosen,) if place == "penalties" else chosen}


@pytest.mark.parametrize(("place", "name"), ALL)
def test_a_misspelt_name_is_guessed(place, name):
    with pytest.raises(SpecError, match=f"Did you mean '{name}'"):
        net_of(place, name, **_with(place, Part(name[:-1] + "q" + name[-1])))


@pytest.mark.parametrize("name", [n for n in LIKELIHOODS if n in NEEDED])
def test_a_missing_option_is_named(name):
    with pytest.raises(SpecError, match=r"needs the option '(levels|sides)'"):
        net_of("likelihood", name, likelihood=Part(name))


@pytest.mark.parametrize("name", [n for n in BOTTLENECKS if n != "hyperprior"])  # that takes maps alone
def test_bottlenecks(name):
    bottleneck = make(BOTTLENECKS, "bottleneck", part(name), (8,), 3)
    h = torch.randn(N, 8)
    for training in (True, False):
        code = bottleneck.train(training)(h)
        assert code.z.shape == (N, *bottleneck.code_shape)
        assert code.rate.shape == (N,)
        assert (code.rate >= 0).all()
    assert torch.equal(code.z, bottleneck.mode(h))


@pytest.mark.parametrize("name", [n for n in BOTTLENECKS if "spatial" in options_of(BOTTLENECKS[n])])
def test_codes_may_be_feature_maps(name):
    bottleneck = make(BOTTLENECKS, "bottleneck", part(name, spatial=True), (8, 5, 4), 3)
    code = bottleneck(torch.randn(N, 8, 5, 4))
    assert code.z.shape == (N, *bottleneck.code_shape) == (N, 3, 5, 4)
    assert code.rate.shape == (N,)
    net, x = net_of("encoder", "conv", bottleneck=part(name, spatial=True))
    assert net.trace(x).p.mean.shape == x.shape


#: Bottlenecks that round, to levels, codewords or length 1: they begin near the map, as near as those are.
ROUNDED = ("binary", "fsq", "spherical", "vq")
#: Bottlenecks whose codes are never below 0: no linear map is a start for them.
RECTIFIED = ("batch_topk", "jumprelu", "relu", "sigmoid", "topk")
#: Bottlenecks without a layer of their own.
BARE = ("hyperprior", "open")


@pytest.mark.parametrize("name", [n for n in BOTTLENECKS if n not in (*ROUNDED, *RECTIFIED, *BARE)])
def test_a_linear_start_is_that_linear_map(name):
    bottleneck = make(BOTTLENECKS, "bottleneck", part(name), (8,), 3)
    weight, bias, x = torch.randn(3, 5), torch.randn(3), torch.randn(N, 5)
    body = MLP((5,), (3,), widths=[3], linear_path=True)
    bottleneck.start_linear(body, weight, bias)
    torch.testing.assert_close(bottleneck.mode(body(x)), x @ weight.T + bias)


@pytest.mark.parametrize("name", [n for n in LIKELIHOODS if n != "graded"])  # that takes a picture and its quality
class TestLikelihoods:
    def given(self, name, shape=(6,)):
        likelihood = make(LIKELIHOODS, "likelihood", part(name), (5,), shape)
        torch.manual_seed(3)
        return likelihood, likelihood(torch.randn(N, 5)), rows(name, shape)

    def test_shapes(self, name):
        likelihood, p, x = self.given(name)
        assert p.mean.shape == p.log_probs(x).shape == p.sample().shape == x.shape
        assert p.expected.shape == likelihood.represent(x).shape == (N, *likelihood.features_shape)
        assert p.log_prob(x).shape == (N,)
        torch.testing.assert_close(p.log_prob(x), p.log_probs(x).sum(1))

    def test_its_own_draws_and_guesses_are_possible(self, name):
        likelihood, p, x = self.given(name)
        assert likelihood.problem(x) is None
        assert likelihood.problem(p.sample()) is None
        assert p.log_prob(p.sample()).isfinite().all()

    def test_draws_repeat_under_a_generator(self, name):
        _, p, _ = self.given(name)
        draws = [p.sample(torch.Generator().manual_seed(7)) for _ in range(2)]
        assert torch.equal(*draws)

    def test_what_is_not_observed_costs_nothing_and_pulls_nowhere(self, name):
        likelihood, _, x = self.given(name)
        observed = torch.rand(x.shape, generator=torch.Generator().manual_seed(5)) < 0.6
        h = torch.randn(N, 5)
        p = likelihood(h)
        if likelihood.calibrates:  # analytic: known before, so that rows are comparable
            likelihood.calibrate(x, observed, p.mean)
            p = likelihood(h)
        nats = p.log_probs(x, observed)
        assert (nats[~observed] == 0).all()
        if name != "multinomial":  # of which each entry is a share of all that are observed
            torch.testing.assert_close(nats[observed], p.log_probs(x)[observed])
        other = torch.where(observed, x, torch.zeros_like(x))
        torch.testing.assert_close(p.log_prob(other, observed), p.log_prob(x, observed))
        (lone,) = torch.autograd.grad(p.log_probs(x, torch.zeros_like(observed)).sum(), next(likelihood.parameters()))
        assert (lone == 0).all()

    def test_what_is_hidden_is_not_shown(self, name):
        likelihood, _, x = self.given(name)
        visible = torch.rand(x.shape, generator=torch.Generator().manual_seed(5)) < 0.6
        reach = likelihood.reach(visible)
        assert reach.shape == (N, *likelihood.features_shape)
        shown = likelihood.represent(torch.where(visible, x, 0.0), visible)
        assert (shown[~reach] == 0).all()
        torch.testing.assert_close(shown[reach], likelihood.represent(x)[reach])

    def test_a_linear_start_is_linear_to_first_order(self, name):
        """expected ≈ mean + weight @ z for small z, where the mean is one that this likelihood can have."""
        if name == "multinomial":
            pytest.skip("begins at the shares of all rows, whatever the code")
        likelihood = self.given(name)[0].double()
        # many rows, so that every level occurs: shares next to 0 have no finite logit, and start at a floor
        features = likelihood.represent(rows(name, (6,), 400, torch.float64))
        mean = features.mean(0)
        weight = (features[:2] - features[2:4]).T.contiguous()  # keeps the sum of a column's levels
        body = MLP((2,), (6,), widths=[3], linear_path=True).double()
        likelihood.start_linear(body, weight, mean)
        z = torch.tensor([[1e-5, -2e-5]], dtype=torch.float64)
        torch.testing.assert_close(likelihood(body(z)).expected[0], mean + weight @ z[0], rtol=0, atol=1e-8)

    def test_float64_agrees(self, name):
        likelihood, _, x = self.given(name)
        h = torch.randn(N, 5)
        low = likelihood(h).log_prob(x)
        high = likelihood.double()(h.double()).log_prob(x.double())
        torch.testing.assert_close(low.double(), high, rtol=1e-4, atol=1e-4)

    def test_images_have_nats_per_pixel(self, name):
        if name in ("joint", "mixed", "multinomial"):
            pytest.skip("columns alone")
        likelihood, p, x = self.given(name, (2, 4, 3))
        assert p.log_probs(x).shape == p.mean.shape == p.sample().shape == x.shape
        assert p.expected.shape == likelihood.represent(x).shape == (N, *likelihood.features_shape)
        assert p.log_prob(x).shape == (N,)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_corruptions(name):
    corruption = make(CORRUPTIONS, "corruption", part(name))
    x = torch.randn(N, *SHAPES.get(name, (6,)))
    kept = x.clone()
    torch.manual_seed(0)
    shown = corruption(x, None)
    assert torch.equal(x, kept), "the rows themselves stay whole"
    assert shown.x.shape == (x if shown.target is None else shown.target).shape
    assert (shown.hidden is not None) == corruption.hides
    if corruption.hides:
        assert shown.hidden.dtype == torch.bool
        assert shown.hidden.any()
        assert not shown.x[shown.hidden].any()
        assert torch.equal(shown.x[~shown.hidden], x[~shown.hidden])
    torch.manual_seed(0)
    assert torch.equal(corruption(x, None).x, shown.x)
    net, rows_ = net_of("corruption", name)
    assert torch.equal(net.eval().trace(rows_).corrupted.x, rows_), "in training only"


@pytest.mark.parametrize("name", PRIORS)
class TestPriors:
    def test_shapes(self, name):
        prior = make(PRIORS, "prior", part(name), (3, 2, 2), (6,))
        prior.fit(torch.randn(50, 3, 2, 2))
        assert prior.sample(7).shape == (7, 3, 2, 2)
        assert prior.log_prob(torch.randn(7, 3, 2, 2)).shape == (7,)

    def test_draws_repeat_under_a_generator(self, name):
        prior = make(PRIORS, "prior", part(name), (3,), (6,))
        draws = [prior.sample(5, torch.Generator().manual_seed(7)) for _ in range(2)]
        assert torch.equal(*draws)

    def test_the_density_integrates_to_one(self, name):
        """By importance sampling: the mean of p/q over draws of a wider normal q."""
        prior = make(PRIORS, "prior", part(name), (2,), (6,))
        g = torch.Generator().manual_seed(0)
        prior.fit(torch.randn(500, 2, generator=g) @ torch.tensor([[1.0, 0.5], [0.0, 0.7]]))
        q = torch.distributions.Normal(torch.zeros(2), 2.0)
        z = 2 * torch.randn(200_000, 2, generator=g)
        total = (prior.log_prob(z) - q.log_prob(z).sum(1)).exp().mean()
        assert total == pytest.approx(1, abs=0.02)

    def test_draws_are_where_the_density_is(self, name):
        """E[log p] over draws is the entropy, so it beats that over draws from elsewhere."""
        prior = make(PRIORS, "prior", part(name), (2,), (6,))
        prior.fit(torch.randn(500, 2, generator=torch.Generator().manual_seed(0)))
        z = prior.sample(2000, torch.Generator().manual_seed(1))
        assert prior.log_prob(z).mean() > prior.log_prob(z + 1).mean()


@pytest.mark.parametrize(
    ("place", "name"),
    [
        (p, n)
        for p, menu in (("objective", OBJECTIVES), ("penalties", PENALTIES))
        for n in menu
        if n not in (*DRAWN, *OF_THE_BATCH)
    ],
)
def test_a_loss_does_not_depend_on_the_batch_size(place, name):
    """With a fixed σ the loss of a batch is the mean of the losses of its halves."""
    net, x = net_of(place, name, likelihood=part("gaussian", sigma=0.5))
    net = net.eval().double()
    whole = net.losses(x=x.double()).groups["main"]
    halves = [net.losses(x=half.double()).groups["main"] for half in x.split(N // 2)]
    torch.testing.assert_close(whole, sum(halves) / 2)


@pytest.mark.parametrize(
    ("place", "name"), [("bottleneck", n) for n in BOTTLENECKS] + [("likelihood", n) for n in LIKELIHOODS]
)
def test_the_loss_of_likelihoods_and_bottlenecks_neither(place, name):
    known = [{**side, "of": {**side["of"], "sigma": 0.5}} for side in NEEDED["joint"]["sides"] if side["entries"] > 1]
    known.insert(1, {"entries": 1, "of": "bernoulli"})
    fixed = {"gaussian": {"sigma": 0.5}, "mixed": {"sigma": 0.5}, "joint": {"sides": known}}
    fixed = fixed.get(name, {}) if place == "likelihood" else {}
    net, x = net_of(place, name, **{"objective": Part("elbo"), "likelihood": part("gaussian", sigma=0.5)} | (
        {"likelihood": part(name, **fixed)} if place == "likelihood" else {}
    ))  # fmt: skip
    net = net.eval().double()
    whole = net.losses(x=x.double()).groups["main"]
    halves = [net.losses(x=half.double()).groups["main"] for half in x.split(N // 2)]
    torch.testing.assert_close(whole, sum(halves) / 2)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_objectives_are_terms_per_row(name):
    net, x = net_of("objective", name)
    for nats in net.objective(net.trace(x)).values():
        assert nats.shape == (N,)


@pytest.mark.parametrize("name", PENALTIES)
def test_penalties_weigh_what_their_weight_says(name):
    net, x = net_of("penalties", name, penalties=(part(name, weight=1.0),))
    double, _ = net_of("penalties", name, penalties=(part(name, weight=2.0),))
    torch.manual_seed(0)
    one = net.penalties[name](net.trace(x))
    torch.manual_seed(0)
    two = double.penalties[name](double.trace(x))
    assert one.shape in ((N,), ())
    torch.testing.assert_close(2 * one, two)


@pytest.mark.parametrize("name", CRITICS)
def test_critics_and_autoencoders_move_apart(name):
    """Each group's backward writes its own gradients and leaves the others' bits alone."""
    net, x = net_of("critic", name)
    net.train()
    groups = net.groups()
    for p in net.parameters():
        p.grad = torch.full_like(p, 7.0)
    losses = net.losses(x=x)
    losses.backward("main", groups["main"])
    assert all((p.grad == 7).all() for p in groups["critic"])
    assert not any((p.grad == 7).all() for p in groups["main"])
    kept = [p.grad.clone() for p in groups["main"]]
    losses.backward("critic", groups["critic"])
    assert all(torch.equal(p.grad, k) for p, k in zip(groups["main"], kept, strict=True))
    assert not any((p.grad == 7).all() for p in groups["critic"])


@pytest.mark.parametrize(("menu", "what"), [(ENCODERS, "encoder"), (DECODERS, "decoder")])
@pytest.mark.parametrize("linear_path", [None, True])
def test_bodies_say_their_shape_and_their_linear_path(menu, what, linear_path):
    for name in menu:
        if linear_path and "linear_path" not in options_of(menu[name]):
            continue
        shape = SHAPES.get(name, (6,))
        options = {} if linear_path is None else {"linear_path": linear_path}
        target = shape if what == "decoder" else (3,)
        if what == "decoder" and name in ("unet", "transform"):  # whose input is all that its encoder gives
            shape = make(ENCODERS, "encoder", part(name), shape, (3,)).out_shape
        body = make(menu, what, part(name, **options), shape, target)
        a, b, zero = torch.randn(N, *shape), torch.randn(N, *shape), torch.zeros(N, *shape)
        assert body(a).shape == (N, *body.out_shape)
        assert body.linear is not None or not linear_path
        if body.linear is not None:
            path_a, path_b, path_both, path_zero = (body(x)[:, body.linear] for x in (a, b, a + b, zero))
            torch.testing.assert_close(path_a + path_b, path_both + path_zero)
