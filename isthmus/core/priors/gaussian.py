"""Normal densities: the standard one, and the one with the codes' own mean and covariance.

.. math:: z \\sim N(m, L L^\\top)
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from isthmus.core.parts import Prior, Shape, size


class StandardNormal(Prior):
    """N(0, I): what a rate is counted against. There is nothing to fit."""

    def __init__(self, code_shape: Shape, seen_shape: Shape):
        super().__init__()
        self.code_shape = tuple(code_shape)
        self.register_buffer("where", torch.zeros(()), persistent=False)  # follows the model's device

    def fit(self, z: Tensor) -> None:
        pass

    def log_prob(self, z: Tensor) -> Tensor:
        z = z.flatten(1)
        return -0.5 * (z.square().sum(1) + z.shape[1] * math.log(2 * math.pi))

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        return torch.randn(n, *self.code_shape, generator=generator, device=self.where.device)


class FullGaussian(Prior):
    """N(m, LLᵀ) with the mean and covariance of the codes. Beside a linear decoder this is exactly
    probabilistic PCA, so that −log p(x | z) − log p(z) ranks rows as a density does.

    References:
        Tipping and Bishop, Probabilistic Principal Component Analysis, 1999.
    """

    def __init__(self, code_shape: Shape, seen_shape: Shape):
        super().__init__()
        self.code_shape = tuple(code_shape)
        n = size(code_shape)
        self.register_buffer("center", torch.zeros(n))
        self.register_buffer("factor", torch.eye(n))

    @torch.no_grad()
    def fit(self, z: Tensor) -> None:
        z = z.flatten(1).double()
        center = z.mean(0)
        covariance = (z - center).T @ (z - center) / max(len(z) - 1, 1)
        # a little of the mean variance on the diagonal: fewer rows than dimensions must not be singular
        scale = covariance.diagonal().mean().clamp(min=1e-12)
        covariance = covariance + 1e-3 * scale * torch.eye(len(center), dtype=z.dtype, device=z.device)
        self.center.copy_(center)
        self.factor.copy_(torch.linalg.cholesky(covariance))

    def whiten(self, z: Tensor) -> Tensor:
        """(n, *code_shape) → L⁻¹(z − m), (n, d)."""
        return torch.linalg.solve_triangular(self.factor, (z.flatten(1) - self.center).T, upper=False).T

    def colour(self, w: Tensor) -> Tensor:
        """(n, d) → m + Lw, (n, *code_shape)."""
        return (self.center + w @ self.factor.T).reshape(-1, *self.code_shape)

    @property
    def log_det(self) -> Tensor:
        """log |det L|."""
        return self.factor.diagonal().log().sum()

    def log_prob(self, z: Tensor) -> Tensor:
        apart = self.whiten(z)
        return -0.5 * (apart.square().sum(1) + len(self.center) * math.log(2 * math.pi)) - self.log_det

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        noise = torch.randn(n, len(self.center), generator=generator, device=self.center.device)
        return self.colour(noise.to(self.center))
