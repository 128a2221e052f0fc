r"""Gaussian whose deviation is the quality that a row is to have: how much its errors weigh beside its rate.

.. math:: -\log p(x \mid z, q) = \tfrac{\|x-\hat x\|^2}{2\sigma_q^2} + \tfrac d2 \log 2\pi\sigma_q^2,
    \qquad \sigma_q = \sigma_{\text{coarse}}^{1-q}\, \sigma_{\text{fine}}^{q}

With a rate in nats this is the rate–distortion loss R + λ D of the literature, at λ = 1 / 2σ². So the negative ELBO of
a row is its rate and the price of its errors. Where steps are fine, σ is also the error that is reached.

References:
    Ballé, Laparra, Simoncelli, End-to-end Optimized Image Compression, 2017, https://arxiv.org/abs/1611.01704
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from isthmus.core.parts import Distribution, Likelihood, Shape


class GradedNormal(Distribution):
    """N(mean, σ²) with one σ a row."""

    def __init__(self, mean: Tensor, sigma: Tensor):
        self.mean = self.expected = mean
        self.sigma = sigma.reshape(-1, *[1] * (mean.ndim - 1))

    def log_probs(self, x: Tensor, observed: Tensor | None = None) -> Tensor:
        nats = -0.5 * ((x - self.mean) / self.sigma).square() - self.sigma.log() - 0.5 * math.log(2 * math.pi)
        return nats if observed is None else nats * observed

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        noise = torch.randn(self.mean.shape, generator=generator, dtype=self.mean.dtype).to(self.mean.device)
        return self.mean + self.sigma * noise


class Graded(Likelihood):
    """Takes what a decoder makes of x, and behind it a plane of the qualities, from 0 (coarse) to 1 (fine)."""

    direct = True
    prices_code = False

    def __init__(self, in_shape: Shape, shape: Shape, *, coarse: float = 22.0 / 255, fine: float = 2.0 / 255):
        super().__init__()
        if not 0 < fine <= coarse:
            raise ValueError(f"0 < fine ≤ coarse, got {fine} and {coarse}")
        self.features_shape, self.coarse, self.fine = tuple(shape), coarse, fine

    def sigma(self, q: Tensor) -> Tensor:
        """The deviation at qualities ``q``."""
        return (math.log(self.coarse) + q * (math.log(self.fine) - math.log(self.coarse))).exp()

    def forward(self, h: Tensor) -> Distribution:
        return GradedNormal(h[:, :-1], self.sigma(h[:, -1, 0, 0]))

    def extra_repr(self) -> str:
        return f"coarse={self.coarse:.4g}, fine={self.fine:.4g}"
