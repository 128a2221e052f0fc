"""A prior that the condition steers: where codes of this label, or at this number, are to be found.

.. math:: p(z \\mid c) = N\\bigl(z; A c + a, \\operatorname{diag} \\exp(B c + b)\\bigr)

For one-hot labels that is a normal of its own for each of them. Without a condition it is N(0, I), where it begins.

References:
    Sohn, Lee, Yan, Learning Structured Output Representation using Deep Conditional Generative Models, 2015.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from isthmus.core.parts import Code, Prior, Shape, size
from isthmus.core.posterior import Posterior

#: log σ² is kept in this range.
_LOG_VAR = (-6.0, 6.0)


class Conditional(Prior):
    """A normal for every condition, learned with the network. Needs a noisy code, and an objective with a rate.

    It speaks of the conditions of the last pass, row by row; several codes of a row come codes outermost.
    """

    learned = True

    def __init__(self, code_shape: Shape, seen_shape: Shape):
        super().__init__()
        self.code_shape = tuple(code_shape)
        self.where: nn.Linear | None = None
        self.register_buffer("standard", torch.zeros(1, 2 * size(code_shape)), persistent=False)
        self._current: Tensor | None = None

    def steer(self, n: int) -> None:
        if n:
            self.where = nn.Linear(n, 2 * size(self.code_shape))
            nn.init.zeros_(self.where.weight)
            nn.init.zeros_(self.where.bias)

    def renew(self, encode: Callable[[Tensor], Code], condition: Tensor | None) -> None:
        known = self.where is not None and condition is not None
        self._current = self.where(condition) if known else None

    def fit(self, z: Tensor) -> None:
        """Nothing: it was learned."""

    def log_prob(self, z: Tensor) -> Tensor:
        mu, log_var = self._normal(len(z))
        apart = (z.flatten(1) - mu).square() * (-log_var).exp()
        return -0.5 * (apart + log_var + math.log(2 * math.pi)).sum(1)

    def rate(self, code: Code) -> Tensor:
        """KL(q ‖ p), in closed form."""
        q = Posterior.of(code, "The prior 'conditional'")
        mu, log_var = self._normal(len(q.mu))
        theirs, noise = q.mu.flatten(1), q.log_var.flatten(1)
        apart = ((theirs - mu).square() + noise.exp()) * (-log_var).exp()
        return 0.5 * (apart + log_var - noise - 1).sum(1)

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        mu, log_var = self._normal(n)
        noise = torch.randn(n, mu.shape[1], generator=generator, device=mu.device)
        return (mu + noise * (log_var / 2).exp()).reshape(n, *self.code_shape)

    def _normal(self, n: int) -> tuple[Tensor, Tensor]:
        """Mean and log variance of ``n`` codes, (n, d) each."""
        known = self.standard if self._current is None else self._current
        known = known.repeat(-(-n // len(known)), 1)[:n]
        mu, log_var = known.chunk(2, dim=1)
        return mu, log_var.clamp(*_LOG_VAR)

    def __getstate__(self) -> dict[str, Any]:
        # what it speaks of hangs on the tape of the last pass, and a copy begins without it
        return {**self.__dict__, "_current": None}
