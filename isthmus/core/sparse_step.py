r"""The training step of a top-k dictionary with its gradient derived by hand: only what fired is worked on.

.. math::
    \frac{\partial}{\partial d_j} = \sum_{i\,:\,j \text{ fired in } i} z_{ij} \, g_i, \qquad
    \frac{\partial}{\partial w_j} = \sum_{i\,:\,j \text{ fired in } i} \langle g_i, d_j \rangle \, x_i, \qquad
    g_i = \frac{\hat x_i - x_i}{B \sigma^2}

Of n latents k fire. The one dense product is the encoder's; the other four of a tape (decode, and the gradients of
the code, the decoder and the encoder) become sums over what fired, by row and by latent, which is what an
``embedding_bag`` computes. The same numbers as :meth:`Net.losses`, checked against it in the tests.

References:
    Gao et al., Scaling and evaluating sparse autoencoders, 2024, https://arxiv.org/abs/2406.04093 (sparse kernels).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding_bag

from isthmus.core.autoencoder import Net, visible_of
from isthmus.core.bottlenecks.topk import BatchTopK, TopK
from isthmus.core.handmade import store
from isthmus.core.likelihoods import Gaussian
from isthmus.core.networks.dense import Linear, product
from isthmus.core.networks.dictionary import Dictionary
from isthmus.core.objectives import ELBO, Reconstruction
from isthmus.core.parts import Losses
from isthmus.core.penalties.sparsity import Revival


@dataclass
class _Fired:
    """What fired, by row: the latents one after another, how strong each is, and where each row begins."""

    latents: Tensor
    values: Tensor
    rows: Tensor
    starts: Tensor

    @classmethod
    def of(cls, bottleneck: TopK | BatchTopK, pre: Tensor) -> _Fired:
        n_rows, n = pre.shape
        values, at = bottleneck.strongest(pre)
        if isinstance(bottleneck, TopK):
            starts = torch.arange(0, values.numel(), bottleneck.k)
            rows = torch.arange(n_rows).repeat_interleave(bottleneck.k)
            return cls(at.flatten(), values.flatten(), rows, starts)
        at, order = at.sort()
        rows = at.div(n, rounding_mode="floor")
        return cls(at - rows * n, values[order], rows, torch.searchsorted(rows, torch.arange(n_rows)))

    def summed(self, atoms: Tensor) -> Tensor:
        """Σ_j z_ij d_j for every row."""
        return embedding_bag(self.latents, atoms, self.starts, mode="sum", per_sample_weights=self.values)

    def along(self, g: Tensor, atoms: Tensor) -> Tensor:
        """⟨g_i, d_j⟩ for everything that fired: the gradient of the values, without a copy of either."""
        return torch.ops.aten._embedding_bag_per_sample_weights_backward(
            g, atoms, self.latents, self.starts, self.rows, 0
        )


class SparseStep:
    """``losses(**batch)`` like the network's, with ``backward`` writing into the parameters' ``grad``."""

    def __init__(self, net: Net):
        assert self.fits(net)
        self.net = net
        self.revival = next(iter(net.penalties.values()), None)

    @staticmethod
    def fits(net: Net) -> bool:
        """Whether every part is one that this file knows the gradient of."""
        return (
            type(net.bottleneck) in (TopK, BatchTopK)
            and type(net.encoder) is Linear
            and type(net.decoder) is Dictionary
            and type(net.likelihood) is Gaussian
            and net.likelihood.link == "identity"
            and net.likelihood.noise.sigma != "learned"
            and type(net.objective) in (ELBO, Reconstruction)
            and all(type(penalty) is Revival for penalty in net.penalties.values())
            and net.critic is None
            and not net.spec.condition_dim
            and all(p.requires_grad and p.device.type == "cpu" for p in net.parameters())
        )

    @torch.no_grad()
    def losses(
        self,
        x: Tensor,
        *,
        observed: Tensor | None = None,
        target: Tensor | None = None,
        target_observed: Tensor | None = None,
    ) -> Losses:
        net, n_rows = self.net, len(x)
        encoder, decoder = net.bottleneck.head.layer, net.decoder
        corrupted = net.corruption(x, observed)
        features = net.features(corrupted.x, visible_of(observed, corrupted.hidden)).flatten(1) - net.bottleneck.center
        pre = product(features, encoder.weight, encoder.bias)
        fired = _Fired.of(net.bottleneck, pre)
        self._note(fired, pre.shape)
        wanted, there = (x, observed) if target is None else (target, target_observed)
        error = fired.summed(decoder.weight).add_(decoder.bias).sub_(wanted.flatten(1))
        there = None if there is None else there.flatten(1)
        if there is not None:
            error *= there
        variance, nats = self._nats(error, there)
        terms, dead = {"reconstruction": nats}, None
        if self.revival is not None:
            dead = _Dead(self.revival, net, pre, error, there, variance)
            terms["revival"] = dead.nats

        @torch.no_grad()
        def backward(_: Sequence[nn.Parameter]) -> None:
            g = error / (variance * n_rows)
            pull = fired.along(g, decoder.weight) * (fired.values > 0)
            order = fired.latents.argsort()
            rows = fired.rows[order]
            starts = torch.searchsorted(fired.latents[order], torch.arange(len(decoder.weight)))

            def by_latent(what: Tensor, weights: Tensor) -> Tensor:
                return embedding_bag(rows, what, starts, mode="sum", per_sample_weights=weights[order])

            store(decoder.weight, by_latent(g, fired.values))
            store(decoder.bias, g.sum(0))
            store(encoder.weight, by_latent(features, pull))
            store(encoder.bias, torch.zeros_like(encoder.bias).index_add_(0, fired.latents, pull))
            if dead is not None and len(dead.latents):
                dead.add_gradients(features, n_rows)

        return Losses({"main": sum(terms.values())}, terms, {"main": backward})

    def _note(self, fired: _Fired, shape: torch.Size) -> None:
        bottleneck = self.net.bottleneck
        alive = fired.values > 0
        seen = torch.zeros(shape[1], dtype=torch.bool)
        seen[fired.latents[alive]] = True
        bottleneck.remember(seen, shape[0])
        if isinstance(bottleneck, BatchTopK):
            bottleneck.follow(fired.values[alive])

    def _nats(self, error: Tensor, there: Tensor | None) -> tuple[Tensor, Tensor]:
        """σ² and −log p per row, as the likelihood has them."""
        n_rows, entries = len(error), error.numel() if there is None else int(there.sum())
        variance = self.net.likelihood.noise()
        if variance is None:
            variance = (error.square().sum() / max(entries, 1)).clamp(min=1e-12)
            return variance, entries / (2 * n_rows) * (1 + (2 * math.pi * variance).log())
        variance = variance.flatten()
        logs = (2 * math.pi * variance).log().expand_as(error)
        logs = logs.sum() if there is None else (logs * there).sum()
        return variance, ((error.square() / variance).sum() + logs) / (2 * n_rows)


class _Dead:
    """The revival of dead latents. They are few, and none of them fired: a dense block of their own."""

    def __init__(self, revival: Revival, net: Net, pre: Tensor, error: Tensor, there: Tensor | None, variance: Tensor):
        bottleneck, self.atoms, self.encoder = net.bottleneck, net.decoder.weight, net.bottleneck.head.layer
        self.latents = revival.dead(bottleneck.idle, bottleneck.seen, net.progress)
        self.nats = error.new_zeros(())
        if not len(self.latents):
            return
        values, at = pre[:, self.latents].topk(revival.count(len(self.latents), error.shape[1]), dim=1, sorted=False)
        self.z = pre.new_zeros(len(pre), len(self.latents)).scatter_(1, at, values.relu_())
        self.here = self.atoms[self.latents]
        self.missed = product(self.z, self.here.t())
        if there is not None:
            self.missed *= there
        self.missed += error
        self.price = revival.weight.at(net.progress) / variance.mean()
        self.nats = self.price * self.missed.square().sum() / (2 * len(pre))

    def add_gradients(self, features: Tensor, n_rows: int) -> None:
        g = self.missed * (self.price / n_rows)
        pull = product(g, self.here) * (self.z > 0)
        self.atoms.grad.index_add_(0, self.latents, product(self.z.t(), g.t()))
        self.encoder.weight.grad.index_add_(0, self.latents, product(pull.t(), features.t()))
        self.encoder.bias.grad.index_add_(0, self.latents, pull.sum(0))
