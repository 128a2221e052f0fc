"""Gaussian bottleneck: the code is noisy, and a closer look at x costs nats.

.. math::
    z \\sim N(\\mu(h), \\sigma(h)^2), \\qquad
    \\mathrm{rate} = \\tfrac12 \\sum_j (\\mu_j^2 + \\sigma_j^2 - 1 - \\log \\sigma_j^2)

References:
    Kingma and Welling, Auto-Encoding Variational Bayes, 2014, https://arxiv.org/abs/1312.6114
    Kingma et al., Improved Variational Inference with Inverse Autoregressive Flow, 2016 (free bits).
"""

from __future__ import annotations

import torch
from torch import Tensor

from isthmus.core.networks.dense import Head
from isthmus.core.parts import Body, Bottleneck, Code, Shape

#: log σ² is kept in this range: beyond it a float32 σ² or its inverse loses its digits.
_LOG_VAR = (-14.0, 8.0)


class Gaussian(Bottleneck):
    """A normal posterior with diagonal covariance against the prior N(0, I).

    ``free_bits``: nats per dimension that cost nothing, counted on the mean over the batch.
    """

    rated = noisy = True

    def __init__(self, in_shape: Shape, dim: int, *, free_bits: float = 0.0, spatial: bool = False):
        super().__init__()
        self.code_shape = (dim, *in_shape[1:]) if spatial else (dim,)
        self.mu = Head(in_shape, self.code_shape)
        # a plain tuple, so that there is a layer also behind a body that ends where μ would lead
        self.log_var = Head(tuple(in_shape), self.code_shape)
        self.free_bits = free_bits
        # begin with small noise: at σ = 1 the decoder learns to ignore the code before it says anything
        with torch.no_grad():
            self.log_var.layer.weight.mul_(0.1)
            self.log_var.layer.bias.fill_(-2.0)

    def forward(self, h: Tensor) -> Code:
        mu, log_var = self.mu(h), self.log_var(h).clamp(*_LOG_VAR)
        # the mean alone at test time, so that scores repeat
        z = mu + torch.randn_like(mu) * (log_var / 2).exp() if self.training else mu
        rates = (mu.square() + log_var.exp() - 1 - log_var).flatten(1) / 2
        rate = rates.sum(1)
        if self.free_bits and self.training:
            # one value for the whole batch: the floor holds for the mean over rows, not row by row
            rate = rates.mean(0).clamp(min=self.free_bits).sum().expand(len(h))
        return Code(z, rate, {"mu": mu, "log_var": log_var, "rates": rates})

    def mode(self, h: Tensor) -> Tensor:
        return self.mu(h)

    def start_linear(self, body: Body, weight: Tensor, bias: Tensor) -> None:
        self.mu.start_linear(body, weight, bias)

    def extra_repr(self) -> str:
        return f"dim={self.code_shape[0]}, free_bits={self.free_bits}"
