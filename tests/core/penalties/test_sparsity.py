import math

import pytest
import torch

from isthmus.core.autoencoder import Net
from isthmus.core.penalties import PENALTIES
from isthmus.errors import SpecError
from isthmus.spec import Part, Spec

N, D, LATENTS = 11, 6, 9


def net_of(penalty, bottleneck="relu", decoder="dictionary", likelihood=None, **changes):
    torch.manual_seed(0)
    spec = Spec(encoder=Part("linear"), decoder=Part.of(decoder), bottleneck=Part.of(bottleneck), latent_dim=LATENTS,
                likelihood=Part.of(likelihood or "gaussian"), penalties=(Part.of(penalty),))  # fmt: skip
    return Net(spec.replace(**changes), (D,)).double().train()


def rows(seed=1):
    return torch.randn(N, D, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class TestL1:
    def test_it_is_the_length_of_what_is_added(self):
        net = net_of({"kind": "l1", "weight": 0.3})
        trace = net.trace(rows())
        parts = trace.code.z[:, :, None] * net.decoder.weight  # (rows, latents, features)
        torch.testing.assert_close(net.penalties["l1"](trace), 0.3 * parts.norm(dim=2).sum(1))

    @pytest.mark.parametrize("decoder", ["dictionary", {"kind": "mlp", "widths": [8]}])
    def test_small_codes_and_large_columns_evade_nothing(self, decoder):
        net = net_of("l1", decoder=decoder)
        trace = net.trace(rows())
        before = net.penalties["l1"](trace)
        weight = net.decoder.weight if decoder == "dictionary" else net.decoder.layers[0].weight
        with torch.no_grad():
            weight.mul_(5)
        trace.code.z = trace.code.z / 5
        torch.testing.assert_close(net.penalties["l1"](trace), before)

    def test_a_decoder_without_columns_is_refused(self):
        net = net_of("l1", decoder="linear")
        with pytest.raises(SpecError, match="Say decoder='dictionary'"):
            net.losses(x=rows())


class TestKL:
    def coins(self, p, q):
        coin = torch.distributions.Bernoulli
        return torch.distributions.kl_divergence(coin(p), coin(q)).sum()

    def test_it_is_the_divergence_between_coins(self):
        net = net_of({"kind": "kl", "weight": 0.7, "probability": 0.1}, "sigmoid")
        trace = net.trace(rows())
        exact = 0.7 * self.coins(torch.tensor(0.1, dtype=torch.float64), trace.code.z.mean(0))
        torch.testing.assert_close(net.penalties["kl"](trace), exact)

    def test_it_is_least_where_every_latent_fires_as_asked(self):
        net = net_of({"kind": "kl", "probability": 0.2}, "sigmoid")
        trace = net.trace(rows())
        asked = torch.full((N, LATENTS), math.log(0.2 / 0.8), dtype=torch.float64, requires_grad=True)
        trace.code.aux["pre"] = asked
        nats = net.penalties["kl"](trace)
        assert nats.detach().abs() < 1e-12
        assert torch.autograd.grad(nats, asked)[0].abs().max() < 1e-12

    @pytest.mark.parametrize("extreme", [-500.0, 500.0])
    def test_latents_that_never_or_always_fire_cost_much_and_not_infinity(self, extreme):
        net = net_of("kl", "sigmoid")
        trace = net.trace(rows())
        trace.code.aux["pre"] = torch.full((N, LATENTS), extreme, dtype=torch.float64, requires_grad=True)
        nats = net.penalties["kl"](trace)
        assert 10 < nats < 1e5
        pull = torch.autograd.grad(nats, trace.code.aux["pre"])[0]
        assert (pull.sign() == (1 if extreme > 0 else -1)).all()

    def test_training_with_it_makes_latents_rest(self):
        net = net_of({"kind": "kl", "weight": 100.0, "probability": 0.05}, "sigmoid")
        optimiser = torch.optim.Adam(net.parameters(), 0.05)
        for _ in range(300):
            optimiser.zero_grad()
            net.losses(x=rows()).groups["main"].backward()
            optimiser.step()
        assert net.encode(rows()).mean().item() == pytest.approx(0.05, abs=0.01)

    def test_a_code_without_activation_is_refused(self):
        with pytest.raises(SpecError, match="needs a sparse code"):
            net_of("kl", "plain").losses(x=rows())


class TestRevival:
    def half_dead(self, penalty="revival", sigma=0.5, **changes):
        net = net_of(penalty, {"kind": "topk", "k": 2}, likelihood={"kind": "gaussian", "sigma": sigma}, **changes)
        with torch.no_grad():
            net.bottleneck.head.layer.bias[::2] = -50.0  # too low to fire
        net.bottleneck.idle[::2] = 1000
        net.bottleneck.seen.fill_(1000)
        net.progress = 0.5
        return net

    def woken(self, penalty="revival", **changes):
        """Half of the latents count as dead, and their π is above 0 all the same."""
        net = self.half_dead(penalty, **changes)
        with torch.no_grad():
            net.bottleneck.head.layer.bias.zero_()
            net.bottleneck.head.layer.bias[::2] = 0.3
            net.bottleneck.head.layer.bias[1::2] = 100.0  # only these can be among the strongest
        return net

    def test_the_formula(self):
        net = self.woken({"kind": "revival", "weight": 0.25, "k": 2})
        x = rows()
        trace = net.trace(x)
        dead = torch.arange(0, LATENTS, 2)
        pre = trace.code.aux["pre"][:, dead]
        best = pre.sort(dim=1, descending=True)
        left, expected = x - trace.p.mean, []
        for i in range(N):
            recalled = sum(
                best.values[i, j].clamp(min=0) * net.decoder.weight[dead[best.indices[i, j]]] for j in (0, 1)
            )
            expected.append(0.25 * (left[i] - recalled).square().sum() / (2 * 0.5**2))
        torch.testing.assert_close(net.penalties["revival"](trace), torch.stack(expected))

    def test_its_gradient_reaches_the_encoder_of_the_dead_and_nothing_of_the_living(self):
        net = self.woken()
        net.penalties["revival"](net.trace(rows())).mean().backward()
        dead = torch.arange(LATENTS) % 2 == 0
        for gradient in (net.bottleneck.head.layer.weight.grad, net.bottleneck.head.layer.bias.grad[:, None],
                         net.decoder.weight.grad):  # fmt: skip
            assert (gradient[dead].abs().sum(1) > 0).all()
            assert (gradient[~dead] == 0).all()
        assert net.decoder.bias.grad is None, "decoded without the bias, and the error is a target"

    def test_the_unit_is_that_of_the_likelihood(self):
        """With the analytic σ² the living pay D/2 nats for their error: α D/2 where the dead explain nothing."""
        net = self.half_dead({"kind": "revival", "weight": 0.5}, sigma="analytic")
        with torch.no_grad():
            net.bottleneck.head.layer.bias[1::2] = 100.0
        assert net.penalties["revival"](net.trace(rows())).mean().item() == pytest.approx(0.5 * D / 2)

    def test_what_was_not_observed_pulls_nowhere(self):
        net = self.woken(sigma="analytic")
        observed = torch.rand(N, D, generator=torch.Generator().manual_seed(3)) < 0.6
        observed[:, 0] = False
        net.penalties["revival"](net.trace(rows() * observed, observed=observed)).mean().backward()
        assert (net.decoder.weight.grad[:, 0] == 0).all()
        assert net.decoder.weight.grad[:, 1:].any()

    @pytest.mark.parametrize(
        ("window", "progress", "dead"),
        [(0.05, 0.5, [2, 3]), (0.5, 0.5, []), (0.05, 0.01, []), (0.05, 0.0, []), (100, 0.0, [2, 3]), (5000, 0.9, [])],
    )
    def test_who_is_dead(self, window, progress, dead):
        """1,000 rows at half the training: it has 2,000, and 5 % of those are 100."""
        revival = PENALTIES["revival"](window=window)
        idle, seen = torch.tensor([0, 100, 101, 1000]), torch.tensor(1000)
        assert revival.dead(idle, seen, progress).tolist() == dead

    def test_nobody_is_dead_before_the_first_step_or_at_use(self):
        net = net_of("revival")
        net.progress = 0.0
        assert (net.penalties["revival"](net.trace(rows())) == 0).all()
        net = self.woken().eval()
        assert (net.penalties["revival"](net.trace(rows())) == 0).all()

    def test_options_and_companions_are_checked(self):
        for wrong in ({"window": 0}, {"k": 0}, {"k": "all"}):
            with pytest.raises(ValueError):
                PENALTIES["revival"](**wrong)
        with pytest.raises(SpecError, match="decoder='dictionary'"):
            net_of("revival", decoder="linear").losses(x=rows())
        with pytest.raises(SpecError, match="needs a sparse code"):
            net_of("revival", "plain").losses(x=rows())

    @pytest.mark.parametrize("likelihood", [Part("bernoulli"), Part("categorical", {"levels": 3}),
                                            Part("mixed", {"levels": [0, 1, 3, 0, 0, 0]}),
                                            Part("mixed", {"levels": [0, 1, 3, 0, 0, 0], "sigma": 0.5})])  # fmt: skip
    def test_it_goes_with_every_likelihood(self, likelihood):
        net = net_of("revival", likelihood=likelihood)
        x = torch.randint(2, (N, D)).double()
        net.losses(x=x)
        net.bottleneck.idle.fill_(1000)
        net.progress = 1.0
        with torch.no_grad():
            net.bottleneck.head.layer.bias.fill_(-0.1)
        trace = net.trace(x)
        trace.code.aux["idle"] = torch.full((LATENTS,), 1000)
        nats = net.penalties["revival"](trace)
        assert nats.isfinite().all()
        assert (nats > 0).all()
