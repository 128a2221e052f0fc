"""The wiring: sizes, masks, the start at PCA, and modules that a person brings."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from isthmus.core.autoencoder import Net
from isthmus.core.networks import DECODERS, ENCODERS
from isthmus.core.networks.dense import MLP
from isthmus.core.parts import Finished
from isthmus.core.pca import fit_pca, linear_effect
from isthmus.data.batches import InMemory
from isthmus.errors import SpecError
from isthmus.spec import Part, Plan, Spec
from isthmus.training.loop import train

D, K = 10, 3


def rows(n=400, d=D, seed=0):
    """Correlated rows with a mean, so that a bias matters."""
    g = np.random.default_rng(seed)
    x = (g.normal(size=(n, d)) * np.geomspace(2, 0.2, d)) @ np.linalg.qr(g.normal(size=(d, d)))[0] + g.normal(size=d)
    return torch.from_numpy(x).float()


def spec_of(widths=(9, 7), bottleneck="plain", linear_path=True, **changes):
    body = Part("mlp", {"widths": list(widths), "linear_path": linear_path})
    return Spec(encoder=body, decoder=body, bottleneck=Part(bottleneck), latent_dim=K).replace(**changes)


def net_of(spec, shape=(D,), own=None):
    torch.manual_seed(0)
    return Net(spec, shape, own)


def pca_of(x, k=K):
    return fit_pca(lambda: [x], k)


class TestStartAtPCA:
    @pytest.mark.parametrize("widths", [(8,), (9, 7), (3, 40, 2)])
    @pytest.mark.parametrize("bottleneck", ["plain", "gaussian"])
    @pytest.mark.parametrize("tell_missing", [False, True])
    @pytest.mark.parametrize("bodies", ["mlp", "linear"])
    def test_it_is_pca(self, widths, bottleneck, tell_missing, bodies):
        x, spec = rows(), spec_of(widths, bottleneck, tell_missing=tell_missing)
        if bodies == "linear":
            spec = spec.replace(encoder=Part("linear"), decoder=Part("linear"))
        net, pca = net_of(spec).eval(), pca_of(x)
        assert net.starts_linear
        net.start_at_pca(pca)
        torch.testing.assert_close(net.decode(net.encode(x)).mean, pca.reconstruct(x), rtol=0, atol=2e-5)

    def test_with_a_condition_it_is_pca_of_what_the_condition_leaves_over(self):
        x, condition = rows(), torch.eye(4)[torch.arange(400) % 4]
        x = x + condition @ torch.randn(4, D) * 3
        effect = linear_effect(condition, x)
        left = pca_of(x - condition @ effect.T)
        net = net_of(spec_of(condition_dim=4)).eval()
        net.start_at_pca(left, effect)
        expected = left.reconstruct(x - condition @ effect.T) + condition @ effect.T
        torch.testing.assert_close(net.decode(net.encode(x), condition).mean, expected, rtol=0, atol=2e-5)
        means = torch.stack([x[i::4].mean(0) for i in range(4)])
        torch.testing.assert_close(effect - effect.mean(1, keepdim=True), (means - means.mean(0)).T, rtol=0, atol=1e-3)

    @pytest.mark.parametrize("bottleneck", ["plain", "gaussian"])
    def test_codes_are_the_scores_of_the_components(self, bottleneck):
        """On one scale, so that distances stay; each of unit size where a rate asks for it."""
        x, pca = rows(), pca_of(rows())
        net = net_of(spec_of(bottleneck=bottleneck)).eval()
        net.start_at_pca(pca)
        z, scores = net.encode(x), (x - pca.mean) @ pca.components.T
        spread = scores.std(0)
        if bottleneck == "plain":
            spread = spread.square().mean().sqrt().expand(K)
        torch.testing.assert_close(z, scores / spread, rtol=1e-3, atol=1e-3)

    @pytest.mark.parametrize("shape", [(1, 6, 5), (3, 9, 4), (1, 1, 7)])
    @pytest.mark.parametrize("bodies", ["conv", "mlp"])
    @pytest.mark.parametrize("tell_missing", [False, True])
    def test_images_too(self, shape, bodies, tell_missing):
        x = torch.randn(100, *shape, generator=torch.Generator().manual_seed(0)).cumsum(-1)
        body = Part(bodies, {"widths": [4, 6], "linear_path": True})
        net = net_of(spec_of(encoder=body, decoder=body, tell_missing=tell_missing), shape).eval()
        pca = pca_of(x.flatten(1))
        net.start_at_pca(pca)
        back = pca.reconstruct(x.flatten(1)).reshape(x.shape)
        torch.testing.assert_close(net.decode(net.encode(x)).mean, back, rtol=0, atol=1e-4)

    def test_tables_start_near_their_pca(self):
        """To first order: numbers exactly, shares of levels nearly."""
        g = torch.Generator().manual_seed(0)
        t = torch.randn(3000, 1, generator=g)
        level = torch.bucketize(t[:, 0] + 0.7 * torch.randn(3000, generator=g), torch.tensor([-0.4, 0.4])).float()
        coin = (t[:, 0] + torch.randn(3000, generator=g) > 0).float()
        x = torch.cat([t + 0.1 * torch.randn(3000, 1, generator=g), level[:, None], coin[:, None]], dim=1)
        net = net_of(spec_of(likelihood=Part("mixed", {"levels": [0, 3, 1]}), latent_dim=1), (3,)).eval()
        features = net.likelihood.represent(x)
        pca = pca_of(features, 1)
        net.start_at_pca(pca)
        p, back = net.decode(net.encode(x)), pca.reconstruct(features)
        torch.testing.assert_close(p.expected[:, 0], back[:, 0], rtol=0, atol=1e-4)
        usual = (features - features.mean(0)).square().mean(0)
        assert ((p.expected - features).square().mean(0) <= 1.02 * usual).all(), "never worse than the mean row"

    def test_more_codes_than_components(self):
        x = rows(n=3)
        net = net_of(spec_of(latent_dim=5)).eval()
        net.start_at_pca(pca_of(x, 5))
        torch.testing.assert_close(net.decode(net.encode(x)).mean, x, rtol=0, atol=1e-4)

    def test_constant_rows_start_finite(self):
        x = torch.full((20, D), 2.0)
        net = net_of(spec_of()).eval()
        net.start_at_pca(pca_of(x))
        torch.testing.assert_close(net.decode(net.encode(x)).mean, x)

    @pytest.mark.parametrize("place", ["encoder", "decoder"])
    def test_both_ends_need_a_linear_path(self, place):
        assert not net_of(spec_of(**{place: Part("mlp", {"widths": [8]})})).starts_linear
        assert not net_of(spec_of(linear_path=False)).starts_linear

    def test_the_deep_part_can_leave_zero(self):
        """Everything beside the linear path starts without effect, not without gradient."""
        x = rows()
        net = net_of(spec_of()).train()
        net.start_at_pca(pca_of(x))
        losses = net.losses(x=x)
        losses.backward("main", list(net.parameters()))
        assert net.bottleneck.head.layer.weight.grad[:, :7].any()
        assert net.likelihood.head.layer.weight.grad[:, :7].any()


def test_linear_from_a_random_start_finds_the_pca_subspace():
    """Squared error and linear bodies: the error comes down to the tail of the eigenvalues, the span to PCA's."""
    x = rows(600)
    spec = spec_of(encoder=Part("linear"), decoder=Part("linear"), likelihood=Part("gaussian", {"sigma": 1.0}))
    net, pca = net_of(spec), pca_of(x)
    plan = Plan(epochs=300, batch_size=60, learning_rate=0.02)
    train(net, InMemory({"x": x}, 60, seed=0), plan)
    error = (net.decode(net.encode(x)).mean - x).square().sum(1).mean().item()
    tail = torch.linalg.eigvalsh(torch.cov(x.T))[:-K].sum().item() * (len(x) - 1) / len(x)
    assert error == pytest.approx(tail, rel=0.005)
    found = torch.linalg.qr(net.likelihood.head.layer.weight.detach())[0]
    cosines = torch.linalg.svdvals(found.T @ pca.components.T)
    torch.testing.assert_close(cosines, torch.ones(K), rtol=0, atol=2e-3)


class TestMasks:
    def test_the_encoder_is_told_which_entries_are_there(self):
        net = net_of(spec_of(tell_missing=True))
        x, observed = rows(5), torch.rand(5, D) < 0.5
        features = net.features(x, observed)
        assert torch.equal(features[:, :D], x)
        assert torch.equal(features[:, D:], observed.float())
        assert (net.features(x)[:, D:] == 1).all()

    def test_hidden_entries_are_told_too(self):
        net = net_of(spec_of(tell_missing=True, corruption=Part("masking", {"rate": 0.5}))).train()
        observed = torch.rand(5, D) < 0.5
        trace = net.trace(rows(5), observed=observed)
        assert torch.equal(trace.features[:, D:] == 1, observed & ~trace.corrupted.hidden)
        assert torch.equal(trace.observed, observed), "the loss counts what was hidden, and not what is missing"

    def test_images_carry_the_mask_as_channels(self):
        spec = spec_of(encoder=Part("conv"), decoder=Part("conv"), tell_missing=True)
        net = net_of(spec, (2, 6, 5))
        x = torch.randn(4, 2, 6, 5)
        assert net.features(x, x > 0).shape == (4, 4, 6, 5)
        assert net.trace(x, observed=x > 0).p.mean.shape == x.shape

    def test_the_value_of_a_missing_cell_changes_nothing(self):
        net = net_of(spec_of(tell_missing=True)).eval()
        x, observed = rows(8), torch.rand(8, D) < 0.5
        x = x.masked_fill(~observed, 0.0)
        error = net.squared_error(x, observed, net.trace(x, observed=observed).p)
        p = net.decode(net.encode(x, observed))
        torch.testing.assert_close(error, ((x - p.mean).square() * observed).sum(1))

    def test_targets_are_what_the_loss_sees(self):
        net = net_of(spec_of(likelihood=Part("gaussian", {"sigma": 1.0}))).eval()
        noisy, clean = rows(8), rows(8, seed=1)
        trace = net.trace(noisy, target=clean)
        assert trace.x is clean
        torch.testing.assert_close(trace.code.z, net.encode(noisy))
        torch.testing.assert_close(net.objective(trace)["reconstruction"], -trace.p.log_prob(clean))


class TestOwn:
    def test_any_module_as_a_body(self):
        own = {
            "encoder": nn.Sequential(nn.Linear(D, 20), nn.ReLU()),
            "decoder": nn.Sequential(nn.Linear(K, 20), nn.ReLU()),
        }
        net = net_of(spec_of(encoder=Part("own"), decoder=Part("own")), own=own)
        assert net.encoder.out_shape == (20,)
        assert not isinstance(net.encoder.out_shape, Finished)
        assert net.trace(rows(5)).p.mean.shape == (5, D)
        assert net.encode(rows(5)).shape == (5, K)

    def test_finished_ones_get_no_head(self):
        """A module that ends in the code's (the data's) shape is taken at its word."""
        own = {"encoder": nn.Linear(D, K), "decoder": nn.Linear(K, D)}
        net = net_of(spec_of(encoder=Part("own"), decoder=Part("own")), own=own).eval()
        x = rows(5)
        assert torch.equal(net.encode(x), own["encoder"](x))
        assert torch.equal(net.decode(net.encode(x)).mean, own["decoder"](own["encoder"](x)))
        assert len(list(net.parameters())) == 4

    def test_feature_maps(self):
        own = {"encoder": nn.Conv2d(1, 4, 3, stride=2), "decoder": nn.ConvTranspose2d(2, 1, 3, stride=2)}
        spec = spec_of(encoder=Part("own"), decoder=Part("own"), latent_dim=2).replace(
            bottleneck=Part("plain", {"spatial": True})
        )
        net = net_of(spec, (1, 7, 7), own)
        assert net.bottleneck.code_shape == (2, 3, 3)
        assert isinstance(net.decoder.out_shape, Finished)
        assert net.trace(torch.randn(4, 1, 7, 7)).p.mean.shape == (4, 1, 7, 7)

    def test_trying_it_leaves_it_alone(self):
        module = nn.Sequential(nn.Linear(D, 8), nn.BatchNorm1d(8), nn.Dropout(0.5)).train()
        before = copy.deepcopy(module.state_dict())
        net_of(spec_of(encoder=Part("own")), own={"encoder": module})
        assert module.training
        assert all(torch.equal(v, before[k]) for k, v in module.state_dict().items())

    def test_modules_that_do_not_fit(self):
        with pytest.raises(SpecError, match=r"Linear cannot take rows of shape \(10,\)"):
            net_of(spec_of(encoder=Part("own")), own={"encoder": nn.Linear(7, 2)})

        class Pair(nn.Module):
            def forward(self, x):
                return x, x

        with pytest.raises(SpecError, match=r"Pair must return a tensor .batch, ….*got tuple"):
            net_of(spec_of(encoder=Part("own")), own={"encoder": Pair()})
        with pytest.raises(SpecError, match="must return a tensor"):
            net_of(spec_of(encoder=Part("own")), own={"encoder": nn.Flatten(0)})

    def test_a_missing_one_is_asked_for(self):
        with pytest.raises(SpecError, match=r"own module \(Linear\).*open_model\(path, encoder=my_module\)"):
            net_of(spec_of(encoder=Part("own", {"name": "Linear"})))


def test_the_total_is_the_sum_of_its_terms():
    net = net_of(spec_of(objective=Part("elbo"), bottleneck="gaussian", penalties=(Part("l2"),), critic=Part("code")))
    losses = net.train().losses(x=rows(20))
    assert losses.terms.keys() == {"reconstruction", "rate", "l2", "critic"}
    torch.testing.assert_close(losses.groups["main"], sum(losses.terms.values()))
    assert not any(term.requires_grad for term in losses.terms.values())


def test_codes_cost_their_rate_or_their_prior():
    x = rows(20)
    rated = net_of(spec_of(bottleneck="gaussian")).eval()
    code = rated.trace(x).code
    assert torch.equal(rated.code_nats(code), code.rate)
    plain = net_of(spec_of(prior=Part("gaussian"))).eval()
    plain.prior.fit(plain.encode(x))
    code = plain.trace(x).code
    torch.testing.assert_close(plain.code_nats(code), -plain.prior.log_prob(code.z))


@pytest.mark.parametrize("corruption", ["gaussian", "masking"])
@pytest.mark.parametrize("likelihood", [{"kind": "mixed", "levels": [0, 4, 1]}, {"kind": "categorical", "levels": 4}])
def test_noise_leaves_categories_whole(corruption, likelihood):
    """A category plus a little is no category: it is shown as it was, while numbers beside it are noisy."""
    net = Net(
        Spec(encoder=Part("mlp"), decoder=Part("mlp"), latent_dim=2, likelihood=Part.of(likelihood),
             corruption=Part(corruption)),
        (3,),
    ).train()  # fmt: skip
    x = torch.tensor([[1.0, 3.0, 1.0], [0.0, 2.0, 0.0]]).repeat(50, 1)
    trace = net.trace(x=x)
    assert trace.features.isfinite().all()
    if corruption == "gaussian" and likelihood["kind"] == "mixed":
        clean = net.likelihood.represent(x)
        torch.testing.assert_close(trace.features[:, 2:], clean[:, 2:])  # the one-hot of the category
        assert not torch.equal(trace.features[:, 0], clean[:, 0])


class TestPieces:
    """What parts may do beside their own job."""

    def test_weights_stay_on_their_surface(self, monkeypatch):
        class UnitRows(MLP):
            def project_gradient(self):
                w = self.layers[0].weight
                w.grad -= (w.grad * w).sum(1, keepdim=True) * w

            def project(self):
                w = self.layers[0].weight
                w /= w.norm(dim=1, keepdim=True)

            def start_from(self, trace):
                self.project()

        monkeypatch.setitem(DECODERS, "mlp", UnitRows)
        net = net_of(spec_of(linear_path=False))
        x = rows()
        net.start_from(x=x)
        plan = Plan(epochs=2, batch_size=50, learning_rate=0.05)
        train(net, InMemory({"x": x}, 50, 0), plan)
        torch.testing.assert_close(net.decoder.layers[0].weight.norm(dim=1), torch.ones(9))

    def test_an_encoder_that_takes_a_mask_is_given_it_and_no_channels(self, monkeypatch):
        class Counting(MLP):
            takes_mask = True

            def forward(self, x, visible=None):
                self.seen = visible
                return super().forward(x)

        monkeypatch.setitem(ENCODERS, "mlp", Counting)
        net = net_of(spec_of(linear_path=False, tell_missing=True, corruption=Part("masking", {"rate": 0.5})))
        x = rows()
        observed = torch.rand(x.shape) < 0.8
        trace = net.train().trace(x, observed=observed)
        assert trace.features.shape == x.shape
        assert torch.equal(net.encoder.seen, observed & ~trace.corrupted.hidden)
        net.eval().encode(x, observed)
        assert torch.equal(net.encoder.seen, observed)
