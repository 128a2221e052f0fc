"""The likelihood of rows under a model with noisy codes, which no closed form gives.

.. math:: \\log p(x) \\ge E \\log \\frac1K \\sum_k \\frac{p(x \\mid z_k)\\, p(z_k)}{q(z_k \\mid x)}
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from isthmus.core.autoencoder import Net
from isthmus.core.posterior import Posterior


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
    net.renew_prior(condition)
    q = Posterior.of(net.bottleneck(net.encoded(net.features(x, observed), observed)), "log_likelihood")
    total = torch.full((len(x),), -math.inf, dtype=torch.float64, device=x.device)
    for _ in range(samples):
        z = q.sample(generator=generator)
        nats = net.decode(z, condition).log_prob(x, observed) + net.prior.log_prob(z) - q.log_prob(z)
        total = torch.logaddexp(total, nats.double())
    return total - math.log(samples)
