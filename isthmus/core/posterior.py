"""The posterior of a noisy code: what bounds on the likelihood need beside the code's one draw.

.. math:: q(z \\mid x) = N(\\mu, \\operatorname{diag} \\sigma^2)
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from isthmus.core.parts import Code
from isthmus.errors import SpecError

if TYPE_CHECKING:
    from isthmus.core.autoencoder import Net


@dataclass(frozen=True)
class Posterior:
    """Independent normals, one per row: ``mu`` and ``log_var`` are (B, *code_shape)."""

    mu: Tensor
    log_var: Tensor

    @classmethod
    def of(cls, code: Code, who: str) -> Posterior:
        """The posterior behind ``code``; ``who`` asks for it, and is named where there is none."""
        if "log_var" not in code.aux:
            raise SpecError(f"{who} needs a noisy code. Say bottleneck='gaussian', or recipe='variational'.")
        return cls(code.aux["mu"], code.aux["log_var"])

    def sample(self, *several: int, generator: torch.Generator | None = None) -> Tensor:
        """(*several, B, *code_shape)."""
        shape = (*several, *self.mu.shape)
        noise = torch.randn(shape, generator=generator, dtype=self.mu.dtype, device=self.mu.device)
        return self.mu + noise * (self.log_var / 2).exp()

    def log_prob(self, z: Tensor) -> Tensor:
        """(…, B, *code_shape) → (…, B) nats."""
        apart = (z - self.mu).square() * (-self.log_var).exp()
        nats = -0.5 * (apart + self.log_var + math.log(2 * math.pi))
        return nats.flatten(z.ndim - self.mu.ndim + 1).sum(-1)


@torch.no_grad()
def log_evidence(
    net: Net,
    samples: int,
    generator: torch.Generator | None,
    x: Tensor,
    observed: Tensor | None = None,
    condition: Tensor | None = None,
) -> Tensor:
    """log p(x) of each row (B,), float64, by importance sampling from the posterior: in the mean a lower bound.

    .. math:: \\log \\frac1K \\sum_k \\frac{p(x \\mid z_k)\\, p(z_k)}{q(z_k \\mid x)}, \\qquad z_k \\sim q(z \\mid x)

    One draw at a time, so that memory does not grow with ``samples``.

    References:
        Burda, Grosse, Salakhutdinov, Importance Weighted Autoencoders, 2016, https://arxiv.org/abs/1509.00519
    """
    q = Posterior.of(net.bottleneck(net.encoded(net.features(x, observed), observed)), "log_likelihood")
    total = torch.full((len(x),), -math.inf, dtype=torch.float64, device=x.device)
    for _ in range(samples):
        z = q.sample(generator=generator)
        nats = net.decode(z, condition).log_prob(x, observed) + net.prior.log_prob(z) - q.log_prob(z)
        total = torch.logaddexp(total, nats.double())
    return total - math.log(samples)
