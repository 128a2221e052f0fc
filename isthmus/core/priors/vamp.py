"""VampPrior: the prior is a mixture of the encoder's own answers to rows that are learned.

.. math:: p(z) = \\frac1K \\sum_k q(z \\mid u_k), \\qquad
    \\mathrm{rate} = E_q\\Bigl[\\log q(z \\mid x) - \\log \\tfrac1K \\textstyle\\sum_k q(z \\mid u_k)\\Bigr]

References:
    Tomczak and Welling, VAE with a VampPrior, 2018, https://arxiv.org/abs/1705.07120
    Hershey and Olsen, Approximating the Kullback Leibler Divergence between Gaussian Mixture Models, 2007
    (the bound that a code costs at use).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from isthmus.core.parts import Code, Prior, Shape, Trace, size
from isthmus.core.posterior import Posterior

#: Pseudo-inputs begin this far from rows, in ranges of an entry: where rows are few, several begin at one.
_APART = 0.01


class Vamp(Prior):
    """A mixture of the posteriors at ``pseudo_inputs`` learned rows. Needs a noisy code, and an objective
    with a rate. Free bits are counted against N(0, I), so they have no say here.

    Pseudo-inputs begin at training rows and stay within the range of each entry. ``fit`` keeps the mixture
    as it stands at the end of training; from then on the encoder is not asked again.
    """

    learned = True

    def __init__(self, code_shape: Shape, seen_shape: Shape, *, pseudo_inputs: int = 500):
        super().__init__()
        if pseudo_inputs < 1:
            raise ValueError(f"pseudo_inputs is at least 1, got {pseudo_inputs}")
        self.code_shape, self.pseudo_inputs = tuple(code_shape), pseudo_inputs
        self.inputs = nn.Parameter(torch.zeros(pseudo_inputs, *seen_shape))
        self.register_buffer("low", torch.full(tuple(seen_shape), -math.inf), persistent=False)
        self.register_buffer("high", torch.full(tuple(seen_shape), math.inf), persistent=False)
        # the mixture that fit has kept: N(0, I) before
        self.register_buffer("mu", torch.zeros(pseudo_inputs, size(code_shape)))
        self.register_buffer("log_var", torch.zeros(pseudo_inputs, size(code_shape)))
        self.register_buffer("kept", torch.tensor(False))
        self._current: tuple[Tensor, Tensor] | None = None
        self.register_load_state_dict_post_hook(Vamp._forget)

    def start_from(self, trace: Trace) -> None:
        rows = trace.features
        self.low.copy_(rows.amin(0))
        self.high.copy_(rows.amax(0))
        at = torch.linspace(0, len(rows) - 1, self.pseudo_inputs, device=rows.device).long()
        self.inputs.copy_(rows[at] + _APART * (self.high - self.low) * torch.randn_like(self.inputs))
        self.project()

    def project(self) -> None:
        self.inputs.clamp_(self.low, self.high)

    def renew(self, encode: Callable[[Tensor], Code], condition: Tensor | None = None) -> None:
        if self.training:
            self.kept.fill_(False)
        elif self.kept:
            return
        q = Posterior.of(encode(self.inputs), "The prior 'vamp'")
        self._current = (q.mu.flatten(1), q.log_var.flatten(1))

    @torch.no_grad()
    def fit(self, z: Tensor) -> None:
        if self._current is not None:
            self.mu.copy_(self._current[0])
            self.log_var.copy_(self._current[1])
            self._current = None
        self.kept.fill_(True)

    def log_prob(self, z: Tensor) -> Tensor:
        wide = z.flatten(1).double()
        each = -0.5 * (self._apart(wide, wide.square()) + wide.shape[1] * math.log(2 * math.pi))
        return (each.logsumexp(1) - math.log(self.pseudo_inputs)).to(z)

    def rate(self, code: Code) -> Tensor:
        """−log (1/K) Σ exp(−KL(q ‖ q_k)), which is at least KL(q ‖ p)."""
        q = Posterior.of(code, "The prior 'vamp'")
        mu, log_var = q.mu.flatten(1).double(), q.log_var.flatten(1).double()
        apart = self._apart(mu, mu.square() + log_var.exp())
        each = 0.5 * (apart - log_var.sum(1, keepdim=True) - mu.shape[1])
        return (math.log(self.pseudo_inputs) - (-each).logsumexp(1)).to(q.mu)

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        mu, log_var = self._mixture()
        which = torch.randint(self.pseudo_inputs, (n,), generator=generator, device=mu.device)
        noise = torch.randn(n, mu.shape[1], generator=generator, device=mu.device)
        return (mu[which] + noise * (log_var[which] / 2).exp()).reshape(n, *self.code_shape)

    def _mixture(self) -> tuple[Tensor, Tensor]:
        return (self.mu, self.log_var) if self._current is None else self._current

    def _apart(self, z: Tensor, square: Tensor) -> Tensor:
        """(B, K): Σ over the code of E[(z − μ_k)²] / σ_k² + log σ_k², from E[z] and E[z²], (B, d) each.

        As products of matrices, which need no (B, K, d) in memory; in float64, because large terms cancel.
        """
        mu, log_var = (t.double() for t in self._mixture())
        precise = (-log_var).exp()
        constant = (mu.square() * precise + log_var).sum(1)
        return square @ precise.mT - 2 * z @ (mu * precise).mT + constant

    def _forget(self, _: object) -> None:
        self._current = None

    def __getstate__(self) -> dict[str, Any]:
        # the running mixture hangs on the tape of the last pass, and a copy begins without one
        return {**self.__dict__, "_current": None}

    def extra_repr(self) -> str:
        return f"pseudo_inputs={self.pseudo_inputs}"
