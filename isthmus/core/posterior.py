"""The posterior of a noisy code: what bounds on the likelihood need beside the code's one draw.

.. math:: q(z \\mid x) = N(\\mu, \\operatorname{diag} \\sigma^2)
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from isthmus.core.parts import Code
from isthmus.errors import SpecError


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
