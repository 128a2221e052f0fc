"""A Laplace density of every number of the code by itself: the prior of sparse codes, however many numbers they have.

.. math:: p(z) = \\prod_j \\frac{1}{2 b_j} e^{-|z_j| / b_j}

References:
    Olshausen and Field, Emergence of simple-cell receptive field properties by learning a sparse code, 1996.
"""

from __future__ import annotations

import torch
from torch import Tensor

from isthmus.core.parts import Prior, Shape, size


class Laplace(Prior):
    """Independent Laplace densities around 0, each with the scale that its codes have: E|z_j|."""

    def __init__(self, code_shape: Shape, seen_shape: Shape):
        super().__init__()
        self.code_shape = tuple(code_shape)
        self.register_buffer("scale", torch.ones(size(code_shape)))

    @torch.no_grad()
    def fit(self, z: Tensor) -> None:
        found = z.flatten(1).abs().mean(0)
        # a latent that none of these rows uses must not make the next one infinitely strange
        self.scale.copy_(found.clamp(min=1e-3 * found.mean().clamp(min=1e-12)))

    def log_prob(self, z: Tensor) -> Tensor:
        return -(z.flatten(1).abs() / self.scale + (2 * self.scale).log()).sum(1)

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        even = torch.rand(2, n, len(self.scale), generator=generator, device=self.scale.device).clamp(min=1e-30)
        # the difference of two exponential draws
        return (self.scale * (even[0].log() - even[1].log())).reshape(n, *self.code_shape)
