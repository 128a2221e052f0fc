import math

import pytest
import torch
from torch import nn

from isthmus.core.autoencoder import Net
from isthmus.core.penalties import PENALTIES
from isthmus.errors import SpecError
from isthmus.spec import Part, Spec


def test_l2_is_half_the_squared_norm_of_the_code():
    body = Part("mlp", {"widths": [8]})
    weight = {"start": 0, "end": 3}
    net = Net(Spec(encoder=body, decoder=body, latent_dim=2, penalties=(Part("l2", {"weight": weight}),)), (5,))
    trace = net.eval().trace(torch.randn(6, 5))
    torch.testing.assert_close(net.penalties["l2"](trace), 1.5 * trace.code.z.square().sum(1))
    losses = net.losses(x=trace.x)
    torch.testing.assert_close(losses.groups["main"], losses.terms["reconstruction"] + losses.terms["l2"])
    net.progress = 0.0
    assert net.losses(x=trace.x).terms["l2"] == 0


def traced(net, x):
    net.train()
    return net.trace(x=x)


def test_hutchinson_is_the_jacobian_in_the_mean():
    """One sigmoid layer has the closed form Σ_j (h_j (1 − h_j))² Σ_i W_ji² (Rifai et al., 2011)."""
    body = nn.Sequential(nn.Linear(5, 4), nn.Sigmoid())
    spec = Spec(encoder=Part("own", {}), decoder=Part("linear"), latent_dim=4)
    net = Net(spec, (5,), {"encoder": body}).double()
    x = torch.randn(3, 5, dtype=torch.float64)
    h = body(x)
    exact = ((h * (1 - h)).square() @ body[0].weight.square().sum(1)).detach()
    torch.manual_seed(0)
    trace, penalty = traced(net, x), PENALTIES["contractive"](weight=1.0)
    draws = torch.stack([penalty(trace) for _ in range(4000)])
    assert draws.mean(0).sub(exact).abs().lt(5 * draws.std(0) / 4000**0.5).all()


def one_layer(activation="sigmoid", **options):
    bottleneck = Part("plain", {"activation": activation})
    spec = Spec(encoder=Part("linear"), decoder=Part("linear"), bottleneck=bottleneck, latent_dim=4)
    torch.manual_seed(0)
    net = Net(spec.replace(penalties=(Part("contractive", {"weight": 1.0, **options}),)), (5,)).double()
    return net, net.trace(torch.randn(3, 5, dtype=torch.float64))


def test_one_sigmoid_layer_is_exact():
    """Σ_j (z_j (1 − z_j))² Σ_i W_ji² (Rifai et al., 2011), without a random number, and the Jacobian of autograd."""
    net, trace = one_layer()
    before = torch.get_rng_state()
    found = net.penalties["contractive"](trace)
    assert torch.equal(torch.get_rng_state(), before)
    z, weight = trace.code.z, net.bottleneck.head.layer.weight
    torch.testing.assert_close(found, (z * (1 - z)).square() @ weight.square().sum(1))
    for x, nats in zip(trace.x, found, strict=True):
        jacobian = torch.autograd.functional.jacobian(lambda row: net.encode(row[None])[0], x)
        torch.testing.assert_close(nats, jacobian.square().sum())


def test_of_a_linear_encoder_it_is_the_norm_of_the_weights():
    net, trace = one_layer("identity")
    found = net.penalties["contractive"](trace)
    torch.testing.assert_close(found, net.bottleneck.head.layer.weight.square().sum().expand(3))


@pytest.mark.parametrize("activation", ["identity", "sigmoid", "tanh", "gelu"])
def test_the_estimate_agrees_with_the_closed_form_in_the_mean(activation):
    _, trace = one_layer(activation)
    exact = PENALTIES["contractive"](weight=1.0)(trace).detach()
    penalty = PENALTIES["contractive"](weight=1.0, estimate="hutchinson")
    draws = torch.stack([penalty(trace).detach() for _ in range(4000)])
    assert draws.mean(0).sub(exact).abs().lt(5 * draws.std(0) / 4000**0.5).all()


def test_deeper_encoders_are_estimated():
    body = Part("mlp", {"widths": [8]})
    net = Net(Spec(encoder=body, decoder=body, latent_dim=2), (5,))
    assert net.trace(torch.randn(3, 5)).squared_jacobian() is None


def test_the_decoder_gradient_is_with_respect_to_the_code():
    """Of a linear decoder it is the squared norm of its matrix, whatever the rows are."""
    net = Net(Spec(encoder=Part("linear"), decoder=Part("linear"), latent_dim=3), (6,)).double()
    trace = traced(net, torch.randn(4, 6, dtype=torch.float64))
    torch.manual_seed(0)
    penalty = PENALTIES["decoder_gradient"](weight=1.0)
    draws = torch.stack([penalty(trace) for _ in range(4000)]).mean(1)
    exact = net.likelihood.head.layer.weight.square().sum()
    assert abs(draws.mean() - exact) < 5 * draws.std() / 4000**0.5


@pytest.mark.parametrize("name", ["contractive", "decoder_gradient"])
def test_a_penalty_on_a_gradient_is_the_same_on_held_out_rows(name):
    """Scoring keeps no gradients, and the penalty is there all the same."""
    net = Net(Spec(encoder=Part("mlp"), decoder=Part("mlp"), latent_dim=2, penalties=(Part(name),)), (6,)).eval()
    x = torch.randn(4, 6)
    torch.manual_seed(0)
    with_gradients = net.terms(net.trace(x=x))[name]
    torch.manual_seed(0)
    with torch.no_grad():
        torch.testing.assert_close(net.terms(net.trace(x=x))[name], with_gradients)
    assert with_gradients.min() > 0


class TestMMD:
    def test_equal_distributions_are_no_distance_apart(self):
        """The estimate is unbiased: its mean over draws is 0."""
        torch.manual_seed(0)
        mmd = PENALTIES["mmd"]()
        draws = torch.stack([mmd.squared(torch.randn(32, 3), torch.randn(32, 3)) for _ in range(500)])
        assert abs(draws.mean()) < 4 * draws.std() / 500**0.5

    def test_other_distributions_are(self):
        torch.manual_seed(0)
        mmd = PENALTIES["mmd"]()
        assert mmd.squared(torch.randn(200, 3) + 1, torch.randn(200, 3)) > 0.1
        assert mmd.squared(torch.randn(200, 3) * 2, torch.randn(200, 3)) > 0.1

    def test_it_is_the_formula(self):
        a, b = torch.randn(2, 5, 2, dtype=torch.float64)
        mmd = PENALTIES["mmd"](scales=[0.5, 2.0])

        def k(p, q):
            return sum(4 * s / (4 * s + float((p - q) @ (p - q))) for s in (0.5, 2.0))

        pairs = [(i, j) for i in range(5) for j in range(5)]
        within = sum(k(a[i], a[j]) + k(b[i], b[j]) for i, j in pairs if i != j) / 20
        between = 2 * sum(k(a[i], b[j]) for i, j in pairs) / 25
        assert float(mmd.squared(a, b)) == pytest.approx(within - between)

    def test_one_row_has_no_distribution(self):
        assert PENALTIES["mmd"]().squared(torch.randn(1, 2), torch.randn(1, 2)) == 0


@pytest.mark.parametrize("penalty", ["contractive", "decoder_gradient"])
def test_a_jacobian_can_be_differentiated_through_attention(penalty):
    """The fused attention has no second derivative; the gradient of the penalty has to come all the same."""
    body = Part("transformer", {"width": 8, "heads": 2, "depth": 1})
    net = Net(Spec(encoder=body, decoder=body, latent_dim=2, penalties=(Part(penalty),)), (1, 6, 6)).train()
    stack = (net.encoder if penalty == "contractive" else net.decoder).stack.blocks[0]
    (pull,) = torch.autograd.grad(net.penalties[penalty](net.trace(torch.randn(3, 1, 6, 6))).mean(),
                                  stack.query_key_value.weight)  # fmt: skip
    assert pull.any()
    assert pull.isfinite().all()


class TestDecorrelation:
    def test_orthogonal_codes_cost_nothing(self):
        """Numbers without a common part, whatever their sizes and means."""
        z = torch.randn(40, 5, dtype=torch.float64)
        z = torch.linalg.qr(z - z.mean(0)).Q * torch.tensor([1.0, 5, 0.1, 2, 3]) + torch.randn(5)
        assert abs(PENALTIES["decorrelation"]().shared(z)) < 1e-12

    def test_it_is_half_the_squared_correlations_of_all_pairs(self):
        z = torch.randn(30, 4, dtype=torch.float64) @ torch.randn(4, 4, dtype=torch.float64)
        rho = torch.corrcoef(z.T)
        expected = sum(rho[i, j] ** 2 for i in range(4) for j in range(i))
        torch.testing.assert_close(PENALTIES["decorrelation"]().shared(z), expected)
        torch.testing.assert_close(PENALTIES["decorrelation"]().shared(100 * z), expected)

    def test_a_number_that_never_moves_and_a_lone_row_break_nothing(self):
        z = torch.cat([torch.randn(9, 2), torch.ones(9, 1)], dim=1).requires_grad_()
        for few in (z, z[:1]):
            (gradient,) = torch.autograd.grad(PENALTIES["decorrelation"]().shared(few), z)
            assert gradient.isfinite().all()

    def test_independent_codes_pay_what_chance_gives(self):
        """1/(n − 1) for every pair in the mean."""
        torch.manual_seed(0)
        draws = torch.stack([PENALTIES["decorrelation"]().shared(torch.randn(20, 4)) for _ in range(1000)])
        assert abs(draws.mean() - 6 / 19) < 4 * draws.std() / 1000**0.5


class TestActiveCodes:
    def net(self, **options):
        body = Part("mlp", {"widths": [8]})
        parts = {"bottleneck": Part("adaptive"), "penalties": (Part("active_codes", options),)}
        return Net(Spec(encoder=body, decoder=body, latent_dim=4, **parts), (6,)).double().eval()

    def test_at_the_end_it_counts_the_numbers_in_use(self):
        net = self.net(weight=0.5)
        trace = net.trace(torch.randn(9, 6, dtype=torch.float64))
        for in_use in range(5):
            trace.code.aux["rates"] = torch.tensor([3.0] * in_use + [0.0] * (4 - in_use)).expand(9, 4)
            expected = torch.full((9,), 0.5 * 3 * math.log1p(in_use / 3))
            torch.testing.assert_close(net.penalties["active_codes"](trace), expected, check_dtype=False)

    def test_it_disturbs_the_undecided_first_and_the_decided_never(self):
        """The gradient on a rate falls with the rate, and in the end only next to nothing is asked to go."""
        net = self.net()
        trace = net.trace(torch.randn(1, 6, dtype=torch.float64))
        for progress, at_three in ((0.0, True), (1.0, False)):
            trace.progress = progress
            rates = torch.tensor([[0.05, 0.5, 1.5, 3.0]], dtype=torch.float64, requires_grad=True)
            trace.code.aux["rates"] = rates
            (pull,) = torch.autograd.grad(net.penalties["active_codes"](trace).sum(), rates)
            assert (pull.diff() < 0).all()
            assert bool(pull[0, -1] > 1e-3) == at_three

    def test_a_code_without_rates(self):
        body = Part("mlp", {"widths": [8]})
        net = Net(Spec(encoder=body, decoder=body, latent_dim=4, penalties=(Part("active_codes"),)), (6,))
        with pytest.raises(SpecError, match="Say bottleneck='adaptive'"):
            net.losses(x=torch.randn(9, 6))
