"""Two-stage prior: a second, small variational autoencoder learns what the codes of the first look like.

.. math:: u \\sim N(0, I), \\quad w \\mid u \\sim N\\bigl(g(u), \\operatorname{diag} \\sigma^2\\bigr), \\qquad
    p(w) \\approx \\frac1K \\sum_k \\frac{p(w \\mid u_k)\\, p(u_k)}{\\frac34 q(u_k \\mid w) + \\frac14 p(u_k)}

References:
    Dai and Wipf, Diagnosing and Enhancing VAE Models, 2019, https://arxiv.org/abs/1903.05789
    Hesterberg, Weighted Average Importance Sampling and Defensive Mixture Distributions, 1995
    (three quarters of the u_k are drawn from q, the others from the prior, so that no weight is large).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from isthmus.core.parts import Shape, size
from isthmus.core.posterior import Posterior
from isthmus.core.priors.trained import Trained

#: Where σ² begins, and the smallest log σ²: beyond it the density has spikes at the codes it was fitted to.
_BEGIN, _LEAST = 0.1, -6.0
#: Rows whose density is estimated at once: what they need stays in the cache.
_ROWS = 2048


class TwoStage(Trained):
    """A variational autoencoder on whitened codes, with as many numbers as they have.

    It has no density in closed form: ``log_prob`` is the logarithm of an importance-sampled estimate with
    ``samples`` draws whose noise is fixed. In the mean over that noise the estimate is the density, and its
    logarithm a lower bound.
    """

    steps = 3000

    def __init__(self, code_shape: Shape, seen_shape: Shape, *, width: int = 128, samples: int = 32):
        if width < 1:
            raise ValueError(f"width is at least 1, got {width}")
        if samples < 4 or samples % 4:
            raise ValueError(f"samples is a multiple of 4, got {samples}")
        dim = size(code_shape)
        super().__init__(code_shape, _Stage(dim, width))
        self.width, self.samples = width, samples
        # spread evenly, which errs less than independent draws; each share by itself
        shares = (samples - samples // 4, samples // 4)
        self.register_buffer("noise", torch.cat([_even_normals(n, dim) for n in shares]))

    def cost(self, w: Tensor, generator: torch.Generator) -> Tensor:
        q = self.network.posterior(w)
        rate = (q.mu.square() + q.log_var.exp() - 1 - q.log_var).sum(1) / 2
        return rate - self.network.given(q.sample(generator=generator)).log_prob(w)

    def log_density(self, w: Tensor) -> Tensor:
        return torch.cat([self._estimate(rows) for rows in w.split(_ROWS)])

    def _estimate(self, w: Tensor) -> Tensor:
        q, total = self.network.posterior(w), w.new_tensor(-math.inf)
        for k, noise in enumerate(self.noise):
            own = k < self.samples - self.samples // 4
            u = q.mu + noise * (q.log_var / 2).exp() if own else noise[None]
            prior = _standard(u)
            proposal = torch.logaddexp(q.log_prob(u) + math.log(0.75), prior + math.log(0.25))
            total = torch.logaddexp(total, self.network.given(u).log_prob(w) + prior - proposal)
        return total - math.log(self.samples)

    def draw(self, n: int, generator: torch.Generator | None) -> Tensor:
        u = torch.randn(n, self.dim, generator=generator, device=self.noise.device).to(self.noise)
        return self.network.given(u).sample(generator=generator)

    def extra_repr(self) -> str:
        return f"width={self.width}, samples={self.samples}"


class _Stage(nn.Module):
    """q(u | w) and p(w | u), which begin as the exact pair of the linear model w = u + σ ε."""

    def __init__(self, dim: int, width: int):
        super().__init__()
        self.to_u, self.to_w = _mlp(dim, width, 2 * dim), _mlp(dim, width, dim)
        self.log_var = nn.Parameter(torch.full((dim,), math.log(_BEGIN)))

    def posterior(self, w: Tensor) -> Posterior:
        mu, log_var = self.to_u(w).chunk(2, dim=1)
        log_var = (log_var + math.log(_BEGIN / (1 + _BEGIN))).clamp(-14.0, 8.0)
        return Posterior(w / (1 + _BEGIN) + mu, log_var)

    def given(self, u: Tensor) -> Posterior:
        """p(w | u)."""
        return Posterior(u + self.to_w(u), self.log_var.clamp(min=_LEAST).expand_as(u))


def _mlp(n_in: int, width: int, n_out: int) -> nn.Sequential:
    body = nn.Sequential(nn.Linear(n_in, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, n_out))
    for p in body[-1].parameters():
        nn.init.zeros_(p)
    return body


def _even_normals(n: int, dim: int) -> Tensor:
    """(n, dim) normal numbers from a low-discrepancy sequence, the same every time."""
    even = torch.quasirandom.SobolEngine(dim, scramble=True, seed=0).draw(n)
    return torch.special.ndtri(even.clamp(1e-6, 1 - 1e-6))


def _standard(u: Tensor) -> Tensor:
    return -0.5 * (u.square().sum(1) + u.shape[1] * math.log(2 * math.pi))
