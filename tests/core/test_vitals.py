"""The figures of constructed networks are the ones they were constructed to have."""

import math
from typing import ClassVar

import pytest
import torch

from isthmus.core.autoencoder import Net
from isthmus.core.bottlenecks import BOTTLENECKS
from isthmus.core.bottlenecks.plain import Plain
from isthmus.core.parts import Bottleneck, Code
from isthmus.core.pca import fit_pca
from isthmus.core.vitals import measure
from isthmus.spec import Part, Spec

N, D, K = 400, 6, 3


def rows(seed=0):
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(N, D, generator=g) @ torch.randn(D, D, generator=g)
    return (x - x.mean(0)) / x.std(0, correction=0)


def net_of(latent_dim=K, shape=(D,), seed=0, **changes):
    torch.manual_seed(seed)
    return Net(Spec(encoder=Part("linear"), decoder=Part("linear"), latent_dim=latent_dim).replace(**changes), shape)


def at_pca(x, k=K, **changes):
    net = net_of(k, **changes)
    pca = fit_pca(lambda: [x], k)
    net.start_at_pca(pca)
    return net, pca


def test_at_pca_importance_is_the_eigenvalues_and_the_error_their_tail():
    x = rows()
    net, pca = at_pca(x)
    vitals = measure(net, {"x": x})
    eigenvalues = pca.variances * (N - 1) / N
    torch.testing.assert_close(vitals.codes.importance, eigenvalues, rtol=1e-4, atol=1e-5)
    assert vitals.codes.ranked() == [0, 1, 2]
    assert vitals.spread == pytest.approx(D, rel=1e-5)
    assert vitals.error == pytest.approx(D - float(eigenvalues.sum()), rel=1e-4)
    assert vitals.explained == pytest.approx(float(eigenvalues.sum()) / D, rel=1e-4)


def test_of_noise_comes_back_what_the_size_of_the_code_lets_through():
    """Uncorrelated columns of unit variance through an orthogonal projection: k of d."""
    x = rows()
    assert measure(at_pca(x)[0], {"x": x}).noise == pytest.approx(K / D, abs=0.05)
    identity = measure(at_pca(x, D)[0], {"x": x})
    assert identity.noise == pytest.approx(1, abs=1e-4)
    assert identity.explained == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("beta", [3.0, {"start": 0.0, "end": 3.0, "over": 0.5}])
def test_beta_and_sigma_in_one_unit(beta):
    x = rows()
    net, _ = at_pca(
        x, bottleneck=Part("gaussian"), objective=Part("elbo", {"beta": beta}),
        likelihood=Part("gaussian", {"sigma": 0.5}),
    )  # fmt: skip
    net.progress = 0.1
    vitals = measure(net, {"x": x})
    assert vitals.beta == pytest.approx(3.0, rel=1e-5)
    assert vitals.sigma == pytest.approx(0.5)
    assert vitals.beta_at_unit_sigma == pytest.approx(0.75, rel=1e-5)
    # the loss times σ² is ½‖x − x̂‖² + β σ² · rate, up to a constant
    squares = vitals.reconstruction_nats - D * math.log(math.sqrt(2 * math.pi) * 0.5)
    assert squares * 0.25 == pytest.approx(vitals.error / 2, rel=1e-4)


def test_the_analytic_sigma_is_the_root_of_the_mean_squared_error():
    x = rows()
    net, _ = at_pca(x, likelihood=Part("gaussian", {"per": "all"}))
    net.likelihood.calibrate(x, None, net.decode(net.encode(x)).mean)
    vitals = measure(net, {"x": x})
    assert vitals.sigma == pytest.approx(vitals.rms, rel=1e-5)
    assert vitals.rms == pytest.approx((vitals.error / D) ** 0.5, rel=1e-5)
    assert vitals.beta is None, "nothing is priced"


def test_codes_that_say_nothing_are_inactive_and_cost_what_the_closed_form_says():
    x = rows()
    net, _ = at_pca(x, bottleneck=Part("gaussian"), objective=Part("elbo"))
    with torch.no_grad():
        net.bottleneck.mu.layer.weight[1:] = 0
        net.bottleneck.mu.layer.bias[1:] = 0
        net.bottleneck.log_var.layer.weight.zero_()
        net.bottleneck.log_var.layer.bias.copy_(torch.tensor([math.log(0.5), 0.0, math.log(0.5)]))
    codes = measure(net, {"x": x}).codes
    assert codes.active.tolist() == [True, False, False]
    assert codes.importance[1:].tolist() == pytest.approx([0, 0], abs=1e-5)
    # μ has unit variance, so E μ² = 1
    half = 0.5 * (0.5 - 1 - math.log(0.5))
    assert codes.kl.tolist() == pytest.approx([0.5 + half, 0.0, half], abs=5e-3)


class TwoLargest(Plain):
    expansion: ClassVar[float | None] = 4.0

    def forward(self, h):
        return Code(self.mode(h), h.new_zeros(len(h)))

    def mode(self, h):
        z = self.head(h)
        return torch.where(z >= z.topk(2).values[:, -1:], z, 0)


class Book(Bottleneck):
    """Half of the rows take entry 0, the others 1 to 4 alike."""

    def __init__(self, in_shape, dim):
        super().__init__()
        self.code_shape = (dim,)
        self.register_buffer("book", torch.arange(5.0)[:, None].expand(5, dim))

    def mode(self, h):
        return self.book[self.entries(h)]

    def entries(self, h):
        order = torch.arange(len(h))
        return torch.where(order % 2 == 0, 0, 1 + order // 2 % 4)

    def forward(self, h):
        return Code(self.mode(h), h.new_zeros(len(h)), {"indices": self.entries(h)})


def test_sparse_codes_are_counted(monkeypatch):
    monkeypatch.setitem(BOTTLENECKS, "two_largest", TwoLargest)
    net = net_of(8, bottleneck=Part("two_largest"))
    with torch.no_grad():
        net.bottleneck.head.layer.bias[:3] = -100
    codes = measure(net, {"x": rows()}).codes
    assert codes.l0 == pytest.approx(2)
    assert codes.nonzero[:3].tolist() == [0, 0, 0]
    assert not codes.active[:3].any()


def test_a_codebook_is_counted(monkeypatch):
    monkeypatch.setitem(BOTTLENECKS, "book", Book)
    book = measure(net_of(bottleneck=Part("book")), {"x": rows()}, chunk=80).codebook
    assert book.used == 5
    assert book.perplexity == pytest.approx(math.exp(0.5 * math.log(2) + 0.5 * math.log(8)))


def test_only_priors_that_were_promised_are_held_against_the_codes():
    x = rows()
    assert measure(at_pca(x, prior=Part("gaussian"))[0], {"x": x}).prior_gap is None
    # principal components with unit variance: nothing is to be gained
    whitened = at_pca(x, bottleneck=Part("gaussian"), prior=Part("standard_normal"))[0]
    assert measure(whitened, {"x": x}).prior_gap.nats < 0.3
    assert measure(at_pca(x, bottleneck=Part("fsq"))[0], {"x": x}).prior_gap is None


def test_chunks_and_missing_cells():
    x = rows()
    observed = torch.rand(N, D, generator=torch.Generator().manual_seed(1)) > 0.3
    net = net_of(tell_missing=True)
    whole, parts = (measure(net, {"x": x * observed, "observed": observed}, chunk) for chunk in (1000, 7))
    assert whole.error == pytest.approx(parts.error, rel=1e-5)
    assert whole.noise == pytest.approx(parts.noise, rel=1e-4)
    torch.testing.assert_close(whole.codes.importance, parts.codes.importance, rtol=1e-3, atol=1e-4)
    centred = torch.where(observed, x, torch.nan)
    expected = ((centred - centred.nanmean(0)) ** 2).nansum() / N
    assert whole.spread == pytest.approx(float(expected), rel=1e-4)


def test_a_feature_map_is_judged_by_channel():
    image = torch.rand(20, 2, 9, 8, generator=torch.Generator().manual_seed(0))
    body = Part("conv", {"widths": [4, 3]})
    net = net_of(2, (2, 9, 8), encoder=body, decoder=body, bottleneck=Part("gaussian", {"spatial": True}),
                 objective=Part("elbo"))  # fmt: skip
    vitals = measure(net, {"x": image})
    assert vitals.codes.variance.shape == vitals.codes.kl.shape == vitals.codes.importance.shape == (2,)
    assert float(vitals.codes.kl.sum()) == pytest.approx(vitals.code_nats, rel=1e-5)
